from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import noncontiguous, run_python
from omniseg_kernels import marching as KERNEL
from omniseg_kernels.marching import OccupancyBits, StepRule, march_rays
from omniseg_kernels.occupancy import occupied
from omniseg_kernels.ray_aabb import ray_aabb
from omniseg_kernels.reference import marching as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")

FINE = StepRule(0.013, 0.013)
CONE = StepRule(0.01, 0.6, cone_angle=0.05)
"""Step rule that grows from shorter than a cell to longer than the cells of cascade 1."""


def make_grid(cascades, resolution, device, filled=0.3):
    bits = torch.zeros(cascades * resolution**3 // 8, dtype=torch.uint8)
    for b in range(8):
        bits |= (torch.rand(len(bits)) < filled).to(torch.uint8) << b
    return OccupancyBits(bits.to(device), cascades, resolution)


def make_rays(n, cascades, device):
    """Return rays from in and around the outermost cube, and their spans in it."""
    bound = 2.0 ** (cascades - 1)
    rays_o = 1.2 * bound * (2 * torch.rand(n, 3) - 1)
    rays_d = torch.nn.functional.normalize(torch.randn(n, 3), dim=1)
    rays_o, rays_d = rays_o.to(device), rays_d.to(device)
    aabb = torch.tensor([-bound] * 3 + [bound] * 3, device=device)
    return rays_o, rays_d, torch.stack(ray_aabb(rays_o, rays_d, aabb), 1)


def near_border(rays_o, rays_d, samples, rule, grid):
    """Return (n_samples,) bool, true where rounding may decide which cell holds the middle of a step.

    Float32 positions of size `bound` err by some 1e-7 of it, in the kernel and in torch differently. A cell
    border of cascade k is a multiple of 2^(k + 1) / resolution, and so one of the finest cascade.
    """
    ray = samples.ray_indices.long()
    middle = (samples.t_starts + samples.t_ends)[:, None] / 2
    cells = (rays_o[ray] + middle * rays_d[ray]).double() * (grid.resolution / 2)
    return ((cells - cells.round()).abs() < 1e-6 * grid.resolution * 2**grid.cascades).any(1)


def as_set(samples, spans, rule, keep):
    """Return samples as pairs of ray and step number; for growing steps the start stands for the number.

    Both twins add the same floats, so that equal starts are equal.
    """
    ray, starts = samples.ray_indices[keep].long(), samples.t_starts[keep]
    steps = starts if rule.growing else ((starts - spans[ray, 0]) / rule.min_step).round()
    return set(zip(ray.tolist(), steps.tolist()))


@pytest.mark.bounds
@pytest.mark.parametrize("rule", [FINE, CONE], ids=["fine", "cone"])
@pytest.mark.parametrize(
    ("cascades", "resolution", "n", "filled"),
    [(1, 16, 0, 0.3), (1, 16, 1, 0.3), (3, 16, 200, 0.3), (2, 64, 1031, 0.3), (3, 16, 400, 0.02), (1, 64, 400, 3e-4)],
)
def test_matches_reference(cascades, resolution, n, filled, rule, device):
    grid, rays = make_grid(cascades, resolution, device, filled), make_rays(n, cascades, device)
    got, want = march_rays(*rays, grid, rule, pad_to=64), reference.march_rays(*rays, grid, rule, pad_to=64)
    assert got.n_samples == got.packed_info[:, 1].sum()
    assert len(got.t_starts) % 64 == 0
    n_got, n_want = got.n_samples, want.n_samples
    sure_got = ~near_border(*rays[:2], got, rule, grid)
    sure_want = ~near_border(*rays[:2], want, rule, grid)
    sure_got[n_got:], sure_want[n_want:] = False, False
    everything = as_set(got, rays[2], rule, slice(0, n_got)), as_set(want, rays[2], rule, slice(0, n_want))
    # Away from the borders no sample may be missing and none superfluous.
    assert as_set(want, rays[2], rule, sure_want) <= everything[0]
    assert as_set(got, rays[2], rule, sure_got) <= everything[1]
    assert len(everything[0] ^ everything[1]) <= 0.005 * n_want
    same = got.packed_info[:, 1] == want.packed_info[:, 1]
    # A march may stop anywhere in its last empty block.
    t_next = [torch.minimum(samples.t_next, rays[2][:, 1]) for samples in (got, want)]
    assert_close(t_next[0][same], t_next[1][same], rtol=0, atol=1e-5)


@pytest.mark.bounds
def test_few_samples_match_reference(device):
    grid, rays = make_grid(2, 16, device, filled=0.6), make_rays(300, 2, device)
    got, want = (twin.march_rays(*rays, grid, FINE, max_samples=5) for twin in (KERNEL, reference))
    assert got.packed_info[:, 1].max() == 5
    same = got.packed_info[:, 1] == want.packed_info[:, 1]
    assert same.float().mean() > 0.99  # a few rays touch a border within rounding
    close = (got.t_next - want.t_next).abs() < 1e-6
    assert (same & close).float().mean() > 0.98


def test_by_hand(device):
    # The half with x > 0 holds something: the highest bit of i is bit 9 of the Morton codes of 16^3 cells.
    cells = torch.arange(16**3).view(-1, 8) >> 9 & 1
    bits = (cells << torch.arange(8)).sum(1).to(torch.uint8)
    grid = OccupancyBits(bits.to(device), 1, 16)
    rays_o = torch.tensor([[-1.0, 0.5, 0.5], [0.5, -1.0, 0.5], [-0.5, -1.0, 0.5]], device=device)
    rays_d = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]], device=device)
    spans = torch.tensor([[0.125, 2.0], [0.0, 1.0], [0.0, 2.0]], device=device)
    samples = march_rays(rays_o, rays_d, spans, grid, StepRule(0.5, 0.5), pad_to=8)
    # Steps of the first ray begin at 0.125, 0.625 (middle at x = -0.125), 1.125 and 1.625.
    assert samples.n_samples == 4
    assert_close(samples.t_starts.cpu(), torch.tensor([1.125, 1.625, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]))
    assert_close(samples.t_ends.cpu(), torch.tensor([1.625, 2.125, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0]))
    assert samples.ray_indices.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert samples.packed_info.tolist() == [[0, 2], [2, 2], [4, 0]]
    assert_close(samples.t_next.cpu(), torch.tensor([2.125, 1.0, 2.0]))


