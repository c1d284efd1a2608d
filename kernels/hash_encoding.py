"""Multiresolution hash encoding of 3D positions (instant-ngp, Müller et al. 2022, section 3).

Level l has a grid of N_l = floor(N_min b^l) cells a side, b = exp(ln(N_max / N_min) / (L - 1))   (eq. 2-3).
The eight corners of the cell around x are rows of the level's slice of the table: one to one if the grid fits the
slice, else by the hash (x * 1) xor (y * 2654435761) xor (z * 805459861) mod 2^T                  (eq. 4).
The rows are blended trilinearly; levels are concatenated.

A task is a run of samples at one level. On the CPU tasks are long, so that the slice of the table stays in the cache:
the forward pass first reads the slice once, the backward pass clears it and owns it, so that no addition is atomic.
Samples go in small tiles: first the rows and weights of a tile, which the compiler vectorises, then the gathers. On
CUDA a task is one sample and gradients are added atomically.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import taichi as ti
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._hash_grid import (
    axis_weights,
    corner_rows,
    cotangent,
    fill_tile,
    level_grid,
    locate,
    task_of,
    tasks_per_level,
    to_bfloat16,
)
from .launch import CPU_CHUNK, TI_DTYPE, arch, check_dtype, check_like, check_shape, launch

_TILE = 16
"""Samples of a tile on the CPU."""
_LONGEST_TASK = 16384
"""Samples of a forward task on the CPU."""
_CACHE_LINE = 64
"""Bytes of a cache line."""

_LEVELS = ti.types.ndarray(ti.i32, ndim=2)


@dataclass(frozen=True)
class HashLayout:
    """Sizes of a multiresolution hash table, and the slice of each level.

    Attributes:
        levels: Number of grids, coarse to fine (L).
        features: Channels of a table row (F): 1, 2, 4 or 8.
        log2_table: Base-2 logarithm of the largest number of rows of a level (T).
        base_resolution: Cells along each side of the coarsest grid (N_min).
        finest_resolution: Cells along each side of the finest grid (N_max), less than 2^19.
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
        """First row, number of rows, and whether the grid is dense (not hashed), for each level."""
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
    """Return (L, 4) int32: resolution, first row, number of rows, 1 if dense, of each level."""
    rows = [(n, *level_slice) for n, level_slice in zip(layout.resolutions, layout.slices)]
    return torch.tensor([[int(v) for v in row] for row in rows], dtype=torch.int32, device=device)


def _array_types(dtype: torch.dtype, features: int, half: bool) -> tuple[Any, Any, Any]:
    """Return the array types of positions, table and planes (see `_hash_grid`)."""
    real = TI_DTYPE[dtype]
    point, row = ti.types.vector(3, real), ti.types.vector(features, real)
    planes = ti.types.ndarray(ti.i16 if half else real, ndim=2)
    return ti.types.ndarray(point, ndim=1), ti.types.ndarray(row, ndim=1), planes


