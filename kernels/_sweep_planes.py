"""Functions that both forms of the plane sweep share: planes of a ray, samples of a picture, the best of several."""

import taichi as ti

FRONT = 1e-6
"""Smallest ratio of z-depths of a point that lies in front of a neighbour."""

VALUES = ti.types.ndarray(ti.f32, ndim=1)
ROWS = ti.types.ndarray(ti.f32, ndim=2)
INTS = ti.types.ndarray(ti.i32, ndim=2)


@ti.func
def inverse_depth(ready: ti.template(), pixel: ti.i32, plane: ti.f32, log: ti.i32) -> ti.f32:
    """Return the inverse z-depth of a pixel's ray at a plane, which may lie between two."""
    s = ready[0, pixel]
    if log:
        s *= ti.exp(plane * ready[1, pixel])
    else:
        s += plane * ready[1, pixel]
    return s


@ti.func
def corner_of(u: ti.f32, v: ti.f32, width: ti.i32, height: ti.i32):
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
def blend(grey: ti.template(), corner: ti.i32, right: ti.i32, below: ti.i32, x: ti.f32, y: ti.f32) -> ti.f32:
    """Return the value between four pixels; `right` and `below` are steps from `corner` to the others."""
    above = grey[corner] + x * (grey[corner + right] - grey[corner])
    beneath = grey[corner + below] + x * (grey[corner + below + right] - grey[corner + below])
    return above + y * (beneath - above)


@ti.func
def peak(best: ti.f32, plane: ti.f32, before: ti.f32, after: ti.f32, planes: ti.i32) -> ti.f32:
    """Return the plane, with its fraction, at which the parabola through three scores is highest."""
    bend = before - 2.0 * best + after
    found = plane
    if plane > 0.5 and plane < ti.cast(planes, ti.f32) - 1.5 and bend < -1e-6:
        found += ti.min(ti.max(0.5 * (before - after) / bend, -0.5), 0.5)
    return found


@ti.func
def insert(largest: ti.template(), value: ti.f32, best: ti.template()):
    """Insert a value into the largest ones, in falling order."""
    for b in ti.static(range(best)):
        larger = ti.max(largest[b], value)
        value = ti.min(largest[b], value)
        largest[b] = larger
