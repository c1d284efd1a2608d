"""The scene seen through some of its photos: surface points along every n-th ray, small depth maps, colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from omniseg.cameras import Cameras
from omniseg.rendering.visualize import FeatureColours
from omniseg.run_folder import Model

_COLOUR_VIEWS, _COLOUR_RAYS = 8, 1024
"""Feature colours come from at most this many views, and about this many rays in each."""
_POINTS_AT_ONCE = 1 << 17
"""Number of points whose colours are computed together."""


@dataclass(frozen=True)
class SurfacePoints:
    """Points of the surface, where rays hit something solid.

    Attributes:
        positions: (n, 3) scene coordinates.
        features: (n, dim) of unit length; None where they were not asked for.
    """

    positions: Tensor
    features: Tensor | None

    def __len__(self) -> int:
        return len(self.positions)


@torch.no_grad()
def survey(
    model: Model,
    views: Sequence[int],
    rays: int,
    *,
    features: bool = True,
    stagger: bool = False,
    progress: bool = True,
) -> SurfacePoints:
    """Render every n-th ray of some of the photos' views and keep what is solid.

    Args:
        model: trained; with a feature field where `features` are asked for.
        views: indices of the views, at least one (`Cameras.spread`).
        rays: about this many in all views together.
        features: also return features.
        stagger: begin at another ray in each view, so that sampled pixels do not line up.
        progress: show a bar.
    """
    cameras = model.viewpoints.cameras
    step = max(int(cameras.size.double().prod(1)[list(views)].sum() / rays), 1)
    positions, found = [], []
    for view in tqdm(views, desc="surface", unit="view", delay=2, leave=False, disable=not progress):
        first = view % step if stagger else 0
        rays_o, rays_d = (all_rays[first::step] for all_rays in cameras.image_rays(view))
        rendering = model.renderer.render(rays_o, rays_d, colour=False, features=features)
        positions.append((rays_o + rendering.distance[:, None] * rays_d)[rendering.solid])
        if rendering.features is not None:
            found.append(F.normalize(rendering.features, dim=1)[rendering.solid])
    return SurfacePoints(torch.cat(positions), torch.cat(found) if features else None)


@torch.no_grad()
def depth_maps(model: Model, views: int, rays: int, *, progress: bool = True) -> Iterator[tuple[Cameras, Tensor]]:
    """Render depth maps of some of the photos' views, spread evenly.

    Args:
        model: trained.
        views: at most so many.
        rays: at most about this many in all views together; images shrink to keep it.
        progress: show a bar.
    Yields:
        The camera, at the size of its map, and the distance (height * width,) along each of its rays, scene units;
        infinite where nothing solid is seen.
    """
    cameras = model.viewpoints.cameras
    cameras = cameras[cameras.spread(views)]
    shrink = math.sqrt(min(rays / float(cameras.size.prod(1).sum()), 1.0))
    if shrink < 1:
        cameras = cameras.resized(max(int(float(cameras.size[:, 0].max()) * shrink), 1))
    for view in tqdm(range(len(cameras)), desc="visibility", unit="view", delay=2, disable=not progress):
        rendering = model.renderer.render_image(cameras, view, colour=False)
        yield cameras[[view]], torch.where(rendering.solid, rendering.distance, torch.inf)


@torch.no_grad()
def surface_colours(model: Model, positions: Tensor, directions: Tensor) -> Tensor:
    """Return the colours (n, 3) of points (n, 3), scene coordinates, seen along unit directions (n, 3)."""
    field, colours = model.field, []
    for some, along in zip(positions.split(_POINTS_AT_ONCE), directions.split(_POINTS_AT_ONCE)):
        own_ray = torch.arange(len(some), dtype=torch.int32, device=some.device)
        colours.append(field.colour(field.density(some).geometry, along, own_ray))
    return torch.cat(colours)


def feature_colours(model: Model, *, progress: bool = True) -> FeatureColours:
    """Return colours that suit the features that the photos' viewpoints see, from a few thousand of their pixels."""
    views = model.viewpoints.cameras.spread(_COLOUR_VIEWS)
    features = survey(model, views, _COLOUR_RAYS * len(views), progress=progress).features
    assert features is not None
    return FeatureColours(features if len(features) else features.new_zeros(1, features.shape[1]))