def test_cone_by_hand(device):
    full = OccupancyBits(torch.full((512,), 255, dtype=torch.uint8, device=device), 1, 16)
    ray = torch.tensor([[-1.0, 0.1, 0.1]], device=device), torch.tensor([[1.0, 0.0, 0.0]], device=device)
    samples = march_rays(*ray, torch.tensor([[0.25, 1.9]], device=device), full, StepRule(0.2, 0.5, cone_angle=0.5))
    # 0.25 / 2 is below the shortest, 0.45 / 2 between, 1.0125 / 2 above the longest step.
    assert_close(samples.t_starts.cpu(), torch.tensor([0.25, 0.45, 0.675, 1.0125, 1.5125]))
    assert_close(samples.t_ends.cpu(), torch.tensor([0.45, 0.675, 1.0125, 1.5125, 2.0125]))


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 60),
    cascades=st.integers(1, 3),
    few=st.integers(1, 9),
    filled=st.floats(0, 1),
    cone=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_properties(n, cascades, few, filled, cone, seed, device):
    torch.manual_seed(seed)
    grid, rays = make_grid(cascades, 16, device, filled), make_rays(n, cascades, device)
    rule = CONE if cone else StepRule(0.06, 0.06)
    samples = march_rays(*rays, grid, rule)
    starts, ends, ray = samples.t_starts, samples.t_ends, samples.ray_indices.long()
    first, count = samples.packed_info.long().unbind(1)
    assert torch.equal(torch.repeat_interleave(torch.arange(n, device=device), count), ray)
    assert torch.equal(first, count.cumsum(0) - count)
    spans = rays[2][ray]
    assert ((starts >= spans[:, 0]) & (starts < spans[:, 1])).all()
    assert (ends - starts >= rule.min_step * 0.999).all()
    follows = ray[1:] == ray[:-1]
    assert (starts[1:] >= ends[:-1])[follows].all()
    assert (samples.t_next >= rays[2][:, 1]).all()

    if not cone:  # every sample lies in an occupied cell of the smallest cascade
        middles = rays[0][ray] + rays[1][ray] * ((starts + ends) / 2)[:, None]
        inside = middles.abs().amax(1) < 2 ** (cascades - 1)
        sure = inside & ~near_border(*rays[:2], samples, rule, grid)
        assert occupied(middles[sure].contiguous(), grid).all()

    order = torch.randperm(n).to(device)
    permuted = march_rays(*(x[order] for x in rays), grid, rule)
    assert torch.equal(permuted.packed_info[:, 1], count[order].int())
    assert torch.equal(permuted.t_next, samples.t_next[order])

    # A few samples at a time; each march continues where the previous one stopped.
    parts, span = [], rays[2].clone()
    for _ in range(1000):
        part = march_rays(rays[0], rays[1], span, grid, rule, max_samples=few)
        parts.append(part)
        if part.n_samples == 0:
            break
        span[:, 0] = part.t_next
    joined = [torch.cat([getattr(p, name) for p in parts]) for name in ("ray_indices", "t_starts", "t_ends")]
    by_ray = torch.argsort(joined[0], stable=True)
    assert torch.equal(joined[1][by_ray], starts)
    assert torch.equal(joined[2][by_ray], ends)


