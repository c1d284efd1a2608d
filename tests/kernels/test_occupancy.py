from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from helpers import TOLERANCE, noncontiguous
from omniseg_kernels import occupancy
from omniseg_kernels.reference import occupancy as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")

FLOAT32 = TOLERANCE[torch.float32]


def make_densities(cascades, resolution, device):
    densities = torch.rand(cascades, resolution**3)
    densities[torch.rand_like(densities) < 0.3] = occupancy.INVISIBLE
    return densities.to(device)


@pytest.mark.bounds
@pytest.mark.parametrize("n", [0, 1, 7, 1031])
def test_morton_matches_reference_and_inverts(n, device):
    ijk = torch.randint(0, 1024, (n, 3), dtype=torch.int32).to(device)
    codes = occupancy.morton_encode(ijk)
    assert_close(codes, reference.morton_encode(ijk))
    assert_close(occupancy.morton_decode(codes), ijk)


def test_morton_by_hand(device):
    ijk = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 2], [1023, 1023, 1023]], dtype=torch.int32)
    want = [0b001, 0b010, 0b100, 0b101001, 2**30 - 1]
    assert occupancy.morton_encode(ijk.to(device)).tolist() == want


def test_morton_numbers_every_cell_once(device):
    axis = torch.arange(8, dtype=torch.int32)
    codes = occupancy.morton_encode(torch.cartesian_prod(axis, axis, axis).to(device))
    assert codes.sort().values.tolist() == list(range(512))


@pytest.mark.bounds
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.4])
@pytest.mark.parametrize(("cascades", "resolution"), [(1, 2), (3, 4), (2, 32)])
def test_pack_bits_matches_reference(cascades, resolution, threshold, device):
    densities = make_densities(cascades, resolution, device)
    want = reference.pack_bits(densities, threshold)
    assert_close(occupancy.pack_bits(densities, threshold), want)
    assert_close(occupancy.pack_bits(densities, torch.tensor(threshold, device=device)), want)
    assert_close(occupancy.pack_bits(noncontiguous(densities), threshold), want)


def test_pack_bits_by_hand(device):
    densities = torch.tensor([[0.5, 0.0, 0.6, -1.0, 0.1, 0.1, 0.1, 9.0]], device=device)
    assert occupancy.pack_bits(densities, 0.5).tolist() == [0b10000100]  # "exceeds" is strict
    assert occupancy.pack_bits(densities, -5.0).tolist() == [0b11110111]  # all but the invisible cell


@pytest.mark.bounds
@pytest.mark.parametrize("n", [0, 1, 5, 3001])
def test_update_matches_reference(n, device):
    densities = make_densities(3, 8, device)
    want = densities.clone()
    cells = torch.randint(-50, 3 * 8**3 + 50, (n,), dtype=torch.int32).to(device)  # some twice, some outside
    sigmas = 2 * torch.rand(n).to(device)
    sigmas[::7] = torch.nan
    occupancy.update_densities(densities, cells, sigmas, 0.8)
    reference.update_densities(want, cells, sigmas, 0.8)
    assert_close(densities, want)


def test_update_by_hand(device):
    densities = torch.tensor([[1.0, 1.0, -1.0, -1.0, 0.0, 0.0, 4.0, 4.0]], device=device)
    cells = torch.tensor([0, 2, 4, 4, 4, 6], dtype=torch.int32, device=device)
    sigmas = torch.tensor([3.0, 3.0, 1.0, 3.0, 2.0, 1.0], device=device)
    occupancy.update_densities(densities, cells, sigmas, 0.5)
    assert densities.tolist() == [[3.0, 0.5, -1.0, -1.0, 3.0, 0.0, 2.0, 2.0]]


def test_update_of_one_cell_by_everybody(device):
    densities = torch.zeros(1, 8, device=device)
    sigmas = torch.rand(5000).to(device)
    cells = torch.full((5000,), 3, dtype=torch.int32, device=device)
    occupancy.update_densities(densities, cells, sigmas, 1.0)
    assert densities[0, 3] == sigmas.max()
    assert densities.count_nonzero() == 1


@pytest.mark.bounds
@pytest.mark.parametrize("n", [0, 1, 7, 1031])
def test_sample_cells_matches_reference(n, device):
    cells = torch.randint(0, 4 * 16**3, (n,), dtype=torch.int32).to(device)
    noise = torch.rand(n, 3).to(device)
    want = reference.sample_cells(cells, 16, noise)
    assert_close(occupancy.sample_cells(cells, 16, noise), want, **FLOAT32)
    assert_close(occupancy.sample_cells(noncontiguous(cells), 16, noncontiguous(noise)), want, **FLOAT32)


def test_cell_centres_by_hand(device):
    cells = torch.tensor([0, 7, 8 + 1], dtype=torch.int32, device=device)  # resolution 2; the last in cascade 1
    want = torch.tensor([[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5], [1.0, -1.0, -1.0]])
    assert_close(occupancy.cell_centres(cells, 2).cpu(), want)


