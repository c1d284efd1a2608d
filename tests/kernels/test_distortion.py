import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import RAGGED, TOLERANCE, grad, make_rays, noncontiguous
from omniseg_kernels.distortion import distortion_loss
from omniseg_kernels.reference import distortion as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def make_case(counts, dtype, device):
    rays = make_rays(counts, dtype, device)
    weights = torch.rand(rays.n_samples, dtype=dtype).to(device).requires_grad_()
    return weights, (rays.t_starts, rays.t_ends, rays.packed_info)


@pytest.mark.bounds
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("counts", RAGGED, ids=lambda counts: f"{len(counts)}rays{sum(counts)}")
def test_matches_reference(counts, dtype, device):
    weights, rays = make_case(counts, dtype, device)
    got, want = distortion_loss(weights, *rays), reference.distortion_loss(weights, *rays)
    g = torch.randn_like(want)
    assert_close(got, want, **TOLERANCE[dtype])
    assert_close(grad(got, weights, g), grad(want, weights, g), **TOLERANCE[dtype])
    assert weights.grad is None


def test_gradcheck(device):
    weights, rays = make_case([3, 0, 5, 1], torch.float64, device)
    assert torch.autograd.gradcheck(lambda w: distortion_loss(w, *rays), (weights,))


def test_by_hand(device):
    weights = torch.tensor([0.5, 0.25], device=device, requires_grad=True)
    t_starts, t_ends = torch.tensor([1.0, 3.0], device=device), torch.tensor([2.0, 6.0], device=device)
    loss = distortion_loss(weights, t_starts, t_ends, torch.tensor([[0, 2]], dtype=torch.int32, device=device))
    # Middles 1.5 and 4.5: 2 * 0.5 * 0.25 * 3 + (0.25 * 1 + 0.0625 * 3) / 3
    assert_close(loss.cpu(), torch.tensor([0.75 + 0.4375 / 3]))
    loss.backward()
    # 2 * 0.25 * 3 + 2/3 * 0.5 * 1 and 2 * 0.5 * 3 + 2/3 * 0.25 * 3
    assert_close(weights.grad.cpu(), torch.tensor([1.5 + 1 / 3, 3.5]))


def test_samples_of_no_ray_get_zero_gradient(device):
    weights, (t_starts, t_ends, _) = make_case([12], torch.float32, device)
    rays = torch.tensor([[1, 3], [6, 4]], dtype=torch.int32, device=device)
    (g,) = torch.autograd.grad(distortion_loss(weights, t_starts, t_ends, rays).sum(), weights)
    covered = torch.zeros(12, dtype=torch.bool, device=device)
    covered[1:4] = covered[6:10] = True
    assert (g[covered] != 0).all()
    assert (g[~covered] == 0).all()


@pytest.mark.bounds
def test_rays_beyond_the_samples_stay_within_them(device):
    weights, (t_starts, t_ends, _) = make_case([5], torch.float32, device)
    wild = [[3, 100], [-7, 2], [2**31 - 1, 5], [1, -4], [-(2**31), 1000], [4, 2**31 - 1]]
    rays = torch.tensor(wild, dtype=torch.int32, device=device)
    loss = distortion_loss(weights, t_starts, t_ends, rays)
    loss.sum().backward()
    tame = reference.distortion_loss(weights, t_starts, t_ends, torch.tensor([[3, 2]], dtype=torch.int32))
    assert_close(loss[:1], tame, **TOLERANCE[torch.float32])
    assert torch.isfinite(loss).all()


@settings(max_examples=50)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    scale=st.floats(0.1, 10),
    seed=st.integers(0, 2**16),
)
def test_properties(counts, scale, seed, device):
    torch.manual_seed(seed)
    weights, (t_starts, t_ends, rays) = make_case(counts, torch.float64, device)
    loss = distortion_loss(weights, t_starts, t_ends, rays)
    assert (loss >= 0).all()
    shifted = distortion_loss(weights, t_starts + scale, t_ends + scale, rays)  # only differences count
    assert_close(shifted, loss, **TOLERANCE[torch.float64])
    stretched = distortion_loss(weights, scale * t_starts, scale * t_ends, rays)
    assert_close(stretched, scale * loss, **TOLERANCE[torch.float64])
    assert_close(distortion_loss(scale * weights, t_starts, t_ends, rays), scale**2 * loss, **TOLERANCE[torch.float64])
    order = torch.randperm(len(rays)).to(device)
    assert_close(distortion_loss(weights, t_starts, t_ends, rays[order]), loss[order])


def test_concentrated_weights_far_away_keep_their_precision(device):
    # Two thin neighbouring samples a thousand units out: prefix sums of w m would lose all digits.
    t_starts = torch.tensor([0.0, 1000.0, 1000.25], device=device)
    t_ends = torch.tensor([0.25, 1000.25, 1000.5], device=device)
    weights = torch.tensor([0.0, 0.5, 0.5], device=device, requires_grad=True)
    loss = distortion_loss(weights, t_starts, t_ends, torch.tensor([[0, 3]], dtype=torch.int32, device=device))
    loss.backward()
    assert_close(loss.cpu(), torch.tensor([0.125 + 0.125 / 3]), rtol=1e-6, atol=0)
    assert_close(weights.grad[1:].cpu(), torch.tensor([0.25 + 0.25 / 3] * 2), rtol=1e-6, atol=0)


def test_noncontiguous(device):
    weights, rays = make_case([3, 0, 5], torch.float32, device)
    scattered = noncontiguous(weights.detach()).requires_grad_()
    got = distortion_loss(scattered, *(noncontiguous(tensor) for tensor in rays))
    want = distortion_loss(weights, *rays)
    assert_close(got, want)
    g = torch.tensor([1.0], device=device).expand(3)
    assert_close(grad(got, scattered, g), grad(want, weights, g))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.zeros(4, 1)}, r"weights: expected shape \(any\)"),
        ({"weights": torch.zeros(4, dtype=torch.int32)}, "weights: expected torch.float32 or torch.float64"),
        ({"t_starts": torch.zeros(3)}, r"t_starts: expected shape \(4\), got \(3,\)"),
        ({"t_ends": torch.zeros(4, dtype=torch.float64)}, "t_ends: expected torch.float32 on .* as weights"),
        ({"packed_info": torch.zeros(2, 3, dtype=torch.int32)}, r"packed_info: expected shape \(any, 2\)"),
        ({"packed_info": torch.zeros(2, 2, dtype=torch.int64)}, "packed_info: expected torch.int32"),
    ],
)
def test_wrong_arguments(change, message, device):
    arguments = {
        "weights": torch.zeros(4),
        "t_starts": torch.zeros(4),
        "t_ends": torch.ones(4),
        "packed_info": torch.zeros(2, 2, dtype=torch.int32),
    } | change
    with pytest.raises(ValueError, match=message):
        distortion_loss(**{name: tensor.to(device) for name, tensor in arguments.items()})
