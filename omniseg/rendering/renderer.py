"""The one renderer: rays in, colour, opacity, depth and features out, for training, evaluation and viewing.

Learning the radiance field needs every sample of a ray and its gradient, so `train` marches each ray to the end
at once. Looking needs neither: living rays advance a few samples at a time, and a ray that is opaque stops. So
does learning features, for which the geometry is fixed: `visible` finds the samples that weigh enough, and
`composite_features` looks at those alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from omniseg.cameras import Cameras
from omniseg.config import MarchingConfig
from omniseg.fields import FeatureField, OccupancyGrid, RadianceField
from omniseg.fields.radiance import Density
from omniseg_kernels.compositing import VolumeRendering, composite, volume_render
from omniseg_kernels.gather import sample_positions
from omniseg_kernels.marching import RaySamples, StepRule, march_rays
from omniseg_kernels.ray_aabb import ray_aabb

_PAD = 4096
"""Matrix libraries prepare themselves anew for every number of samples; there are few numbers this way."""
_RAYS_AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 20}
_SAMPLES_AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 21}
"""Of a picture. A CPU wants what stays in its caches; a GPU, whose host waits for each piece, few and large ones."""
_OPAQUE = 1e-3
_FAINT = 1e-4
"""Samples of a picture that weigh less, a quarter to a half of them, are not coloured: a fourth of a grey level."""


@dataclass(frozen=True)
class Rendering:
    """What rays see, without any background.

    Attributes:
        rgb: (n_rays, 3) colour times opacity.
        opacity: (n_rays,) in [0, 1].
        depth: (n_rays,) distance along the ray times opacity, scene units.
        features: (n_rays, dim), not of unit length, where they were asked for.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    features: Tensor | None = None

    @staticmethod
    def cat(parts: "Sequence[Rendering]") -> "Rendering":
        """One rendering of the rays of all parts, at least one, which agree about features."""
        rgb, opacity, depth = (torch.cat([getattr(part, n) for part in parts]) for n in ("rgb", "opacity", "depth"))
        seen = [part.features for part in parts if part.features is not None]
        return Rendering(rgb, opacity, depth, torch.cat(seen) if seen else None)

    @property
    def solid(self) -> Tensor:
        """(n_rays,) bool, true where a ray sees something opaque."""
        return self.opacity > 0.5

    @property
    def distance(self) -> Tensor:
        """Mean distance (n_rays,) along each ray of what it sees, scene units; 0 where that is nothing."""
        return self.depth / self.opacity.clamp(min=1e-6)

    @property
    def straight_rgb(self) -> Tensor:
        """Colour (n_rays, 3) of what is seen alone, not multiplied by opacity."""
        return self.rgb / self.opacity.clamp(min=1e-6)[:, None]

    def over(self, background: Tensor | float) -> Tensor:
        """Colour (n_rays, 3) in front of a background colour."""
        return self.rgb + (1 - self.opacity)[:, None] * background


@dataclass(frozen=True, kw_only=True)
class TrainingRendering(Rendering):
    """A differentiable rendering, with the samples and weights that losses are made of."""

    samples: RaySamples
    weights: Tensor


@dataclass(frozen=True)
class VisibleSamples:
    """Samples of n_rays that weigh enough to be seen, packed ray after ray, without gradient.

    Attributes:
        positions: (n_samples, 3) middles of the intervals, scene coordinates.
        weights: (n_samples,) share of each sample in its ray.
        packed_info: (n_rays, 2) int32, first sample and count of each ray.
    """

    positions: Tensor
    weights: Tensor
    packed_info: Tensor

    def select(self, rays: Tensor) -> "VisibleSamples":
        """The samples of these rays (n,) int64, in their order; the host waits for their number."""
        first, count = self.packed_info[rays].long().unbind(1)
        start, n = count.cumsum(0) - count, int(count.sum())
        index = torch.arange(n, device=rays.device) + (first - start).repeat_interleave(count, output_size=n)
        packed_info = torch.stack([start, count], dim=1).to(torch.int32)
        return VisibleSamples(self.positions[index], self.weights[index], packed_info)


