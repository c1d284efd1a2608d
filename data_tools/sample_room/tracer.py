"""Rays and distances among the solids of the sample room.

The inside of the room is one axis-aligned box, left in closed form; all that is in it lies in a uniform grid
of cells that list the solids near them. A cell that no solid is near knows how far a ray may leap from it.
"""

from dataclasses import dataclass

import taichi as ti
import torch
from torch import Tensor

from omniseg_kernels.launch import arch, launch
from omniseg_sample_room.shapes import (
    FAR,
    bounding_gap,
    distance,
    half_extent,
    hit,
    parameters,
    to_local,
    to_local_direction,
    vec3,
)

CELL = 0.12
"""Edge of a grid cell in metres: smaller than most furniture parts, larger than most gaps."""

SHELL_SOLIDS = 6
"""The first six solids are the slabs around the room: -x, +x, -y, +y (walls), -z (floor), +z (ceiling)."""

reals = ti.types.ndarray(ti.f32, ndim=1)
real_rows = ti.types.ndarray(ti.f32, ndim=2)
integers = ti.types.ndarray(ti.i32, ndim=1)
integer_rows = ti.types.ndarray(ti.i32, ndim=2)
cell_lists = ti.types.ndarray(ti.i32, ndim=4)
cell_reals = ti.types.ndarray(ti.f32, ndim=3)


@dataclass(frozen=True)
class Solids:
    """Tables of all solids and the grid over them, on the device of the kernels.

    Attributes:
        shapes: (n, 19) float32, geometry (see `sample_shapes`), metres.
        surfaces: (n, 12) float32, what they look like (see `sample_patterns`).
        info: (n, 3) int32: kind, pattern, 1 where light passes through (the window's pane).
        room: (2, 3) float32, lower and upper corner of the inside of the room, metres.
        cells: (x, y, z, 2) int32, first entry in `items` of each cell and how many it has.
        items: (n_items,) int32, indices of solids.
        leap: (x, y, z) float32, metres from anywhere in the cell within which there is no furniture.
    """

    shapes: Tensor
    surfaces: Tensor
    info: Tensor
    room: Tensor
    cells: Tensor
    items: Tensor
    leap: Tensor

    @property
    def tables(self) -> tuple[Tensor, ...]:
        """The tables that `trace` reads, in its order."""
        return (self.shapes, self.info, self.room, self.cells, self.items, self.leap)


def build_solids(shapes: Tensor, surfaces: Tensor, info: Tensor, room: Tensor) -> Solids:
    """Sort the solids into grid cells.

    Args:
        shapes, surfaces, info, room: tables as in `Solids`; the first `SHELL_SOLIDS` solids are the shell.
    """
    device = torch.device(arch())
    shapes, surfaces, info, room = (table.to(device) for table in (shapes, surfaces, info, room))
    size = tuple(int(n) for n in torch.ceil((room[1] - room[0]) / CELL - 1e-4))
    near = torch.zeros(*size, len(shapes), dtype=torch.int32, device=device)
    leap = torch.empty(size, dtype=torch.float32, device=device)
    launch(_sort, (shapes, info, room), (near.view(-1, len(shapes)), leap))
    counts = near.sum(-1, dtype=torch.int32)
    first = counts.view(-1).cumsum(0, dtype=torch.int32).view(size) - counts
    items = near.view(-1, len(shapes)).nonzero()[:, 1].to(torch.int32)
    # Taichi takes no empty array: a bare room still gets one entry, which no cell points to.
    items = items if len(items) else items.new_zeros(1)
    return Solids(shapes, surfaces, info, room, torch.stack([first, counts], -1), items, leap)


def nearest_solid(solids: Solids, points: Tensor) -> tuple[Tensor, Tensor]:
    """Solid whose surface is nearest to each point, and the signed distance to it.

    Args:
        solids: the room.
        points: (n, 3) float32, metres.
    Returns:
        (n,) int32 index of the solid; (n,) float32 metres, negative inside a solid.
    """
    index = torch.empty(len(points), dtype=torch.int32, device=points.device)
    gap = points.new_empty(len(points))
    if len(points):
        launch(_nearest, (solids.shapes, solids.info, points), (index, gap))
    return index, gap


