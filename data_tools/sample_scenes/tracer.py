"""Rays and distances among the solids of a sample scene.

An axis-aligned box holds a uniform grid; each cell lists the solids near it and stores how far a ray may leap from it
without meeting one. A room fills the box: six slabs, which rays meet in closed form, close it. Outdoors the box holds
the middle only; what lies beyond it is a short list of far solids, which every ray tries one by one.
"""

from dataclasses import dataclass

import taichi as ti
import torch
from torch import Tensor

from omniseg_kernels.launch import arch, launch
from omniseg_sample_scenes.shapes import FAR, bounding_gap, distance, hit, to_local, to_local_direction, vec3

CELL = 0.12
"""Edge of a grid cell in metres by default: smaller than most furniture parts, larger than most gaps."""

WALLS = 6
"""Number of slabs around a room, its first solids: -x, +x, -y, +y (walls), -z (floor), +z (ceiling)."""

reals = ti.types.ndarray(ti.f32, ndim=1)
real_rows = ti.types.ndarray(ti.f32, ndim=2)
real_grid = ti.types.ndarray(ti.f32, ndim=3)
cell_rows = ti.types.ndarray(ti.f32, ndim=4)
flag_rows = ti.types.ndarray(ti.u8, ndim=2)
integers = ti.types.ndarray(ti.i32, ndim=1)
integer_rows = ti.types.ndarray(ti.i32, ndim=2)


