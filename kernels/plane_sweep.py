"""Distances of pixels by a plane sweep over posed pinhole views (Collins 1996; Yang and Pollefeys 2003).

Each ray of a view is cut into planes between its nearest and farthest distance. On every plane the neighbours'
pictures are warped to the view, and a window of each is compared with the view's own:

    ncc = cov(I, W) / sqrt((var I + floor) (var W + floor))        zero-mean normalised cross-correlation

The score of a plane is the mean of the best neighbours; the distance is that of the plane of highest score, refined by
a parabola through the plane's score and those beside it. The warp of a pixel is linear in its inverse z-depth s, so
a sample costs one division: w (u, v, 1) = H (x, y, 1) + s e.

Nothing here is differentiable.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import taichi as ti
import torch
from torch import Tensor

from ._pinhole import PinholeViews, check_partners, pairs, ray_length, view_of
from ._sweep_planes import FRONT, INTS, ROWS, VALUES, blend, corner_of, insert, inverse_depth, peak
from ._sweep_strips import sweep_strips
from .launch import arch, check_like, check_shape, launch

Spacing = Literal["inverse", "logarithmic"]

_MIDDLE = 0.5
"""Taken from all values before windows are summed: fewer digits cancel."""
_MOST_NEIGHBOURS = 8


@dataclass(frozen=True)
class SweepRule:
    """Planes of a sweep and the comparison on each.

    planes: number of planes of each ray, at least 2; the first is at its near and the last at its far distance.
    spacing: even in inverse distance ("inverse") or in the logarithm of the distance ("logarithmic").
    radius: of the window, (2 radius + 1)^2 pixels less those outside of the view; 1 to 4.
    variance_floor: added to both variances, above 0; texture fainter than its root does not count.
    best: neighbours whose mean is the score, those that agree best; a neighbour that is missing or does not see the
        pixel counts as -1.
    """

    planes: int = 48
    spacing: Spacing = "inverse"
    radius: int = 2
    variance_floor: float = (2.5 / 255) ** 2
    best: int = 2

    def __post_init__(self) -> None:
        if not 2 <= self.planes <= 4096:
            raise ValueError(f"planes: expected 2 to 4096, got {self.planes}")
        if self.spacing not in ("inverse", "logarithmic"):
            raise ValueError(f"spacing: expected 'inverse' or 'log', got {self.spacing!r}")
        if not 1 <= self.radius <= 4:
            raise ValueError(f"radius: expected 1 to 4, got {self.radius}")
        if not 0 < self.variance_floor < float("inf"):
            raise ValueError(f"variance_floor: expected above 0, got {self.variance_floor}")
        if not 1 <= self.best <= 8:
            raise ValueError(f"best: expected 1 to 8, got {self.best}")


@dataclass(frozen=True)
class PlaneSweep:
    """Result of a sweep, packed as the pixels of the views.

    distances: (n_pixels,) float32 distance along the ray, world units; 0 in views that were not swept.
    scores: (n_pixels,) float32 in [-1, 1], mean correlation of the best neighbours there; -1 where nothing was seen.
    """

    distances: Tensor
    scores: Tensor


@cache
def _prepare_kernel(radius: int):
    """Compile what each pixel needs on all planes: first inverse z-depth, step, mean and 1 / deviation of its window.

    The step is added to the inverse depth, or to its logarithm.
    """

    @ti.kernel
    def prepare(spans: ROWS, grey: VALUES, table: INTS, intrinsics: ROWS, planes: ti.i32, floor: ti.f32, log: ti.i32,
        ready: ROWS,
    ):  # fmt: skip
        for pixel in range(grey.shape[0]):
            v = view_of(pixel, table)
            start, width, height = table[v, 0], table[v, 1], table[v, 2]
            x, y = (pixel - start) % width, (pixel - start) // width
            length = ray_length(intrinsics, v, ti.cast(x, ti.f32), ti.cast(y, ti.f32))
            first, last, gaps = length / spans[pixel, 0], length / spans[pixel, 1], ti.cast(planes - 1, ti.f32)
            ready[0, pixel] = first
            ready[1, pixel] = ti.select(log != 0, ti.log(last / first), last - first) / gaps
            total, squares, count = 0.0, 0.0, 0.0
            for j in range(ti.max(y - radius, 0), ti.min(y + radius + 1, height)):
                for i in range(ti.max(x - radius, 0), ti.min(x + radius + 1, width)):
                    value = grey[start + j * width + i]
                    total += value
                    squares += value * value
                    count += 1.0
            mean = total / count
            ready[2, pixel] = mean
            ready[3, pixel] = 1.0 / ti.sqrt(ti.max(squares / count - mean * mean, 0.0) + floor)

    return prepare


@cache
def _pixels_kernel(neighbours: int, best: int, radius: int):
    """Compile the sweep by pixels, for GPUs: a thread looks up the whole window of its pixel on each plane."""

    @ti.func
    def correlate(
        grey: ti.template(), warps: ti.template(), places: ti.template(), ready: ti.template(), pair: ti.i32,
        start: ti.i32, width: ti.i32, height: ti.i32, x: ti.i32, y: ti.i32, plane: ti.f32, floor: ti.f32, log: ti.i32,
    ):  # fmt: skip
        first, w, h = places[pair, 0], places[pair, 1], places[pair, 2]
        right, below = ti.min(w - 1, 1), ti.min(h - 1, 1) * w
        total, squares, products, count, seen = 0.0, 0.0, 0.0, 0.0, 0
        for j in range(ti.max(y - radius, 0), ti.min(y + radius + 1, height)):
            for i in range(ti.max(x - radius, 0), ti.min(x + radius + 1, width)):
                pixel = start + j * width + i
                s = inverse_depth(ready, pixel, plane, log)
                column, row = ti.cast(i, ti.f32), ti.cast(j, ti.f32)
                z = warps[pair, 6] * column + (warps[pair, 7] * row + warps[pair, 8]) + warps[pair, 11] * s
                inverse = 1.0 / ti.max(z, FRONT)
                u = (warps[pair, 0] * column + (warps[pair, 1] * row + warps[pair, 2]) + warps[pair, 9] * s) * inverse
                v = (warps[pair, 3] * column + (warps[pair, 4] * row + warps[pair, 5]) + warps[pair, 10] * s) * inverse
                at_x, at_y, dx, dy = corner_of(u, v, w, h)
                value = blend(grey, first + at_y * w + at_x, right, below, dx, dy)
                total += value
                squares += value * value
                products += value * grey[pixel]
                count += 1.0
                if i == x and j == y:
                    inside = (u > -0.5) & (u < ti.cast(w, ti.f32) - 0.5) & (v > -0.5) & (v < ti.cast(h, ti.f32) - 0.5)
                    seen = (z > FRONT) & inside
        mean, own = total / count, start + y * width + x
        variance = ti.max(squares / count - mean * mean, 0.0) + floor
        ncc = (products / count - mean * ready[2, own]) * ready[3, own] / ti.sqrt(variance)
        return ncc if seen else -1.0

    @ti.kernel
    def sweep(
        grey: VALUES, table: INTS, intrinsics: ROWS, warps: ROWS, places: INTS, ready: ROWS, planes: ti.i32,
        floor: ti.f32, log: ti.i32, distances: VALUES, scores: VALUES,
    ):  # fmt: skip
        for pixel in range(grey.shape[0]):
            view = view_of(pixel, table)
            start, width, height = table[view, 0], table[view, 1], table[view, 2]
            partners = 0
            for k in range(neighbours):
                partners += places[view * neighbours + k, 3]
            if partners > 0:
                x, y = (pixel - start) % width, (pixel - start) // width
                highest, its_plane, before, after, latest = -2.0, -1.0, -1.0, -1.0, -1.0
                for plane in range(planes):
                    p = ti.cast(plane, ti.f32)
                    largest = ti.Vector([-1.0] * best)
                    for k in range(neighbours):
                        pair = view * neighbours + k
                        if places[pair, 3] > 0:
                            ncc = correlate(grey, warps, places, ready, pair, start, width, height, x, y, p, floor, log)
                            insert(largest, ncc, best)
                    score = largest.sum() * (1.0 / best)
                    if score > highest:
                        highest, its_plane, before, after = score, p, latest, score
                    elif its_plane == p - 1.0:
                        after = score
                    latest = score
                p = peak(highest, its_plane, before, after, planes)
                length = ray_length(intrinsics, view, ti.cast(x, ti.f32), ti.cast(y, ti.f32))
                distances[pixel] = length / inverse_depth(ready, pixel, p, log)
                scores[pixel] = highest

    return sweep


def plane_sweep(
    views: PinholeViews, grey: Tensor, spans: Tensor, neighbours: Tensor, rule: SweepRule | None = None
) -> PlaneSweep:
    """Find the distance of each pixel at which its surroundings look alike in the neighbours; not differentiable.

    Memory grows with the pixels, not with planes or neighbours.

    Args:
        views: V views, of any sizes.
        grey: (n_pixels,) float32 grey values in about [0, 1], packed as the pixels of `views`.
        spans: (n_pixels, 2) float32 nearest and farthest distance along each pixel's ray, world units, with
            0 < near <= far.
        neighbours: (V, K) int64 views that each is compared with, -1 for none, K at most 8. A view without any is not
            swept.
        rule: planes and comparison; the defaults unless given.
    Raises:
        ValueError: a shape, dtype or device disagrees, a neighbour is no view, or a span is not as above.
    """
    rule = SweepRule() if rule is None else rule
    _check(views, grey, spans, neighbours)
    distances, scores = torch.zeros_like(grey), torch.full_like(grey, -1)
    if not (neighbours >= 0).any() or not views.n_pixels:
        return PlaneSweep(distances, scores)
    k, r, floor, log = neighbours.shape[1], rule.radius, rule.variance_floor, int(rule.spacing == "logarithmic")
    grey = grey.detach() - _MIDDLE
    ready = grey.new_empty(4, views.n_pixels)
    inputs = (spans, grey, views.table, views.intrinsics, rule.planes, floor, log)
    launch(_prepare_kernel(r), inputs, (ready,))
    arrays = (grey, views.table, views.intrinsics, *pairs(views, neighbours), ready)
    if arch() == "cuda":
        inputs = (*arrays, rule.planes, floor, log)
        launch(_pixels_kernel(k, rule.best, r), inputs, (distances, scores))
    else:
        sweep_strips(views, neighbours, arrays, rule.planes, floor, rule.best, r, log, (distances, scores))
    return PlaneSweep(distances, scores)


def _check(views: PinholeViews, grey: Tensor, spans: Tensor, neighbours: Tensor) -> None:
    check_shape("grey", grey, (views.n_pixels,))
    check_shape("spans", spans, (views.n_pixels, 2))
    for name, values in (("grey", grey), ("spans", spans)):
        check_like(name, values, "c2w", views.c2w)
    check_partners("neighbours", neighbours, views)
    if neighbours.shape[1] > _MOST_NEIGHBOURS:
        raise ValueError(f"neighbours: expected at most {_MOST_NEIGHBOURS} for each view, got {neighbours.shape[1]}")
    near, far = spans.unbind(1)
    if not ((near > 0) & (near <= far) & torch.isfinite(far)).all():
        raise ValueError("spans: expected 0 < near <= far, finite, for each pixel")
