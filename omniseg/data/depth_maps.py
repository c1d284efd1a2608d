"""Distances of photos on small pinhole pictures, looked up for single rays: 2 bytes a small pixel, not a photo's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from omniseg.cameras import Cameras, pixel_centres

_FRONT = 1e-3
"""Least z of a unit direction, camera axes, that a pinhole picture can show."""

FARTHEST = 6e4
"""Largest distance that float16 holds, rounded down."""


@dataclass(frozen=True)
class DepthMaps:
    """Distances that V photos show, each on a small picture without lens distortion.

    names: names of the photos.
    distances: (n_pixels,) float16 distance along the ray of each pixel's centre, scene units, 0: unknown; packed, one
        picture after another, rows from the top.
    sizes: (V, 2) int64 width and height of the pictures, 0 x 0 for a photo without one.
    intrinsics: (V, 4) float32 fx, fy, cx, cy of the pictures, pixels.

    Raises:
        ValueError: a shape or dtype disagrees, or a number is not as above.
    """

    names: tuple[str, ...]
    distances: Tensor
    sizes: Tensor
    intrinsics: Tensor

    def __post_init__(self) -> None:
        n = len(self.names)
        shapes = (tuple(self.sizes.shape), tuple(self.intrinsics.shape), self.distances.ndim)
        dtypes = (self.sizes.dtype, self.intrinsics.dtype, self.distances.dtype)
        if shapes != ((n, 2), (n, 4), 1) or dtypes != (torch.int64, torch.float32, torch.float16):
            raise ValueError(
                f"sizes, intrinsics, distances: expected (V, 2), (V, 4), (n,) for {n} photos, got {shapes}"
            )
        sizes = self.sizes.cpu()
        if not (sizes.clamp(0, 2**15) == sizes).all() or int(sizes.prod(1).sum()) != len(self.distances):
            raise ValueError("sizes: expected as many pixels as there are distances")
        focal = self.intrinsics.cpu()[sizes.prod(1) > 0, :2]
        if not (self.intrinsics.isfinite().all() and (focal > 0).all()):
            raise ValueError("intrinsics: expected finite numbers and focal lengths above 0")
        if not (self.distances.isfinite() & (self.distances >= 0)).all():
            raise ValueError("distances: expected finite numbers of at least 0")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _starts(self) -> Tensor:
        counts = self.sizes.prod(1)
        return counts.cumsum(0) - counts

    @property
    def known_share(self) -> float:
        """Share of the small pixels whose distance is known."""
        return float((self.distances > 0).float().mean())

    def to(self, device: torch.device | str) -> DepthMaps:
        """Move the maps to a device."""
        tensors = {name: getattr(self, name).to(device) for name in ("distances", "sizes", "intrinsics")}
        return replace(self, **tensors)

    def filled(self, other: DepthMaps) -> DepthMaps:
        """Return maps of the same photos with the distances of others where these have none.

        Raises:
            ValueError: the names differ, or both have pictures of a photo and these differ in size.
        """
        if self.names != other.names:
            raise ValueError("names: expected the same photos")
        own, others = self.sizes.prod(1).tolist(), other.sizes.prod(1).tolist()
        parts = []
        for mine, theirs in zip(self.distances.split(own), other.distances.split(others)):
            if not len(mine) or not len(theirs):
                parts.append(mine if len(mine) else theirs)
            elif len(mine) == len(theirs):
                parts.append(torch.where(mine > 0, mine, theirs))
            else:
                raise ValueError(f"sizes: expected pictures of the same size, got {len(mine)} and {len(theirs)} pixels")
        has = (self.sizes.prod(1) > 0)[:, None]
        distances = torch.cat([self.distances[:0], *parts])
        sizes = torch.where(has, self.sizes, other.sizes)
        return DepthMaps(self.names, distances, sizes, torch.where(has, self.intrinsics, other.intrinsics))

    def at(self, views: Tensor, directions: Tensor) -> Tensor:
        """Return the distances (n,) float32 of rays, 0 where unknown: those of the small pixels that they pass.

        Args:
            views: (n,) int64 photo of each ray.
            directions: (n, 3) float32 unit directions, camera axes.
        """
        fx, fy, cx, cy = self.intrinsics[views].unbind(1)
        (width, height), (x, y, z) = self.sizes[views].unbind(1), directions.unbind(1)
        i, j = x / z * fx + cx, y / z * fy + cy
        inside = (z > _FRONT) & (i >= 0) & (j >= 0) & (i < width) & (j < height)
        index = torch.where(inside, self._starts[views] + j.long() * width + i.long(), 0)
        return torch.where(inside, self.distances[index].float(), 0) if len(self.distances) else torch.zeros_like(x)

    def image(self, cameras: Cameras, view: int) -> Tensor:
        """Return the distances (height, width) float32 of all pixels of one photo, 0 where unknown.

        Args:
            cameras: cameras of the photos, of any size and on the device of the maps.
            view: number of the photo.
        """
        width, height = cameras.size[view].tolist()
        centres = pixel_centres(width, height, self.sizes.device)
        views = torch.full((len(centres),), view, dtype=torch.int64, device=centres.device)
        return self.at(views, cameras.directions(views, centres)).view(height, width)
