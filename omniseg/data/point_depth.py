"""Sparse depth: the distances of the points that structure from motion found in each photo."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from omniseg.data.depth_maps import FARTHEST, DepthMaps
from omniseg.data.images import ImageSet
from omniseg.data.pinholes import picture_lenses


def point_depth(images: ImageSet, points: Sequence[Tensor | None], longest: int) -> DepthMaps:
    """Return the distance of the nearest point in each pixel of small pictures, 0 where there is none, on the host.

    Args:
        images: photos of any sizes and lenses.
        points: for each photo (n, 3) points, scene coordinates, that are known to be visible in it, or None.
        longest: longest side of the pictures, in pixels.
    Raises:
        ValueError: there is not one entry for each photo.
    """
    if len(points) != len(images):
        raise ValueError(f"points: expected one entry for each of {len(images)} photos, got {len(points)}")
    cameras = images.cameras.to("cpu")
    lenses = picture_lenses(cameras, list(range(len(images))), longest)
    parts = []
    for v, lens in enumerate(lenses):
        picture = torch.zeros(lens.height * lens.width)
        seen = points[v]
        if seen is not None:
            away = seen.to(cameras.c2w) - cameras.c2w[v, :, 3]
            x, y, z = (away @ cameras.c2w[v, :, :3]).unbind(1)
            (fx, fy, cx, cy), front = lens.intrinsics.tolist(), z > 0
            i, j = (x / z * fx + cx).floor(), (y / z * fy + cy).floor()
            inside = front & (i >= 0) & (j >= 0) & (i < lens.width) & (j < lens.height)
            pixel, distance = (j * lens.width + i)[inside].long(), away.norm(dim=1)[inside]
            picture = picture.scatter_reduce(0, pixel, distance, "amin", include_self=False)
        parts.append(picture.clamp(max=FARTHEST).half())
    sizes = torch.tensor([[lens.width, lens.height] for lens in lenses])
    return DepthMaps(images.names, torch.cat(parts), sizes, torch.stack([lens.intrinsics for lens in lenses]))
