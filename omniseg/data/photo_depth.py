"""Depth from photos and poses alone, by a plane sweep on small grey pictures, in seconds.

The sweep is done twice: a quick look with few planes, from the nearest distance to the end of the scene, tells how near
anything is; then planes even in inverse distance begin there. A pixel has depth if its score is high and other
photos agree.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from omniseg.config import PhotoDepthConfig
from omniseg.data.depth_maps import DepthMaps
from omniseg.data.images import ImageSet
from omniseg.data.neighbours import choose_neighbours, with_those_that_chose
from omniseg.data.pinholes import Pinholes
from omniseg_kernels import PinholeViews, SweepRule, agreeing_views, plane_sweep, ray_aabb
from omniseg_kernels.plane_sweep import Spacing


@dataclass(frozen=True)
class PhotoDepth:
    """Depth found from the photos.

    maps: distances that the photos show, on small pictures.
    coverage: share of pixels whose depth the sweep found, in the photos that were swept, without transparent pixels.
    look_coverage: the same of the quick look; little where poses are wrong.
    texture: share of the same pixels that show texture; without it there is no depth.
    near: distance before which the photos show nothing, scene units; 0: unknown, since nothing was swept.
    seconds: wall time of the sweep.
    from_points: share of the pixels of the maps whose distance is that of a point of structure from motion.
    """

    maps: DepthMaps
    coverage: float
    look_coverage: float
    texture: float
    near: float
    seconds: float
    from_points: float = 0.0

    @classmethod
    def from_points_alone(cls, maps: DepthMaps) -> PhotoDepth:
        """Build from the maps of points, where nothing was swept."""
        return cls(maps, 0.0, 0.0, 0.0, near=0.0, seconds=0.0, from_points=maps.known_share)

    def filled(self, points: DepthMaps) -> PhotoDepth:
        """Return the same with the distances of points in pixels that have none."""
        maps = self.maps.filled(points)
        return replace(self, maps=maps, from_points=maps.known_share - self.maps.known_share)


class _Known(NamedTuple):
    """Distances (n_pixels,) of pictures, 0 where unknown, and the share of opaque pixels that are known."""

    distances: Tensor
    share: float


def photo_depth(
    images: ImageSet,
    near: float,
    box: tuple[float, float, float],
    config: PhotoDepthConfig | None = None,
    *,
    progress: bool = True,
) -> PhotoDepth:
    """Find the distances of pixels by comparing photos whose poses are known; without texture nothing is found.

    Args:
        images: photos of any sizes and lenses, with or without alpha; fewer than three have no depth.
        near: nearest distance of anything from a camera, scene units, above 0.
        box: half edges of the box around the origin, scene units; nothing is looked for beyond.
        progress: show a progress bar after two seconds.
    Raises:
        ValueError: `near` is not above 0.
    """
    if not near > 0:
        raise ValueError(f"near: expected above 0, got {near}")
    config = PhotoDepthConfig() if config is None else config
    begin = time.perf_counter()
    photos, longest = _affordable(images, config)
    look = _Sweep.from_photos(images, photos, config.shortest, near, box, config, progress)
    seen = look.known(near, "logarithmic", config.look_planes, config.look_min_score, config.look_tolerance)
    there = seen.distances[seen.distances > 0]
    first = near
    if len(there) > config.look_min_pixels:
        nearest = there.kthvalue(1 + int(config.near_quantile * (len(there) - 1))).values
        first = max(near, config.near_factor * float(nearest))
    sweep = _Sweep.from_photos(images, photos, longest, near, box, config, progress, look.neighbours.cpu())
    found = sweep.known(first, "inverse", config.planes, config.min_score, config.tolerance)
    maps = sweep.pinholes.depth_maps(found.distances, images.names)
    texture = sweep.pinholes.texture(config.radius, config.contrast)
    return PhotoDepth(maps, found.share, seen.share, texture, first, time.perf_counter() - begin)


@dataclass(frozen=True)
class _Sweep:
    """Pictures, and on the device of the images: their views, neighbours and ends of rays.

    partners: views whose distances are compared: the neighbours of each and those that chose it.
    """

    pinholes: Pinholes
    config: PhotoDepthConfig
    views: PinholeViews
    grey: Tensor
    shown: Tensor
    far: Tensor
    neighbours: Tensor
    partners: Tensor

    @classmethod
    def from_photos(
        cls,
        images: ImageSet,
        photos: list[int],
        longest: int,
        near: float,
        box: tuple[float, float, float],
        config: PhotoDepthConfig,
        progress: bool,
        neighbours: Tensor | None = None,
    ) -> _Sweep:
        """Shrink photos; choose neighbours unless they are given."""
        device = images.device
        pinholes = Pinholes.from_images(images, photos, longest, progress=progress)
        views = PinholeViews(
            *(x.to(device) for x in (pinholes.views.sizes, pinholes.views.c2w, pinholes.views.intrinsics))
        )
        corners = torch.tensor([-edge for edge in box] + list(box))
        far = ray_aabb(*(x.to(device) for x in (pinholes.origins, pinholes.directions, corners)), near=near)[1]
        if neighbours is None:
            neighbours = choose_neighbours(pinholes, far.cpu(), config.neighbours, config.choice)
        partners = with_those_that_chose(neighbours)
        grey, shown = pinholes.grey.to(device), pinholes.shown.to(device)
        return cls(pinholes, config, views, grey, shown, far, neighbours.to(device), partners.to(device))

    def known(self, near: float, spacing: Spacing, planes: int, min_score: float, tolerance: float) -> _Known:
        """Sweep from `near` on and keep what scores well and others agree with."""
        config = self.config
        rule = SweepRule(planes, spacing, config.radius, config.contrast**2, config.best)
        # A ray that leaves the box before the first plane is searched a little beyond.
        spans = torch.stack([torch.full_like(self.far, near), self.far.clamp(min=1.5 * near)], 1)
        sweep = plane_sweep(self.views, self.grey, spans, self.neighbours, rule)
        distances = torch.where((sweep.scores > min_score) & self.shown, sweep.distances, 0)
        agreeing = agreeing_views(self.views, distances, self.partners, tolerance)
        distances = torch.where(agreeing >= config.min_agreeing, distances, 0)
        return _Known(distances, float((distances > 0).sum() / self.shown.sum().clamp(min=1)))


def _affordable(images: ImageSet, config: PhotoDepthConfig) -> tuple[list[int], int]:
    """Return the photos to sweep and the longest side of their pictures."""
    sizes = images.sizes.cpu().double()

    def cost(longest: int) -> Tensor:
        factor = (longest / sizes.amax(1)).clamp(max=1)
        return sizes.prod(1) * factor**2 * config.planes * config.neighbours

    longest, n = config.longest, len(images)
    if cost(longest).sum() > config.budget:
        whole = config.longest * float((config.budget / cost(longest).sum()) ** 0.5)
        longest = max(config.shortest, int(whole))
    if cost(longest).sum() > config.budget:
        n = max(2, int(n * config.budget / cost(longest).sum()))
    return images.cameras.spread(n), longest