@cache
def _forward_kernel(dtype: torch.dtype, features: int, half: bool, on: str):
    """Compile the encoding of a table of this dtype, with bfloat16 output if `half`; `on` is "cpu" or "cuda"."""
    points, table_rows, planes = _array_types(dtype, features, half)
    on_cpu, real = on == "cpu", TI_DTYPE[dtype]
    stride, tile = (CPU_CHUNK, _TILE) if on_cpu else (1, 1)
    rows_per_line = max(1, _CACHE_LINE // (features * dtype.itemsize))

    @ti.func
    def read_through(table: ti.template(), grid, out: ti.template(), level, begin):
        """Read the level's slice of the table once, in order, so that it is in the cache."""
        total = real(0.0)
        for line in range(grid[2] // rows_per_line):
            total += table[grid[1] + line * rows_per_line][0]
        # Stored so that the compiler keeps the reads; the encoding overwrites it.
        out[level * features, begin] = ti.cast(total, ti.i16 if ti.static(half) else real)

    @ti.kernel
    def forward(positions: points, table: table_rows, levels: _LEVELS, samples_per_task: ti.i32, out: planes):
        n_samples, n_levels = positions.shape[0], levels.shape[0]
        for t in range(n_levels * tasks_per_level(n_samples, samples_per_task) * stride):
            if t % stride == 0:
                level, begin, end = task_of(t // stride, n_samples, n_levels, samples_per_task)
                grid = level_grid(levels, level)
                # Only if the samples touch most cache lines of the slice.
                if ti.static(on_cpu) and (end - begin) * ti.static(4 * rows_per_line) >= grid[2]:
                    read_through(table, grid, out, level, begin)
                rows, weights = ti.Vector([0] * (8 * tile), ti.i32), ti.Vector([0] * (8 * tile), real)
                for k in range((end - begin + tile - 1) // tile):
                    first = begin + k * tile
                    count = 1 if ti.static(tile == 1) else ti.min(tile, end - first)
                    fill_tile(positions, first, count, grid, levels[level, 3], tile, real, rows, weights)
                    for i in range(count):
                        value = ti.Vector.zero(real, features)
                        for v in ti.static(range(8)):
                            value += weights[v * tile + i] * table[rows[v * tile + i]]
                        for f in ti.static(range(features)):
                            channel = to_bfloat16(value[f]) if ti.static(half) else value[f]
                            out[level * features + f, first + i] = channel

    return forward


@cache
def _table_gradient_kernel(dtype: torch.dtype, features: int, half: bool, on: str):
    """Compile the gradient of the table: each sample adds weight times cotangent to the rows of its corners.

    On the CPU a task takes all samples of a level: it clears the level's rows and owns them. On CUDA the table must be
    zero and additions are atomic.
    """
    points, table_rows, planes = _array_types(dtype, features, half)
    on_cpu, real = on == "cpu", TI_DTYPE[dtype]
    stride, tile = (CPU_CHUNK, _TILE) if on_cpu else (1, 1)

    @ti.kernel
    def backward(positions: points, g_out: planes, levels: _LEVELS, samples_per_task: ti.i32, g_table: table_rows):
        n_samples, n_levels = positions.shape[0], levels.shape[0]
        for t in range(n_levels * tasks_per_level(n_samples, samples_per_task) * stride):
            if t % stride == 0:
                level, begin, end = task_of(t // stride, n_samples, n_levels, samples_per_task)
                grid = level_grid(levels, level)
                if ti.static(on_cpu):
                    for r in range(grid[1], grid[1] + grid[2]):
                        g_table[r] = 0
                rows, weights = ti.Vector([0] * (8 * tile), ti.i32), ti.Vector([0] * (8 * tile), real)
                for k in range((end - begin + tile - 1) // tile):
                    first = begin + k * tile
                    count = 1 if ti.static(tile == 1) else ti.min(tile, end - first)
                    fill_tile(positions, first, count, grid, levels[level, 3], tile, real, rows, weights)
                    for i in range(count):
                        g = cotangent(g_out, level, first + i, features, real, half)
                        for v in ti.static(range(8)):
                            r, w = rows[v * tile + i], weights[v * tile + i]
                            if ti.static(on_cpu):
                                g_table[r] = g_table[r] + w * g
                            else:
                                ti.atomic_add(g_table[r], w * g)

    return backward


@cache
def _position_gradient_kernel(dtype: torch.dtype, features: int, half: bool):
    """Compile the gradient of the positions: the slope of the trilinear blend, zero along an axis that is clamped."""
    points, table_rows, planes = _array_types(dtype, features, half)
    real = TI_DTYPE[dtype]

    @ti.func
    def slope(position, table: ti.template(), g_out: ti.template(), level, s, grid, dense: ti.template()):
        """Return the gradient of one level of one sample."""
        cell, place = locate(position, grid, real)
        rows, g_row = corner_rows(cell, grid, dense), cotangent(g_out, level, s, features, real, half)
        g = ti.Vector.zero(real, 3)
        for v in ti.static(range(8)):
            wx, wy, wz = axis_weights(place, v)
            dot = g_row.dot(table[rows[v]])
            g[0] += dot * wy * wz * ti.static(2 * (v & 1) - 1)
            g[1] += dot * wx * wz * ti.static(2 * (v >> 1 & 1) - 1)
            g[2] += dot * wx * wy * ti.static(2 * (v >> 2) - 1)
        return g * ti.cast(grid[0], real)

    @ti.kernel
    def backward(positions: points, table: table_rows, g_out: planes, levels: _LEVELS, g_positions: points):
        for s in range(positions.shape[0]):
            position, g = positions[s], ti.Vector.zero(real, 3)
            for level in range(levels.shape[0]):
                grid = level_grid(levels, level)
                if levels[level, 3]:
                    g += slope(position, table, g_out, level, s, grid, True)
                else:
                    g += slope(position, table, g_out, level, s, grid, False)
            for axis in ti.static(range(3)):
                if position[axis] < 0 or position[axis] > 1:
                    g[axis] = 0
            g_positions[s] = g

    return backward


def _empty_rows(table: Tensor) -> Tensor:
    """Return an uninitialised tensor like `table`, allocated by NumPy, which asks for huge pages.

    With the small pages of torch, the first touch of a large table takes as long as the whole backward pass.
    """
    return torch.from_numpy(np.empty(table.shape, np.float64 if table.dtype == torch.float64 else np.float32))


def _bits(values: Tensor) -> Tensor:
    """Return bfloat16 as int16 with the same bits, other dtypes as they are."""
    return values.view(torch.int16) if values.dtype == torch.bfloat16 else values


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, positions: Tensor, table: Tensor, layout: HashLayout, out_dtype: torch.dtype) -> Tensor:
        levels = _level_table(layout, table.device)
        ctx.save_for_backward(positions, table, levels)
        ctx.form = table.dtype, layout.features, out_dtype == torch.bfloat16
        out = torch.empty(layout.channels, len(positions), dtype=out_dtype, device=table.device)
        if len(positions):
            samples_per_task = _LONGEST_TASK if arch() == "cpu" else 1
            inputs = (positions, table, levels, samples_per_task)
            launch(_forward_kernel(*ctx.form, arch()), inputs, (_bits(out),))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, g_out: Tensor):
        positions, table, levels = ctx.saved_tensors
        g_out = _bits(g_out.contiguous())
        g_positions = g_table = None
        if ctx.needs_input_grad[0]:
            g_positions = torch.empty_like(positions, memory_format=torch.contiguous_format)
            if len(positions):
                launch(_position_gradient_kernel(*ctx.form), (positions, table, g_out, levels), (g_positions,))
        if ctx.needs_input_grad[1]:
            each_task_clears_its_level = arch() == "cpu" and len(positions)
            g_table = _empty_rows(table) if each_task_clears_its_level else table.new_zeros(table.shape)
            if len(positions):
                samples_per_task = len(positions) if arch() == "cpu" else 1
                inputs = (positions, g_out, levels, samples_per_task)
                launch(_table_gradient_kernel(*ctx.form, arch()), inputs, (g_table,))
        return g_positions, g_table, None, None


def hash_encode(
    positions: Tensor, table: Tensor, layout: HashLayout, *, out_dtype: torch.dtype | None = None
) -> Tensor:
    """Encode positions by a multiresolution hash table (Müller et al. 2022, section 3).

    Once differentiable in `positions` and `table`.

    Args:
        positions: (n, 3) in [0, 1], float32 or float64; values outside are clamped, with zero gradient.
        table: (layout.rows, layout.features) trainable rows, dtype of `positions`.
        layout: sizes of the table.
        out_dtype: dtype of the result, by default that of `table`. bfloat16 is possible for a float32 table; values are
            rounded to nearest even, and the cotangent has the same dtype.
    Returns:
        (n, layout.channels), channel l * F + f holding feature f of level l: the transposed view of a contiguous
        (layout.channels, n) tensor, which a matrix product takes without a copy.
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
