"""Which photos to compare each photo with: those that see the same from a few degrees aside."""

from __future__ import annotations

import torch
from torch import Tensor

from omniseg.config import NeighbourConfig
from omniseg.data.pinholes import Pinholes
from omniseg_kernels import PinholeViews


def choose_neighbours(pinholes: Pinholes, far: Tensor, n: int, config: NeighbourConfig) -> Tensor:
    """Choose up to `n` neighbours for each picture, one after the other: a point that is seen well already counts less.

    Args:
        pinholes: V pictures.
        far: (n_pixels,) distance at which each ray leaves the box.
    Returns:
        (V, n) int64, -1 where no other photo sees any of the points.
    """
    views, fractions = pinholes.views, torch.tensor(config.depths)
    chosen = torch.full((len(views), n), -1)
    for v, (width, height) in enumerate(views.sizes.tolist()):
        columns, rows = (
            ((torch.arange(config.probes) + 0.5) * size / config.probes).long().unique() for size in (width, height)
        )
        pixels = views.offsets[v] + torch.cat([torch.tensor([height // 2 * width + width // 2]),
                                               (rows[:, None] * width + columns).flatten()])  # fmt: skip
        lengths = far[pixels].clamp(max=config.reach)[:, None] * fractions
        points = views.c2w[v, :, 3] + pinholes.directions[pixels][:, None] * lengths[..., None]
        few = torch.arange(len(views))
        if len(views) > config.candidates:
            few = _gains(views, few, v, points[0], config).mean(1).topk(config.candidates).indices
        gains = _gains(views, few, v, points[1:].flatten(0, 1), config)
        seen = torch.zeros(gains.shape[1])
        for k in range(min(n, len(few))):
            total = (gains * torch.exp(-seen)).mean(1)
            best = int(total.argmax())
            if total[best] <= 1e-4:
                break
            chosen[v, k] = few[best]
            seen = seen + gains[best]
            gains[best] = 0
    return chosen


def _gains(views: PinholeViews, others: Tensor, view: int, points: Tensor, config: NeighbourConfig) -> Tensor:
    """Return (n_others, n_points) gain of each of the other views at each point; 0 of the view itself."""
    c2w, (fx, fy, cx, cy) = views.c2w[others], views.intrinsics[others].T[..., None]
    away = points - c2w[:, None, :, 3]
    x, y, z = (away @ c2w[:, :, :3]).unbind(2)
    depth = z.clamp(min=1e-6)
    u, v, size = fx * x / depth + cx, fy * y / depth + cy, views.sizes[others]
    inside = (z > 1e-3) & (u > 0) & (v > 0) & (u < size[:, :1]) & (v < size[:, 1:])
    inside &= (others != view)[:, None]
    sight = points - views.c2w[view, :, 3]
    distance, own = away.norm(dim=2).clamp(min=1e-9), sight.norm(dim=1).clamp(min=1e-9)
    angle = torch.rad2deg(torch.arccos(((away * sight).sum(2) / (distance * own)).clamp(-1, 1)))
    wide = (angle - config.ideal_angle).clamp(min=0) / config.angle_spread
    ratio = torch.log(distance / own) / config.ratio_spread
    near = (angle / config.ideal_angle).clamp(max=1) ** 1.5
    return near * torch.exp(-0.5 * (wide**2 + ratio**2)) * inside


def with_those_that_chose(neighbours: Tensor) -> Tensor:
    """Return (V, M) int64, each view's neighbours and the views whose neighbour it is, -1 in the rest of a row."""
    pairs = [set(row) - {-1} for row in neighbours.tolist()]
    for v, row in enumerate(neighbours.tolist()):
        for other in row:
            if other >= 0:
                pairs[other].add(v)
    longest = max((len(row) for row in pairs), default=0)
    rows = [sorted(row) + [-1] * (longest - len(row)) for row in pairs]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), longest)
