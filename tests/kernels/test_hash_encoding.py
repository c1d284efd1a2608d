from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import TOLERANCE, noncontiguous, run_python
from omniseg_kernels.hash_encoding import HashLayout, hash_encode
from omniseg_kernels.reference import hash_encoding as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")

SMALL = HashLayout(levels=5, features=2, log2_table=8, base_resolution=3, finest_resolution=40)
"""Layout with two dense and three hashed levels."""
CASES = [
    *((SMALL, dtype, n) for dtype in TOLERANCE for n in (0, 1, 7)),
    (SMALL, torch.float64, 1031),
    pytest.param(SMALL, torch.float32, 1031, marks=pytest.mark.bounds),
    (replace(SMALL, features=1, levels=1), torch.float32, 65),
    (replace(SMALL, features=4, levels=3), torch.float32, 65),
    (replace(SMALL, features=8, base_resolution=11), torch.float32, 65),  # no dense level
    (replace(SMALL, log2_table=14, finest_resolution=16), torch.float64, 1031),  # no hashed one
    (HashLayout(levels=16, log2_table=14, finest_resolution=2048), torch.float32, 3001),
]


def grad(out, leaf, g):
    """Return the gradient as `helpers.grad` does, but keep the graph for the next call."""
    (found,) = torch.autograd.grad(out, leaf, g, retain_graph=True)
    return found


def make_case(n, layout, dtype, device):
    # A little beyond the unit cube on all sides: clamping is part of the operator.
    positions = (torch.rand(n, 3, dtype=dtype) * 1.2 - 0.1).to(device).requires_grad_()
    table = torch.randn(layout.rows, layout.features, dtype=dtype).to(device).requires_grad_()
    return positions, table


@pytest.mark.parametrize(("layout", "dtype", "n"), CASES)
def test_matches_reference(layout, dtype, n, device):
    positions, table = make_case(n, layout, dtype, device)
    got, want = hash_encode(positions, table, layout), reference.hash_encode(positions, table, layout)
    g = torch.randn_like(want)
    assert got.shape == (n, layout.channels)
    assert_close(got, want, **TOLERANCE[dtype])
    # Wider, because gradients are sums over samples (table) or over channels times the resolution (positions).
    wider = {"rtol": TOLERANCE[dtype]["rtol"], "atol": TOLERANCE[dtype]["atol"] * layout.finest_resolution}
    assert_close(grad(got, table, g), grad(want, table, g), **wider)
    assert_close(grad(got, positions, g), grad(want, positions, g), **wider)
    assert positions.grad is None
    assert table.grad is None


def test_gradcheck(device):
    positions, table = make_case(6, SMALL, torch.float64, device)
    # Away from the faces of cells, because the slope jumps there.
    with torch.no_grad():
        positions.clamp_(0.03, 0.97)
    function = lambda x, t: hash_encode(x, t, SMALL)  # noqa: E731
    assert torch.autograd.gradcheck(function, (positions, table), eps=1e-7)


def test_by_hand(device):
    layout = HashLayout(levels=1, features=1, log2_table=4, base_resolution=1, finest_resolution=1)
    table = torch.arange(8.0, device=device)[:, None].requires_grad_()  # vertex (x, y, z) holds x + 2 y + 4 z
    positions = torch.tensor([[0.25, 0.5, 0.0], [1.0, 1.0, 1.0], [2.0, -1.0, 0.5]], device=device)
    positions.requires_grad_()
    out = hash_encode(positions, table, layout)
    assert_close(out, torch.tensor([[1.25], [7.0], [3.0]], device=device))
    out.sum().backward()
    assert_close(positions.grad.cpu(), torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [0.0, 0.0, 4.0]]))
    want = [0.375, 0.125 + 0.5, 0.375, 0.125, 0, 0.5, 0, 1.0]
    assert_close(table.grad.cpu()[:, 0], torch.tensor(want))


def test_layout_by_hand():
    layout = HashLayout(levels=3, features=2, log2_table=8, base_resolution=2, finest_resolution=18)
    assert layout.resolutions == (2, 6, 18)
    assert layout.slices == ((0, 32, True), (32, 256, False), (288, 256, False))
    assert (layout.rows, layout.channels) == (544, 6)