@dataclass(frozen=True)
class _Stretch:
    """A few samples of each living ray.

    rays: (n_living,) index of each.
    samples, geometry: of these rays.
    seen: weights, opacity and depth in the whole ray, with what lies before the stretch taken into account.
    """

    rays: Tensor
    samples: RaySamples
    geometry: Tensor
    seen: VolumeRendering

    def heavy(self, min_weight: float) -> tuple[Tensor, ...]:
        """Ray, t_start, t_end and weight of the samples that weigh at least this much."""
        weights, samples = self.seen.weights, self.samples
        kept = (weights >= max(min_weight, 1e-8)).nonzero()[:, 0]
        rays = self.rays[samples.ray_indices[kept]]
        return rays, samples.t_starts[kept], samples.t_ends[kept], weights[kept]


class Renderer:
    """Renders a radiance field, and a feature field where there is one, through its occupancy grid."""

    def __init__(
        self,
        field: RadianceField,
        grid: OccupancyGrid,
        config: MarchingConfig,
        features: FeatureField | None = None,
    ) -> None:
        self.field, self.grid, self.config, self.features = field, grid, config, features
        device = grid.bits.device
        half_edges = torch.tensor(config.box, device=device)
        self._aabb = torch.cat([-half_edges, half_edges])
        # By default as the CPU, for what stands in for a device.
        self._rays_at_once = _RAYS_AT_ONCE.get(device.type, _RAYS_AT_ONCE["cpu"])
        self._samples_at_once = _SAMPLES_AT_ONCE.get(device.type, _SAMPLES_AT_ONCE["cpu"])

    def rule(self, coarseness: float = 1.0) -> StepRule:
        """Marching steps, `coarseness` times as long as configured."""
        step, cell = self.config.step * coarseness, 2 * self.config.bound / self.config.resolution
        return StepRule(step, max(step, cell), min(self.config.cone_angle * coarseness, 0.5))

    def _spans(self, rays_o: Tensor, rays_d: Tensor) -> Tensor:
        return torch.stack(ray_aabb(rays_o.detach(), rays_d.detach(), self._aabb, near=self.config.near), dim=1)

    def train(self, rays_o: Tensor, rays_d: Tensor, *, jitter: Tensor, coarseness: float = 1.0) -> TrainingRendering:
        """Render rays for a training step; differentiable in the field and the rays.

        Args:
            rays_o, rays_d: (n_rays, 3) origins and unit directions, scene coordinates.
            jitter: (n_rays,) in [0, 1), where in its first step each ray starts.
            coarseness: steps are this many times longer than configured.
        """
        rule, spans = self.rule(coarseness), self._spans(rays_o, rays_d)
        first = (spans[:, 0] * rule.cone_angle).clamp(rule.min_step, rule.max_step)
        spans[:, 0] += jitter * first
        samples = self._march(rays_o, rays_d, spans, rule, self.config.max_samples)
        density = self._density(rays_o, rays_d, samples)
        rgb = self.field.colour(density.geometry, rays_d, samples.ray_indices)
        out = volume_render(samples.t_starts, samples.t_ends, density.sigmas, rgb, samples.packed_info)
        return TrainingRendering(out.values, out.opacity, out.depth, samples=samples, weights=out.weights)

    def _march(self, rays_o: Tensor, rays_d: Tensor, spans: Tensor, rule: StepRule, max_samples: int) -> RaySamples:
        """Samples in the occupied cells, at most `max_samples` a ray."""
        grid = self.grid.occupied
        return march_rays(rays_o, rays_d, spans, grid, rule, max_samples=max_samples, pad_to=_PAD)

    def _density(self, rays_o: Tensor, rays_d: Tensor, samples: RaySamples) -> Density:
        """Density at the middle of each sample."""
        ends = samples.t_starts, samples.t_ends
        return self.field.density(sample_positions(rays_o, rays_d, *ends, samples.ray_indices))

    def _follow(self, rays_o: Tensor, rays_d: Tensor) -> Iterator[_Stretch]:
        """Follow rays (n_rays, 3) stretch by stretch, each until it is opaque or leaves the box."""
        rule, spans = self.rule(), self._spans(rays_o, rays_d)
        light = rays_o.new_ones(len(rays_o))
        living = torch.arange(len(rays_o), device=rays_o.device)
        taken = 0
        while len(living) and taken < self.config.max_samples:
            few = min(max(self._samples_at_once // len(living), 4), self.config.max_samples - taken)
            origins, directions, span = rays_o[living], rays_d[living], spans[living]
            samples = self._march(origins, directions, span, rule, few)
            if samples.n_samples == 0:
                break
            density = self._density(origins, directions, samples)
            ends, nothing = (samples.t_starts, samples.t_ends), density.sigmas.new_empty(len(density.sigmas), 0)
            seen = volume_render(*ends, density.sigmas, nothing, samples.packed_info, light[living])
            yield _Stretch(living, samples, density.geometry, seen)
            light[living] -= seen.opacity
            spans[living, 0] = samples.t_next
            living = living[(samples.t_next < span[:, 1]) & (light[living] > _OPAQUE)]
            taken += few

    @torch.no_grad()
    def render(self, rays_o: Tensor, rays_d: Tensor, *, colour: bool = True, features: bool = False) -> Rendering:
        """Render any number of rays without gradient, skipping what is empty and what is hidden.

        Args:
            rays_o, rays_d: (n_rays, 3) origins and unit directions, scene coordinates.
            colour: evaluate the colour; without it `rgb` is 0.
            features: evaluate the feature field too.
        Raises:
            ValueError: features of a renderer without a feature field.
        """
        if features and self.features is None:
            raise ValueError("features: this renderer has no feature field")
        chunks = zip(rays_o.split(self._rays_at_once), rays_d.split(self._rays_at_once))
        return Rendering.cat([self._render(o, d, colour, features) for o, d in chunks])

    def _render(self, rays_o: Tensor, rays_d: Tensor, colour: bool, features: bool) -> Rendering:
        n_rays = len(rays_o)
        rgb, depth, opacity = rays_o.new_zeros(n_rays, 3), rays_o.new_zeros(n_rays), rays_o.new_zeros(n_rays)
        heavy = []
        for stretch in self._follow(rays_o, rays_d):
            samples, seen = stretch.samples, stretch.seen
            depth[stretch.rays] += seen.depth
            opacity[stretch.rays] += seen.opacity
            if colour:
                kept = (seen.weights >= _FAINT).nonzero()[:, 0]
                colours = seen.weights.new_zeros(len(seen.weights), 3)
                directions = rays_d[stretch.rays]
                colours[kept] = self.field.colour(stretch.geometry[kept], directions, samples.ray_indices[kept])
                rgb[stretch.rays] += composite(seen.weights, colours, samples.packed_info)
            if features:
                heavy.append(stretch.heavy(self._min_weight))
        found = self.composite_features(_join(heavy, rays_o, rays_d)) if features else None
        return Rendering(rgb, opacity, depth, found)

    @property
    def _min_weight(self) -> float:
        assert self.features is not None
        return self.features.config.min_weight

    @torch.no_grad()
    def visible(self, rays_o: Tensor, rays_d: Tensor) -> VisibleSamples:
        """The samples of rays (n_rays, 3) that weigh enough for the feature field, without gradient."""
        heavy = []
        for begin in range(0, len(rays_o), self._rays_at_once):
            part = slice(begin, begin + self._rays_at_once)
            for stretch in self._follow(rays_o[part], rays_d[part]):
                rays, *others = stretch.heavy(self._min_weight)
                heavy.append((rays + begin, *others))
        return _join(heavy, rays_o, rays_d)

    def composite_features(self, visible: VisibleSamples) -> Tensor:
        """Features (n_rays, dim) of rays, not of unit length; differentiable in the feature field alone."""
        assert self.features is not None
        return composite(visible.weights, self.features(visible.positions), visible.packed_info)

    @torch.no_grad()
    def render_image(self, cameras: Cameras, view: int, *, colour: bool = True, features: bool = False) -> Rendering:
        """Render all pixels of one view, row by row from the top left."""
        return self.render(*cameras.image_rays(view), colour=colour, features=features)


def _join(heavy: Sequence[tuple[Tensor, ...]], rays_o: Tensor, rays_d: Tensor) -> VisibleSamples:
    """Pack samples of stretches (ray, t_start, t_end, weight) ray by ray; each ray's come front to back."""
    if not heavy:
        nothing = rays_o.new_empty(0)
        heavy = [(torch.empty(0, dtype=torch.int64, device=rays_o.device), nothing, nothing, nothing)]
    rays, order = torch.sort(torch.cat([part[0] for part in heavy]), stable=True)
    t_starts, t_ends, weights = (torch.cat([part[k] for part in heavy])[order] for k in (1, 2, 3))
    count = torch.bincount(rays, minlength=len(rays_o))
    packed_info = torch.stack([count.cumsum(0) - count, count], dim=1).to(torch.int32)
    positions = sample_positions(rays_o, rays_d, t_starts, t_ends, rays.to(torch.int32))
    return VisibleSamples(positions, weights, packed_info)
