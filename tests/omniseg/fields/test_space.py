"""Contraction of unbounded space, and the colour of the field at infinity."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from omniseg.config import MarchingConfig
from omniseg.fields import RadianceField, Space
from tiny_scene import ball_config


def contract(x: np.ndarray) -> np.ndarray:
    """Equation 10 of mip-NeRF 360 with the maximum norm, as the paper writes it, one point at a time."""
    rows = []
    for point in x:
        length = max(abs(float(c)) for c in point)
        rows.append(point if length <= 1 else (2 - 1 / length) * point / length)
    return np.array(rows)


def test_without_contraction_the_cube_becomes_the_unit_cube():
    assert_close(Space(4.0).unit(torch.tensor([[-4.0, 0.0, 4.0]])), torch.tensor([[0.0, 0.5, 1.0]]))


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0, 1e4])
def test_contraction_is_the_papers(scale):
    x = np.random.default_rng(0).normal(size=(200, 3)) * scale
    unit = Space(128.0, contracted=True).unit(torch.tensor(x))
    assert_close(unit.numpy(), contract(x) / 4 + 0.5)
    assert unit.min() >= 0
    assert unit.max() <= 1


def test_contraction_is_differentiable():
    x = torch.tensor([[0.3, -0.2, 0.9], [3.0, -1.0, 0.5], [-0.1, 40.0, 7.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Space(64.0, contracted=True).unit, (x,))


def test_far_points_approach_those_at_infinity():
    directions = torch.nn.functional.normalize(torch.randn(50, 3, dtype=torch.float64), dim=1)
    space = Space(128.0, contracted=True)
    at_infinity = space.unit_at_infinity(directions)
    assert_close(space.unit(1e7 * directions), at_infinity, atol=1e-6, rtol=0)
    assert_close((at_infinity - 0.5).abs().amax(1), torch.full((50,), 0.5, dtype=torch.float64))


def test_space_follows_the_configuration():
    assert Space.from_config(MarchingConfig(cascades=4, contracted=True)) == Space(8.0, contracted=True)
    assert Space.from_config(MarchingConfig()) == Space(1.0)


def test_sky_is_the_colour_far_away(device):
    torch.manual_seed(0)
    config = replace(ball_config().radiance, table_init=1.0)
    field = RadianceField(config, Space(128.0, contracted=True)).to(device)
    rays_d = torch.nn.functional.normalize(torch.randn(20, 3, device=device), dim=1)
    sky = field.sky(rays_d)
    own = torch.arange(20, dtype=torch.int32, device=device)
    far = field.colour(field.density(1e6 * rays_d).geometry, rays_d, own)
    assert_close(sky, far, atol=1e-3, rtol=0)
    assert sky.std(0).min() > 1e-3, "directions differ in colour"
    sky.sum().backward()
    assert field.table.grad is not None
    assert bool(field.table.grad.any())
