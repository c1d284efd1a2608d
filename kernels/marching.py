"""Marching rays through the occupied cells of a cascaded grid (Müller et al. 2022, appendix C and E).

A step is dt = clamp(t * cone_angle, min_step, max_step): constant for cone_angle 0, else growing with the distance. A
step whose middle lies in an occupied cell becomes a sample. Empty space is crossed in whole steps, so that the possible
samples of a ray are the same, to rounding, for every grid. A step longer than a cell is looked up in a coarser cascade,
so that it does not jump over thin objects.

In Morton order the bits of a block of 2^3 cells are one byte and those of 4^3 cells one word of 64 bits: one read tells
how much space around a cell is empty.

The same kernels serve training and inference. Training marches a ray from end to end; inference marches rays that are
not yet opaque a few samples at a time and continues at `t_next`.
"""

from dataclasses import dataclass
from functools import cache

import taichi as ti
import torch
from torch import Tensor

from .launch import check_dtype, check_like, check_shape, launch
from .occupancy import MAX_RESOLUTION, OccupancyBits, cascade_of, cell_coordinate, morton3

_MOST_STEPS = 1 << 22
"""Largest distance of a march from t = 0, in smallest steps: a float32 still tells neighbouring steps apart there."""
_NEVER = 1e30
_MIN_RESOLUTION = 16
"""Smallest resolution: no block of 4^3 cells straddles the next smaller cascade, whose border is at a quarter."""

_POINTS = ti.types.ndarray(ti.f32, ndim=2)
_INDICES = ti.types.ndarray(ti.i32, ndim=1)
_RAYS = ti.types.ndarray(ti.i32, ndim=2)
_BLOCKS = ti.types.ndarray(ti.i64, ndim=1)


@dataclass(frozen=True)
class StepRule:
    """Length of a marching step at distance t: clamp(t * cone_angle, min_step, max_step), scene units.

    Raises:
        ValueError: not 1e-5 <= min_step <= max_step, or `cone_angle` is not in [0, 1).
    """

    min_step: float
    max_step: float
    cone_angle: float = 0.0

    def __post_init__(self) -> None:
        if not 1e-5 <= self.min_step <= self.max_step < _NEVER:
            raise ValueError(
                f"min_step, max_step: expected 1e-5 <= min_step <= max_step, got {self.min_step} and {self.max_step}"
            )
        if not 0 <= self.cone_angle < 1:
            raise ValueError(f"cone_angle: expected in [0, 1), got {self.cone_angle}")

    @property
    def growing(self) -> bool:
        """True if steps differ in length."""
        return self.cone_angle > 0 and self.min_step < self.max_step


@dataclass(frozen=True)
class RaySamples:
    """Packed samples of a batch of rays.

    Attributes:
        t_starts, t_ends: (n,) float32 ends of each interval along its ray, scene units.
        ray_indices: (n,) int32, ray of each sample; 0 in the padding.
        packed_info: (n_rays, 2) int32, first sample and count of each ray.
        t_next: (n_rays,) float32, distance at which the march stopped; at least t_max if it reached the end.
        n_samples: number of samples that belong to rays; the others are padding of length 0.
    """

    t_starts: Tensor
    t_ends: Tensor
    ray_indices: Tensor
    packed_info: Tensor
    t_next: Tensor
    n_samples: int


@ti.func
def _step(t: ti.f32, min_step: ti.f32, max_step: ti.f32, cone_angle: ti.f32, growing: ti.template()) -> ti.f32:
    return ti.min(ti.max(t * cone_angle, min_step), max_step) if ti.static(growing) else min_step


@ti.func
def _is_finite(x: ti.f32) -> ti.i32:
    """Return whether x is finite, by its bits: the compiler assumes that floats are never NaN."""
    return (ti.bit_cast(x, ti.i32) & 0x7F800000) != 0x7F800000


@ti.func
def _inverse(d: ti.f32) -> ti.f32:
    """Return 1 / d, or a large number for a ray that hardly moves along this axis."""
    return 1.0 / d if ti.abs(d) > 1e-9 else 1e9


@ti.func
def _leave_distance(x: ti.f32, inverse: ti.f32, cell: ti.i32, edge: ti.i32, width: ti.f32, reach: ti.f32) -> ti.f32:
    """Return the distance along the ray until coordinate x leaves its block along one axis.

    `cell` is the index of x's cell on this axis; cells have width `width` in [-reach, reach]. A block has `edge` cells
    on this axis, a power of two.
    """
    border = (cell & -edge) + (edge if inverse > 0.0 else 0)
    return (ti.cast(border, ti.f32) * width - reach - x) * inverse