@settings(max_examples=60, deadline=None)
@given(
    levels=st.integers(1, 24),
    log2_table=st.integers(4, 24),
    base=st.integers(1, 600),
    growth=st.floats(1, 500),
)
def test_layout_properties(levels, log2_table, base, growth):
    layout = HashLayout(levels, 2, log2_table, base, int(base * growth))
    assert len(layout.resolutions) == len(layout.slices) == levels
    assert layout.resolutions[0] == base
    assert levels == 1 or layout.resolutions[-1] == int(base * growth)
    assert list(layout.resolutions) == sorted(layout.resolutions)
    end = 0
    for resolution, (first, rows, dense) in zip(layout.resolutions, layout.slices):
        assert first == end
        assert dense == ((resolution + 1) ** 3 <= 2**log2_table)
        assert rows >= (resolution + 1) ** 3 if dense else rows == 2**log2_table
        end += rows
    assert layout.rows == end


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 700), seed=st.integers(0, 2**16))
def test_properties(n, seed, device):
    torch.manual_seed(seed)
    positions, table = make_case(n, SMALL, torch.float64, device)
    exact = TOLERANCE[torch.float64]
    out = hash_encode(positions, table, SMALL)
    order = torch.randperm(n).to(device)
    assert_close(hash_encode(positions[order], table, SMALL), out[order])
    assert_close(hash_encode(positions.clamp(0, 1), table, SMALL), out)
    assert_close(hash_encode(positions, 2 * table, SMALL), 2 * out, **exact)
    # Weights sum to 1: a constant table encodes to the constant, and all gradient arrives in the table.
    assert_close(hash_encode(positions, torch.ones_like(table), SMALL), torch.ones_like(out), **exact)
    g = torch.randn_like(out)
    assert_close(grad(out, table, g).sum(), g.sum(), rtol=1e-9, atol=1e-8)  # sums of thousands: atol grows with them


@pytest.mark.parametrize("n", [0, 1, 1031])
def test_bfloat16_output(n, device):
    positions, table = make_case(n, SMALL, torch.float32, device)
    out = hash_encode(positions, table, SMALL, out_dtype=torch.bfloat16)
    exact = hash_encode(positions, table, SMALL)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, exact.bfloat16())  # rounds as torch does
    g = torch.randn_like(out)
    assert_close(grad(out, table, g), grad(exact, table, g.float()), rtol=1e-6, atol=1e-6)
    assert_close(grad(out, positions, g), grad(exact, positions, g.float()), rtol=1e-5, atol=1e-4)


def test_bfloat16_rounds_as_torch_does(device):
    layout = HashLayout(levels=1, features=1, log2_table=4, base_resolution=1, finest_resolution=1)
    table = torch.zeros(8, 1, device=device)
    corner = torch.zeros(1, 3, device=device)
    for value in [1.00390625, 1.01171875, -0.0, 3.4e38, torch.nan]:
        table[0] = value  # the first two lie half-way: ties round to even
        got = hash_encode(corner, table, layout, out_dtype=torch.bfloat16)
        want = hash_encode(corner, table, layout).bfloat16()
        assert_close(got, want, rtol=0, atol=0, equal_nan=True)


@pytest.mark.bounds
def test_positions_that_are_no_numbers_stay_in_bounds(device):
    wild = [torch.nan, torch.inf, -torch.inf, 3e38, -3e38, 1.0, 0.0, 1 + 1e-7]
    grid = torch.tensor(wild, device=device)
    positions = torch.cartesian_prod(grid, grid, grid).requires_grad_()
    _, table = make_case(0, SMALL, torch.float32, device)
    out = hash_encode(positions, table, SMALL)
    out.sum().backward()
    tame = ~positions.isnan().any(1)
    assert_close(out[tame], reference.hash_encode(positions[tame], table, SMALL), **TOLERANCE[torch.float32])


def test_cotangent_in_any_layout(device):
    positions, table = make_case(65, SMALL, torch.float32, device)
    for dtype in (torch.float32, torch.bfloat16):
        out = hash_encode(positions, table, SMALL, out_dtype=dtype)
        planar = torch.randn(SMALL.channels, 65).to(device, dtype).t()
        want = grad(out, table, planar), grad(out, positions, planar)
        for g in (planar.contiguous(), noncontiguous(planar)):
            assert torch.equal(grad(out, table, g), want[0])
            assert torch.equal(grad(out, positions, g), want[1])
        one = torch.ones(1, 1, device=device, dtype=dtype).expand(65, SMALL.channels)
        assert torch.equal(grad(out, table, one), grad(out, table, one.contiguous()))