@dataclass(frozen=True)
class Solids:
    """Tables of all solids and the grid over them, on the device of the kernels.

    Attributes:
        shapes: (n, 20) float32, geometry; columns in `omniseg_sample_scenes.shapes`.
        surfaces: (n, 12) float32, colours and textures; columns in `omniseg_sample_scenes.patterns`.
        box: (3, 3) float32: lower and upper corner of the box, metres; edge of a cell in metres, number of slabs
            (`WALLS`, or 0 outdoors), number of far solids.
        cells: (x, y, z, 3) float32: first entry of the cell in `items`, number of entries, and the radius in metres
            of the ball around any point of the cell that holds no solid of the grid.
        items: (n_items,) int32, indices of solids, cell by cell.
        n_walls, n_far: number of slabs and of far solids. Slabs come first in the tables, then far solids.
    """

    shapes: Tensor
    surfaces: Tensor
    box: Tensor
    cells: Tensor
    items: Tensor
    n_walls: int
    n_far: int

    @property
    def tables(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arguments of `trace` and `is_buried`, in their order."""
        return self.shapes, self.box, self.cells, self.items


def build_solids(
    shapes: Tensor, surfaces: Tensor, aabb: Tensor, cell: float = CELL, n_walls: int = WALLS, n_far: int = 0
) -> Solids:
    """Sort solids into the grid.

    Args:
        shapes, surfaces: tables as in `Solids`, on any device.
        aabb: (2, 3) float32, lower and upper corner of the box, metres.
        cell: edge of a grid cell, metres.
        n_walls, n_far: number of slabs and of far solids at the beginning of the tables.
    """
    device = torch.device(arch())
    box = torch.cat([aabb, torch.tensor([[cell, n_walls, n_far]])]).to(device)
    shapes, surfaces = shapes.to(device), surfaces.to(device)
    size = tuple(int(n) for n in torch.ceil((aabb[1] - aabb[0]) / cell - 1e-4))
    near = torch.zeros(*size, len(shapes), dtype=torch.uint8, device=device)
    leap = torch.empty(size, dtype=torch.float32, device=device)
    launch(_sort, (shapes, box), (near.view(-1, len(shapes)), leap))
    counts = near.sum(-1)
    first = counts.view(-1).cumsum(0).view(size) - counts
    items = near.view(-1, len(shapes)).nonzero()[:, 1].to(torch.int32)
    # Taichi takes no empty array: an empty room gets one entry that no cell points to.
    items = items if len(items) else items.new_zeros(1)
    # Whole numbers below 2^24 are exact in float32.
    cells = torch.stack([first.float(), counts.float(), leap], -1)
    return Solids(shapes, surfaces, box, cells, items, n_walls, n_far)


@ti.func
def row3(table: ti.template(), i):
    """Return the first three columns of row `i`."""
    return vec3(table[i, 0], table[i, 1], table[i, 2])


@ti.func
def _far_solids(box: ti.template()):
    """Return the index of the first far solid and the one after the last."""
    first = int(box[2, 1])
    return first, first + int(box[2, 2])


@ti.kernel
def _sort(shapes: real_rows, box: real_rows, near: flag_rows, leap: real_grid):
    """Mark the solids that reach into each cell, and bound the distance to the rest by bounding boxes."""
    edge = box[2, 0]
    reach = 0.5 * edge * ti.sqrt(3.0)
    _first, begin = _far_solids(box)
    for x, y, z in ti.ndrange(leap.shape[0], leap.shape[1], leap.shape[2]):
        centre = row3(box, 0) + edge * (ti.cast(vec3(x, y, z), ti.f32) + 0.5)
        cell = (x * leap.shape[1] + y) * leap.shape[2] + z
        free = FAR
        for i in range(begin, shapes.shape[0]):
            p = to_local(shapes, i, centre)
            gap = bounding_gap(shapes, i, p)
            if gap < reach:
                gap = distance(shapes, i, p)
                if gap < reach + 1e-3:
                    near[cell, i] = ti.u8(1)
            free = ti.min(free, gap)
        leap[x, y, z] = ti.max(free - reach, 0.0)


@ti.func
def _cell_of(x, box: ti.template(), cells: ti.template()):
    c = ti.cast(ti.floor((x - row3(box, 0)) / box[2, 0]), ti.i32)
    return ti.max(ti.min(c, ti.Vector([cells.shape[0] - 1, cells.shape[1] - 1, cells.shape[2] - 1])), 0)


@ti.func
def _items_of(c, cells: ti.template()):
    """Return the first item of cell `c` and the one after its last."""
    first = int(cells[c.x, c.y, c.z, 0])
    return first, first + int(cells[c.x, c.y, c.z, 1])


@ti.func
def hit_solid(shapes: ti.template(), i, o, d, limit):
    """Return the t in (0, limit) at which the ray o + t d in world axes enters solid `i`, or FAR."""
    return hit(shapes, i, to_local(shapes, i, o), to_local_direction(shapes, i, d), limit)


@ti.func
def trace(o, d, shapes: ti.template(), box: ti.template(), cells: ti.template(), items: ti.template()):
    """Find the first solid on the ray o + t d (d of unit length).

    Returns:
        t in metres and the index of the solid; (FAR, -1) for a ray into the sky, or one that starts outside of a room.
    """
    low, high = row3(box, 0), row3(box, 1)
    inverse = 1.0 / ti.select(ti.abs(d) < 1e-9, 1e-9, d)
    leave = (ti.select(inverse > 0.0, high, low) - o) * inverse
    walled = box[2, 1] > 0.0
    t, t_end, t_best, best = FAR, leave.min(), FAR, -1
    if (o >= low).all() and (o <= high).all():
        t = 0.0
        if walled:
            t_best = t_end
            if leave.x == t_best:
                best = ti.select(d.x > 0.0, 1, 0)
            elif leave.y == t_best:
                best = ti.select(d.y > 0.0, 3, 2)
            else:
                best = ti.select(d.z > 0.0, 5, 4)
    elif not walled:
        enter = ((ti.select(inverse > 0.0, low, high) - o) * inverse).max()
        if enter > 0.0:
            t = enter
    tried, tried_before = -1, -1  # so that a solid in several cells is rarely tried twice
    while t < ti.min(t_best, t_end):
        c = _cell_of(o + (t + 1e-4) * d, box, cells)
        first, end = _items_of(c, cells)
        for k in range(first, end):
            i = items[k]
            if i != tried and i != tried_before:
                tried_before = tried
                tried = i
                t_hit = hit_solid(shapes, i, o, d, t_best)
                if t_hit < t_best:
                    t_best, best = t_hit, i
        corner = low + box[2, 0] * ti.cast(c + ti.select(inverse > 0.0, 1, 0), ti.f32)
        t_leave = ((corner - o) * inverse).min()
        t = ti.max(t_leave, t + cells[c.x, c.y, c.z, 2], t + 1e-4)
    first_far, end_far = _far_solids(box)
    for i in range(first_far, end_far):
        t_hit = hit_solid(shapes, i, o, d, t_best)
        if t_hit < t_best:
            t_best, best = t_hit, i
    return t_best, best


@ti.func
def is_buried(x, solid, shapes: ti.template(), box: ti.template(), cells: ti.template(), items: ti.template()):
    """Return whether a point just above the surface of `solid` lies in another solid or outside of the room."""
    within = (x > row3(box, 0)).all() and (x < row3(box, 1)).all()
    buried = box[2, 1] > 0.0 and not within
    if within:
        first, end = _items_of(_cell_of(x, box, cells), cells)
        for k in range(first, end):
            i = items[k]
            if i != solid and distance(shapes, i, to_local(shapes, i, x)) < 5e-4:
                buried = True
    first_far, end_far = _far_solids(box)
    for i in range(first_far, end_far):
        p = to_local(shapes, i, x)
        if i != solid and bounding_gap(shapes, i, p) < 5e-4 and distance(shapes, i, p) < 5e-4:
            buried = True
    return buried