@ti.kernel
def _sort(shapes: real_rows, info: integer_rows, room: real_rows, near: integer_rows, leap: cell_reals):
    """Mark the furniture that reaches into each cell; bounding boxes say how far the rest is at least."""
    reach = 0.5 * CELL * ti.sqrt(3.0)
    for x, y, z in ti.ndrange(leap.shape[0], leap.shape[1], leap.shape[2]):
        centre = vec3(room[0, 0], room[0, 1], room[0, 2]) + CELL * (ti.cast(vec3(x, y, z), ti.f32) + 0.5)
        cell = (x * leap.shape[1] + y) * leap.shape[2] + z
        free = FAR
        for i in range(SHELL_SOLIDS, shapes.shape[0]):
            p = to_local(shapes, i, centre)
            gap = bounding_gap(half_extent(shapes, i), p)
            if gap < reach:
                gap = distance(info[i, 0], parameters(shapes, i), p)
                if gap < reach + 1e-3:
                    near[cell, i] = 1
            free = ti.min(free, gap)
        leap[x, y, z] = ti.max(free - reach, 0.0)


@ti.kernel
def _nearest(shapes: real_rows, info: integer_rows, points: real_rows, index: integers, gap: reals):
    for n in range(points.shape[0]):
        x = vec3(points[n, 0], points[n, 1], points[n, 2])
        best, best_gap = 0, FAR
        for i in range(shapes.shape[0]):
            p = to_local(shapes, i, x)
            if bounding_gap(half_extent(shapes, i), p) <= ti.max(best_gap, 0.0):
                d = distance(info[i, 0], parameters(shapes, i), p)
                if d < best_gap:
                    best, best_gap = i, d
        index[n] = best
        gap[n] = best_gap


@ti.func
def _row(table: ti.template(), i):
    return vec3(table[i, 0], table[i, 1], table[i, 2])


@ti.func
def _cell_of(x, room: ti.template(), cells: ti.template()):
    c = ti.cast(ti.floor((x - _row(room, 0)) * (1.0 / CELL)), ti.i32)
    return ti.max(ti.min(c, ti.Vector([cells.shape[0] - 1, cells.shape[1] - 1, cells.shape[2] - 1])), 0)


@ti.func
def hit_solid(o, d, i, limit, shapes: ti.template(), info: ti.template()):
    """Where in (0, limit) the ray o + t d enters solid `i`, or FAR."""
    local_o, local_d = to_local(shapes, i, o), to_local_direction(shapes, i, d)
    return hit(info[i, 0], parameters(shapes, i), half_extent(shapes, i), local_o, local_d, limit)


@ti.func
def trace(
    o,
    d,
    shapes: ti.template(),
    info: ti.template(),
    room: ti.template(),
    cells: ti.template(),
    items: ti.template(),
    leap: ti.template(),
):
    """First solid on the ray o + t d (d of unit length) from inside the room.

    Returns:
        t in metres and the index of the solid; (FAR, -1) for a ray that starts outside of the room.
    """
    low, high = _row(room, 0), _row(room, 1)
    inverse = 1.0 / ti.select(ti.abs(d) < 1e-9, 1e-9, d)
    leave = (ti.select(inverse > 0.0, high, low) - o) * inverse
    t_best, best = FAR, -1
    if (o >= low).all() and (o <= high).all():
        t_best = leave.min()
        if leave.x == t_best:
            best = ti.select(d.x > 0.0, 1, 0)
        elif leave.y == t_best:
            best = ti.select(d.y > 0.0, 3, 2)
        else:
            best = ti.select(d.z > 0.0, 5, 4)
    t = ti.select(best < 0, FAR, 0.0)
    tried, tried_before = -1, -1  # a solid that spans several cells is mostly tried once
    while t < t_best:
        c = _cell_of(o + (t + 1e-4) * d, room, cells)
        count = cells[c.x, c.y, c.z, 1]
        if count > 0:
            first = cells[c.x, c.y, c.z, 0]
            for k in range(first, first + count):
                i = items[k]
                if i != tried and i != tried_before:
                    tried_before = tried
                    tried = i
                    t_hit = hit_solid(o, d, i, t_best, shapes, info)
                    if t_hit < t_best:
                        t_best, best = t_hit, i
        corner = low + CELL * ti.cast(c + ti.select(inverse > 0.0, 1, 0), ti.f32)
        t_leave = ((corner - o) * inverse).min()
        t = ti.max(t_leave, t + leap[c.x, c.y, c.z], t + 1e-4)
    return t_best, best


@ti.func
def is_buried(
    x,
    solid,
    shapes: ti.template(),
    info: ti.template(),
    room: ti.template(),
    cells: ti.template(),
    items: ti.template(),
):
    """Whether a point just above the surface of `solid` lies in another solid or outside of the room."""
    buried = not ((x > _row(room, 0)).all() and (x < _row(room, 1)).all())
    if not buried:
        c = _cell_of(x, room, cells)
        first = cells[c.x, c.y, c.z, 0]
        for k in range(first, first + cells[c.x, c.y, c.z, 1]):
            i = items[k]
            if i != solid and distance(info[i, 0], parameters(shapes, i), to_local(shapes, i, x)) < 5e-4:
                buried = True
    return buried
