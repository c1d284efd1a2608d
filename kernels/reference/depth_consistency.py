"""Torch twin of `omniseg_kernels.depth_consistency`."""

import torch
from torch import Tensor

from .._pinhole import PinholeViews
from .plane_sweep import camera_rays, project


def agreeing_views(views: PinholeViews, distances: Tensor, partners: Tensor, tolerance: float) -> Tensor:
    """Count, for each pixel, the partners whose distance at its point is that of the point."""
    counts = torch.zeros(len(distances), dtype=torch.int32, device=distances.device)
    for view in range(len(views)):
        pixels = slice(views.offsets[view], views.offsets[view + 1])
        own, (origin, directions) = distances[pixels], camera_rays(views, view)
        points = origin + directions.view(-1, 3) * own[:, None]
        for other in partners[view].tolist():
            if other >= 0:
                width, height = views.sizes[other].tolist()
                xy, inside = project(views, other, points)
                x, y = xy.floor().long().unbind(1)
                there = distances[views.offsets[other] + y.clamp(0, height - 1) * width + x.clamp(0, width - 1)]
                far = (points - views.c2w[other, :, 3]).norm(dim=1)
                agrees = ((there - far).abs() < tolerance * far) & inside & (own > 0) & (there > 0)
                counts[pixels] += agrees.int()
    return counts
