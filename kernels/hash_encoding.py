"""Multiresolution hash encoding of 3D positions (instant-ngp, Müller et al. 2022, section 3).

Level l has a grid of N_l = floor(N_min b^l) cells a side, b = exp(ln(N_max / N_min) / (L - 1))   (eq. 2-3).
The eight corners of the cell around x are rows of the level's slice of the table: one to one while the grid
fits its slice, else by the hash (x * 1) xor (y * 2654435761) xor (z * 805459861) mod 2^T        (eq. 4).
The rows are blended trilinearly; levels are concatenated.

A task is a run of samples at one level. On the CPU it is long, so that the slice of the table stays in the
cache: the forward pass reads the slice through once, the backward pass clears it and owns it, so that nothing
is atomic. Samples go in small tiles: rows and weights of a tile first, which the compiler vectorises, then
the gathers. On CUDA a task is one sample, and gradients are added atomically.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import taichi as ti
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .launch import CPU_CHUNK, TI_DTYPE, arch, check_dtype, check_like, check_shape, launch

_PRIME_Y = 2654435761
_PRIME_Z = 805459861
_TILE = 16
_LONGEST_TASK = 16384
_CACHE_LINE = 64


@dataclass(frozen=True)
class HashLayout:
    """Sizes of a multiresolution hash table and where each level lies in it.

    Attributes:
        levels: L, number of grids.
        features: F, channels of a row: 1, 2, 4 or 8.
        log2_table: T, at most 2^T rows a level.
        base_resolution: N_min, cells a side of the coarsest grid.
        finest_resolution: N_max, cells a side of the finest grid, less than 2^19.
    """

    levels: int = 16
    features: int = 2
    log2_table: int = 19
    base_resolution: int = 16
    finest_resolution: int = 2048

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"levels: expected >= 1, got {self.levels}")
        if self.features not in (1, 2, 4, 8):
            raise ValueError(f"features: expected 1, 2, 4 or 8, got {self.features}")
        if not 4 <= self.log2_table <= 24:
            raise ValueError(f"log2_table: expected 4 to 24, got {self.log2_table}")
        if not 1 <= self.base_resolution <= self.finest_resolution < 2**19:
            raise ValueError(
                "base_resolution, finest_resolution: expected 1 <= base <= finest < 2^19, "
                f"got {self.base_resolution} and {self.finest_resolution}"
            )

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Cells a side of each level's grid."""
        growth = (self.finest_resolution / self.base_resolution) ** (1 / max(self.levels - 1, 1))
        # The tiny factor keeps floor() from losing the last level to rounding.
        return tuple(math.floor(self.base_resolution * growth**k * (1 + 1e-9)) for k in range(self.levels))

    @cached_property
    def slices(self) -> tuple[tuple[int, int, bool], ...]:
        """First row, number of rows, and whether the grid is stored densely, for each level."""
        slices, first = [], 0
        for resolution in self.resolutions:
            vertices = (resolution + 1) ** 3
            dense = vertices <= 2**self.log2_table
            rows = -(-vertices // 8) * 8 if dense else 2**self.log2_table
            slices.append((first, rows, dense))
            first += rows
        return tuple(slices)

    @property
    def rows(self) -> int:
        """Rows of the table, all levels together."""
        first, rows, _ = self.slices[-1]
        return first + rows

    @property
    def channels(self) -> int:
        """L * F, channels of the encoding."""
        return self.levels * self.features


@cache
def _level_table(layout: HashLayout, device: torch.device) -> Tensor:
    rows = [(n, *level_slice) for n, level_slice in zip(layout.resolutions, layout.slices)]
    return torch.tensor([[int(v) for v in row] for row in rows], dtype=torch.int32, device=device)


@ti.func
def _to_bfloat16(value: ti.f32) -> ti.i16:
    """Round to nearest even; Taichi has no bfloat16, so it travels as its bits."""
    bits = ti.bit_cast(value, ti.u32)
    return ti.cast((bits + ti.u32(0x7FFF) + ((bits >> 16) & ti.u32(1))) >> 16, ti.i16)


@ti.func
def _from_bfloat16(bits: ti.i16) -> ti.f32:
    return ti.bit_cast(ti.cast(bits, ti.u32) << 16, ti.f32)


@ti.func
def _corner_rows(cell, grid, dense: ti.template()):
    """Rows of the eight vertices of a cell; vertex v is the one at (v & 1, v >> 1 & 1, v >> 2)."""
    step_y, step_z = ti.u32(_PRIME_Y), ti.u32(_PRIME_Z)
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


@cache
def _kernels(dtype: torch.dtype, features: int, half: bool, on: str):
    """Forward, backward of the table, backward of the positions, for one kind of table and output.

    `grid` is (resolution, first row, rows) of a level. Planes are the channels of the encoding one after the
    other, floats or the bits of bfloat16.
    """
    on_cpu = on == "cpu"
    stride, tile = (CPU_CHUNK, _TILE) if on_cpu else (1, 1)
    rows_a_line = max(1, _CACHE_LINE // (features * dtype.itemsize))
    real = TI_DTYPE[dtype]
    point, row = ti.types.vector(3, real), ti.types.vector(features, real)
    points, table_rows = ti.types.ndarray(point, ndim=1), ti.types.ndarray(row, ndim=1)
    planes, grids = ti.types.ndarray(ti.i16 if half else real, ndim=2), ti.types.ndarray(ti.i32, ndim=2)

    @ti.func
    def locate(position, grid):
        """Cell of a position and the place in it, in [0, 1]; what lies outside of the grid is clamped."""
        low = ti.select(position > 0, position, real(0.0))  # cheaper than max and min, which look for NaN
        scaled = ti.select(low < 1, low, real(1.0)) * ti.cast(grid[0], real)
        cell = ti.math.clamp(ti.cast(scaled, ti.i32), 0, grid[0] - 1)
        return cell, scaled - ti.cast(cell, real)

    @ti.func
    def blend(at, v: ti.template()):
        """Along each axis, the weight of vertex v."""
        wx = at[0] if ti.static(v & 1) else 1 - at[0]
        wy = at[1] if ti.static(v >> 1 & 1) else 1 - at[1]
        wz = at[2] if ti.static(v >> 2) else 1 - at[2]
        return wx, wy, wz

    @ti.func
    def cotangent(planes: ti.template(), level, s):
        g = row(0)
        for f in ti.static(range(features)):
            value = planes[level * features + f, s]
            g[f] = _from_bfloat16(value) if ti.static(half) else value
        return g

    @ti.func
    def corners(
        positions: ti.template(),
        first,
        count,
        grid,
        dense: ti.template(),
        rows: ti.template(),
        weights: ti.template(),
    ):
        """Rows and weights of the vertices of `count` samples, vertex v of sample i at v * tile + i."""
        for i in range(count):
            cell, at = locate(positions[first + i], grid)
            found = _corner_rows(cell, grid, dense)
            for v in ti.static(range(8)):
                wx, wy, wz = blend(at, v)
                rows[v * tile + i] = found[v]
                weights[v * tile + i] = wx * wy * wz

    @ti.func
    def run_task(
        task, positions: ti.template(), table: ti.template(), planes: ti.template(), levels: ti.template(),
        samples_a_task, forward: ti.template(),
    ):  # fmt: skip
        """Encode a run of samples at one level, or add their cotangents to the table."""
        tasks_a_level = (positions.shape[0] + samples_a_task - 1) // samples_a_task
        level = levels.shape[0] - 1 - task // tasks_a_level  # the finest takes longest: begin with it
        begin = task % tasks_a_level * samples_a_task
        end = ti.min(begin + samples_a_task, positions.shape[0])
        grid = ti.Vector([levels[level, 0], levels[level, 1], levels[level, 2]])
        if ti.static(on_cpu and forward) and (end - begin) * ti.static(4 * rows_a_line) >= grid[2]:
            # Worth it, as the samples touch most of its cache lines.
            total = real(0.0)
            for line in range(grid[2] // rows_a_line):
                total += table[grid[1] + line * rows_a_line][0]
            # So that the reading counts as needed; overwritten below.
            planes[level * features, begin] = ti.cast(total, ti.i16 if ti.static(half) else real)
        if ti.static(on_cpu and not forward):
            for r in range(grid[1], grid[1] + grid[2]):
                table[r] = 0
        rows, weights = ti.Vector([0] * (8 * tile), ti.i32), ti.Vector([0] * (8 * tile), real)
        for t in range((end - begin + tile - 1) // tile):
            first = begin + t * tile
            count = 1 if ti.static(tile == 1) else ti.min(tile, end - first)
            if levels[level, 3]:
                corners(positions, first, count, grid, True, rows, weights)
            else:
                corners(positions, first, count, grid, False, rows, weights)
            for i in range(count):
                value = row(0) if ti.static(forward) else cotangent(planes, level, first + i)
                for v in ti.static(range(8)):
                    r, w = rows[v * tile + i], weights[v * tile + i]
                    if ti.static(forward):
                        value += w * table[r]
                    elif ti.static(on_cpu):
                        table[r] = table[r] + w * value
                    else:
                        ti.atomic_add(table[r], w * value)
                if ti.static(forward):
                    for f in ti.static(range(features)):
                        out = _to_bfloat16(value[f]) if ti.static(half) else value[f]
                        planes[level * features + f, first + i] = out

    @ti.kernel
    def forward(positions: points, table: table_rows, levels: grids, samples_a_task: ti.i32, out: planes):
        tasks = levels.shape[0] * ((positions.shape[0] + samples_a_task - 1) // samples_a_task)
        for t in range(tasks * stride):
            if t % stride == 0:
                run_task(t // stride, positions, table, out, levels, samples_a_task, True)

    @ti.kernel
    def backward(positions: points, g_out: planes, levels: grids, samples_a_task: ti.i32, g_table: table_rows):
        tasks = levels.shape[0] * ((positions.shape[0] + samples_a_task - 1) // samples_a_task)
        for t in range(tasks * stride):
            if t % stride == 0:
                run_task(t // stride, positions, g_table, g_out, levels, samples_a_task, False)

    @ti.func
    def slope(position, table: ti.template(), g_out: ti.template(), level, s, grid, dense: ti.template()):
        """Gradient of one level of one sample in its position; zero where that is clamped."""
        cell, at = locate(position, grid)
        rows, g_row = _corner_rows(cell, grid, dense), cotangent(g_out, level, s)
        g = point(0)
        for v in ti.static(range(8)):
            wx, wy, wz = blend(at, v)
            dot = g_row.dot(table[rows[v]])
            g[0] += dot * wy * wz * ti.static(2 * (v & 1) - 1)
            g[1] += dot * wx * wz * ti.static(2 * (v >> 1 & 1) - 1)
            g[2] += dot * wx * wy * ti.static(2 * (v >> 2) - 1)
        return g * ti.cast(grid[0], real)

    @ti.kernel
    def backward_positions(positions: points, table: table_rows, g_out: planes, levels: grids, g_positions: points):
        for s in range(positions.shape[0]):
            position, g = positions[s], point(0)
            for level in range(levels.shape[0]):
                grid = ti.Vector([levels[level, 0], levels[level, 1], levels[level, 2]])
                if levels[level, 3]:
                    g += slope(position, table, g_out, level, s, grid, True)
                else:
                    g += slope(position, table, g_out, level, s, grid, False)
            for axis in ti.static(range(3)):
                if position[axis] < 0 or position[axis] > 1:  # clamped
                    g[axis] = 0
            g_positions[s] = g

    return forward, backward, backward_positions


def _empty_rows(table: Tensor) -> Tensor:
    """As `torch.empty_like`; NumPy asks for huge pages, and a large table has so many small ones that their
    first touch takes as long as the whole backward pass."""
    return torch.from_numpy(np.empty(table.shape, np.float64 if table.dtype == torch.float64 else np.float32))


def _bits(values: Tensor) -> Tensor:
    return values.view(torch.int16) if values.dtype == torch.bfloat16 else values


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions: Tensor, table: Tensor, layout: HashLayout, out_dtype: torch.dtype) -> Tensor:
        levels = _level_table(layout, table.device)
        ctx.save_for_backward(positions, table, levels)
        ctx.kernels = _kernels(table.dtype, layout.features, out_dtype == torch.bfloat16, arch())
        out = torch.empty(layout.channels, len(positions), dtype=out_dtype, device=table.device)
        if len(positions):
            samples_a_task = _LONGEST_TASK if arch() == "cpu" else 1
            inputs = (positions, table, levels, samples_a_task)
            launch(ctx.kernels[0], inputs, (_bits(out),))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, g_out: Tensor):
        positions, table, levels = ctx.saved_tensors
        _, backward, backward_positions = ctx.kernels
        g_out = _bits(g_out.contiguous())
        g_positions = g_table = None
        if ctx.needs_input_grad[0]:
            g_positions = torch.empty_like(positions, memory_format=torch.contiguous_format)
            if len(positions):
                launch(backward_positions, (positions, table, g_out, levels), (g_positions,))
        if ctx.needs_input_grad[1]:
            each_task_clears_its_level = arch() == "cpu" and len(positions)
            g_table = _empty_rows(table) if each_task_clears_its_level else table.new_zeros(table.shape)
            if len(positions):
                samples_a_task = len(positions) if arch() == "cpu" else 1
                launch(backward, (positions, g_out, levels, samples_a_task), (g_table,))
        return g_positions, g_table, None, None


def hash_encode(
    positions: Tensor, table: Tensor, layout: HashLayout, *, out_dtype: torch.dtype | None = None
) -> Tensor:
    """Encode positions by a multiresolution hash table; differentiable in `positions` and `table`, once.

    Args:
        positions: (n, 3) in [0, 1], float32 or float64; values outside are clamped, with zero gradient.
        table: (layout.rows, layout.features) trainable rows, dtype of `positions`.
        layout: sizes of the table.
        out_dtype: dtype of the result, that of `table` unless given; bfloat16 is possible for a float32
            table and is rounded to nearest even. The cotangent comes back in the same dtype.
    Returns:
        (n, layout.channels): level by level, its features within. It is the transposed view of a contiguous
        (layout.channels, n) tensor, which the first matrix product of an MLP reads as it is.
    Raises:
        ValueError: a shape, dtype or device disagrees.
    """
    check_dtype("positions", positions, *TI_DTYPE)
    check_shape("positions", positions, (None, 3))
    check_shape("table", table, (layout.rows, layout.features))
    check_like("table", table, "positions", positions)
    out_dtype = out_dtype or table.dtype
    allowed = (torch.float32, torch.bfloat16) if table.dtype == torch.float32 else (torch.float64,)
    if out_dtype not in allowed:
        raise ValueError(f"out_dtype: expected {' or '.join(map(str, allowed))}, got {out_dtype}")
    return _HashEncode.apply(positions, table, layout, out_dtype).t()
