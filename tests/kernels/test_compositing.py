import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import RAGGED, TOLERANCE, make_rays, noncontiguous, run_python
from omniseg_kernels.compositing import composite, volume_render
from omniseg_kernels.reference import compositing as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def grad(out, leaf, g):
    """Return the gradient as `helpers.grad` does, but keep the graph for the next call."""
    (found,) = torch.autograd.grad(out, leaf, g, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def make_case(counts, n_channels, dtype, device):
    rays = make_rays(counts, dtype, device)
    sigmas = (10 * torch.rand(rays.n_samples, dtype=dtype)).to(device).requires_grad_()
    weights = torch.rand(rays.n_samples, dtype=dtype).to(device).requires_grad_()
    values = torch.randn(rays.n_samples, n_channels, dtype=dtype).to(device).requires_grad_()
    return rays, sigmas, weights, values


def identify(counts):
    return f"{len(counts)}rays{sum(counts)}"


def outputs(rendering):
    return rendering.weights, rendering.values, rendering.opacity, rendering.depth


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("counts", RAGGED, ids=identify)
@pytest.mark.parametrize("n_channels", [0, 1, 3, 16])
def test_rendering_matches_reference(n_channels, counts, dtype, device):
    check_rendering(n_channels, counts, dtype, device)


@pytest.mark.parametrize("n_channels", [64, 65])
def test_rendering_of_many_channels(n_channels, device):
    check_rendering(n_channels, [1, 64, 0, 200], torch.float32, device)


def check_rendering(n_channels, counts, dtype, device):
    rays, sigmas, _, values = make_case(counts, n_channels, dtype, device)
    partial = torch.rand(len(counts), dtype=dtype).to(device)
    args = rays.t_starts, rays.t_ends, sigmas, values, rays.packed_info
    for transmittance in (None, partial):
        got, want = outputs(volume_render(*args, transmittance)), outputs(reference.volume_render(*args, transmittance))
        scalars = [torch.randn_like(x) for x in want]
        for a, b in zip(got, want):
            assert a.shape == b.shape
            assert_close(a, b, **TOLERANCE[dtype])
        together = [sum((x * g).sum() for x, g in zip(out, scalars)) for out in (got, want)]
        for leaf in (sigmas, values):
            g_got, g_want = (grad(loss, leaf, torch.ones_like(loss)) for loss in together)
            assert_close(g_got, g_want, **TOLERANCE[dtype])
            assert leaf.grad is None


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("counts", RAGGED, ids=identify)
@pytest.mark.parametrize("n_channels", [0, 1, 3, 16])
def test_composite_matches_reference(n_channels, counts, dtype, device):
    check_composite(n_channels, counts, dtype, device)


@pytest.mark.parametrize("n_channels", [64, 65])
def test_many_channels_match_reference(n_channels, device):
    check_composite(n_channels, [1, 64, 0, 200], torch.float32, device)


def check_composite(n_channels, counts, dtype, device):
    rays, _, weights, values = make_case(counts, n_channels, dtype, device)
    got, want = (twin(weights, values, rays.packed_info) for twin in (composite, reference.composite))
    assert got.shape == want.shape
    assert_close(got, want, **TOLERANCE[dtype])
    if not n_channels:
        assert not got.requires_grad
        return
    g = torch.randn_like(want)
    for leaf in (weights, values):
        assert_close(grad(got, leaf, g), grad(want, leaf, g), **TOLERANCE[dtype])
        assert leaf.grad is None


@pytest.mark.parametrize("name", ["weights", "values", "opacity", "depth"])
def test_gradient_of_one_output_only(name, device):
    rays, sigmas, _, values = make_case([3, 0, 5], 2, torch.float64, device)
    args = rays.t_starts, rays.t_ends, sigmas, values, rays.packed_info
    got, want = (getattr(twin(*args), name) for twin in (volume_render, reference.volume_render))
    g = torch.randn_like(want)
    for leaf in (sigmas, values):
        assert_close(grad(got, leaf, g), grad(want, leaf, g), **TOLERANCE[torch.float64])


def test_gradient_of_one_input_only(device):
    rays, sigmas, weights, values = make_case([3, 0, 5], 2, torch.float32, device)
    ends, info = (rays.t_starts, rays.t_ends), rays.packed_info
    forms = [
        (weights, lambda weights, values: composite(weights, values, info)),
        (sigmas, lambda sigmas, values: volume_render(*ends, sigmas, values, info).values),
    ]
    for first, form in forms:
        both = torch.autograd.grad(form(first, values).sum(), (first, values))
        assert torch.equal(torch.autograd.grad(form(first.detach(), values).sum(), values)[0], both[1])
        assert torch.equal(torch.autograd.grad(form(first, values.detach()).sum(), first)[0], both[0])


@pytest.mark.parametrize("n_channels", [0, 3])
def test_gradcheck(n_channels, device):
    rays, sigmas, weights, values = make_case([3, 0, 5, 1], n_channels, torch.float64, device)
    ends, info = (rays.t_starts, rays.t_ends), rays.packed_info

    def render(sigmas, values):
        return outputs(volume_render(*ends, sigmas, values, info))

    assert torch.autograd.gradcheck(render, (sigmas, values))
    if n_channels:
        assert torch.autograd.gradcheck(lambda *args: composite(*args, info), (weights, values))


def test_by_hand(device):
    ln2 = 0.6931471805599453
    sigmas = torch.tensor([ln2, 2 * ln2, 0.0], device=device, requires_grad=True)
    t_starts, t_ends = (
        torch.tensor([1.0, 2.0, 9.0], device=device),
        torch.tensor([2.0, 4.0, 9.5], device=device),
    )
    rays = torch.tensor([[0, 2], [2, 1]], dtype=torch.int32, device=device)
    values = torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]], device=device)
    out = volume_render(t_starts, t_ends, sigmas, values, rays)
    # Half of the light passes the first sample, a sixteenth of that the second.
    assert_close(out.weights.cpu(), torch.tensor([0.5, 0.46875, 0.0]))
    assert_close(out.values.cpu(), torch.tensor([[0.5, 0.9375], [0.0, 0.0]]))
    assert_close(out.opacity.cpu(), torch.tensor([0.96875, 0.0]))
    assert_close(out.depth.cpu(), torch.tensor([0.75 + 3 * 0.46875, 0.0]))
    assert_close(composite(out.weights, values, rays), out.values)
    dim = volume_render(t_starts, t_ends, sigmas, values, rays, transmittance=torch.tensor([0.5, 0.0], device=device))
    assert_close(dim.weights.cpu(), torch.tensor([0.25, 0.234375, 0.0]))
    out.opacity.sum().backward()
    # d opacity / d sigma_i = dt_i * transmittance of the whole ray, 1/32; an empty sample passes all light.
    assert_close(sigmas.grad.cpu(), torch.tensor([1 / 32, 2 / 32, 0.5]))


