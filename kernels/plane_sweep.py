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
from .launch import CPU_CHUNK, arch, check_like, check_shape, launch

Spacing = Literal["inverse", "log"]

_MIDDLE = 0.5
"""Taken from all values before windows are summed: fewer digits cancel."""
_FRONT = 1e-6
"""Smallest ratio of z-depths of a point that lies in front of a neighbour."""
_STRIP_ROWS = 64
"""Rows of a view that a CPU task sweeps; the windows' rows above and below are warped twice."""
_MOST_TASKS = 64
"""CPU tasks that have memory of their own; each takes a strip after another."""
_MOST_SCRATCH = 2**24
"""Elements of all tasks' memory, unless a single one needs more."""
_STATE = 5
"""Numbers that a pixel keeps between planes: highest score, its plane, scores before and after it, latest score."""

_TILE = 16
"""Pixels whose values a CPU task keeps in local arrays."""
_MOST_NEIGHBOURS = 8

_VALUES = ti.types.ndarray(ti.f32, ndim=1)
_ROWS = ti.types.ndarray(ti.f32, ndim=2)
_INTS = ti.types.ndarray(ti.i32, ndim=2)


@dataclass(frozen=True)
class SweepRule:
    """Planes of a sweep and the comparison on each.

    planes: number of planes of each ray, at least 2; the first is at its near and the last at its far distance.
    spacing: even in inverse distance ("inverse") or in the logarithm of the distance ("log").
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
        if self.spacing not in ("inverse", "log"):
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


@ti.func
def _inverse_depth(ready: ti.template(), pixel: ti.i32, plane: ti.f32, log: ti.template()) -> ti.f32:
    """Return the inverse z-depth of a pixel's ray at a plane, which may lie between two."""
    first, step = ready[0, pixel], ready[1, pixel]
    return first * ti.exp(plane * step) if ti.static(log) else first + plane * step


@ti.func
def _corner(u: ti.f32, v: ti.f32, width: ti.i32, height: ti.i32):
    """Return the column and row of the pixel left above a point, and the point's place between it and the next ones.

    A point outside of the picture is moved to the nearest pixel of its border.
    """
    x = ti.min(ti.max(u, 0.0), ti.cast(width - 1, ti.f32))
    y = ti.min(ti.max(v, 0.0), ti.cast(height - 1, ti.f32))
    # Clamped again as integers: for NaN no comparison holds.
    i = ti.max(ti.min(ti.cast(x, ti.i32), width - 2), 0)
    j = ti.max(ti.min(ti.cast(y, ti.i32), height - 2), 0)
    return i, j, x - ti.cast(i, ti.f32), y - ti.cast(j, ti.f32)


@ti.func
def _blend(grey: ti.template(), corner: ti.i32, right: ti.i32, below: ti.i32, x: ti.f32, y: ti.f32) -> ti.f32:
    """Return the value between four pixels; `right` and `below` are steps from `corner` to the others."""
    above = grey[corner] + x * (grey[corner + right] - grey[corner])
    beneath = grey[corner + below] + x * (grey[corner + below + right] - grey[corner + below])
    return above + y * (beneath - above)


@cache
def _prepare_kernel(radius: int, log: bool):
    """Compile what each pixel needs on all planes: first inverse z-depth, step, mean and 1 / deviation of its window.

    The step is added to the inverse depth, or to its logarithm.
    """

    @ti.kernel
    def prepare(
        spans: _ROWS, grey: _VALUES, table: _INTS, intrinsics: _ROWS, planes: ti.i32, floor: ti.f32, ready: _ROWS
    ):
        for pixel in range(grey.shape[0]):
            v = view_of(pixel, table)
            start, width, height = table[v, 0], table[v, 1], table[v, 2]
            x, y = (pixel - start) % width, (pixel - start) // width
            length = ray_length(intrinsics, v, ti.cast(x, ti.f32), ti.cast(y, ti.f32))
            first, last, gaps = length / spans[pixel, 0], length / spans[pixel, 1], ti.cast(planes - 1, ti.f32)
            ready[0, pixel] = first
            ready[1, pixel] = ti.log(last / first) / gaps if ti.static(log) else (last - first) / gaps
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


