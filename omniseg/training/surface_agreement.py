"""Agreement of the surfaces that different photos see: tells a learned scene from fog.

In fog every camera has a wall of its own just before its lens, which explains its photo and no other. Training error
does not show it; two photos that look at the same place do.
"""

import torch
from torch.nn import functional as F

from omniseg.data.images import ImageSet
from omniseg.data.rays import PixelRays
from omniseg.rendering.renderer import Renderer

NO_SURFACES, UNCERTAIN = 0.2, 0.5
"""Agreement below which there are no surfaces, and below which they are uncertain. Fog has 0.00 to 0.01, a converged
scene 0.5 to 0.9."""

_SIMILAR_SIDE = 0.5
"""Cosine of the largest angle between the two lines of sight, 60 degrees."""


@torch.no_grad()
def surface_agreement(
    renderer: Renderer, images: ImageSet, *, n_rays: int = 3000, tolerance: float = 0.1, seed: int = 0
) -> float:
    """Return the share of surface points, seen in one photo, that another photo confirms.

    A point is what a random pixel of a random photo sees. Another photo, drawn from those whose picture contains the
    point and that look at it from a similar side, so that it is rarely hidden, renders a ray towards it and confirms it
    if its distance is that of the point within `tolerance`. Points that no other photo shows count as unconfirmed: fog
    before a lens is mostly outside of the other pictures.

    Args:
        renderer: renderer of the field that is trained.
        images: training views.
        n_rays: number of pixels.
        tolerance: relative difference of the distances.
        seed: seed of the random numbers.
    Returns:
        In [0, 1]; 0 where nothing solid is seen.
    """
    device, cameras = images.device, images.cameras
    generator = torch.Generator().manual_seed(seed)
    index = images.valid_pixels(torch.randint(images.n_valid, (n_rays,), generator=generator).to(device))
    views = torch.searchsorted(images.offsets[1:].contiguous(), index, right=True)
    rays_o, rays_d = PixelRays(cameras, images.offsets).at(index, views, cameras)
    rendering = renderer.render(rays_o, rays_d, colour=False)
    solid = rendering.solid
    points, views = (rays_o + rendering.distance[:, None] * rays_d)[solid], views[solid]
    projected = cameras.project(points)
    shows = projected.inside & (projected.depth > renderer.config.near)
    shows[views, torch.arange(len(views), device=device)] = False
    towards = F.normalize(cameras.c2w[:, None, :, 3] - points, dim=2)  # (V, n, 3)
    shows &= (towards * -rays_d[solid]).sum(2) > _SIMILAR_SIDE
    seen_twice, n_points = shows.any(0), len(points)
    if not bool(seen_twice.any()):
        return 0.0
    points, shows = points[seen_twice], shows[:, seen_twice]
    draw = torch.rand(shows.shape, generator=generator).to(device)
    other = torch.where(shows, draw, -1.0).argmax(0)
    eyes = cameras.c2w[other, :, 3]
    distance = (points - eyes).norm(dim=1)
    rendered = renderer.render(eyes, F.normalize(points - eyes, dim=1), colour=False).distance
    return float(((rendered - distance).abs() < tolerance * distance).float().sum() / n_points)
