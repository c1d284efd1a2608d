import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import RAGGED, TOLERANCE, make_rays, noncontiguous, run_python
from omniseg_kernels.compositing import composite, render_weights
from omniseg_kernels.reference import compositing as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def grad(out, leaf, g):
    """As `helpers.grad`, of a graph that is asked again."""
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


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("counts", RAGGED, ids=identify)
def test_weights_match_reference(counts, dtype, device):
    rays, sigmas, _, _ = make_case(counts, 0, dtype, device)
    args = rays.t_starts, rays.t_ends, sigmas, rays.packed_info
    got, want = render_weights(*args), reference.render_weights(*args)
    g = torch.randn_like(want)
    assert_close(got, want, **TOLERANCE[dtype])
    assert_close(grad(got, sigmas, g), grad(want, sigmas, g), **TOLERANCE[dtype])
    assert sigmas.grad is None


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
    args = weights, values, rays.t_starts, rays.t_ends, rays.packed_info
    got, want = composite(*args), reference.composite(*args)
    scalars = [torch.randn_like(x) for x in (want.values, want.opacity, want.depth)]
    for a, b in zip((got.values, got.opacity, got.depth), (want.values, want.opacity, want.depth)):
        assert a.shape == b.shape
        assert_close(a, b, **TOLERANCE[dtype])
    together = [
        sum((x * g).sum() for x, g in zip((out.values, out.opacity, out.depth), scalars)) for out in (got, want)
    ]
    for leaf in (weights, values):
        g_got, g_want = (grad(loss, leaf, torch.ones_like(loss)) for loss in together)
        assert_close(g_got, g_want, **TOLERANCE[dtype])
        assert leaf.grad is None


@pytest.mark.parametrize("name", ["values", "opacity", "depth"])
def test_gradient_of_one_output_only(name, device):
    rays, _, weights, values = make_case([3, 0, 5], 2, torch.float64, device)
    args = weights, values, rays.t_starts, rays.t_ends, rays.packed_info
    got, want = (getattr(twin(*args), name) for twin in (composite, reference.composite))
    g = torch.randn_like(want)
    for leaf in (weights, values):
        assert_close(grad(got, leaf, g), grad(want, leaf, g), **TOLERANCE[torch.float64])


def test_gradient_of_one_input_only(device):
    rays, _, weights, values = make_case([3, 0, 5], 2, torch.float32, device)
    others = rays.t_starts, rays.t_ends, rays.packed_info
    both = torch.autograd.grad(composite(weights, values, *others).values.sum(), (weights, values))
    one = composite(weights.detach(), values, *others).values.sum()
    assert_close(torch.autograd.grad(one, values)[0], both[1])
    other = composite(weights, values.detach(), *others).values.sum()
    assert_close(torch.autograd.grad(other, weights)[0], both[0])


@pytest.mark.parametrize("n_channels", [0, 3])
def test_gradcheck(n_channels, device):
    rays, sigmas, _, values = make_case([3, 0, 5, 1], n_channels, torch.float64, device)
    ends = rays.t_starts, rays.t_ends

    def render(sigmas, values):
        out = composite(render_weights(*ends, sigmas, rays.packed_info), values, *ends, rays.packed_info)
        return out.values, out.opacity, out.depth

    assert torch.autograd.gradcheck(render, (sigmas, values))


def test_by_hand(device):
    ln2 = 0.6931471805599453
    sigmas = torch.tensor([ln2, 2 * ln2, 0.0], device=device, requires_grad=True)
    t_starts, t_ends = (
        torch.tensor([1.0, 2.0, 9.0], device=device),
        torch.tensor([2.0, 4.0, 9.5], device=device),
    )
    rays = torch.tensor([[0, 2], [2, 1]], dtype=torch.int32, device=device)
    weights = render_weights(t_starts, t_ends, sigmas, rays)
    # Half of the light passes the first sample, a sixteenth of that the second.
    assert_close(weights.cpu(), torch.tensor([0.5, 0.46875, 0.0]))
    values = torch.tensor([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]], device=device)
    out = composite(weights, values, t_starts, t_ends, rays)
    assert_close(out.values.cpu(), torch.tensor([[0.5, 0.9375], [0.0, 0.0]]))
    assert_close(out.opacity.cpu(), torch.tensor([0.96875, 0.0]))
    assert_close(out.depth.cpu(), torch.tensor([0.75 + 3 * 0.46875, 0.0]))
    out.opacity.sum().backward()
    # d opacity / d sigma_i = dt_i * what passes the whole ray: 1/32; an empty sample passes everything.
    assert_close(sigmas.grad.cpu(), torch.tensor([1 / 32, 2 / 32, 0.5]))


