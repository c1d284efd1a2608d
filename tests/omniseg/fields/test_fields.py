"""The radiance field: shapes, ranges, gradients, determinism."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from omniseg.fields import RadianceField, Space
from omniseg.fields.mlp import MLP, matmul_dtype
from omniseg.fields.radiance import density_head
from tiny_scene import ball_config


@pytest.fixture
def field(device) -> RadianceField:
    return RadianceField(ball_config().radiance, Space(1.0)).to(device)


def test_mlp_is_linear_layers_with_relu(device):
    mlp = MLP((3, 5, 2)).to(device)
    x = torch.randn(7, 3, device=device)
    first, last = mlp.weights
    assert_close(mlp(x), (x @ first.T).clamp(min=0) @ last.T)
    assert mlp(x.bfloat16()).dtype == torch.bfloat16
    assert mlp(x[:0]).shape == (0, 2)


def test_matmul_dtype_is_one_of_two(device):
    assert matmul_dtype(device) in (torch.float32, torch.bfloat16)


def numbers(n: int, device) -> torch.Tensor:
    return torch.arange(n, dtype=torch.int32, device=device)


@pytest.mark.parametrize("used", ["density", "channels", "both"])
def test_density_head(used, device):
    first = torch.tensor([-3.0, 0.0, 2.0, 16.0, 80.0], device=device)
    channels = torch.stack([first, torch.randn(5, device=device)], dim=1).requires_grad_()
    sigmas, same = density_head(channels, -1.0, 15.0)
    exponent = channels.detach()[:, 0] - 1
    assert_close(sigmas, exponent.clamp(max=15).exp())
    assert torch.equal(same, channels)
    g_sigmas, g_channels = torch.randn(5, device=device), torch.randn(5, 2, device=device)
    loss, want = torch.zeros((), device=device), torch.zeros_like(channels)
    if used != "channels":
        loss = loss + (sigmas * g_sigmas).sum()
        want[:, 0] += g_sigmas * sigmas.detach()  # above the limit the slope stays that of the limit
    if used != "density":
        loss = loss + (same * g_channels).sum()
        want += g_channels
    before = g_channels.clone()
    loss.backward()
    assert_close(channels.grad, want)
    assert torch.equal(g_channels, before), "a gradient that others hold too stays as it is"


def test_density_is_limited_as_configured(device):
    config = replace(ball_config().radiance, log_density_bias=7.0, max_log_density=2.0)
    sigmas = RadianceField(config, Space(1.0)).to(device).density(torch.rand(5, 3, device=device)).sigmas
    assert_close(sigmas, torch.full_like(sigmas, math.exp(2.0)))


def test_density_and_colour(field, device):
    n = 33
    positions = 2 * torch.rand(n, 3, device=device) - 1
    directions = torch.nn.functional.normalize(torch.randn(n, 3, device=device), dim=1)
    density = field.density(positions)
    rgb = field.colour(density.geometry, directions, numbers(n, device))
    assert density.sigmas.shape == (n,)
    assert density.sigmas.dtype == rgb.dtype == torch.float32
    assert rgb.shape == (n, 3)
    assert bool(((rgb > 0) & (rgb < 1)).all())
    assert bool((density.sigmas > 0).all())
    assert float(density.sigmas.detach().max()) < 1, "space starts thin"
    (rgb.sum() + density.sigmas.sum()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_no_points(field, device):
    density = field.density(torch.zeros(0, 3, device=device))
    assert density.sigmas.shape == (0,)
    assert field.colour(density.geometry, torch.zeros(0, 3, device=device), numbers(0, device)).shape == (0, 3)


def test_density_is_differentiable_in_positions(field, device):
    with torch.no_grad():
        field.table.uniform_(-1, 1)
    positions = torch.zeros(5, 3, device=device).uniform_(-0.9, 0.9).requires_grad_()
    field.density(positions).sigmas.sum().backward()
    assert positions.grad.abs().min(dim=1).values.max() > 0


@pytest.mark.parametrize("bound", [1.0, 4.0])
def test_positions_are_clamped_to_the_bound(device, bound: float):
    field = RadianceField(ball_config().radiance, Space(bound)).to(device)
    with torch.no_grad():
        field.table.uniform_(-1, 1)
        inside = torch.tensor([[bound, 0.3 * bound, -bound]], device=device)
        outside = torch.tensor([[3 * bound, 0.3 * bound, -7 * bound]], device=device)
        assert_close(field.density(inside).sigmas, field.density(outside).sigmas)
        middle = torch.zeros(1, 3, device=device)
        assert not torch.equal(field.density(inside).sigmas, field.density(middle).sigmas)


def test_colour_depends_on_the_direction(field, device):
    density = field.density(torch.zeros(2, 3, device=device))
    directions = torch.tensor([[0.0, 0, 1], [1, 0, 0]], device=device)
    rgb = field.colour(density.geometry, directions, numbers(2, device))
    assert not torch.equal(rgb[0], rgb[1])


def test_a_seed_gives_one_field():
    fields = []
    for _ in range(2):
        torch.manual_seed(3)
        fields.append(RadianceField(ball_config().radiance, Space(1.0)))
    first, second = (field.state_dict() for field in fields)
    assert all(torch.equal(first[name], second[name]) for name in first)
