"""Contraction of unbounded space."""

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


def test_space_follows_the_configuration():
    assert Space.from_config(MarchingConfig(cascades=4, contracted=True)) == Space(8.0, contracted=True)
    assert Space.from_config(MarchingConfig()) == Space(1.0)


def test_densities_fall_with_the_distance(device):
    torch.manual_seed(0)
    config = replace(ball_config().radiance, table_init=1.0)
    near, far = torch.tensor([[0.3, -0.2, 0.9]], device=device), torch.tensor([[3.0, -8.0, 0.5]], device=device)
    field = RadianceField(config, Space(128.0, contracted=True)).to(device)
    plain = RadianceField(config, Space(128.0)).to(device)
    plain.load_state_dict(field.state_dict())
    for position, factor in ((near, 1.0), (far, 1 / 8)):
        x = field.space.unit(position)
        # The same place in the hash grid of the plain field.
        same = plain.density((x - 0.5) * 2 * 128.0)
        assert_close(field.density(position).sigmas, factor * same.sigmas, rtol=1e-3, atol=0)


def test_positions_far_away_have_a_gradient(device):
    field = RadianceField(ball_config().radiance, Space(128.0, contracted=True)).to(device)
    x = torch.tensor([[30.0, -8.0, 0.5]], device=device, requires_grad=True)
    field.density(x).sigmas.sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())
