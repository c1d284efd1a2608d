"""The one renderer: rays in, colour, opacity and depth out, for training, evaluation and viewing.

Training needs every sample of a ray and its gradient, so it marches each ray to the end at once. Looking needs
neither: living rays advance a few samples at a time, and a ray that is opaque stops.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from omniseg.cameras import Cameras
from omniseg.config import MarchingConfig
from omniseg.fields import OccupancyGrid, RadianceField
from omniseg_kernels.compositing import composite, render_weights
from omniseg_kernels.marching import RaySamples, StepRule, march_rays
from omniseg_kernels.ray_aabb import ray_aabb

_PAD = 4096
_RAYS_AT_ONCE = 1 << 16
_SAMPLES_AT_ONCE = 1 << 17
_OPAQUE = 1e-3


@dataclass(frozen=True)
class Rendering:
    """What rays see, without any background.

    Attributes:
        rgb: (n_rays, 3) colour times opacity.
        opacity: (n_rays,) in [0, 1].
        depth: (n_rays,) distance along the ray times opacity, scene units.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor

    def over(self, background: Tensor | float) -> Tensor:
        """Colour (n_rays, 3) in front of a background colour."""
        return self.rgb + (1 - self.opacity)[:, None] * background


@dataclass(frozen=True)
class TrainingRendering(Rendering):
    """A differentiable rendering, with the samples and weights that losses are made of."""

    samples: RaySamples
    weights: Tensor


class Renderer:
    """Renders a radiance field through its occupancy grid."""

    def __init__(self, field: RadianceField, grid: OccupancyGrid, config: MarchingConfig) -> None:
        self.field, self.grid, self.config = field, grid, config

    def rule(self, coarseness: float = 1.0) -> StepRule:
        """Marching steps, `coarseness` times as long as configured."""
        step, cell = self.config.step * coarseness, 2 * self.config.bound / self.config.resolution
        return StepRule(step, max(step, cell), min(self.config.cone_angle * coarseness, 0.5))

    def _spans(self, rays_o: Tensor, rays_d: Tensor) -> Tensor:
        half_edges = torch.tensor(self.config.box, device=rays_o.device)
        aabb = torch.cat([-half_edges, half_edges])
        return torch.stack(ray_aabb(rays_o.detach(), rays_d.detach(), aabb, near=self.config.near), dim=1)

    def train(
        self, rays_o: Tensor, rays_d: Tensor, *, generator: torch.Generator, coarseness: float = 1.0
    ) -> TrainingRendering:
        """Render rays for a training step; differentiable in the field and the rays.

        Args:
            rays_o, rays_d: (n_rays, 3) origins and unit directions, scene coordinates.
            generator: draws where in its first step each ray starts.
            coarseness: steps are this many times longer than configured.
        """
        rule, spans = self.rule(coarseness), self._spans(rays_o, rays_d)
        jitter = torch.rand(len(rays_o), generator=generator, device=rays_o.device)
        first = (spans[:, 0] * rule.cone_angle).clamp(rule.min_step, rule.max_step)
        spans[:, 0] += jitter * first
        samples = march_rays(
            rays_o, rays_d, spans, self.grid.occupied, rule, max_samples=self.config.max_samples, pad_to=_PAD
        )
        sigmas, rgb = self._query(rays_o, rays_d, samples)
        weights = render_weights(samples.t_starts, samples.t_ends, sigmas, samples.packed_info)
        out = composite(weights, rgb, samples.t_starts, samples.t_ends, samples.packed_info)
        return TrainingRendering(out.values, out.opacity, out.depth, samples, weights)

    def _query(self, rays_o: Tensor, rays_d: Tensor, samples: RaySamples) -> tuple[Tensor, Tensor]:
        """Densities (n_samples,) and colours (n_samples, 3) at the middle of each sample."""
        rays, middles = samples.ray_indices, 0.5 * (samples.t_starts + samples.t_ends)
        positions = torch.addcmul(rays_o.index_select(0, rays), rays_d.index_select(0, rays), middles[:, None])
        density = self.field.density(positions)
        directions = self.field.encode_directions(rays_d).index_select(0, rays)
        return density.sigmas, self.field.colour(density.geometry, directions)

    @torch.no_grad()
    def render(self, rays_o: Tensor, rays_d: Tensor) -> Rendering:
        """Render any number of rays without gradient, skipping what is empty and what is hidden.

        Args:
            rays_o, rays_d: (n_rays, 3) origins and unit directions, scene coordinates.
        """
        parts = [self._render(o, d) for o, d in zip(rays_o.split(_RAYS_AT_ONCE), rays_d.split(_RAYS_AT_ONCE))]
        if not parts:
            return Rendering(rays_o.new_empty(0, 3), rays_o.new_empty(0), rays_o.new_empty(0))
        return Rendering(*(torch.cat([getattr(part, n) for part in parts]) for n in ("rgb", "opacity", "depth")))

    def _render(self, rays_o: Tensor, rays_d: Tensor) -> Rendering:
        rule, spans = self.rule(), self._spans(rays_o, rays_d)
        n_rays = len(rays_o)
        rgb, depth, opacity = rays_o.new_zeros(n_rays, 3), rays_o.new_zeros(n_rays), rays_o.new_zeros(n_rays)
        alive = torch.arange(n_rays, device=rays_o.device)
        taken = 0
        while len(alive) and taken < self.config.max_samples:
            few = min(max(_SAMPLES_AT_ONCE // len(alive), 4), self.config.max_samples - taken)
            origins, directions, span = rays_o[alive], rays_d[alive], spans[alive]
            samples = march_rays(origins, directions, span, self.grid.occupied, rule, max_samples=few, pad_to=_PAD)
            if samples.n_samples == 0:
                break
            sigmas, colours = self._query(origins, directions, samples)
            weights = render_weights(samples.t_starts, samples.t_ends, sigmas, samples.packed_info)
            out = composite(weights, colours, samples.t_starts, samples.t_ends, samples.packed_info)
            light = 1 - opacity[alive]
            rgb[alive] += light[:, None] * out.values
            depth[alive] += light * out.depth
            opacity[alive] += light * out.opacity
            spans[alive, 0] = samples.t_next
            alive = alive[(samples.t_next < span[:, 1]) & (opacity[alive] < 1 - _OPAQUE)]
            taken += few
        return Rendering(rgb, opacity, depth)

    @torch.no_grad()
    def render_view(self, cameras: Cameras, view: int) -> Rendering:
        """Render all pixels of one view, row by row from the top left."""
        return self.render(*cameras.image_rays(view))