@pytest.mark.bounds
def test_one_huge_ray_among_empty_ones(device):
    counts = [0] * 700 + [1024] + [0] * 700
    rays, sigmas, _, values = make_case(counts, 3, torch.float32, device)
    with torch.no_grad():
        sigmas.mul_(0.05)  # so that light reaches the end
    args = rays.t_starts, rays.t_ends, sigmas, values
    got = volume_render(*args, rays.packed_info)
    want = reference.volume_render(*(x.double() for x in args), rays.packed_info)
    g = torch.randn_like(got.weights)
    assert_close(got.weights.double(), want.weights, **TOLERANCE[torch.float32])
    assert_close(grad(got.weights, sigmas, g), grad(want.weights, sigmas, g.double()), **TOLERANCE[torch.float32])
    assert (got.opacity[:700] == 0).all()
    assert (got.values[701:] == 0).all()
    assert_close(got.opacity[700], want.opacity[700].float(), **TOLERANCE[torch.float32])


def test_opaque_rays(device):
    rays, sigmas, _, values = make_case([3, 5, 200], 0, torch.float32, device)
    for density in (1e4, 3e38, torch.inf):
        with torch.no_grad():
            sigmas.fill_(density)
        weights = volume_render(rays.t_starts, rays.t_ends, sigmas, values, rays.packed_info).weights
        first = rays.packed_info[:, 0].long()
        assert_close(weights[first], torch.ones(3, device=device))
        assert weights.sum() == 3
        assert grad(weights, sigmas, torch.ones_like(weights)).abs().max() < 1e-5


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    density=st.floats(0, 1000),
    seed=st.integers(0, 2**16),
)
def test_properties(counts, density, seed, device):
    torch.manual_seed(seed)
    rays, sigmas, _, values = make_case(counts, 3, torch.float32, device)
    sigmas = sigmas.detach() * density
    ends, info = (rays.t_starts, rays.t_ends), rays.packed_info
    out = volume_render(*ends, sigmas, values, info)
    assert (out.weights >= 0).all()
    assert (out.opacity <= 1 + 1e-5).all()
    assert_close(composite(out.weights, values, info), out.values, **TOLERANCE[torch.float32])
    # Opacity and depth are channels like any other, and more density never lets more light through.
    middle = (rays.t_starts + rays.t_ends) / 2
    more = composite(out.weights, torch.stack([torch.ones_like(middle), middle], 1), info)
    assert_close(more, torch.stack([out.opacity, out.depth], 1), **TOLERANCE[torch.float32])
    assert (volume_render(*ends, sigmas * 2, values, info).opacity >= out.opacity - 1e-5).all()
    # Rays in another order, behind an empty ray, whose first sample is meaningless.
    order = torch.randperm(len(counts))
    other = torch.cat([info.new_zeros(1, 2), info[order.to(device)]])
    permuted = volume_render(*ends, sigmas, values, other)
    assert torch.equal(permuted.weights, out.weights)
    assert torch.equal(permuted.values[1:], out.values[order.to(device)])
    # A ray in two pieces: the second gets the light that the first lets through.
    if len(counts) == 1:
        half = counts[0] // 2
        pieces = torch.tensor([[0, half], [half, counts[0] - half]], dtype=torch.int32, device=device)
        left = torch.stack([out.opacity.new_ones(()), 1 - out.weights[:half].sum()])
        parts = volume_render(*ends, sigmas, values, pieces, left)
        assert_close(parts.weights, out.weights, **TOLERANCE[torch.float32])


