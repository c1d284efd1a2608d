"""Points, strokes and boxes drawn in a view, turned into clicks on the surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from omniseg.config import PromptConfig
from omniseg.rendering.renderer import Renderer
from omniseg.rendering.view import RenderedView, smooth_at
from omniseg.selection.query import Click, score


def clicks_at(
    renderer: Renderer, view: RenderedView, points: Sequence[tuple[float, float]], accept: bool
) -> tuple[Click, ...]:
    """Return clicks on what a view shows at points (x, y), pixels; points where nothing solid is seen are left out.

    Each point is rendered by itself, so that a click is exact even in a view that was rendered coarsely; its feature is
    smoothed with those of the pixels around it.
    """
    cameras = view.cameras
    xy = cameras.c2w.new_tensor(points).reshape(-1, 2)
    rays_o, rays_d = cameras.rays(torch.zeros(len(xy), dtype=torch.int64, device=xy.device), xy)
    rendering = renderer.render(rays_o, rays_d, features=True)
    assert rendering.features is not None
    solid = rendering.solid.nonzero()[:, 0]
    positions = rays_o + rendering.distance[:, None] * rays_d
    features = smooth_at(F.normalize(rendering.features, dim=1), rendering, xy, view, renderer.smoothing)
    return tuple(
        Click(accept, (x, y, z), tuple(feature))
        for (x, y, z), feature in zip(positions[solid].tolist(), features[solid].tolist())
    )


def points_along(points: Sequence[tuple[float, float]], config: PromptConfig) -> list[tuple[float, float]]:
    """Return points (x, y) spaced evenly along the line through some points, pixels."""
    line = torch.tensor(points, dtype=torch.float64).reshape(-1, 2)
    lengths = (line[1:] - line[:-1]).norm(dim=1)
    line, lengths = torch.cat([line[:1], line[1:][lengths > 0]]), lengths[lengths > 0]
    total = float(lengths.sum())
    if not total:
        return list(points[:1])
    ends = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    count = max(min(config.scribble_clicks, int(total / config.scribble_spacing)), 2)
    at = torch.linspace(0, total, count, dtype=torch.float64)
    k = (torch.searchsorted(ends, at, right=True) - 1).clamp(max=len(lengths) - 1)
    found = line[k] + ((at - ends[k]) / lengths[k])[:, None] * (line[k + 1] - line[k])
    return [(x, y) for x, y in found.tolist()]


def points_in_box(box: tuple[float, float, float, float], count: int) -> list[tuple[float, float]]:
    """Return the points (x, y) of a grid of `count` rows and columns in a box x0, y0, x1, y1."""
    x0, y0, x1, y1 = box
    grid = ((torch.arange(count) + 0.5) / count).tolist()
    return [(x0 + (x1 - x0) * u, y0 + (y1 - y0) * v) for v in grid for u in grid]


def fit_box(
    view: RenderedView,
    clicks: Sequence[Click],
    box: tuple[float, float, float, float],
    spatial_weight: float,
    config: PromptConfig,
) -> tuple[Click, float]:
    """Return the click and the threshold whose selection fits a box best.

    The fit is the share of the box's width and of its height that the selection spans, times the share of the
    selection that lies in the box, times a low power of the share of the box that it covers: of two selections that
    fit, the larger is meant.

    Args:
        view: the box was drawn in it.
        clicks: to choose from, at least one.
        box: x0, y0, x1, y1, pixels; x0 < x1 and y0 < y1.
        spatial_weight: weight of the distance from a click in the score, 1 / scene unit.
        config: number of pixels and thresholds to try.
    """
    n = config.box_thresholds
    step = max(len(view.solid) // config.box_pixels, 1)
    pixels = torch.arange(0, len(view.solid), step, device=view.solid.device)
    pixels = pixels[view.solid[pixels]]
    features, positions = view.unit_features[pixels], view.positions[pixels]
    x, y = (pixels % view.width) + 0.5, torch.div(pixels, view.width, rounding_mode="floor") + 0.5
    x0, y0, x1, y1 = box
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    thresholds = 0.5 + 0.5 * torch.cos(torch.linspace(*config.box_angles, n, device=x.device))
    best, chosen = -1.0, (clicks[0], float(thresholds[0]))
    for click in clicks:
        scores = score(features, positions, (click,), spatial_weight)
        bins = torch.bucketize(-scores, -thresholds)  # the first threshold that selects the pixel
        selected = torch.bincount(bins, minlength=n + 1).cumsum(0)[:n]
        hit = torch.bincount(bins[inside], minlength=n + 1).cumsum(0)[:n]
        fit = hit / selected.clamp(min=1) * (hit / inside.sum().clamp(min=1)) ** config.box_cover
        for axis, low, high in ((x, x0, x1), (y, y0, y1)):
            least = _running(axis[inside], bins[inside], n, "amin", high)
            most = _running(axis[inside], bins[inside], n, "amax", low)
            fit = fit * ((most - least) / (high - low)).clamp(0, 1)
        at = int(fit.argmax())
        if float(fit[at]) > best:
            best, chosen = float(fit[at]), (click, float(thresholds[at]))
    return chosen


def _running(values: Tensor, bins: Tensor, n: int, kind: Literal["amin", "amax"], start: float) -> Tensor:
    """Return the smallest or largest of the values (m,) in each of `n` bins and those before it, else `start`."""
    found = values.new_full((n + 1,), float(start)).scatter_reduce(0, bins, values, kind)
    return (found.cummin(0) if kind == "amin" else found.cummax(0)).values[:n]