@pytest.mark.bounds
def test_one_huge_ray_among_empty_ones(device):
    counts = [0] * 700 + [1024] + [0] * 700
    rays, sigmas, _, values = make_case(counts, 3, torch.float32, device)
    with torch.no_grad():
        sigmas.mul_(0.05)  # so that light reaches the end
    args = rays.t_starts, rays.t_ends
    got = render_weights(*args, sigmas, rays.packed_info)
    want = reference.render_weights(*(x.double() for x in (*args, sigmas)), rays.packed_info)
    g = torch.randn_like(got)
    assert_close(got.double(), want, **TOLERANCE[torch.float32])
    assert_close(grad(got, sigmas, g), grad(want, sigmas, g.double()), **TOLERANCE[torch.float32])
    out = composite(got, values, *args, rays.packed_info)
    assert (out.opacity[:700] == 0).all()
    assert (out.values[701:] == 0).all()
    assert_close(out.opacity[700], want.sum().float(), **TOLERANCE[torch.float32])


def test_opaque_rays(device):
    rays, sigmas, _, _ = make_case([3, 5, 200], 0, torch.float32, device)
    for density in (1e4, 3e38, torch.inf):
        with torch.no_grad():
            sigmas.fill_(density)
        weights = render_weights(rays.t_starts, rays.t_ends, sigmas, rays.packed_info)
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
    weights = render_weights(*ends, sigmas, info)
    assert (weights >= 0).all()
    out = composite(weights, values, *ends, info)
    assert (out.opacity <= 1 + 1e-5).all()
    order = torch.randperm(len(counts)).to(device)
    assert torch.equal(render_weights(*ends, sigmas, info[order]), weights)
    permuted = composite(weights, values, *ends, info[order])
    assert torch.equal(permuted.values, out.values[order])
    assert torch.equal(permuted.depth, out.depth[order])
    # Opacity and depth are channels like any other, and more density never lets more light through.
    middle = (rays.t_starts + rays.t_ends) / 2
    more = composite(weights, torch.stack([torch.ones_like(middle), middle], 1), *ends, info).values
    assert_close(more, torch.stack([out.opacity, out.depth], 1), **TOLERANCE[torch.float32])
    thicker = render_weights(*ends, sigmas * 2, info)
    assert (composite(thicker, values, *ends, info).opacity >= out.opacity - 1e-5).all()


def test_samples_of_no_ray(device):
    rays, sigmas, weights, values = make_case([12], 2, torch.float32, device)
    ends = rays.t_starts, rays.t_ends
    info = torch.tensor([[1, 3], [6, 4]], dtype=torch.int32, device=device)
    covered = torch.zeros(12, dtype=torch.bool, device=device)
    covered[1:4] = covered[6:10] = True
    got = render_weights(*ends, sigmas, info)
    assert (got[covered] > 0).all()
    assert (got[~covered] == 0).all()
    g = grad(got, sigmas, torch.ones_like(got))
    assert (g[covered] != 0).all()
    assert (g[~covered] == 0).all()
    out = composite(weights, values, *ends, info)
    for leaf in (weights, values):
        g = grad(out.values.sum(), leaf, torch.ones((), device=device))
        assert (g[covered] != 0).all()
        assert (g[~covered] == 0).all()


@pytest.mark.bounds
def test_rays_beyond_the_samples_stay_within_them(device):
    rays, sigmas, _, values = make_case([5], 2, torch.float32, device)
    ends = rays.t_starts, rays.t_ends
    wild = [[3, 100], [-7, 2], [2**31 - 1, 5], [1, -4], [-(2**31), 2**31 - 1], [4, 2**31 - 1]]
    info = torch.tensor(wild, dtype=torch.int32, device=device)
    weights = render_weights(*ends, sigmas, info)
    out = composite(weights, values, *ends, info)
    (out.values.sum() + out.depth.sum()).backward()
    assert torch.isfinite(out.values).all()