@ti.func
def _march(
    r: ti.i32, write: ti.template(), growing: ti.template(), rays_o: ti.template(), rays_d: ti.template(),
    begin: ti.f32, t_max: ti.f32, blocks: ti.template(), cascades: ti.i32, resolution: ti.i32, min_step: ti.f32,
    max_step: ti.f32, cone_angle: ti.f32, max_samples: ti.i32, first: ti.i32, intervals: ti.template(),
    ray_indices: ti.template(),
):  # fmt: skip
    """Count the samples of ray r, and write them from index `first` on if `write`.

    Returns:
        the count, the distance at which the first sample starts, and the distance at which the march ended.
    """
    inverse_x, inverse_y, inverse_z = _inverse(rays_d[r, 0]), _inverse(rays_d[r, 1]), _inverse(rays_d[r, 2])
    steps_per_unit = 1.0 / min_step
    t, t_first, count = begin, begin, 0
    while t < t_max and count < max_samples:
        dt = _step(t, min_step, max_step, cone_angle, growing)
        middle = t + 0.5 * dt
        x = rays_o[r, 0] + middle * rays_d[r, 0]
        y = rays_o[r, 1] + middle * rays_d[r, 1]
        z = rays_o[r, 2] + middle * rays_d[r, 2]
        cascade = ti.max(cascade_of(x, y, z, cascades), cascade_of(0.5 * dt * resolution, 0.0, 0.0, cascades))
        i = cell_coordinate(x, cascade, resolution)
        j = cell_coordinate(y, cascade, resolution)
        k = cell_coordinate(z, cascade, resolution)
        cell = cascade * resolution * resolution * resolution + morton3(i, j, k)
        block = blocks[cell >> 6]
        if (block >> ti.cast(cell & 63, ti.i64)) & 1:
            if ti.static(write):
                intervals[0, first + count] = t
                intervals[1, first + count] = t + dt
                ray_indices[first + count] = r
            if count == 0:
                t_first = t
            count += 1
            t += dt
        else:
            edge = 1
            if block == 0:
                edge = 4
            elif (block >> ti.cast(cell & 56, ti.i64)) & 0xFF == 0:
                edge = 2
            reach = ti.cast(1 << cascade, ti.f32)
            width = 2.0 * reach / ti.cast(resolution, ti.f32)
            leave = _leave_distance(x, inverse_x, i, edge, width, reach)
            leave = ti.min(leave, _leave_distance(y, inverse_y, j, edge, width, reach))
            leave = ti.min(leave, _leave_distance(z, inverse_z, k, edge, width, reach))
            if ti.static(growing):
                border = middle + leave
                # Steps longer than the cell belong to the next cascade, which may be occupied here.
                longest = width if cascade < cascades - 1 else _NEVER
                t += dt
                dt = _step(t, min_step, max_step, cone_angle, growing)
                while t + 0.5 * dt < border and dt <= longest and t < t_max:
                    t += dt
                    dt = _step(t, min_step, max_step, cone_angle, growing)
            else:
                t += dt * ti.max(ti.ceil(leave * steps_per_unit), 1.0)
    return count, t_first, t


@cache
def _kernels(growing: bool):
    """Compile counting and writing. Steps of constant length cross empty space by one multiplication."""

    @ti.kernel
    def count(
        rays_o: _POINTS, rays_d: _POINTS, spans: _POINTS, blocks: _BLOCKS, cascades: ti.i32, resolution: ti.i32,
        min_step: ti.f32, max_step: ti.f32, cone_angle: ti.f32, max_samples: ti.i32, packed_info: _RAYS,
        t: _POINTS,
    ):  # fmt: skip
        for r in range(spans.shape[0]):
            finite = _is_finite(spans[r, 0]) & _is_finite(spans[r, 1])
            for axis in ti.static(range(3)):
                finite &= _is_finite(rays_o[r, axis]) & _is_finite(rays_d[r, axis])
            t_first, t_next, found = ti.f32(_NEVER), ti.f32(_NEVER), 0
            far = _MOST_STEPS * min_step
            if finite and spans[r, 0] > -far:
                found, t_first, t_next = _march(
                    r, False, growing, rays_o, rays_d, spans[r, 0], ti.min(spans[r, 1], far), blocks, cascades,
                    resolution, min_step, max_step, cone_angle, max_samples, 0, t, packed_info,
                )  # fmt: skip
                if t_next >= far:
                    t_next = ti.max(t_next, spans[r, 1])
            packed_info[r, 1] = found
            t[0, r] = t_first
            t[1, r] = t_next

    @ti.kernel
    def write(
        rays_o: _POINTS, rays_d: _POINTS, t: _POINTS, blocks: _BLOCKS, cascades: ti.i32, resolution: ti.i32,
        min_step: ti.f32, max_step: ti.f32, cone_angle: ti.f32, packed_info: _RAYS,
        intervals: _POINTS, ray_indices: _INDICES,
    ):  # fmt: skip
        for r in range(packed_info.shape[0]):
            first, count = packed_info[r, 0], packed_info[r, 1]
            found, _, _ = _march(
                r, True, growing, rays_o, rays_d, t[0, r], t[1, r], blocks, cascades, resolution, min_step, max_step,
                cone_angle, count, first, intervals, ray_indices,
            )  # fmt: skip
            # Padding in case the two kernels round differently, which the compiler does not exclude.
            for s in range(first + found, first + count):
                intervals[0, s] = t[1, r]
                intervals[1, s] = t[1, r]
                ray_indices[s] = r

    return count, write


