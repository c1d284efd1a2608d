"""Random rays of a set of images, with the colours and depths of their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from omniseg.cameras import Cameras, pixel_centres
from omniseg.data.depth_maps import DepthMaps
from omniseg.data.images import ImageSet
from omniseg.data.memory import gather_rows

_TABLE_PIXELS = 2**24
"""Most pixels in the table of ray directions, 200 MB; without a table, directions are computed when they are needed."""


@dataclass(frozen=True)
class RayBatch:
    """Rays through pixel centres, with the colours and depths of the pixels.

    pixels: (n,) int64 number of each ray's pixel in the set.
    views: (n,) int64 view of each ray.
    rays_o, rays_d: (n, 3) origins and unit directions, scene coordinates.
    rgb: (n, 3) float32 in [0, 1], straight colour.
    alpha: (n,) float32 in [0, 1], 1 for images without alpha.
    depth: (n,) float32 distance along the ray, scene units, 0: unknown; None if no view has depth.
    """

    pixels: Tensor
    views: Tensor
    rays_o: Tensor
    rays_d: Tensor
    rgb: Tensor
    alpha: Tensor
    depth: Tensor | None

    def part(self, rays: slice) -> RayBatch:
        """Return some of the rays."""
        depth = None if self.depth is None else self.depth[rays]
        rays_o, rays_d, rgb, alpha = self.rays_o[rays], self.rays_d[rays], self.rgb[rays], self.alpha[rays]
        return RayBatch(self.pixels[rays], self.views[rays], rays_o, rays_d, rgb, alpha, depth)


class RaySampler:
    """Sampler that draws rays uniformly, with replacement, from all valid pixels of all views.

    Random numbers are drawn on the generator's device, so that one state of it gives the same rays on any device.
    Results are on the device of the images' cameras, wherever the pixels are.

    Args:
        images: set to draw from.
        generator: source of the random numbers.
        depth_maps: distances on the device of the cameras, for images without depths.
    """

    def __init__(self, images: ImageSet, generator: torch.Generator, depth_maps: DepthMaps | None = None) -> None:
        self.images = images
        self.depth_maps = depth_maps
        self.generator = generator
        self._ends = images.offsets[1:].contiguous()
        self._rays = PixelRays(images.cameras, images.offsets)

    def sample(self, n: int, cameras: Cameras | None = None) -> RayBatch:
        """Draw `n` rays.

        Args:
            n: number of rays.
            cameras: the images' cameras with other (refined) poses; the rays are differentiable in `c2w`.
        Raises:
            ValueError: `n` is negative, or there is not one camera for each image.
        """
        if n < 0:
            raise ValueError(f"n: expected at least 0, got {n}")
        images = self.images
        cameras = images.cameras if cameras is None else cameras
        if len(cameras) != len(images):
            raise ValueError(f"cameras: expected {len(images)}, got {len(cameras)}")
        draw = torch.randint(images.n_valid, (n,), generator=self.generator, device=self.generator.device)
        index = images.valid_pixels(draw.to(images.device))
        views = torch.searchsorted(self._ends, index, right=True)
        directions = self._rays.directions(index, views, cameras)
        rays_o, rays_d = cameras.world_rays(views, directions)
        depth = None if images.depths is None else gather_rows(images.depths, index).float()
        if self.depth_maps is not None:
            depth = self.depth_maps.at(views, directions)
        colour = gather_rows(images.pixels, index).float() / 255
        return RayBatch(
            pixels=index,
            views=views,
            rays_o=rays_o,
            rays_d=rays_d,
            rgb=colour[:, :3],
            alpha=colour[:, 3] if colour.shape[1] == 4 else colour.new_ones(n),
            depth=depth,
        )


class PixelRays:
    """Rays through the pixels of a set of images, whose pixels are numbered one image after another.

    The directions of each distinct lens are computed once and kept in a table if they fit: undistorting every
    sampled ray took two thirds of the sampling time.

    Args:
        cameras: V views.
        offsets: (V + 1,) int64, pixels of view v are offsets[v] to offsets[v + 1].
    """

    def __init__(self, cameras: Cameras, offsets: Tensor) -> None:
        self._offsets = offsets
        self._table: Tensor | None = None
        self._shift = offsets[:0]
        """Shift (V,) from the number of a view's pixel in the set to its row in the table."""
        lens = torch.cat([cameras.intrinsics, cameras.distortion, cameras.model[:, None], cameras.size], dim=1)
        _, lens_of_view = torch.unique(lens, dim=0, return_inverse=True)
        first: dict[int, int] = {}
        for view, number in enumerate(lens_of_view.tolist()):
            first.setdefault(number, view)
        counts = [int(cameras.size[view].prod()) for view in first.values()]
        if sum(counts) > _TABLE_PIXELS:
            return
        directions, starts, start = [], {}, 0
        for (number, view), count in zip(first.items(), counts):
            width, height = cameras.size[view].tolist()
            centres = pixel_centres(width, height, cameras.c2w.device)
            views = torch.full((count,), view, dtype=torch.int64, device=centres.device)
            directions.append(cameras.directions(views, centres))
            starts[number] = start
            start += count
        base = torch.tensor([starts[number] for number in lens_of_view.tolist()], device=offsets.device)
        self._table, self._shift = torch.cat(directions), base - offsets[:-1]

    def at(self, index: Tensor, views: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """Return the rays of pixels; differentiable in the poses.

        Args:
            index: (n,) int64 number of each pixel in the set.
            views: (n,) int64 view of each pixel.
            cameras: of the set, in any poses.
        Returns:
            rays_o, rays_d: (n, 3), as from `Cameras.rays`.
        """
        return cameras.world_rays(views, self.directions(index, views, cameras))

    def directions(self, index: Tensor, views: Tensor, cameras: Cameras) -> Tensor:
        """Return the unit directions (n, 3), camera axes, of pixels; arguments as for `at`."""
        if self._table is not None:
            return self._table[index + self._shift[views]]
        within = index - self._offsets[views]
        width = cameras.size[views, 0]
        row = torch.div(within, width, rounding_mode="floor")
        return cameras.directions(views, torch.stack([within - row * width, row], dim=1) + 0.5)