def test_nothing_thin_is_missed(device):
    # One occupied cell of 16^3; steps are a quarter of it. A ray that crosses enough of it must find it.
    bits = torch.zeros(16**3 // 8, dtype=torch.uint8, device=device)
    bits[5] = 1 << 3
    grid = OccupancyBits(bits, 1, 16)
    everywhere = torch.rand(20_000, 3, device=device) * 2 - 1
    inside = everywhere[occupied(everywhere, grid)]
    assert 1 <= len(inside) <= 50
    rays_d = torch.nn.functional.normalize(torch.randn_like(inside), dim=1)
    rays_o = inside - 1.3 * rays_d
    centre = torch.stack([inside.amin(0), inside.amax(0)]).mean(0)
    aims = (inside - centre).abs().amax(1) < 0.03  # crosses more than one step of the cell
    spans = torch.tensor([[0.0, 3.0]], device=device).expand(len(inside), 2)
    samples = march_rays(rays_o, rays_d, spans, grid, StepRule(0.03, 0.03))
    assert (samples.packed_info[aims, 1] >= 1).all()


@pytest.mark.bounds
def test_rays_that_are_no_rays(device):
    grid = make_grid(2, 16, device, filled=1.0)
    rays_o, rays_d, _ = make_rays(12, 1, device)
    spans = torch.tensor([[0.0, 1.0]], device=device).repeat(12, 1)
    rays_o[0, 1], rays_d[1, 2], spans[2, 0], spans[3, 1] = (torch.nan,) * 4
    rays_o[4, 0], rays_d[5, 0], spans[6, 0], spans[7, 1] = torch.inf, -torch.inf, -torch.inf, torch.inf
    spans[8] = torch.tensor([1.0, 1.0])
    spans[9] = torch.tensor([2.0, 1.0])
    rays_d[10] = 0
    samples = march_rays(rays_o, rays_d, spans, grid, StepRule(0.1, 0.1))
    # A zero direction stays in an occupied cell.
    assert samples.packed_info[:, 1].tolist() == [0] * 10 + [10, 10]
    assert (samples.t_next[:3] >= 1).all()
    assert torch.isfinite(samples.t_next).all()


@pytest.mark.bounds
def test_directions_along_axes(device):
    grid, n = make_grid(2, 16, device), 64
    rays_o = torch.rand(n, 3) * 4 - 2
    rays_d = torch.zeros(n, 3)
    rays_d[torch.arange(n), torch.arange(n) % 3] = torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0)
    rays_o, rays_d = rays_o.to(device), rays_d.to(device)
    spans = torch.tensor([[0.0, 4.0]], device=device).repeat(n, 1)
    got, want = (twin.march_rays(rays_o, rays_d, spans, grid, FINE) for twin in (KERNEL, reference))
    assert (got.packed_info == want.packed_info).float().mean() > 0.9  # one different count moves all later samples
    assert (got.packed_info[:, 1] == want.packed_info[:, 1]).float().mean() > 0.95


@pytest.mark.bounds
def test_far_away_steps_do_not_stand_still(device):
    grid = make_grid(1, 16, device, filled=0.0)
    rays_o, rays_d = torch.zeros(4, 3, device=device), torch.ones(4, 3, device=device) / 3**0.5
    spans = torch.tensor([[1e9, 2e9], [-1e9, 1.0], [3e38, 3.1e38], [0.0, 3e38]], device=device)
    samples = march_rays(rays_o, rays_d, spans, grid, StepRule(1e-1, 1e-1))
    assert samples.n_samples == 0
    assert (samples.t_next >= spans[:, 1]).all()


def test_one_full_ray_among_empty_ones(device):
    grid = OccupancyBits(torch.full((512,), 255, dtype=torch.uint8, device=device), 1, 16)
    rays_o, rays_d = torch.zeros(1031, 3, device=device), torch.ones(1031, 3, device=device) / 3**0.5
    spans = torch.zeros(1031, 2, device=device)
    spans[700, 1] = 1.0
    samples = march_rays(rays_o, rays_d, spans, grid, StepRule(1e-4, 1e-4), max_samples=1024)
    assert samples.n_samples == samples.packed_info[700, 1] == 1024
    assert (samples.ray_indices == 700).all()
    assert samples.packed_info[701:, 0].tolist() == [1024] * 330