@ti.func
def _peak(best: ti.f32, plane: ti.f32, before: ti.f32, after: ti.f32, planes: ti.i32) -> ti.f32:
    """Return the plane, with its fraction, at which the parabola through three scores is highest."""
    bend = before - 2.0 * best + after
    found = plane
    if plane > 0.5 and plane < ti.cast(planes, ti.f32) - 1.5 and bend < -1e-6:
        found += ti.min(ti.max(0.5 * (before - after) / bend, -0.5), 0.5)
    return found


@ti.func
def _insert(largest: ti.template(), value: ti.f32, best: ti.template()):
    """Insert a value into the largest ones, in falling order."""
    for b in ti.static(range(best)):
        larger = ti.max(largest[b], value)
        value = ti.min(largest[b], value)
        largest[b] = larger


@cache
def _strips_kernel(neighbours: int, best: int, radius: int, log: bool):
    """Compile the sweep by strips of rows, for CPUs: sums of windows are separable, and rows stay in the cache.

    On a plane, row after row is warped into a ring of as many rows as a window has; then windows around the middle row
    are summed, down the ring and along the row. Rows have `radius` zeros at both ends. All is done in tiles of `_TILE`
    pixels, whose values lie in local arrays: the compiler vectorises loops over these.
    """
    side = 2 * radius + 1
    # Rows of a task's memory: for each neighbour, a ring of values and a ring of what it sees; a ring of the view's own
    # values; 1 / columns of the windows.
    rows = _work_rows(neighbours, radius)

    @ti.func
    def warp_row(
        grey: ti.template(), warps: ti.template(), places: ti.template(), ready: ti.template(), work: ti.template(),
        base: ti.i32, pair: ti.i32, first: ti.i32, width: ti.i32, y: ti.i32, plane: ti.f32, slot: ti.i32,
        corners: ti.template(), across: ti.template(), down: ti.template(), seen: ti.template(),
    ):  # fmt: skip
        start, w, h = places[pair, 0], places[pair, 1], places[pair, 2]
        edge_x, edge_y = ti.cast(w, ti.f32) - 0.5, ti.cast(h, ti.f32) - 0.5
        right, below = ti.min(w - 1, 1), ti.min(h - 1, 1) * w
        row = ti.cast(y, ti.f32)
        hx, hy, hz = warps[pair, 0], warps[pair, 3], warps[pair, 6]
        bx = warps[pair, 1] * row + warps[pair, 2]
        by = warps[pair, 4] * row + warps[pair, 5]
        bz = warps[pair, 7] * row + warps[pair, 8]
        ex, ey, ez = warps[pair, 9], warps[pair, 10], warps[pair, 11]
        n = ti.min(width, _TILE)
        for tile in range((width + _TILE - 1) // _TILE):
            x_begin = ti.min(tile * _TILE, width - n)  # the last tile repeats pixels rather than being shorter
            for i in range(n):
                s = _inverse_depth(ready, first + x_begin + i, plane, log)
                x = ti.cast(x_begin + i, ti.f32)
                z = hz * x + bz + ez * s
                inverse = 1.0 / ti.max(z, _FRONT)
                u = (hx * x + bx + ex * s) * inverse
                v = (hy * x + by + ey * s) * inverse
                column, line, dx, dy = _corner(u, v, w, h)
                corners[i] = start + line * w + column
                across[i] = dx
                down[i] = dy
                is_seen = (z > _FRONT) & (u > -0.5) & (u < edge_x) & (v > -0.5) & (v < edge_y)
                seen[i] = ti.select(is_seen, 1.0, 0.0)
            for i in range(n):
                work[base + slot, x_begin + radius + i] = _blend(grey, corners[i], right, below, across[i], down[i])
            for i in range(n):
                work[base + side + slot, x_begin + i] = seen[i]

    @ti.func
    def correlate_tile(
        work: ti.template(), ready: ti.template(), base: ti.i32, own: ti.i32, y: ti.i32, n_rows: ti.i32,
        first: ti.i32, x_begin: ti.i32, n: ti.i32, floor: ti.f32, sums: ti.template(), squares: ti.template(),
        products: ti.template(), nccs: ti.template(), k: ti.i32,
    ):  # fmt: skip
        for i in range(n + 2 * radius):
            total, square, product = 0.0, 0.0, 0.0
            for dy in ti.static(range(side)):
                slot = (y + dy + radius + 1) % side
                value = work[base + slot, x_begin + i]
                total += value
                square += value * value
                product += value * work[own + slot, x_begin + i]
            sums[i] = total
            squares[i] = square
            products[i] = product
        row_share = 1.0 / ti.cast(n_rows, ti.f32)
        middle = y % side
        for i in range(n):
            total, square, product = 0.0, 0.0, 0.0
            for dx in ti.static(range(side)):
                total += sums[i + dx]
                square += squares[i + dx]
                product += products[i + dx]
            share = row_share * work[own + side, x_begin + i]
            mean = total * share
            variance = ti.max(square * share - mean * mean, 0.0) + floor
            ncc = product * share - mean * ready[2, first + i]
            ncc *= ready[3, first + i] / ti.sqrt(variance)
            nccs[k * _TILE + i] = work[base + side + middle, x_begin + i] * (ncc + 1.0) - 1.0

    @ti.func
    def keep_best(
        state: ti.template(), task: ti.i32, place: ti.i32, n: ti.i32, plane: ti.f32, nccs: ti.template(),
        kept: ti.template(),
    ):  # fmt: skip
        for i in range(n):
            largest = ti.Vector([-1.0] * best)
            for k in ti.static(range(neighbours)):
                _insert(largest, nccs[k * _TILE + i], best)
            score = largest.sum() * (1.0 / best)
            highest, its_plane = state[task, 0, place + i], state[task, 1, place + i]
            better = score > highest
            kept[i] = ti.select(better, score, highest)
            kept[_TILE + i] = ti.select(better, plane, its_plane)
            kept[2 * _TILE + i] = ti.select(better, state[task, 4, place + i], state[task, 2, place + i])
            kept[3 * _TILE + i] = ti.select(better | (its_plane == plane - 1.0), score, state[task, 3, place + i])
            kept[4 * _TILE + i] = score
        for c in ti.static(range(_STATE)):
            for i in range(n):
                state[task, c, place + i] = kept[c * _TILE + i]

    @ti.kernel
    def sweep(
        grey: _VALUES, table: _INTS, intrinsics: _ROWS, warps: _ROWS, places: _INTS, strips: _INTS, ready: _ROWS,
        planes: ti.i32, floor: ti.f32, tasks: ti.i32, work: _ROWS, state: ti.types.ndarray(ti.f32, ndim=3),
        distances: _VALUES, scores: _VALUES,
    ):  # fmt: skip
        for chunk in range(tasks * CPU_CHUNK):
            if chunk % CPU_CHUNK == 0:
                task = chunk // CPU_CHUNK
                top = task * rows
                own = top + 2 * side * neighbours
                corners, seen = ti.Vector([0] * _TILE, ti.i32), ti.Vector([0.0] * _TILE, ti.f32)
                across, down = ti.Vector([0.0] * _TILE, ti.f32), ti.Vector([0.0] * _TILE, ti.f32)
                sums = ti.Vector([0.0] * (_TILE + 2 * radius), ti.f32)
                squares = ti.Vector([0.0] * (_TILE + 2 * radius), ti.f32)
                products = ti.Vector([0.0] * (_TILE + 2 * radius), ti.f32)
                nccs, kept = ti.Vector([0.0] * (_TILE * neighbours)), ti.Vector([0.0] * (_TILE * _STATE))
                for turn in range((strips.shape[0] - task + tasks - 1) // tasks):
                    strip = task + turn * tasks
                    view, y_begin, y_end = strips[strip, 0], strips[strip, 1], strips[strip, 2]
                    start, width, height = table[view, 0], table[view, 1], table[view, 2]
                    n_pixels, n = (y_end - y_begin) * width, ti.min(width, _TILE)
                    for row in range(rows):
                        for x in range(width + 2 * radius):
                            work[top + row, x] = 0.0
                    for x in range(width):
                        columns = ti.min(x + radius, width - 1) - ti.max(x - radius, 0) + 1
                        work[own + side, x] = 1.0 / ti.cast(columns, ti.f32)
                    for i in range(n_pixels):
                        state[task, 0, i] = -2.0
                        for c in ti.static(range(1, _STATE)):
                            state[task, c, i] = -1.0
                    for plane in range(planes):
                        p = ti.cast(plane, ti.f32)
                        for y_new in range(y_begin - radius, y_end + radius):
                            slot, first = (y_new + side) % side, start + y_new * width
                            inside = y_new >= 0 and y_new < height
                            if inside:
                                for x in range(width):
                                    work[own + slot, x + radius] = grey[first + x]
                            for k in range(neighbours):
                                pair, base = view * neighbours + k, top + 2 * side * k
                                if inside:
                                    if places[pair, 3] > 0:
                                        warp_row(
                                            grey, warps, places, ready, work, base, pair, first, width, y_new, p, slot,
                                            corners, across, down, seen,
                                        )  # fmt: skip
                                else:
                                    for x in range(width):
                                        work[base + slot, x + radius] = 0.0
                            y = y_new - radius
                            if y >= y_begin:
                                n_rows = ti.min(y + radius, height - 1) - ti.max(y - radius, 0) + 1
                                for tile in range((width + _TILE - 1) // _TILE):
                                    x_begin = tile * _TILE
                                    m = ti.min(width - x_begin, _TILE)
                                    for k in range(neighbours):
                                        if places[view * neighbours + k, 3] > 0:
                                            correlate_tile(
                                                work, ready, top + 2 * side * k, own, y, n_rows,
                                                start + y * width + x_begin, x_begin, m, floor, sums, squares, products,
                                                nccs, k,
                                            )  # fmt: skip
                                        else:
                                            for i in range(m):
                                                nccs[k * _TILE + i] = -1.0
                                    keep_best(state, task, (y - y_begin) * width + x_begin, m, p, nccs, kept)
                    for i in range(n_pixels):
                        pixel = start + y_begin * width + i
                        p = _peak(state[task, 0, i], state[task, 1, i], state[task, 2, i], state[task, 3, i], planes)
                        x, y = ti.cast(i % width, ti.f32), ti.cast(y_begin + i // width, ti.f32)
                        distances[pixel] = ray_length(intrinsics, view, x, y) / _inverse_depth(ready, pixel, p, log)
                        scores[pixel] = state[task, 0, i]

    return sweep


def _work_rows(neighbours: int, radius: int) -> int:
    return 2 * (2 * radius + 1) * neighbours + 2 * radius + 2


@cache
def _pixels_kernel(neighbours: int, best: int, radius: int, log: bool):
    """Compile the sweep by pixels, for GPUs: a thread looks up the whole window of its pixel on each plane."""

    @ti.func
    def correlate(
        grey: ti.template(), warps: ti.template(), places: ti.template(), ready: ti.template(), pair: ti.i32,
        start: ti.i32, width: ti.i32, height: ti.i32, x: ti.i32, y: ti.i32, plane: ti.f32, floor: ti.f32,
    ):  # fmt: skip
        first, w, h = places[pair, 0], places[pair, 1], places[pair, 2]
        right, below = ti.min(w - 1, 1), ti.min(h - 1, 1) * w
        total, squares, products, count, seen = 0.0, 0.0, 0.0, 0.0, 0
        for j in range(ti.max(y - radius, 0), ti.min(y + radius + 1, height)):
            for i in range(ti.max(x - radius, 0), ti.min(x + radius + 1, width)):
                pixel = start + j * width + i
                s = _inverse_depth(ready, pixel, plane, log)
                column, row = ti.cast(i, ti.f32), ti.cast(j, ti.f32)
                z = warps[pair, 6] * column + (warps[pair, 7] * row + warps[pair, 8]) + warps[pair, 11] * s
                inverse = 1.0 / ti.max(z, _FRONT)
                u = (warps[pair, 0] * column + (warps[pair, 1] * row + warps[pair, 2]) + warps[pair, 9] * s) * inverse
                v = (warps[pair, 3] * column + (warps[pair, 4] * row + warps[pair, 5]) + warps[pair, 10] * s) * inverse
                at_x, at_y, dx, dy = _corner(u, v, w, h)
                value = _blend(grey, first + at_y * w + at_x, right, below, dx, dy)
                total += value
                squares += value * value
                products += value * grey[pixel]
                count += 1.0
                if i == x and j == y:
                    inside = (u > -0.5) & (u < ti.cast(w, ti.f32) - 0.5) & (v > -0.5) & (v < ti.cast(h, ti.f32) - 0.5)
                    seen = (z > _FRONT) & inside
        mean, own = total / count, start + y * width + x
        variance = ti.max(squares / count - mean * mean, 0.0) + floor
        ncc = (products / count - mean * ready[2, own]) * ready[3, own] / ti.sqrt(variance)
        return ncc if seen else -1.0

    @ti.kernel
    def sweep(
        grey: _VALUES, table: _INTS, intrinsics: _ROWS, warps: _ROWS, places: _INTS, ready: _ROWS, planes: ti.i32,
        floor: ti.f32, distances: _VALUES, scores: _VALUES,
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
                            ncc = correlate(grey, warps, places, ready, pair, start, width, height, x, y, p, floor)
                            _insert(largest, ncc, best)
                    score = largest.sum() * (1.0 / best)
                    if score > highest:
                        highest, its_plane, before, after = score, p, latest, score
                    elif its_plane == p - 1.0:
                        after = score
                    latest = score
                p = _peak(highest, its_plane, before, after, planes)
                length = ray_length(intrinsics, view, ti.cast(x, ti.f32), ti.cast(y, ti.f32))
                distances[pixel] = length / _inverse_depth(ready, pixel, p, log)
                scores[pixel] = highest

    return sweep


def _strips(views: PinholeViews, neighbours: Tensor) -> Tensor:
    """Return (n, 3) int32: view, first row and the one after the last, of all views that have a neighbour."""
    swept = (neighbours >= 0).any(1).tolist()
    found = [
        (v, top, min(top + _STRIP_ROWS, height))
        for v, (_, height) in enumerate(views.sizes.tolist())
        if swept[v]
        for top in range(0, height, _STRIP_ROWS)
    ]
    return torch.tensor(found, dtype=torch.int32).view(-1, 3)


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
    k, r, floor, log = neighbours.shape[1], rule.radius, rule.variance_floor, rule.spacing == "log"
    grey = grey.detach() - _MIDDLE
    ready = grey.new_empty(4, views.n_pixels)
    launch(_prepare_kernel(r, log), (spans, grey, views.table, views.intrinsics, rule.planes, floor), (ready,))
    common = (grey, views.table, views.intrinsics, *pairs(views, neighbours))
    if arch() == "cuda":
        inputs = (*common, ready, rule.planes, floor)
        launch(_pixels_kernel(k, rule.best, r, log), inputs, (distances, scores))
        return PlaneSweep(distances, scores)
    strips = _strips(views, neighbours)
    width, height = views.sizes.amax(0).tolist()
    rows, wide, area = _work_rows(k, r), width + 2 * r, width * min(height, _STRIP_ROWS)
    tasks = max(1, min(_MOST_TASKS, len(strips), _MOST_SCRATCH // (rows * wide + _STATE * area)))
    work, state = grey.new_empty(tasks * rows, wide), grey.new_empty(tasks, _STATE, area)
    inputs = (*common, strips, ready, rule.planes, floor, tasks)
    launch(_strips_kernel(k, rule.best, r, log), inputs, (work, state, distances, scores))
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
