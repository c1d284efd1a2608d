"""Form of the plane sweep for CPUs: strips of rows, separable sums of windows, loops that the compiler vectorises."""

from functools import cache

import taichi as ti
import torch
from torch import Tensor

from ._pinhole import PinholeViews, ray_length
from ._sweep_planes import FRONT, INTS, ROWS, VALUES, blend, corner_of, insert, inverse_depth, peak
from .launch import CPU_CHUNK, launch

_STRIP_ROWS = 64
"""Rows of a view that a task sweeps; a window's rows above and below are warped twice."""
_MOST_TASKS = 64
"""Tasks that have memory of their own; each takes one strip after another."""
_MOST_SCRATCH = 2**24
"""Elements of all tasks' memory, unless a single one needs more."""
_STATE = 5
"""Numbers that a pixel keeps between planes: highest score, its plane, scores before and after it, latest score."""
_TILE = 16
"""Pixels whose values a task keeps in local arrays."""


@cache
def _strips_kernel(neighbours: int, best: int, radius: int):
    """Compile the sweep by strips of rows, for CPUs: sums of windows are separable, and rows stay in the cache.

    On a plane, row after row is warped into a ring of as many rows as a window has; then windows around the middle row
    are summed, down the ring and along the row. Rows have `radius` zeros at both ends. All is done in tiles of `_TILE`
    pixels, whose values lie in local arrays: the compiler vectorises loops over these.
    """
    side = 2 * radius + 1
    # Rows of a task's memory: for each neighbour, a ring of values and a ring of what it sees; a ring of the view's own
    # values; 1 / columns of the windows; inverse depths of the row that is warped.
    rows = _work_rows(neighbours, radius)

    @ti.func
    def warp_row(
        grey: ti.template(), warps: ti.template(), places: ti.template(), work: ti.template(), base: ti.i32,
        depths: ti.i32, pair: ti.i32, width: ti.i32, y: ti.i32, slot: ti.i32, corners: ti.template(),
        across: ti.template(), down: ti.template(), seen: ti.template(),
    ):  # fmt: skip
        """Warp a row of a neighbour at one plane into a slot of its ring, and note which pixels it sees."""
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
                s = work[depths, x_begin + i]
                x = ti.cast(x_begin + i, ti.f32)
                z = hz * x + bz + ez * s
                inverse = 1.0 / ti.max(z, FRONT)
                u = (hx * x + bx + ex * s) * inverse
                v = (hy * x + by + ey * s) * inverse
                column, line, dx, dy = corner_of(u, v, w, h)
                corners[i] = start + line * w + column
                across[i] = dx
                down[i] = dy
                is_seen = (z > FRONT) & (u > -0.5) & (u < edge_x) & (v > -0.5) & (v < edge_y)
                seen[i] = ti.select(is_seen, 1.0, 0.0)
            for i in range(n):
                work[base + slot, x_begin + radius + i] = blend(grey, corners[i], right, below, across[i], down[i])
            for i in range(n):
                work[base + side + slot, x_begin + i] = seen[i]

    @ti.func
    def correlate_tile(
        work: ti.template(), ready: ti.template(), base: ti.i32, own: ti.i32, y: ti.i32, n_rows: ti.i32,
        first: ti.i32, x_begin: ti.i32, n: ti.i32, floor: ti.f32, sums: ti.template(), squares: ti.template(),
        products: ti.template(), nccs: ti.template(), k: ti.i32,
    ):  # fmt: skip
        """Correlate the windows around `n` pixels of row y with those of neighbour k."""
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
        """Score `n` pixels on a plane and keep what `_STATE` lists."""
        for i in range(n):
            largest = ti.Vector([-1.0] * best)
            for k in ti.static(range(neighbours)):
                insert(largest, nccs[k * _TILE + i], best)
            kept[4 * _TILE + i] = largest.sum() * (1.0 / best)
        for i in range(n):
            score, highest, its_plane = kept[4 * _TILE + i], state[task, 0, place + i], state[task, 1, place + i]
            follows = ti.select(its_plane == plane - 1.0, score, state[task, 3, place + i])
            kept[i] = ti.max(score, highest)
            kept[_TILE + i] = ti.select(score > highest, plane, its_plane)
            kept[2 * _TILE + i] = ti.select(score > highest, state[task, 4, place + i], state[task, 2, place + i])
            kept[3 * _TILE + i] = ti.select(score > highest, score, follows)
        for c in ti.static(range(_STATE)):
            for i in range(n):
                state[task, c, place + i] = kept[c * _TILE + i]

    @ti.kernel
    def sweep(
        grey: VALUES, table: INTS, intrinsics: ROWS, warps: ROWS, places: INTS, ready: ROWS, strips: INTS,
        planes: ti.i32, floor: ti.f32, log: ti.i32, tasks: ti.i32, work: ROWS, state: ti.types.ndarray(ti.f32, ndim=3),
        distances: VALUES, scores: VALUES,
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
                    n_pixels = (y_end - y_begin) * width
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
                                    work[own + side + 1, x] = inverse_depth(ready, first + x, p, log)
                            for k in range(neighbours):
                                pair, base = view * neighbours + k, top + 2 * side * k
                                if inside:
                                    if places[pair, 3] > 0:
                                        warp_row(
                                            grey, warps, places, work, base, own + side + 1, pair, width, y_new, slot,
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
                        p = peak(state[task, 0, i], state[task, 1, i], state[task, 2, i], state[task, 3, i], planes)
                        x, y = ti.cast(i % width, ti.f32), ti.cast(y_begin + i // width, ti.f32)
                        distances[pixel] = ray_length(intrinsics, view, x, y) / inverse_depth(ready, pixel, p, log)
                        scores[pixel] = state[task, 0, i]

    return sweep


def _work_rows(neighbours: int, radius: int) -> int:
    """Return the rows of a task's memory; `_strips_kernel` says which."""
    return 2 * (2 * radius + 1) * neighbours + 2 * radius + 3


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


def sweep_strips(
    views: PinholeViews, neighbours: Tensor, arrays: tuple[Tensor, ...], planes: int, floor: float, best: int,
    radius: int, log: int, outputs: tuple[Tensor, Tensor],
) -> None:  # fmt: skip
    """Write distances and scores; memory beside them depends on the size of the largest view alone.

    Args:
        arrays: grey values, views' table and intrinsics, warps and places of pairs, and what `_prepare_kernel` wrote.
    """
    strips = _strips(views, neighbours)
    width, height = views.sizes.amax(0).tolist()
    n = neighbours.shape[1]
    rows, wide, area = _work_rows(n, radius), width + 2 * radius, width * min(height, _STRIP_ROWS)
    tasks = max(1, min(_MOST_TASKS, len(strips), _MOST_SCRATCH // (rows * wide + _STATE * area)))
    work, state = arrays[0].new_empty(tasks * rows, wide), arrays[0].new_empty(tasks, _STATE, area)
    inputs = (*arrays, strips, planes, floor, log, tasks)
    launch(_strips_kernel(n, best, radius), inputs, (work, state, *outputs))