def march_rays(
    rays_o: Tensor,
    rays_d: Tensor,
    spans: Tensor,
    grid: OccupancyBits,
    rule: StepRule,
    *,
    max_samples: int = 1024,
    pad_to: int = 1,
) -> RaySamples:
    """Return the samples of each ray in occupied cells of the grid (Müller et al. 2022, appendix C, E).

    Not differentiable.

    Args:
        rays_o, rays_d: (n_rays, 3) float32 origins and unit directions, scene coordinates.
        spans: (n_rays, 2) float32 distances at which each march starts and ends (t_min, t_max), within the outermost
            cube of the grid; for training, jitter t_min by a random part of a step. An empty span gives no sample, nor
            does a ray or span with a value that is not finite.
        grid: occupied cells; its resolution is 16 to 256.
        rule: length of a step.
        max_samples: largest number of samples of a ray; its march stops there.
        pad_to: the number of samples is padded to a multiple of this with samples of length 0 that belong to no ray;
            matrix libraries are faster when sizes repeat.
    Returns:
        RaySamples. The number of samples is read back from the device, which waits for it.
    Raises:
        ValueError: a shape, dtype or device disagrees.
    """
    for name, tensor in (("rays_o", rays_o), ("rays_d", rays_d), ("spans", spans)):
        check_dtype(name, tensor, torch.float32)
        check_shape(name, tensor, (len(rays_o), 2 if name == "spans" else 3))
        check_like(name, tensor, "rays_o", rays_o)
    if max_samples < 1 or pad_to < 1:
        raise ValueError(f"max_samples, pad_to: expected >= 1, got {max_samples} and {pad_to}")
    resolution = grid.resolution
    within = _MIN_RESOLUTION <= resolution <= MAX_RESOLUTION and 1 <= grid.cascades <= 16
    if not within or resolution & (resolution - 1):
        raise ValueError(
            f"grid: expected a resolution that is a power of two in [{_MIN_RESOLUTION}, {MAX_RESOLUTION}] "
            f"and 1 to 16 cascades, got {resolution} and {grid.cascades}"
        )
    check_dtype("grid.bits", grid.bits, torch.uint8)
    check_shape("grid.bits", grid.bits, (grid.cascades * resolution**3 // 8,))
    n_rays, device = len(rays_o), rays_o.device
    packed_info = torch.zeros(n_rays, 2, dtype=torch.int32, device=device)
    t = torch.empty(2, n_rays, device=device)  # starts of the first samples; ends of the marches
    bits = grid.bits.contiguous()
    blocks = (bits.clone() if bits.storage_offset() % 8 else bits).view(torch.int64)  # aligned to words
    walk = (blocks, grid.cascades, resolution, rule.min_step, rule.max_step, rule.cone_angle)
    count, write = _kernels(rule.growing)
    n_samples = 0
    if n_rays:
        launch(count, (rays_o, rays_d, spans, *walk, max_samples), (packed_info, t))
        ends = packed_info[:, 1].cumsum(0, dtype=torch.int32)
        packed_info[1:, 0] = ends[:-1]
        n_samples = int(ends[-1])
    padded = -(-n_samples // pad_to) * pad_to
    intervals = torch.empty(2, padded, device=device)
    ray_indices = torch.empty(padded, dtype=torch.int32, device=device)
    intervals[:, n_samples:] = 0
    ray_indices[n_samples:] = 0
    if n_samples:
        launch(write, (rays_o, rays_d, t, *walk, packed_info), (intervals, ray_indices))
    return RaySamples(intervals[0], intervals[1], ray_indices, packed_info, t[1], n_samples)
