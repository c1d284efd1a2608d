"""The occupancy grid: full at first, then only in dense cells, and never where no camera looks."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from omniseg.cameras import CameraModel
from omniseg.config import MarchingConfig
from omniseg.fields import OccupancyGrid
from omniseg_kernels.occupancy import cell_centres, occupied
from tiny_scene import RADIUS, ball_cameras

CONFIG = MarchingConfig(resolution=16, step=0.05)


def full(grid: OccupancyGrid, positions: Tensor) -> Tensor:
    return occupied(positions, grid.occupied)


def ball(positions: Tensor) -> Tensor:
    return torch.where(positions.norm(dim=1) < RADIUS, 50.0, 0.0)


def update(grid: OccupancyGrid, density: Callable[[Tensor], Tensor] = ball, times: int = 200, strictness: float = 1.0):
    generator = torch.Generator(grid.bits.device).manual_seed(0)
    for _ in range(times):
        grid.update(density, strictness, generator)


def centres(device, resolution: int = 16) -> Tensor:
    return cell_centres(torch.arange(resolution**3, dtype=torch.int32, device=device), resolution)


def test_starts_full(device):
    grid = OccupancyGrid(CONFIG, device=device)
    assert bool(full(grid, centres(device)).all())


def test_update_keeps_what_is_dense_and_empties_the_rest(device):
    grid = OccupancyGrid(CONFIG, device=device)
    update(grid)
    at, cell = centres(device), 2 / 16
    distance = at.norm(dim=1)
    state = full(grid, at)
    assert bool(state[distance < RADIUS - cell].all())
    assert not bool(state[distance > RADIUS + cell].any())


def test_what_fills_again_is_found(device):
    grid = OccupancyGrid(CONFIG, device=device)
    update(grid, lambda x: torch.where(x[:, 0] > 0, 50.0, 0.0))
    at = centres(device)
    assert not bool(full(grid, at)[at[:, 0] < -0.1].any())
    update(grid, lambda x: torch.where(x[:, 0] < 0, 50.0, 0.0))
    assert bool(full(grid, at)[at[:, 0] < -0.1].all())
    assert not bool(full(grid, at)[at[:, 0] > 0.1].any())


def test_cells_that_no_camera_sees_are_never_full(device):
    cameras = ball_cameras(1, distance=2.0, height=0.0).to(device)  # looks along -x from x = 2
    grid = OccupancyGrid(replace(CONFIG, near=1.5), cameras).to(device)
    at = centres(device)
    unseen = at[:, 0] > 0.9  # nearer than near
    for _ in range(2):
        assert not bool(full(grid, at)[unseen].any())
        assert bool(full(grid, at)[(at.norm(dim=1) < 0.2)].all())
        update(grid, lambda x: torch.full_like(x[:, 0], 50.0))
    assert int(grid.visible.max()) < 16**3
    assert len(grid.visible) < 16**3


def test_lenses_wider_than_a_pinhole_rule_nothing_out(device):
    cameras = ball_cameras(1).to(device)
    fisheye = replace(cameras, model=torch.full_like(cameras.model, int(CameraModel.FISHEYE)), traits=None)
    assert len(OccupancyGrid(CONFIG, fisheye).visible) == 16**3


def test_nothing_is_culled_before_it_is_strict(device):
    grid = OccupancyGrid(CONFIG, device=device)
    update(grid, times=8, strictness=0.0)
    assert bool(full(grid, centres(device)).all())


def test_a_field_that_is_faint_everywhere_is_not_empty(device):
    grid = OccupancyGrid(CONFIG, device=device)
    update(grid, lambda x: torch.full_like(x[:, 0], 1e-6))
    # What was not looked at of late has decayed below the mean.
    assert float(full(grid, centres(device)).float().mean()) >= 0.5


def test_a_field_without_density_is_no_error(device):
    grid = OccupancyGrid(CONFIG, device=device)
    update(grid, lambda x: torch.zeros_like(x[:, 0]))
    assert bool(grid.densities.isfinite().all())


def test_far_cells_count_at_a_lower_density(device):
    config = replace(CONFIG, cascades=3, box=(4.0, 4.0, 4.0), cone_angle=0.2, opacity_threshold=0.05)
    grid = OccupancyGrid(config, device=device)
    # One step is less opaque than the threshold at the middle, 0.4 * 0.1, and more outside, 0.4 * 0.4.
    update(grid, lambda x: torch.where((x * 8).sum(1).cos() > 0.9, 9.0, 0.4))
    near = torch.tensor([[0.13, 0.13, 0.13]], device=device)
    far = torch.tensor([[3.1, 3.0, 2.9]], device=device)
    assert bool(full(grid, far).all())
    assert not bool(full(grid, near).any())


def test_updates_are_reproducible(device):
    first, second = OccupancyGrid(CONFIG, device=device), OccupancyGrid(CONFIG, device=device)
    for grid in (first, second):
        update(grid, lambda x: x.square().sum(1), times=5)
    assert torch.equal(first.densities, second.densities)
    assert torch.equal(first.bits, second.bits)


def test_state_survives(device):
    grid, other = OccupancyGrid(CONFIG, device=device), OccupancyGrid(CONFIG, device=device)
    update(grid, times=8)
    other.load_state_dict(grid.state_dict())
    assert torch.equal(full(grid, centres(device)), full(other, centres(device)))
    with pytest.raises(RuntimeError, match="size mismatch"):
        OccupancyGrid(replace(CONFIG, resolution=32), device=device).load_state_dict(grid.state_dict())
