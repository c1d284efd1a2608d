"""The renderer, on fields whose picture is known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from helpers import TOLERANCE
from omniseg.config import FeatureFieldConfig, MarchingConfig
from omniseg.fields import FeatureField, OccupancyGrid, Space
from omniseg.fields.radiance import Density
from omniseg.rendering import renderer as module
from omniseg.rendering.renderer import Renderer, Rendering
from omniseg_kernels.hash_encoding import HashLayout
from tiny_scene import RADIUS, ball_cameras, see_ball

CONFIG = MarchingConfig(near=0.1, resolution=32, step=0.01, max_samples=1024)
LAYOUT = HashLayout(levels=3, log2_table=10, base_resolution=4, finest_resolution=16)


class KnownField(nn.Module):
    """Field with the density of a ball or the whole cube and the colour of `see_ball`; counts its evaluations."""

    def __init__(self, sigma: float, radius: float = math.inf) -> None:
        super().__init__()
        self.sigma, self.radius = nn.Parameter(torch.tensor(float(sigma))), radius
        self.asked = self.coloured = 0

    def density(self, positions: Tensor) -> Density:
        self.asked += len(positions)
        inside = positions.norm(dim=1) < self.radius
        return Density(torch.where(inside, self.sigma, 0.0), positions)

    def colour(self, geometry: Tensor, rays_d: Tensor, ray_indices: Tensor) -> Tensor:
        self.coloured += len(ray_indices)
        return 0.5 + 0.4 * torch.sin(4 * geometry + torch.tensor([0.0, 1.0, 2.0], device=geometry.device))


def some_jitter(rays_o: Tensor) -> Tensor:
    return torch.rand(len(rays_o), generator=torch.Generator(rays_o.device), device=rays_o.device)


def make(
    device, sigma: float, radius: float = math.inf, config: MarchingConfig = CONFIG, culled: bool = False
) -> Renderer:
    field, grid = KnownField(sigma, radius).to(device), OccupancyGrid(config, device=device)
    if culled:
        generator = torch.Generator(device).manual_seed(0)
        for _ in range(200):
            grid.update(lambda x: field.density(x).sigmas, 1.0, generator)
    field.asked = 0
    return Renderer(field, grid, config)


def rays(device, view: int = 2) -> tuple[Tensor, Tensor]:
    return ball_cameras().to(device)[[view]].image_rays(0)


def tensors(rendering: Rendering) -> tuple[Tensor, Tensor, Tensor]:
    return rendering.rgb, rendering.opacity, rendering.depth


def test_an_opaque_ball_looks_like_one(device):
    rays_o, rays_d = rays(device)
    colour, inside, distance = (x.to(device) for x in see_ball(rays_o.cpu(), rays_d.cpu()))
    out = make(device, 2000.0, RADIUS).render(rays_o, rays_d)
    middle = -(rays_o * rays_d).sum(1)
    clear = (inside > 0) & (middle - distance > 0.1)  # not grazing
    assert_close(out.opacity[clear], torch.ones_like(out.opacity[clear]), atol=2e-3, rtol=0)
    assert_close(out.depth[clear], distance[clear], atol=0.012, rtol=0)
    assert_close(out.rgb[clear], colour[clear], atol=0.05, rtol=0)
    assert not bool(out.opacity[inside == 0].any())


def test_a_fog_of_known_density(device):
    """The opacity of a homogeneous fog is 1 - exp(-sigma L), whatever the steps (Max 1995)."""
    rays_o = torch.tensor([[-2.0, 0.1, 0.2], [0.0, 0.0, 5.0], [-2.0, 0.0, 3.0], [0.3, 0.0, 0.0]], device=device)
    rays_d = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], device=device)
    length = torch.tensor([2.0, 2.0, 0.0, 0.6], device=device)  # the last begins inside, after near
    renderer = make(device, 0.7)
    for out in (
        renderer.render(rays_o, rays_d),
        renderer.train(rays_o, rays_d, jitter=some_jitter(rays_o)),
    ):
        want = 1 - torch.exp(-0.7 * length)
        assert_close(out.opacity.detach(), want, atol=0.01, rtol=0)


@pytest.mark.parametrize("sigma", [0.5, 8.0, 300.0])
@pytest.mark.parametrize("cone_angle", [0.0, 0.02])
def test_looking_equals_training_without_jitter(device, sigma: float, cone_angle: float):
    config = replace(CONFIG, cascades=2, box=(2.0, 2.0, 2.0), cone_angle=cone_angle)
    renderer = make(device, sigma, RADIUS, config, culled=True)
    rays_o, rays_d = rays(device)
    look = renderer.render(rays_o, rays_d)
    train = renderer.train(rays_o, rays_d, jitter=torch.zeros(len(rays_o), device=device))
    # Rendering stops at a transmittance of a thousandth.
    for a, b in zip(tensors(look), tensors(train)):
        assert_close(a, b.detach(), atol=4e-3, rtol=0)


def test_chunks_do_not_matter(device, monkeypatch):
    renderer, (rays_o, rays_d) = make(device, 4.0, RADIUS, culled=True), rays(device)
    whole = renderer.render(rays_o, rays_d)
    monkeypatch.setattr(module, "_RAYS_AT_ONCE", dict.fromkeys(("cpu", "cuda"), 77))
    monkeypatch.setattr(module, "_SAMPLES_AT_ONCE", dict.fromkeys(("cpu", "cuda"), 500))
    parts = Renderer(renderer.field, renderer.grid, renderer.config).render(rays_o, rays_d)
    for a, b in zip(tensors(whole), tensors(parts)):
        assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_order_of_rays_does_not_matter(device):
    renderer, (rays_o, rays_d) = make(device, 4.0, RADIUS), rays(device)
    order = torch.randperm(len(rays_o), device=device)
    for a, b in zip(tensors(renderer.render(rays_o, rays_d)), tensors(renderer.render(rays_o[order], rays_d[order]))):
        assert_close(a[order], b, atol=1e-5, rtol=1e-5)


def test_opaque_rays_stop_early(device, monkeypatch):
    monkeypatch.setattr(module, "_SAMPLES_AT_ONCE", dict.fromkeys(("cpu", "cuda"), 1))  # four samples at a time
    monkeypatch.setattr(module, "_PAD", 1)
    rays_o, rays_d = (
        x.repeat(300, 1) for x in (torch.tensor([[-3.0, 0, 0]], device=device), torch.eye(3, device=device)[:1])
    )
    asked = []
    for sigma in (0.01, 2000.0):
        renderer = make(device, sigma)
        renderer.render(rays_o, rays_d)
        asked.append(renderer.field.asked)
    assert asked[0] >= 300 * 195, "the fog is followed to the end"
    assert asked[1] <= 300 * 8


def test_what_does_not_count_is_not_coloured(device):
    renderer, (rays_o, rays_d) = make(device, 50.0, RADIUS), rays(device)
    look, asked = renderer.render(rays_o, rays_d), renderer.field.asked
    assert 0 < renderer.field.coloured < asked / 4, "a ball in an empty cube"
    every = renderer.train(rays_o, rays_d, jitter=torch.zeros(len(rays_o), device=device))
    assert renderer.field.coloured > asked / 4
    assert_close(look.rgb, every.rgb.detach(), atol=2e-3, rtol=0)


def test_thresholds_of_rendering_decide_how_much_is_evaluated(device, monkeypatch):
    monkeypatch.setattr(module, "_SAMPLES_AT_ONCE", dict.fromkeys(("cpu", "cuda"), 1))  # four samples at a time
    monkeypatch.setattr(module, "_PAD", 1)
    rays_o, rays_d = rays(device)
    asked = {}
    for name, thresholds in {
        "default": {},
        "stops earlier": {"min_transmittance": 0.9},
        "colours all": {"min_colour_weight": 0.0},
    }.items():
        renderer = make(device, 30.0, RADIUS, replace(CONFIG, **thresholds))
        renderer.render(rays_o, rays_d)
        asked[name] = renderer.field.asked, renderer.field.coloured
    assert asked["stops earlier"][0] < asked["default"][0]
    assert asked["colours all"][1] == asked["colours all"][0] > asked["default"][1]


def test_empty_grid_gives_nothing(device):
    renderer = make(device, 100.0)
    renderer.grid.bits.zero_()
    rays_o, rays_d = rays(device)
    for out in (
        renderer.render(rays_o, rays_d),
        renderer.train(rays_o, rays_d, jitter=some_jitter(rays_o)),
    ):
        assert not any(bool(x.any()) for x in tensors(out))
        assert_close(out.over(0.25).detach(), torch.full_like(out.rgb, 0.25))


def test_no_rays(device):
    renderer, none = make(device, 1.0), torch.zeros(0, 3, device=device)
    for out in (renderer.render(none, none), renderer.train(none, none, jitter=some_jitter(none))):
        assert [tuple(x.shape) for x in tensors(out)] == [(0, 3), (0,), (0,)]
        assert out.over(1.0).shape == (0, 3)


def test_over_a_background(device):
    out = Rendering(
        torch.tensor([[0.1, 0.2, 0.3]], device=device),
        torch.tensor([0.25], device=device),
        torch.zeros(1, device=device),
    )
    assert_close(out.over(1.0), torch.tensor([[0.85, 0.95, 1.05]], device=device))
    background = torch.tensor([[0.0, 1.0, 0.4]], device=device)
    assert_close(out.over(background), torch.tensor([[0.1, 0.95, 0.6]], device=device))


def test_solid_is_more_than_half_opaque(device):
    opacity = torch.tensor([0.0, 0.5, 0.5001, 1.0], device=device)
    out = Rendering(torch.zeros(4, 3, device=device), opacity, torch.zeros(4, device=device))
    assert out.solid.tolist() == [False, False, True, True]


def test_no_more_samples_than_allowed(device):
    config = replace(CONFIG, max_samples=10)
    rays_o, rays_d = rays(device)
    renderer = make(device, 0.1, config=config)
    out = renderer.train(rays_o, rays_d, jitter=some_jitter(rays_o))
    assert int(out.samples.packed_info[:, 1].max()) <= 10
    look = renderer.render(rays_o, rays_d)
    assert float(look.opacity.max()) <= 1 - math.exp(-0.1 * 0.01 * 10 * 8)  # at most ten long steps


def test_coarser_steps_are_fewer(device):
    rays_o, rays_d = rays(device)
    renderer, jitter = make(device, 0.5), some_jitter(rays_o)
    fine = renderer.train(rays_o, rays_d, jitter=jitter)
    coarse = renderer.train(rays_o, rays_d, jitter=jitter, coarseness=3.0)
    assert coarse.samples.n_samples < 0.4 * fine.samples.n_samples
    assert_close(coarse.opacity.detach(), fine.opacity.detach(), atol=0.03, rtol=0)


def test_training_is_differentiable_in_field_and_rays(device):
    rays_o, rays_d = (x.clone().requires_grad_() for x in rays(device))
    renderer = make(device, 2.0, RADIUS)
    out = renderer.train(rays_o, rays_d, jitter=some_jitter(rays_o))
    (out.rgb.square().sum() + out.depth.sum()).backward()
    assert renderer.field.sigma.grad.abs() > 0
    for leaf in (rays_o, rays_d):
        assert bool(leaf.grad.isfinite().all())
        assert leaf.grad.abs().sum() > 0
    assert not out.samples.t_starts.requires_grad


def test_looking_keeps_no_gradient(device):
    assert not make(device, 1.0).render(*rays(device)).rgb.requires_grad


def test_a_view_is_its_rays_row_by_row(device):
    renderer, cameras = make(device, 3.0, RADIUS), ball_cameras().to(device)
    for a, b in zip(tensors(renderer.render_image(cameras, 2)), tensors(renderer.render(*rays(device, 2)))):
        assert_close(a, b)


def feature_renderer(device) -> Renderer:
    renderer = make(device, 40.0, RADIUS)
    torch.manual_seed(0)
    features = FeatureField(FeatureFieldConfig(encoding=LAYOUT, dim=5, min_weight=0.02), Space(1.0)).to(device)
    with torch.no_grad():
        features.table.uniform_(-1, 1)
    return Renderer(renderer.field, renderer.grid, renderer.config, features)


def test_visible_samples_are_those_that_weigh_enough(device):
    renderer = feature_renderer(device)
    rays_o, rays_d = (part[:300] for part in rays(device))  # not all: the view is the same upside down
    seen = renderer.visible(rays_o, rays_d)
    assert len(seen.weights)
    assert (seen.weights >= 0.02).all()
    counts = seen.packed_info[:, 1].long()
    ray = torch.arange(len(rays_o), device=device).repeat_interleave(counts)
    total = torch.zeros(len(rays_o), device=device).index_add_(0, ray, seen.weights)
    opacity = renderer.render(rays_o, rays_d).opacity
    assert torch.equal(counts > 0, opacity > 0.02), "of rays that miss the ball there is none"
    assert (total <= opacity + 1e-5).all()
    assert (opacity - total)[counts > 0].max() < 0.4, "only light samples are left out"
    assert (seen.positions.norm(dim=1) < RADIUS).all()
    distance = ((seen.positions - rays_o[ray]) * rays_d[ray]).sum(1)
    assert_close(seen.positions, rays_o[ray] + distance[:, None] * rays_d[ray], **TOLERANCE[torch.float32])
    later = (ray[1:] == ray[:-1]).nonzero()[:, 0]
    assert (distance[1:][later] > distance[:-1][later]).all(), "front to back"


def test_selected_samples_are_those_of_the_rays(device):
    renderer = feature_renderer(device)
    rays_o, rays_d = rays(device)
    chosen = torch.randperm(len(rays_o), device=device)[:50].repeat(2)
    whole = renderer.composite_features(renderer.visible(rays_o, rays_d))
    part = renderer.composite_features(renderer.visible(rays_o, rays_d).select(chosen))
    assert_close(part, whole[chosen], **TOLERANCE[torch.float32])


def test_features_are_rendered_alike_with_and_without_colour(device):
    renderer = feature_renderer(device)
    both = renderer.render(*rays(device), features=True)
    alone = renderer.render(*rays(device), colour=False, features=True)
    plain = renderer.render(*rays(device))
    assert both.features is not None
    assert both.features.shape == (len(both.rgb), 5)
    assert torch.equal(both.features, alone.features)
    assert torch.equal(both.rgb, plain.rgb)
    assert (alone.rgb == 0).all()
    with pytest.raises(ValueError, match="no feature field"):
        make(device, 1.0).render(*rays(device), features=True)


def test_features_of_no_ray_and_of_nothing(device):
    renderer = feature_renderer(device)
    none = torch.empty(0, 3, device=device)
    assert renderer.render(none, none, features=True).features.shape == (0, 5)
    away = torch.full((2, 3), 9.0, device=device)
    out = renderer.render(away, torch.tensor([[0.0, 0, 1]], device=device).repeat(2, 1), features=True)
    assert (out.features == 0).all()


def test_only_the_feature_field_learns_from_features(device):
    renderer = feature_renderer(device)
    renderer.composite_features(renderer.visible(*rays(device))).square().sum().backward()
    assert all(parameter.grad is None for parameter in renderer.field.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in renderer.features.parameters())
