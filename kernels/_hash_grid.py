"""Parts of the kernels of the hash encoding: cells, corners, weights, and the division of work into tasks.

`grid` is a vector (resolution, first row, number of rows) of one level. Corner v of a cell is the one at
(v & 1, v >> 1 & 1, v >> 2). Planes are the channels of the encoding, (L * F, n), as floats or as the bits of bfloat16.
"""

import taichi as ti

PRIME_Y = 2654435761
PRIME_Z = 805459861


@ti.func
def to_bfloat16(value: ti.f32) -> ti.i16:
    """Round to the nearest bfloat16, ties to even, and return its bits; Taichi has no bfloat16."""
    bits = ti.bit_cast(value, ti.u32)
    return ti.cast((bits + ti.u32(0x7FFF) + ((bits >> 16) & ti.u32(1))) >> 16, ti.i16)


@ti.func
def from_bfloat16(bits: ti.i16) -> ti.f32:
    """Return the number with these bfloat16 bits."""
    return ti.bit_cast(ti.cast(bits, ti.u32) << 16, ti.f32)


@ti.func
def level_grid(levels: ti.template(), level):
    """Return the grid of a level."""
    return ti.Vector([levels[level, 0], levels[level, 1], levels[level, 2]])


@ti.func
def locate(position, grid, real: ti.template()):
    """Return the cell that holds a position, and the place in the cell in [0, 1]^3; outside positions are clamped."""
    low = ti.select(position > 0, position, real(0.0))  # cheaper than max and min, which handle NaN
    scaled = ti.select(low < 1, low, real(1.0)) * ti.cast(grid[0], real)
    cell = ti.math.clamp(ti.cast(scaled, ti.i32), 0, grid[0] - 1)
    return cell, scaled - ti.cast(cell, real)


@ti.func
def axis_weights(place, v: ti.template()):
    """Return the weight of corner v along each axis; their product is its trilinear weight."""
    wx = place[0] if ti.static(v & 1) else 1 - place[0]
    wy = place[1] if ti.static(v >> 1 & 1) else 1 - place[1]
    wz = place[2] if ti.static(v >> 2) else 1 - place[2]
    return wx, wy, wz


@ti.func
def corner_rows(cell, grid, dense: ti.template()):
    """Return the table rows of the eight corners of a cell: by index where the grid is dense, else by hash (eq. 4)."""
    step_y, step_z = ti.u32(PRIME_Y), ti.u32(PRIME_Z)
    if ti.static(dense):
        step_y = ti.cast(grid[0] + 1, ti.u32)
        step_z = step_y * step_y
    x, y, z = ti.cast(cell[0], ti.u32), ti.cast(cell[1], ti.u32) * step_y, ti.cast(cell[2], ti.u32) * step_z
    rows = ti.Vector.zero(ti.i32, 8)
    for v in ti.static(range(8)):
        vx, vy, vz = x + ti.static(v & 1), y + ti.static(v >> 1 & 1) * step_y, z + ti.static(v >> 2) * step_z
        row = vx + vy + vz if ti.static(dense) else (vx ^ vy ^ vz) & ti.cast(grid[2] - 1, ti.u32)
        rows[v] = grid[1] + ti.cast(row, ti.i32)
    return rows


@ti.func
def _fill_tile(
    positions: ti.template(), first, count, grid, dense: ti.template(), tile: ti.template(), real: ti.template(),
    rows: ti.template(), weights: ti.template(),
):  # fmt: skip
    for i in range(count):
        cell, place = locate(positions[first + i], grid, real)
        found = corner_rows(cell, grid, dense)
        for v in ti.static(range(8)):
            wx, wy, wz = axis_weights(place, v)
            rows[v * tile + i] = found[v]
            weights[v * tile + i] = wx * wy * wz


@ti.func
def fill_tile(
    positions: ti.template(), first, count, grid, dense, tile: ti.template(), real: ti.template(),
    rows: ti.template(), weights: ti.template(),
):  # fmt: skip
    """Compute rows and weights of the corners of `count` samples; those of corner v of sample i go to v * tile + i."""
    if dense:
        _fill_tile(positions, first, count, grid, True, tile, real, rows, weights)
    else:
        _fill_tile(positions, first, count, grid, False, tile, real, rows, weights)


@ti.func
def tasks_per_level(n_samples, samples_per_task):
    """Return the number of tasks of one level."""
    return (n_samples + samples_per_task - 1) // samples_per_task


@ti.func
def task_of(task, n_samples, n_levels, samples_per_task):
    """Return the level of a task, its first sample, and the one after its last."""
    per_level = tasks_per_level(n_samples, samples_per_task)
    level = n_levels - 1 - task // per_level  # the finest level takes longest, so it comes first
    begin = task % per_level * samples_per_task
    return level, begin, ti.min(begin + samples_per_task, n_samples)


@ti.func
def cotangent(planes: ti.template(), level, s, features: ti.template(), real: ti.template(), half: ti.template()):
    """Return the cotangent of sample s at one level, a vector of `features`."""
    g = ti.Vector.zero(real, features)
    for f in ti.static(range(features)):
        value = planes[level * features + f, s]
        g[f] = from_bfloat16(value) if ti.static(half) else value
    return g