def test_noncontiguous(device):
    rays, sigmas, weights, values = make_case([3, 0, 5], 3, torch.float32, device)
    ends = rays.t_starts, rays.t_ends
    far = [noncontiguous(x.detach()).requires_grad_() for x in (sigmas, weights)]
    far.append(values.detach().t().contiguous().t().requires_grad_())
    far_ends, far_info = [noncontiguous(x) for x in ends], noncontiguous(rays.packed_info)
    got, want = render_weights(*far_ends, far[0], far_info), render_weights(*ends, sigmas, rays.packed_info)
    assert torch.equal(got, want)
    one = torch.ones(1, device=device).expand(8)
    assert torch.equal(grad(got, far[0], one), grad(want, sigmas, one))
    got, want = composite(*far[1:], *far_ends, far_info), composite(weights, values, *ends, rays.packed_info)
    assert torch.equal(got.values, want.values)
    g = torch.randn(3, 3, device=device).t()
    for a, b in zip(far[1:], (weights, values)):
        assert torch.equal(grad(got.values, a, g), grad(want.values, b, g))


ONE_THREAD = """
import sys, torch
from omniseg_kernels import launch
from omniseg_kernels.compositing import composite, render_weights
launch.init("cpu", threads=1)
sigmas, values, *ends, info = torch.load(sys.argv[1])
out = composite(render_weights(*ends, sigmas, info), values, *ends, info)
loss = out.values.square().sum() + out.depth.sum()
torch.save([out.values, *torch.autograd.grad(loss, (sigmas, values))], sys.argv[2])
"""


def test_results_do_not_depend_on_threads(device, tmp_path):
    if device.type != "cpu":
        pytest.skip("threads of the CPU")
    rays, sigmas, _, values = make_case([1, 0, 7] * 700, 3, torch.float32, device)
    ends, info = (rays.t_starts, rays.t_ends), rays.packed_info
    out = composite(render_weights(*ends, sigmas, info), values, *ends, info)
    loss = out.values.square().sum() + out.depth.sum()
    many = out.values, *torch.autograd.grad(loss, (sigmas, values))
    (tmp_path / "one.py").write_text(ONE_THREAD)
    torch.save([sigmas, values, *ends, info], tmp_path / "in.pt")
    done = run_python(*(str(tmp_path / name) for name in ("one.py", "in.pt", "out.pt")))
    assert done.returncode == 0, done.stderr
    for one, other in zip(torch.load(tmp_path / "out.pt"), many):
        assert torch.equal(one, other)  # a ray belongs to one thread: equal to the last bit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigmas": torch.zeros(4, 1)}, r"sigmas: expected shape \(any\)"),
        ({"sigmas": torch.zeros(4).int()}, "sigmas: expected torch.float32 or torch.float64"),
        ({"t_starts": torch.zeros(3)}, r"t_starts: expected shape \(4\), got \(3,\)"),
        ({"t_ends": torch.zeros(4).double()}, "t_ends: expected torch.float32 on .* as sigmas"),
        ({"packed_info": torch.zeros(2, 3).int()}, r"packed_info: expected shape \(any, 2\)"),
        ({"packed_info": torch.zeros(2, 2).long()}, "packed_info: expected torch.int32"),
    ],
)
def test_wrong_arguments_of_weights(change, message, device):
    arguments = {
        "t_starts": torch.zeros(4),
        "t_ends": torch.ones(4),
        "sigmas": torch.zeros(4),
        "packed_info": torch.zeros(2, 2, dtype=torch.int32),
    } | change
    with pytest.raises(ValueError, match=message):
        render_weights(**{name: tensor.to(device) for name, tensor in arguments.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.zeros(4, 1)}, r"weights: expected shape \(any\)"),
        ({"weights": torch.zeros(4).half()}, "weights: expected torch.float32 or torch.float64"),
        ({"values": torch.zeros(4)}, r"values: expected shape \(4, any\), got \(4,\)"),
        ({"values": torch.zeros(5, 3)}, r"values: expected shape \(4, any\), got \(5, 3\)"),
        ({"values": torch.zeros(4, 3).double()}, "values: expected torch.float32 on .* as weights"),
        ({"t_starts": torch.zeros(4, 1)}, r"t_starts: expected shape \(4\)"),
        ({"packed_info": torch.zeros(2, 2).long()}, "packed_info: expected torch.int32"),
    ],
)
def test_wrong_arguments_of_composite(change, message, device):
    arguments = {
        "weights": torch.zeros(4),
        "values": torch.zeros(4, 3),
        "t_starts": torch.zeros(4),
        "t_ends": torch.ones(4),
        "packed_info": torch.zeros(2, 2, dtype=torch.int32),
    } | change
    with pytest.raises(ValueError, match=message):
        composite(**{name: tensor.to(device) for name, tensor in arguments.items()})