@pytest.mark.bounds
@pytest.mark.parametrize("cascades", [1, 2, 4])
@pytest.mark.parametrize("n", [0, 1, 1031])
def test_occupied_matches_reference(n, cascades, device):
    bits = torch.randint(0, 256, (cascades * 8**3 // 8,), dtype=torch.uint8).to(device)
    positions = (torch.randn(n, 3) * 2.0 ** torch.randint(-3, 5, (n, 1))).to(device)
    positions[::9] = positions[::9].sign() * 2.0 ** (positions[::9].abs().log2().ceil().clamp(-4, 4))
    grid = occupancy.OccupancyBits(bits, cascades, 8)
    assert_close(occupancy.occupied(positions, grid), reference.occupied(positions, grid))


@pytest.mark.bounds
def test_occupied_at_odd_places(device):
    inf, nan = torch.inf, torch.nan
    inside = [[0, 0, 0], [1, 1, 1], [-1, -1, -1], [1 + 1e-7, 0, 0], [2, -2, 2], [1e-40, 0, -0.0]]
    outside = [[2.0001, 0, 0], [0, 0, -3], [inf, 0, 0], [0, -inf, 0], [nan, 0, 0], [0, nan, 9], [0, 0, nan]]
    positions = torch.tensor(inside + outside, device=device)
    grid = occupancy.OccupancyBits(torch.full((2 * 4**3 // 8,), 255, dtype=torch.uint8, device=device), 2, 4)
    want = [True] * len(inside) + [False] * len(outside)
    assert occupancy.occupied(positions, grid).tolist() == want


def test_a_position_of_a_cell_is_found_in_it(device):
    cascades, resolution = 3, 8
    cells = torch.arange(cascades * resolution**3, dtype=torch.int32, device=device)
    positions = occupancy.sample_cells(cells, resolution, 0.01 + 0.98 * torch.rand(len(cells), 3).to(device))
    reach = positions.abs().amax(1)
    own = (cells < resolution**3) | (reach > 2.0 ** (cells // resolution**3 - 1))  # not of a smaller cascade
    densities = (torch.rand(cascades, resolution**3) < 0.5).float().to(device)
    bits = occupancy.pack_bits(densities, 0.5)
    found = occupancy.occupied(positions, occupancy.OccupancyBits(bits, cascades, resolution))
    assert_close(found[own], densities.view(-1)[own] > 0.5)


GRID = torch.zeros(2, 64)
CELLS = torch.zeros(4, dtype=torch.int32)
BITS = occupancy.OccupancyBits(torch.zeros(16, dtype=torch.uint8), 2, 4)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("morton_encode", (torch.zeros(4, 2, dtype=torch.int32),), r"ijk: expected shape \(any, 3\)"),
        ("morton_encode", (torch.zeros(4, 3, dtype=torch.int64),), "ijk: expected torch.int32"),
        ("morton_decode", (torch.zeros(4, 3, dtype=torch.int32),), "codes: expected shape"),
        ("morton_decode", (torch.zeros(4),), "codes: expected torch.int32, got torch.float32"),
        ("pack_bits", (torch.zeros(64), 0.5), "densities: expected shape"),
        ("pack_bits", (GRID.double(), 0.5), "densities: expected torch.float32"),
        ("pack_bits", (torch.zeros(2, 65), 0.5), r"densities: expected shape \(cascades, resolution\^3\)"),
        ("pack_bits", (torch.zeros(2, 27), 0.5), r"densities: expected shape \(cascades, resolution\^3\)"),
        ("pack_bits", (torch.zeros(2, 0), 0.5), r"densities: expected shape \(cascades, resolution\^3\)"),
        ("pack_bits", (torch.zeros(0, 64), 0.5), "cascades: expected 1 to 16, got 0"),
        ("pack_bits", (GRID, torch.zeros(2)), r"threshold: expected shape \(\), got \(2,\)"),
        (
            "update_densities",
            (GRID.double(), CELLS, torch.zeros(4), 0.9),
            "densities: expected torch.float32",
        ),
        ("update_densities", (GRID, CELLS.long(), torch.zeros(4), 0.9), "cells: expected torch.int32"),
        ("update_densities", (GRID, CELLS, torch.zeros(5), 0.9), r"sigmas: expected shape \(4\)"),
        ("update_densities", (GRID, CELLS, torch.zeros(4).double(), 0.9), "sigmas: expected torch.float32"),
        ("update_densities", (GRID, CELLS, torch.zeros(4), 1.5), "decay: expected a factor"),
        (
            "update_densities",
            (noncontiguous(GRID), CELLS, torch.zeros(4), 0.9),
            "densities: expected a contig",
        ),
        ("sample_cells", (CELLS, 4, torch.zeros(3, 3)), r"noise: expected shape \(4, 3\)"),
        ("sample_cells", (CELLS.float(), 4, torch.zeros(4, 3)), "cells: expected torch.int32"),
        ("sample_cells", (CELLS, 4, torch.zeros(4, 3).double()), "noise: expected torch.float32"),
        ("sample_cells", (CELLS, 3, torch.zeros(4, 3)), "resolution: expected a power of two"),
        ("cell_centres", (CELLS[None], 4), "cells: expected shape"),
        ("occupied", (torch.zeros(4), BITS), "positions: expected shape"),
        ("occupied", (torch.zeros(4, 3).double(), BITS), "positions: expected torch.float32"),
        (
            "occupied",
            (torch.zeros(4, 3), replace(BITS, cascades=3)),
            r"grid.bits: expected shape \(24\), got \(16,\)",
        ),
        (
            "occupied",
            (torch.zeros(4, 3), replace(BITS, bits=BITS.bits.int())),
            "grid.bits: expected torch.uint8",
        ),
        (
            "occupied",
            (torch.zeros(4, 3), replace(BITS, resolution=512)),
            r"resolution: expected a power of two in \[2, 256\], got 512",
        ),
        ("occupied", (torch.zeros(4, 3), replace(BITS, cascades=0)), "cascades: expected 1 to 16, got 0"),
    ],
)
def test_wrong_arguments(name, arguments, message, device):
    moved = [v.to(device) if isinstance(v, torch.Tensor) and v.is_contiguous() else v for v in arguments]
    with pytest.raises(ValueError, match=message):
        getattr(occupancy, name)(*moved)
