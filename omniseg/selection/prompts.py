"""From what a hand draws in a frame, points, strokes and boxes, to clicks in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from omniseg.cameras import Cameras
from omniseg.rendering.renderer import Renderer
from omniseg.rendering.view import RenderedView
from omniseg.selection.query import Click, score

_GRID = 8
_PIXELS = 1 << 15
_THRESHOLDS = 64
_COVER = 0.25


def seen_at(
    renderer: Renderer, cameras: Cameras, points: Sequence[tuple[float, float]], accept: bool
) -> tuple[Click, ...]:
    """What this one camera sees at points (x, y), in its pixels; without those where nothing is.

    Each is rendered by itself, so that a click is exact however coarse the frame is that it was made in.
    """
    xy = cameras.c2w.new_tensor(points).reshape(-1, 2)
    rays_o, rays_d = cameras.rays(torch.zeros(len(xy), dtype=torch.int64, device=xy.device), xy)
    seen = RenderedView.of(cameras, rays_o, rays_d, renderer.render(rays_o, rays_d, colour=False, features=True))
    solid = seen.solid.nonzero()[:, 0]
    return tuple(
        Click(accept, (x, y, z), tuple(feature))
        for (x, y, z), feature in zip(seen.positions[solid].tolist(), seen.features[solid].tolist())
    )


def along(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most so many points (x, y), at least two pixels apart, evenly spaced along the line through some."""
    line = torch.tensor(points, dtype=torch.float64).reshape(-1, 2)
    lengths = (line[1:] - line[:-1]).norm(dim=1)
    line, lengths = torch.cat([line[:1], line[1:][lengths > 0]]), lengths[lengths > 0]
    total = float(lengths.sum())
    if not total:
        return list(points[:1])
    ends = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    at = torch.linspace(0, total, max(min(most, int(total / 2)), 2), dtype=torch.float64)
    k = (torch.searchsorted(ends, at, right=True) - 1).clamp(max=len(lengths) - 1)
    found = line[k] + ((at - ends[k]) / lengths[k])[:, None] * (line[k + 1] - line[k])
    return [(x, y) for x, y in found.tolist()]


def grid_points(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    """Points on a regular grid in a box."""
    grid = ((torch.arange(_GRID) + 0.5) / _GRID).tolist()
    return [(x0 + (x1 - x0) * u, y0 + (y1 - y0) * v) for v in grid for u in grid]


def fill_box(
    frame: RenderedView, clicks: Sequence[Click], box: tuple[float, float, float, float], spatial_weight: float
) -> tuple[Click, float]:
    """The click, and the threshold, whose selection suits a box best.

    Suits: how much of the box's width and of its height the selection spans, times the share of it that lies in the
    box, times a low power of the share of the box that it covers, since of two that fit the larger is meant.

    Args:
        frame: where the box was drawn.
        clicks: those to choose from, at least one.
        box: x and y of one corner, then of the opposite one, the larger.
        spatial_weight: of the score.
    """
    step = max(len(frame.features) // _PIXELS, 1)
    pixels = torch.arange(0, len(frame.features), step, device=frame.features.device)
    pixels = pixels[frame.solid[pixels]]
    features, positions = frame.features[pixels], frame.positions[pixels]
    x, y = (pixels % frame.width) + 0.5, torch.div(pixels, frame.width, rounding_mode="floor") + 0.5
    x0, y0, x1, y1 = box
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    thresholds = 0.5 + 0.5 * torch.cos(torch.linspace(0.05, 2.0, _THRESHOLDS, device=x.device))
    best, chosen = -1.0, (clicks[0], float(thresholds[0]))
    for click in clicks:
        alike = score(features, positions, (click,), spatial_weight)
        bins = torch.bucketize(-alike, -thresholds)  # the first threshold that selects the pixel
        selected = torch.bincount(bins, minlength=_THRESHOLDS + 1).cumsum(0)[:_THRESHOLDS]
        hit = torch.bincount(bins[inside], minlength=_THRESHOLDS + 1).cumsum(0)[:_THRESHOLDS]
        suits = hit / selected.clamp(min=1) * (hit / inside.sum().clamp(min=1)) ** _COVER
        for axis, low, high in ((x, x0, x1), (y, y0, y1)):
            least = _running(axis[inside], bins[inside], "amin", high)
            most = _running(axis[inside], bins[inside], "amax", low)
            suits = suits * ((most - least) / (high - low)).clamp(0, 1)
        at = int(suits.argmax())
        if float(suits[at]) > best:
            best, chosen = float(suits[at]), (click, float(thresholds[at]))
    return chosen


def _running(values: Tensor, bins: Tensor, kind: Literal["amin", "amax"], start: float) -> Tensor:
    """Smallest or largest of the values (n,) in each bin or one before it, `start` where there is none."""
    found = values.new_full((_THRESHOLDS + 1,), float(start)).scatter_reduce(0, bins, values, kind)
    return (found.cummin(0) if kind == "amin" else found.cummax(0)).values[:_THRESHOLDS]
