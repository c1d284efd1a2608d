"""The renderer: rays in, colour, opacity, depth and features out, for training, evaluation and viewing.

Training the radiance field needs every sample of a ray and its gradient, so `train` marches each ray to its end in
one pass. Rendering does not: alive rays advance a few samples at a time, and a ray that is opaque stops. Training
the feature field works like rendering, because the geometry is fixed: `visible` finds the samples whose weight is
large enough, and `composite_features` evaluates the feature field at those alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from omniseg.cameras import Cameras
from omniseg.config import MarchingConfig, SmoothingConfig
from omniseg.fields import KERNELS, FeatureField, OccupancyGrid, Operators, RadianceField
from omniseg.fields.radiance import Density
from omniseg.profiling import span
from omniseg_kernels.compositing import VolumeRendering
from omniseg_kernels.marching import RaySamples, StepRule
from omniseg_kernels.ray_aabb import ray_aabb

_SMOOTHING = SmoothingConfig()
_PAD = 4096
"""Multiple that the number of samples is padded to: matrix libraries prepare themselves for every new size."""
_RAYS_AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 20}
_SAMPLES_AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 21}
"""Numbers of rays and samples that are rendered at once, for speed: a CPU needs pieces that fit its caches, a GPU few
and large ones, because the host waits for each. They change results by rounding alone."""


@dataclass(frozen=True)
class Rendering:
    """Colour, opacity, depth and features of rays, without a background.

    Attributes:
        rgb: (n_rays, 3) colour times opacity.
        opacity: (n_rays,) in [0, 1].
        depth: (n_rays,) distance along the ray times opacity, scene units.
        features: (n_rays, dim), not of unit length; None unless they were asked for.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    features: Tensor | None = None

    @staticmethod
    def cat(parts: "Sequence[Rendering]") -> "Rendering":
        """Concatenate the rays of at least one part; either all parts have features or none has."""
        rgb, opacity, depth = (torch.cat([getattr(part, n) for part in parts]) for n in ("rgb", "opacity", "depth"))
        seen = [part.features for part in parts if part.features is not None]
        return Rendering(rgb, opacity, depth, torch.cat(seen) if seen else None)

    @property
    def solid(self) -> Tensor:
        """Mask (n_rays,) bool of the rays that see a surface: more than half opaque."""
        return self.opacity > 0.5

    @property
    def distance(self) -> Tensor:
        """Mean distance (n_rays,) of what each ray sees, scene units; 0 for a ray that sees nothing."""
        return self.depth / self.opacity.clamp(min=1e-6)

    @property
    def straight_rgb(self) -> Tensor:
        """Colour (n_rays, 3) that is not multiplied by opacity."""
        return self.rgb / self.opacity.clamp(min=1e-6)[:, None]

    def over(self, background: Tensor | float) -> Tensor:
        """Return the colour (n_rays, 3) in front of a background colour."""
        return self.rgb + (1 - self.opacity)[:, None] * background


@dataclass(frozen=True, kw_only=True)
class TrainingRendering(Rendering):
    """Differentiable rendering, with the samples and weights that losses read."""

    samples: RaySamples
    weights: Tensor


@dataclass(frozen=True)
class VisibleSamples:
    """Packed samples of n_rays whose weight is large enough to be seen, without gradient.

    Attributes:
        positions: (n_samples, 3) middles of the intervals, scene coordinates.
        weights: (n_samples,) weight of each sample in its ray.
        packed_info: (n_rays, 2) int32, first sample and count of each ray.
    """

    positions: Tensor
    weights: Tensor
    packed_info: Tensor

    def select(self, rays: Tensor) -> "VisibleSamples":
        """Return the samples of some rays (n,) int64, in that order; the host waits for their number."""
        first, count = self.packed_info[rays].long().unbind(1)
        start, n = count.cumsum(0) - count, int(count.sum())
        index = torch.arange(n, device=rays.device) + (first - start).repeat_interleave(count, output_size=n)
        packed_info = torch.stack([start, count], dim=1).to(torch.int32)
        return VisibleSamples(self.positions[index], self.weights[index], packed_info)


@dataclass(frozen=True)
class _Stretch:
    """A few consecutive samples of each alive ray.

    Attributes:
        rays: (n_alive,) index of each ray.
        samples: packed samples of these rays.
        geometry: (n_samples, channels) input of their colour.
        seen: their weights, opacity and depth, with the transmittance in front of the stretch taken into account.
    """

    rays: Tensor
    samples: RaySamples
    geometry: Tensor
    seen: VolumeRendering

    def heavy(self, min_weight: float) -> tuple[Tensor, ...]:
        """Return ray, t_start, t_end and weight of the samples of at least this weight."""
        weights, samples = self.seen.weights, self.samples
        kept = (weights >= max(min_weight, 1e-8)).nonzero()[:, 0]
        rays = self.rays[samples.ray_indices[kept]]
        return rays, samples.t_starts[kept], samples.t_ends[kept], weights[kept]