def test_noncontiguous(device):
    positions, table = make_case(65, SMALL, torch.float32, device)
    want = hash_encode(positions, table, SMALL)
    g = torch.randn_like(want)
    for elsewhere in (noncontiguous, lambda x: x.t().contiguous().t()):
        scattered = [elsewhere(tensor.detach()).requires_grad_() for tensor in (positions, table)]
        got = hash_encode(*scattered, SMALL)
        assert torch.equal(got, want)
        for a, b in zip(scattered, (positions, table)):
            assert torch.equal(grad(got, a, g), grad(want, b, g))


def test_gradient_of_one_input_only(device):
    positions, table = make_case(9, SMALL, torch.float32, device)
    out = hash_encode(positions.detach(), table, SMALL)
    assert torch.autograd.grad(out.sum(), table)[0].shape == table.shape
    out = hash_encode(positions, table.detach(), SMALL)
    assert torch.autograd.grad(out.sum(), positions)[0].shape == positions.shape
    with torch.no_grad():
        assert not hash_encode(positions, table, SMALL).requires_grad


def test_leaf_grads_accumulate_as_torch_does(device):
    positions, table = make_case(9, SMALL, torch.float32, device)
    hash_encode(positions, table, SMALL).sum().backward()
    once = table.grad.clone()
    hash_encode(positions, table, SMALL).sum().backward()
    assert_close(table.grad, 2 * once)


ONE_THREAD = """
import sys, torch
from omniseg_kernels import launch
from omniseg_kernels.hash_encoding import HashLayout, hash_encode
launch.init("cpu", threads=1)
positions, table, layout = torch.load(sys.argv[1], weights_only=False)
out = hash_encode(positions, table, layout)
torch.save([out, *torch.autograd.grad(out.square().sum(), (positions, table))], sys.argv[2])
"""


@pytest.mark.slow
def test_results_do_not_depend_on_threads(device, tmp_path):
    if device.type != "cpu":
        pytest.skip("on CUDA the order of atomic additions is free")
    positions, table = make_case(40_011, SMALL, torch.float32, device)
    out = hash_encode(positions, table, SMALL)
    many = out, *torch.autograd.grad(out.square().sum(), (positions, table))
    (tmp_path / "one.py").write_text(ONE_THREAD)
    torch.save([positions, table, SMALL], tmp_path / "in.pt")
    done = run_python(*(str(tmp_path / name) for name in ("one.py", "in.pt", "out.pt")))
    assert done.returncode == 0, done.stderr
    for one, other in zip(torch.load(tmp_path / "out.pt"), many):
        assert torch.equal(one, other)  # bit for bit, because nothing is atomic on the CPU


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": torch.zeros(4, 2)}, r"positions: expected shape \(any, 3\), got \(4, 2\)"),
        ({"positions": torch.zeros(4, 3).int()}, "positions: expected torch.float32 or torch.float64"),
        ({"positions": torch.zeros(4, 3).bfloat16()}, "positions: expected torch.float32 or torch.float64"),
        ({"table": torch.zeros(SMALL.rows, 4)}, r"table: expected shape \(\d+, 2\)"),
        ({"table": torch.zeros(SMALL.rows + 1, 2)}, r"table: expected shape"),
        ({"table": torch.zeros(SMALL.rows, 2).double()}, "table: expected torch.float32 on .* as positions"),
        ({"out_dtype": torch.float16}, "out_dtype: expected torch.float32 or torch.bfloat16"),
        ({"out_dtype": torch.float64}, "out_dtype: expected torch.float32 or torch.bfloat16"),
    ],
)
def test_wrong_arguments(change, message, device):
    arguments = {"positions": torch.zeros(4, 3), "table": torch.zeros(SMALL.rows, 2)} | change
    arguments = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    with pytest.raises(ValueError, match=message):
        hash_encode(**arguments, layout=SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": 0}, "levels: expected >= 1"),
        ({"features": 3}, "features: expected 1, 2, 4 or 8"),
        ({"log2_table": 25}, "log2_table: expected 4 to 24"),
        ({"base_resolution": 0}, "base_resolution, finest_resolution: expected 1 <= base"),
        ({"finest_resolution": 2**19}, "finest_resolution: expected"),
    ],
)
def test_wrong_layout(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)