def test_samples_of_no_ray(device):
    rays, sigmas, weights, values = make_case([12], 2, torch.float32, device)
    ends = rays.t_starts, rays.t_ends
    info = torch.tensor([[1, 3], [6, 4]], dtype=torch.int32, device=device)
    covered = torch.zeros(12, dtype=torch.bool, device=device)
    covered[1:4] = covered[6:10] = True
    rendering = volume_render(*ends, sigmas, values, info)
    assert (rendering.weights[covered] > 0).all()
    assert (rendering.weights[~covered] == 0).all()
    sums = composite(weights, values, info).sum()
    for out, leaf in (
        (rendering.opacity.sum(), sigmas),
        (rendering.values.sum(), values),
        (sums, weights),
        (sums, values),
    ):
        g = grad(out, leaf, torch.ones((), device=device))
        assert (g[covered] != 0).all()
        assert (g[~covered] == 0).all()


@pytest.mark.bounds
def test_rays_beyond_the_samples_stay_within_them(device):
    rays, sigmas, _, values = make_case([5], 2, torch.float32, device)
    ends = rays.t_starts, rays.t_ends
    wild = [[3, 100], [-7, 2], [2**31 - 1, 5], [1, -4], [-(2**31), 2**31 - 1], [4, 2**31 - 1]]
    info = torch.tensor(wild, dtype=torch.int32, device=device)
    out = volume_render(*ends, sigmas, values, info)
    sums = composite(out.weights, values, info)
    (out.values.sum() + out.depth.sum() + sums.sum()).backward()
    assert out.values.shape == sums.shape == (len(wild), 2)


def test_noncontiguous(device):
    rays, sigmas, weights, values = make_case([3, 0, 5], 3, torch.float32, device)
    ends = rays.t_starts, rays.t_ends
    far = [noncontiguous(x.detach()).requires_grad_() for x in (sigmas, weights)]
    far.append(values.detach().t().contiguous().t().requires_grad_())
    far_ends, far_info = [noncontiguous(x) for x in ends], noncontiguous(rays.packed_info)
    got = outputs(volume_render(*far_ends, far[0], far[2], far_info))
    want = outputs(volume_render(*ends, sigmas, values, rays.packed_info))
    for a, b in zip(got, want):
        assert torch.equal(a, b)
    one = torch.ones(1, device=device).expand(8)
    assert torch.equal(grad(got[0], far[0], one), grad(want[0], sigmas, one))
    got, want = composite(*far[1:], far_info), composite(weights, values, rays.packed_info)
    assert torch.equal(got, want)
    g = torch.randn(3, 3, device=device).t()
    for a, b in zip(far[1:], (weights, values)):
        assert torch.equal(grad(got, a, g), grad(want, b, g))


