import pytest
import torch
from torch.testing import assert_close

from helpers import RAGGED, TOLERANCE, make_rays, noncontiguous
from omniseg_kernels.gather import append_ray_channels, sample_positions
from omniseg_kernels.reference import gather as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def make(counts, dtype, device):
    """Return rays, and the ends and ray index of each sample."""
    rays = make_rays(counts, dtype, device)
    rays_o, rays_d = (torch.randn(len(counts), 3, dtype=dtype, device=device) for _ in range(2))
    return rays_o, rays_d, rays.t_starts, rays.t_ends, rays.ray_indices.int()


@pytest.mark.bounds
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("counts", RAGGED)
def test_positions_match_reference(counts, dtype, device):
    rays_o, rays_d, *samples = make(counts, dtype, device)
    rays_o.requires_grad_(), rays_d.requires_grad_()
    got, want = sample_positions(rays_o, rays_d, *samples), reference.sample_positions(rays_o, rays_d, *samples)
    g = torch.randn_like(want)
    assert_close(got, want, **TOLERANCE[dtype])
    leaves = rays_o, rays_d
    for ours, theirs in zip(torch.autograd.grad(got, leaves, g), torch.autograd.grad(want, leaves, g)):
        assert_close(ours, theirs, **TOLERANCE[dtype])
    assert rays_o.grad is None


def test_positions_by_hand(device):
    rays_o, rays_d = torch.tensor([[0.0, 1, 2], [5, 5, 5]], device=device), torch.tensor([[1.0, 0, 0], [0, 0, -2]])
    starts, ends = torch.tensor([0.0, 2], device=device), torch.tensor([1.0, 4], device=device)
    ray_indices = torch.tensor([1, 0], dtype=torch.int32, device=device)
    got = sample_positions(rays_o, rays_d.to(device), starts, ends, ray_indices)
    assert got.tolist() == [[5, 5, 4], [3, 1, 2]]


@pytest.mark.bounds
@pytest.mark.parametrize("dtype", [torch.bfloat16, *TOLERANCE])
@pytest.mark.parametrize("channels", [(16, 16), (1, 3), (3, 2), (15, 1)])
@pytest.mark.parametrize("counts", RAGGED)
def test_append_matches_reference(counts, channels, dtype, device):
    ray_indices = make(counts, torch.float32, device)[-1]
    values, ray_values = (
        torch.randn(n, c, device=device).to(dtype).requires_grad_()
        for n, c in zip((len(ray_indices), len(counts)), channels)
    )
    got = append_ray_channels(values, ray_values, ray_indices)
    want = reference.append_ray_channels(values, ray_values, ray_indices)
    assert got.dtype == dtype
    assert torch.equal(got, want)  # it copies
    g = torch.randn_like(want)
    leaves = values, ray_values
    ours, theirs = torch.autograd.grad(got, leaves, g), torch.autograd.grad(want, leaves, g)
    assert torch.equal(ours[0], theirs[0])
    # Sums over a ray's samples; with bfloat16, kernel and twin both add in bfloat16.
    wide = {"rtol": 0.05, "atol": 0.5} if dtype == torch.bfloat16 else TOLERANCE[dtype]
    assert_close(ours[1], theirs[1], **wide)
    assert values.grad is None


def test_gradcheck(device):
    rays_o, rays_d, *samples = make([3, 0, 5], torch.float64, device)
    rays_o.requires_grad_(), rays_d.requires_grad_()
    torch.autograd.gradcheck(lambda o, d: sample_positions(o, d, *samples), (rays_o, rays_d))
    values = torch.randn(8, 2, dtype=torch.float64, device=device, requires_grad=True)
    torch.autograd.gradcheck(lambda v, r: append_ray_channels(v, r, samples[2]), (values, rays_o))


def test_noncontiguous(device):
    arguments = make([4, 3], torch.float32, device)
    assert_close(sample_positions(*map(noncontiguous, arguments)), sample_positions(*arguments))
    rays_o, _, _, _, ray_indices = arguments
    values = torch.randn(7, 2, device=device)
    got = append_ray_channels(*map(noncontiguous, (values, rays_o, ray_indices)))
    assert torch.equal(got, append_ray_channels(values, rays_o, ray_indices))


@pytest.mark.parametrize("n_rays", [1, 3])
def test_append_of_transposed_and_shifted_channels(n_rays, device):
    """A single row counts as contiguous with any stride, and a slice of a tensor may begin anywhere."""
    ray_indices = torch.zeros(5, dtype=torch.int32, device=device)
    values = torch.randn(41, device=device).bfloat16()[1:].view(5, 8)
    transposed = torch.randn(4, n_rays, device=device).bfloat16().t()
    for ray_values in (transposed, torch.randn(4 * n_rays + 1, device=device).bfloat16()[1:].view(n_rays, 4)):
        got = append_ray_channels(values, ray_values, ray_indices)
        assert torch.equal(got, reference.append_ray_channels(values, ray_values, ray_indices))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rays_o": torch.zeros(2, 2)}, r"rays_o: expected shape \(any, 3\)"),
        ({"rays_o": torch.zeros(2, 3, dtype=torch.bfloat16)}, "rays_o: expected torch.float32 or torch.float64"),
        ({"rays_d": torch.zeros(3, 3)}, r"rays_d: expected shape \(2, 3\)"),
        ({"t_ends": torch.zeros(3)}, r"t_ends: expected shape \(4\)"),
        ({"t_starts": torch.zeros(4, dtype=torch.float64)}, "t_starts: expected torch.float32"),
        ({"ray_indices": torch.zeros(4, dtype=torch.int64)}, "ray_indices: expected torch.int32"),
        ({"rays_o": torch.zeros(0, 3), "rays_d": torch.zeros(0, 3)}, "there are 4 samples but no ray"),
    ],
)
def test_wrong_arguments_of_positions(change, message, device):
    arguments = {
        "rays_o": torch.zeros(2, 3), "rays_d": torch.zeros(2, 3), "t_starts": torch.zeros(4), "t_ends": torch.zeros(4),
        "ray_indices": torch.zeros(4, dtype=torch.int32),
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        sample_positions(**{name: value.to(device) for name, value in arguments.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": torch.zeros(5, 2)}, r"values: expected shape \(4, any\)"),
        ({"values": torch.zeros(4, 2, dtype=torch.uint8)}, "values: expected torch.bfloat16"),
        ({"ray_values": torch.zeros(2, 2, dtype=torch.float64)}, "ray_values: expected torch.float32"),
        ({"ray_values": torch.zeros(2, 0)}, "expected channels, got 2 and 0"),
        ({"ray_values": torch.zeros(0, 2)}, "there are 4 samples but no ray"),
    ],
)
def test_wrong_arguments_of_append(change, message, device):
    arguments = {
        "values": torch.zeros(4, 2), "ray_values": torch.zeros(2, 2), "ray_indices": torch.zeros(4, dtype=torch.int32),
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        append_ray_channels(**{name: value.to(device) for name, value in arguments.items()})