def test_noncontiguous(device):
    grid, rays = make_grid(2, 16, device), make_rays(65, 2, device)
    unaligned = torch.cat([grid.bits[:1], grid.bits])[1:]
    want = march_rays(*rays, grid, FINE)
    for bits in (noncontiguous(grid.bits), unaligned):
        got = march_rays(*(noncontiguous(x) for x in rays), replace(grid, bits=bits), FINE)
        assert torch.equal(got.t_starts, want.t_starts)
        assert torch.equal(got.packed_info, want.packed_info)


def test_rays_with_grad_get_none(device):
    grid, rays = make_grid(1, 16, device), make_rays(5, 1, device)
    leaf = rays[0].clone().requires_grad_()
    samples = march_rays(leaf, rays[1], rays[2], grid, FINE)
    assert not samples.t_starts.requires_grad
    assert leaf.grad is None


ONE_THREAD = """
import sys, torch
from omniseg_kernels import launch
from omniseg_kernels.marching import march_rays
launch.init("cpu", threads=1)
rays, grid, rule = torch.load(sys.argv[1], weights_only=False)
torch.save(march_rays(*rays, grid, rule), sys.argv[2])
"""


@pytest.mark.slow
def test_results_do_not_depend_on_threads(device, tmp_path):
    grid, rays = make_grid(2, 16, device), make_rays(2000, 2, device)
    many = march_rays(*rays, grid, FINE)
    if device.type != "cpu":
        pytest.skip("threads of the CPU")
    (tmp_path / "one.py").write_text(ONE_THREAD)
    torch.save([rays, grid, FINE], tmp_path / "in.pt")
    done = run_python(*(str(tmp_path / name) for name in ("one.py", "in.pt", "out.pt")))
    assert done.returncode == 0, done.stderr
    one = torch.load(tmp_path / "out.pt", weights_only=False)
    for name in ("t_starts", "t_ends", "ray_indices", "packed_info", "t_next"):
        assert torch.equal(getattr(one, name), getattr(many, name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rays_o": torch.zeros(4, 2)}, r"rays_o: expected shape \(4, 3\), got \(4, 2\)"),
        ({"rays_d": torch.zeros(5, 3)}, r"rays_d: expected shape \(4, 3\), got \(5, 3\)"),
        ({"rays_d": torch.zeros(4, 3).double()}, "rays_d: expected torch.float32"),
        ({"spans": torch.zeros(4)}, r"spans: expected shape \(4, 2\), got \(4,\)"),
        (
            {"grid": OccupancyBits(torch.zeros(511, dtype=torch.uint8), 1, 16)},
            r"grid.bits: expected shape \(512\)",
        ),
        ({"grid": OccupancyBits(torch.zeros(512), 1, 16)}, "grid.bits: expected torch.uint8"),
        ({"grid": OccupancyBits(torch.zeros(64, dtype=torch.uint8), 1, 8)}, "grid: expected a resolution"),
        ({"max_samples": 0}, "max_samples, pad_to: expected >= 1, got 0 and 1"),
        ({"pad_to": 0}, "max_samples, pad_to: expected >= 1"),
    ],
)
def test_wrong_arguments(change, message, device):
    arguments = {
        "rays_o": torch.zeros(4, 3),
        "rays_d": torch.zeros(4, 3),
        "spans": torch.zeros(4, 2),
        "grid": OccupancyBits(torch.zeros(512, dtype=torch.uint8), 1, 16),
    } | change
    grid = arguments["grid"]
    arguments["grid"] = replace(grid, bits=grid.bits.to(device))
    arguments = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(ValueError, match=message):
        march_rays(**arguments, rule=FINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 1.0), "min_step, max_step: expected 1e-5 <= min_step <= max_step"),
        ((0.2, 0.1), "min_step, max_step"),
        ((float("nan"), 1.0), "min_step, max_step"),
        ((0.1, float("inf")), "min_step, max_step"),
        ((0.1, 0.1, 1.0), "cone_angle: expected"),
        ((0.1, 0.1, -0.1), "cone_angle: expected"),
    ],
)
def test_wrong_rule(arguments, message):
    with pytest.raises(ValueError, match=message):
        StepRule(*arguments)
