"""Training rays that end soon behind what is opaque."""

import torch
from torch import Tensor, nn

from omniseg import distributed
from omniseg.config import RadianceTrainingConfig
from omniseg.data.images import ImageSet
from omniseg.rendering.renderer import TrainingRendering


class RayEnds(nn.Module):
    """Distances at which the rays of a training step end, one for each tile of each photo.

    A third of the samples along rays lie behind something opaque: they cost as much as the others and change no colour.
    So a ray ends a few steps behind the place where the rays of its tile were opaque before, and more rays fit in a
    step. A ray that was not opaque at its end has no error of colour, as what is behind is missing from it, and its
    tile has no end any more.

    Args:
        images: training views.
        config: size of the tiles, and how far rays go on.
    """

    ends: Tensor

    def __init__(self, images: ImageSet, config: RadianceTrainingConfig) -> None:
        super().__init__()
        self.config = config
        self._offsets, self._widths = images.offsets, images.sizes[:, 0]
        columns_rows = torch.div(images.sizes + config.end_tile - 1, config.end_tile, rounding_mode="floor")
        self._columns, counts = columns_rows[:, 0], columns_rows.prod(1)
        self._first = counts.cumsum(0) - counts
        self.register_buffer("ends", torch.full((int(counts.sum()),), torch.inf, device=images.device))

    def tiles(self, pixels: Tensor, views: Tensor) -> Tensor:
        """Return the tile (n,) int64 of pixels, given by their numbers in the set and their views, (n,) int64 each."""
        within, width, side = pixels - self._offsets[views], self._widths[views], self.config.end_tile
        row = torch.div(within, width, rounding_mode="floor")
        column = within - row * width
        row, column = (torch.div(place, side, rounding_mode="floor") for place in (row, column))
        return self._first[views] + row * self._columns[views] + column

    def cut(self, rendering: TrainingRendering, ends: Tensor) -> Tensor:
        """Return which rays (n_rays,) bool came to their `ends` (n_rays,) before they were opaque."""
        transparent = rendering.opacity.detach() < 1 - self.config.end_transmittance
        return transparent & (rendering.samples.t_next >= ends)

    @torch.no_grad()
    def update(self, tiles: Tensor, rendering: TrainingRendering) -> None:
        """Move the ends of tiles (n_rays,), those of the rays of all ranks, to where this step's rays became opaque."""
        seen = distributed.all_gather(self._opaque_from(rendering), len(tiles))
        old = self.ends[tiles]
        # At once farther, slowly nearer: the rays of a tile meet things at several distances.
        nearer = torch.where(old.isfinite(), torch.lerp(old, seen, self.config.end_rate), seen)
        moved = torch.where(seen < old, nearer, seen)
        farthest = torch.zeros_like(self.ends).scatter_reduce(0, tiles, moved, "amax")
        self.ends = torch.where(farthest > 0, farthest, self.ends)

    def _opaque_from(self, rendering: TrainingRendering) -> Tensor:
        """Return the distance (own rays,) some steps behind the one at which a ray is opaque; infinite if it never is.

        The sums of weights are in float64: along all rays they reach thousands.
        """
        samples, limit = rendering.samples, 1 - self.config.end_transmittance
        if not len(rendering.weights):
            return torch.full_like(rendering.opacity, torch.inf)
        first, count = samples.packed_info.long().unbind(1)
        sums = rendering.weights.double().cumsum(0)
        before = torch.where(first > 0, sums[(first - 1).clamp(min=0)], 0.0)
        index = torch.searchsorted(sums, before + limit)
        opaque = index < first + count
        index = index.clamp(max=len(sums) - 1)
        start, end = samples.t_starts[index], samples.t_ends[index]
        return torch.where(opaque, end + self.config.end_steps * (end - start), torch.inf)