ONE_THREAD = """
import sys, torch
from omniseg_kernels import launch
from omniseg_kernels.compositing import composite, volume_render
launch.init("cpu", threads=1)
sigmas, values, *ends, info = torch.load(sys.argv[1])
out = volume_render(*ends, sigmas, values, info)
loss = out.values.square().sum() + out.depth.sum()
torch.save([out.values, *torch.autograd.grad(loss, (sigmas, values))], sys.argv[2])
"""


@pytest.mark.slow
def test_results_do_not_depend_on_threads(device, tmp_path):
    if device.type != "cpu":
        pytest.skip("threads of the CPU")
    rays, sigmas, _, values = make_case([1, 0, 7] * 700, 3, torch.float32, device)
    ends, info = (rays.t_starts, rays.t_ends), rays.packed_info
    out = volume_render(*ends, sigmas, values, info)
    loss = out.values.square().sum() + out.depth.sum()
    many = out.values, *torch.autograd.grad(loss, (sigmas, values))
    (tmp_path / "one.py").write_text(ONE_THREAD)
    torch.save([sigmas, values, *ends, info], tmp_path / "in.pt")
    done = run_python(*(str(tmp_path / name) for name in ("one.py", "in.pt", "out.pt")))
    assert done.returncode == 0, done.stderr
    for one, other in zip(torch.load(tmp_path / "out.pt"), many):
        assert torch.equal(one, other)  # bit for bit, because one thread handles a ray


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigmas": torch.zeros(4, 1)}, r"sigmas: expected shape \(any\)"),
        ({"sigmas": torch.zeros(4).int()}, "sigmas: expected torch.float32 or torch.float64"),
        ({"t_starts": torch.zeros(3)}, r"t_starts: expected shape \(4\), got \(3,\)"),
        ({"t_ends": torch.zeros(4).double()}, "t_ends: expected torch.float32 on .* as sigmas"),
        ({"values": torch.zeros(5, 3)}, r"values: expected shape \(4, any\), got \(5, 3\)"),
        ({"packed_info": torch.zeros(2, 3).int()}, r"packed_info: expected shape \(any, 2\)"),
        ({"packed_info": torch.zeros(2, 2).long()}, "packed_info: expected torch.int32"),
        ({"transmittance": torch.zeros(4)}, r"transmittance: expected shape \(2\), got \(4,\)"),
        ({"transmittance": torch.zeros(2).double()}, "transmittance: expected torch.float32 on .* as sigmas"),
    ],
)
def test_wrong_arguments_of_rendering(change, message, device):
    arguments = {
        "t_starts": torch.zeros(4),
        "t_ends": torch.ones(4),
        "sigmas": torch.zeros(4),
        "values": torch.zeros(4, 3),
        "packed_info": torch.zeros(2, 2, dtype=torch.int32),
    } | change
    with pytest.raises(ValueError, match=message):
        volume_render(**{name: tensor.to(device) for name, tensor in arguments.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.zeros(4, 1)}, r"weights: expected shape \(any\)"),
        ({"weights": torch.zeros(4).half()}, "weights: expected torch.float32 or torch.float64"),
        ({"values": torch.zeros(4)}, r"values: expected shape \(4, any\), got \(4,\)"),
        ({"values": torch.zeros(5, 3)}, r"values: expected shape \(4, any\), got \(5, 3\)"),
        ({"values": torch.zeros(4, 3).double()}, "values: expected torch.float32 on .* as weights"),
        ({"packed_info": torch.zeros(2, 2).long()}, "packed_info: expected torch.int32"),
    ],
)
def test_wrong_arguments_of_composite(change, message, device):
    arguments = {
        "weights": torch.zeros(4),
        "values": torch.zeros(4, 3),
        "packed_info": torch.zeros(2, 2, dtype=torch.int32),
    } | change
    with pytest.raises(ValueError, match=message):
        composite(**{name: tensor.to(device) for name, tensor in arguments.items()})