class Renderer:
    """Renders a radiance field, and a feature field if there is one, through its occupancy grid.

    Args:
        field, grid: density and colour, and the cells that rays skip.
        config: marching and its thresholds.
        features: the feature field, for `render(features=True)`, `visible` and `composite_features`.
        operators: implementation of marching, gathering and compositing.
        smoothing: of the features of whole pictures (`omniseg.rendering.view`); those of rays are not smoothed.
    """

    def __init__(
        self,
        field: RadianceField,
        grid: OccupancyGrid,
        config: MarchingConfig,
        features: FeatureField | None = None,
        operators: Operators = KERNELS,
        smoothing: SmoothingConfig = _SMOOTHING,
    ) -> None:
        self.smoothing = smoothing
        self.field, self.grid, self.config, self.features, self.operators = field, grid, config, features, operators
        device = grid.bits.device
        half_edges = torch.tensor(config.box, device=device)
        self._aabb = torch.cat([-half_edges, half_edges])
        kind = "cuda" if device.type == "cuda" else "cpu"
        self._rays_at_once, self._samples_at_once = _RAYS_AT_ONCE[kind], _SAMPLES_AT_ONCE[kind]

    def rule(self, coarseness: float = 1.0) -> StepRule:
        """Return the rule of marching steps that are `coarseness` times as long as configured."""
        step, cell = self.config.step * coarseness, 2 * self.config.bound / self.config.resolution
        return StepRule(step, max(step, cell), min(self.config.cone_angle * coarseness, 0.5))

    def _bounds(self, rays_o: Tensor, rays_d: Tensor) -> Tensor:
        """Return where each ray enters and leaves the box, (n_rays, 2)."""
        return torch.stack(ray_aabb(rays_o.detach(), rays_d.detach(), self._aabb, near=self.config.near), dim=1)

    def train(
        self, rays_o: Tensor, rays_d: Tensor, *, jitter: Tensor, coarseness: float = 1.0, t_max: Tensor | None = None
    ) -> TrainingRendering:
        """Render rays for a training step; differentiable in the field and the rays.

        Args:
            rays_o, rays_d: (n_rays, 3) origins and unit directions, scene coordinates.
            jitter: (n_rays,) in [0, 1), where each ray starts within its first step.
            coarseness: factor by which steps are longer than configured.
            t_max: (n_rays,) distance behind which each ray has no samples; None: it ends where it leaves the box.
        """
        rule, bounds = self.rule(coarseness), self._bounds(rays_o, rays_d)
        if t_max is not None:
            bounds[:, 1] = torch.minimum(bounds[:, 1], t_max)
        first = (bounds[:, 0] * rule.cone_angle).clamp(rule.min_step, rule.max_step)
        bounds[:, 0] += jitter * first
        samples = self._march(rays_o, rays_d, bounds, rule, self.config.max_samples)
        density = self._density(rays_o, rays_d, samples)
        with span("colour"):
            rgb = self.field.colour(density.geometry, rays_d, samples.ray_indices)
        with span("compositing"):
            ends = samples.t_starts, samples.t_ends
            out = self.operators.volume_render(*ends, density.sigmas, rgb, samples.packed_info)
        return TrainingRendering(out.values, out.opacity, out.depth, samples=samples, weights=out.weights)

    def _march(self, rays_o: Tensor, rays_d: Tensor, bounds: Tensor, rule: StepRule, max_samples: int) -> RaySamples:
        """Return the samples in occupied cells, at most `max_samples` a ray."""
        with span("marching"):
            grid = self.grid.occupied
            return self.operators.march_rays(rays_o, rays_d, bounds, grid, rule, max_samples=max_samples, pad_to=_PAD)

    def _density(self, rays_o: Tensor, rays_d: Tensor, samples: RaySamples) -> Density:
        """Return the density at the middle of each sample."""
        with span("density"):
            ends = samples.t_starts, samples.t_ends
            positions = self.operators.sample_positions(rays_o, rays_d, *ends, samples.ray_indices)
            return self.field.density(positions)

    def _stretches(self, rays_o: Tensor, rays_d: Tensor) -> Iterator[_Stretch]:
        """March rays (n_rays, 3) a few samples at a time, each until it is opaque or leaves the box."""
        rule, bounds = self.rule(), self._bounds(rays_o, rays_d)
        transmittance = rays_o.new_ones(len(rays_o))
        alive = torch.arange(len(rays_o), device=rays_o.device)
        taken = 0
        while len(alive) and taken < self.config.max_samples:
            few = min(max(self._samples_at_once // len(alive), 4), self.config.max_samples - taken)
            origins, directions, bound = rays_o[alive], rays_d[alive], bounds[alive]
            samples = self._march(origins, directions, bound, rule, few)
            if samples.n_samples == 0:
                break
            density = self._density(origins, directions, samples)
            ends, no_values = (samples.t_starts, samples.t_ends), density.sigmas.new_empty(len(density.sigmas), 0)
            seen = self.operators.volume_render(
                *ends, density.sigmas, no_values, samples.packed_info, transmittance[alive]
            )
            yield _Stretch(alive, samples, density.geometry, seen)
            transmittance[alive] -= seen.opacity
            bounds[alive, 0] = samples.t_next
            goes_on = transmittance[alive] > self.config.min_transmittance
            alive = alive[(samples.t_next < bound[:, 1]) & goes_on]
            taken += few

    @torch.no_grad()
    def render(self, rays_o: Tensor, rays_d: Tensor, *, colour: bool = True, features: bool = False) -> Rendering:
        """Render any number of rays without gradient, skipping empty and hidden space.

        Args:
            rays_o, rays_d: (n_rays, 3) origins and unit directions, scene coordinates.
            colour: evaluate the colour; otherwise `rgb` is 0.
            features: evaluate the feature field too.
        Raises:
            ValueError: `features` is set, but the renderer has no feature field.
        """
        if features and self.features is None:
            raise ValueError("features: this renderer has no feature field")
        chunks = zip(rays_o.split(self._rays_at_once), rays_d.split(self._rays_at_once))
        return Rendering.cat([self._render(o, d, colour, features) for o, d in chunks])

    def _render(self, rays_o: Tensor, rays_d: Tensor, colour: bool, features: bool) -> Rendering:
        n_rays = len(rays_o)
        rgb, depth, opacity = rays_o.new_zeros(n_rays, 3), rays_o.new_zeros(n_rays), rays_o.new_zeros(n_rays)
        heavy = []
        for stretch in self._stretches(rays_o, rays_d):
            samples, seen = stretch.samples, stretch.seen
            depth[stretch.rays] += seen.depth
            opacity[stretch.rays] += seen.opacity
            if colour:
                kept = (seen.weights >= self.config.min_colour_weight).nonzero()[:, 0]
                colours = seen.weights.new_zeros(len(seen.weights), 3)
                directions = rays_d[stretch.rays]
                colours[kept] = self.field.colour(stretch.geometry[kept], directions, samples.ray_indices[kept])
                rgb[stretch.rays] += self.operators.composite(seen.weights, colours, samples.packed_info)
            if features:
                heavy.append(stretch.heavy(self._min_weight))
        found = self.composite_features(self._pack(heavy, rays_o, rays_d)) if features else None
        return Rendering(rgb, opacity, depth, found)

    @property
    def _min_weight(self) -> float:
        assert self.features is not None
        return self.features.config.min_weight

    @torch.no_grad()
    def visible(self, rays_o: Tensor, rays_d: Tensor) -> VisibleSamples:
        """Return the samples of rays (n_rays, 3) that the feature field is evaluated at, without gradient."""
        heavy = []
        for begin in range(0, len(rays_o), self._rays_at_once):
            part = slice(begin, begin + self._rays_at_once)
            for stretch in self._stretches(rays_o[part], rays_d[part]):
                rays, *others = stretch.heavy(self._min_weight)
                heavy.append((rays + begin, *others))
        return self._pack(heavy, rays_o, rays_d)

    def composite_features(self, visible: VisibleSamples) -> Tensor:
        """Return features (n_rays, dim), not of unit length, of rays; differentiable in the feature field alone."""
        assert self.features is not None
        return self.operators.composite(visible.weights, self.features(visible.positions), visible.packed_info)

    @torch.no_grad()
    def render_image(self, cameras: Cameras, view: int, *, colour: bool = True, features: bool = False) -> Rendering:
        """Render all pixels of one view, row by row from the top left."""
        return self.render(*cameras.image_rays(view), colour=colour, features=features)

    def _pack(self, heavy: Sequence[tuple[Tensor, ...]], rays_o: Tensor, rays_d: Tensor) -> VisibleSamples:
        """Sort samples (ray, t_start, t_end, weight) of stretches by ray; those of a ray come front to back."""
        if not heavy:
            nothing = rays_o.new_empty(0)
            heavy = [(torch.empty(0, dtype=torch.int64, device=rays_o.device), nothing, nothing, nothing)]
        rays, order = torch.sort(torch.cat([part[0] for part in heavy]), stable=True)
        t_starts, t_ends, weights = (torch.cat([part[k] for part in heavy])[order] for k in (1, 2, 3))
        count = torch.bincount(rays, minlength=len(rays_o))
        packed_info = torch.stack([count.cumsum(0) - count, count], dim=1).to(torch.int32)
        positions = self.operators.sample_positions(rays_o, rays_d, t_starts, t_ends, rays.to(torch.int32))
        return VisibleSamples(positions, weights, packed_info)
