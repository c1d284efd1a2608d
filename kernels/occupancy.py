"""Cascaded occupancy grid, the cells of space that may contain density (Müller et al. 2022, appendix C).

Cascade k is a grid of `resolution`^3 cells over the cube [-2^k, 2^k]^3. The flat index of a cell is
`cascade * resolution^3 + morton3(i, j, k)`; bit `index % 8` of byte `index // 8` is 1 if it is occupied. A cell with
density -1 is invisible: no camera sees it, and it is never occupied.

Nothing here is differentiable, and nothing waits for the device.
"""

from dataclasses import dataclass

import taichi as ti
import torch
from torch import Tensor

from .launch import check_dtype, check_shape, launch

MAX_RESOLUTION = 256
"""Largest number of cells along an edge of a cascade."""
INVISIBLE = -1.0
"""Density of a cell that no camera sees."""

_FLOAT1, _FLOAT2 = (ti.types.ndarray(ti.f32, ndim=n) for n in (1, 2))
_INT1, _INT2 = (ti.types.ndarray(ti.i32, ndim=n) for n in (1, 2))
_BYTES = ti.types.ndarray(ti.u8, ndim=1)


@dataclass(frozen=True)
class OccupancyBits:
    """Occupied cells of a cascaded grid, as bits.

    Attributes:
        bits: (cascades * resolution^3 / 8,) uint8 from `pack_bits`, Morton order.
        cascades: number of cubes.
        resolution: cells along an edge of a cascade, a power of two.
    """

    bits: Tensor
    cascades: int
    resolution: int


# Marching and visibility use these functions too.
@ti.func
def _spread(v: ti.i32) -> ti.i32:
    """Insert two zeros after each of the ten lowest bits."""
    v = v & 0x3FF
    v = (v | (v << 16)) & 0x030000FF
    v = (v | (v << 8)) & 0x0300F00F
    v = (v | (v << 4)) & 0x030C30C3
    return (v | (v << 2)) & 0x09249249


@ti.func
def _gather(v: ti.i32) -> ti.i32:
    """Pack every third bit, the inverse of `_spread`."""
    v = v & 0x09249249
    v = (v | (v >> 2)) & 0x030C30C3
    v = (v | (v >> 4)) & 0x0300F00F
    v = (v | (v >> 8)) & 0x030000FF
    return (v | (v >> 16)) & 0x3FF


@ti.func
def morton3(i: ti.i32, j: ti.i32, k: ti.i32) -> ti.i32:
    """Return the Morton code of cell (i, j, k), each in [0, 1024); i has the lowest bit."""
    return _spread(i) | (_spread(j) << 1) | (_spread(k) << 2)


@ti.func
def cascade_of(x: ti.f32, y: ti.f32, z: ti.f32, cascades: ti.i32) -> ti.i32:
    """Return the smallest cascade that contains the point; the outermost for points beyond all cascades."""
    reach = ti.max(ti.abs(x), ti.max(ti.abs(y), ti.abs(z)))
    # ceil(log2(reach)) from the exponent of the float, into which any fraction bit carries. Exact and without a branch.
    power = ((ti.bit_cast(reach, ti.i32) + 0x7FFFFF) >> 23) - 127
    return ti.max(0, ti.min(power, cascades - 1))


@ti.func
def cell_coordinate(x: ti.f32, cascade: ti.i32, resolution: ti.i32) -> ti.i32:
    """Return the index along one axis of the cell of `cascade` that holds x, clamped into the cube."""
    inverse = ti.bit_cast((127 - cascade) << 23, ti.f32)  # 2^-cascade
    scaled = (x * inverse + 1.0) * (0.5 * resolution)
    # Clamped as a float, so that infinity and NaN, which fit no integer, land inside too.
    return ti.cast(ti.max(0.0, ti.min(scaled, resolution - 1.0)), ti.i32)


@ti.func
def cell_index(x: ti.f32, y: ti.f32, z: ti.f32, cascade: ti.i32, resolution: ti.i32) -> ti.i32:
    """Return the flat index of the cell of `cascade` that holds the point."""
    code = morton3(
        cell_coordinate(x, cascade, resolution),
        cell_coordinate(y, cascade, resolution),
        cell_coordinate(z, cascade, resolution),
    )
    return cascade * resolution * resolution * resolution + code


@ti.func
def cell_bit(bits: ti.template(), index: ti.i32) -> ti.i32:
    """Return 1 if the cell with this flat index is occupied, else 0."""
    return (ti.cast(bits[index >> 3], ti.i32) >> (index & 7)) & 1


@ti.func
def is_occupied(x: ti.f32, y: ti.f32, z: ti.f32, bits: ti.template(), cascades: ti.i32, resolution: ti.i32) -> ti.i32:
    """Return 1 if the point is in the outermost cube and its cell in the smallest cascade is occupied, else 0."""
    bound = ti.cast(1 << (cascades - 1), ti.f32)
    found = 0
    if ti.abs(x) <= bound and ti.abs(y) <= bound and ti.abs(z) <= bound:
        cascade = cascade_of(x, y, z, cascades)
        found = cell_bit(bits, cell_index(x, y, z, cascade, resolution))
    return found


@ti.kernel
def _encode(ijk: _INT2, codes: _INT1):
    for n in range(codes.shape[0]):
        codes[n] = morton3(ijk[n, 0], ijk[n, 1], ijk[n, 2])


@ti.kernel
def _decode(codes: _INT1, ijk: _INT2):
    for n in range(codes.shape[0]):
        for axis in ti.static(range(3)):
            ijk[n, axis] = _gather(codes[n] >> axis)


@ti.kernel
def _pack(densities: _FLOAT2, threshold: _FLOAT1, bits: _BYTES):
    cells = densities.shape[1]
    for byte in range(bits.shape[0]):
        first = byte * 8  # resolution^3 is a multiple of 8: a byte lies within one cascade
        cascade = first // cells
        packed = 0
        for b in ti.static(range(8)):
            density = densities[cascade, first - cascade * cells + b]
            if density >= 0.0 and density > threshold[0]:
                packed |= 1 << b
        bits[byte] = ti.cast(packed, ti.u8)


@ti.kernel
def _update(cells: _INT1, sigmas: _FLOAT1, decay: ti.f32, densities: _FLOAT2):
    per_cascade = densities.shape[1]
    total = densities.shape[0] * per_cascade
    for c in range(total):
        row, col = c // per_cascade, c % per_cascade
        if densities[row, col] >= 0.0:
            densities[row, col] = densities[row, col] * decay
    for n in range(cells.shape[0]):
        c = cells[n]
        if 0 <= c < total:
            row, col = c // per_cascade, c % per_cascade
            value = densities[row, col]
            # Atomic because a cell may be given twice. The comparison saves most atomics and keeps NaN out.
            if value >= 0.0 and sigmas[n] > value:
                ti.atomic_max(densities[row, col], sigmas[n])


@ti.func
def cell_corner(cell: ti.i32, resolution: ti.i32, shift: ti.template()) -> ti.math.vec3:
    """Return the scene position of a cell's lowest corner plus `shift` cell edges."""
    per_cascade = resolution * resolution * resolution
    cascade = cell // per_cascade
    code = cell - cascade * per_cascade
    ijk = ti.math.vec3(_gather(code), _gather(code >> 1), _gather(code >> 2))
    return ((ijk + shift) * (2.0 / resolution) - 1.0) * ti.cast(1 << cascade, ti.f32)


@ti.kernel
def _sample(cells: _INT1, noise: _FLOAT2, resolution: ti.i32, positions: _FLOAT2):
    for n in range(cells.shape[0]):
        position = cell_corner(cells[n], resolution, ti.math.vec3(noise[n, 0], noise[n, 1], noise[n, 2]))
        for axis in ti.static(range(3)):
            positions[n, axis] = position[axis]


@ti.kernel
def _query(positions: _FLOAT2, bits: _BYTES, cascades: ti.i32, resolution: ti.i32, found: _BYTES):
    for n in range(positions.shape[0]):
        x, y, z = positions[n, 0], positions[n, 1], positions[n, 2]
        found[n] = ti.cast(is_occupied(x, y, z, bits, cascades, resolution), ti.u8)


def morton_encode(ijk: Tensor) -> Tensor:
    """Return Morton codes: the bits of i, j and k interleaved, those of i lowest.

    Args:
        ijk: (n, 3) int32, each in [0, 1024); higher bits are dropped.
    Returns:
        (n,) int32 codes.
    Raises:
        ValueError: wrong shape or dtype.
    """
    check_shape("ijk", ijk, (None, 3))
    check_dtype("ijk", ijk, torch.int32)
    codes = ijk.new_empty(len(ijk))
    if len(ijk):
        launch(_encode, (ijk,), (codes,))
    return codes


def morton_decode(codes: Tensor) -> Tensor:
    """Return the cell coordinates of Morton codes, the inverse of `morton_encode`.

    Args:
        codes: (n,) int32 in [0, 2^30).
    Returns:
        (n, 3) int32 coordinates (i, j, k).
    Raises:
        ValueError: wrong shape or dtype.
    """
    check_shape("codes", codes, (None,))
    check_dtype("codes", codes, torch.int32)
    ijk = codes.new_empty(len(codes), 3)
    if len(codes):
        launch(_decode, (codes,), (ijk,))
    return ijk


def pack_bits(densities: Tensor, threshold: float | Tensor) -> Tensor:
    """Return one bit per cell, 1 if its density exceeds `threshold` and it is not invisible.

    Args:
        densities: (cascades, resolution^3) float32 in Morton order, -1 where invisible.
        threshold: density, 1 / scene unit; a number, or a tensor without dimensions, which stays on its device. A
            negative threshold marks every visible cell.
    Returns:
        (cascades * resolution^3 / 8,) uint8; bit i % 8 of byte i // 8 belongs to cell i.
    Raises:
        ValueError: wrong shape, dtype or device.
    """
    _check_densities(densities)
    if isinstance(threshold, Tensor):
        check_shape("threshold", threshold, ())
        threshold = threshold.to(densities.dtype).reshape(1)
    else:
        threshold = densities.new_full((1,), threshold)
    bits = densities.new_empty(densities.numel() // 8, dtype=torch.uint8)
    launch(_pack, (densities, threshold), (bits,))
    return bits


def update_densities(densities: Tensor, cells: Tensor, sigmas: Tensor, decay: float) -> None:
    """Update the densities of a grid in place (Müller et al. 2022, appendix C).

        density <- max(decay * density, new density)

    Visible cells without a new density only decay. Invisible cells stay -1.

    Args:
        densities: (cascades, resolution^3) float32 in Morton order, contiguous; changed in place.
        cells: (n,) int32 flat indices of new densities; if a cell is given twice, the largest counts; indices
            outside of the grid are ignored.
        sigmas: (n,) float32 densities of these cells, 1 / scene unit; NaN is ignored.
        decay: factor in [0, 1].
    Raises:
        ValueError: a shape, dtype or device disagrees, `densities` is not contiguous, or `decay` is out of
            range.
    """
    _check_densities(densities)
    check_shape("cells", cells, (None,))
    check_dtype("cells", cells, torch.int32)
    check_shape("sigmas", sigmas, (len(cells),))
    check_dtype("sigmas", sigmas, torch.float32)
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"decay: expected a factor in [0, 1], got {decay}")
    if not densities.is_contiguous():
        raise ValueError("densities: expected a contiguous tensor, which is changed in place")
    launch(_update, (cells, sigmas, decay), (densities,))


def sample_cells(cells: Tensor, resolution: int, noise: Tensor) -> Tensor:
    """Return positions within cells.

    Args:
        cells: (n,) int32 flat indices, `cascade * resolution^3 + Morton code`.
        resolution: cells along an edge of a cascade.
        noise: (n, 3) float32 in [0, 1), place of each position in its cell.
    Returns:
        (n, 3) float32 positions, scene coordinates.
    Raises:
        ValueError: a shape, dtype or device disagrees, or no grid has this resolution.
    """
    check_shape("cells", cells, (None,))
    check_dtype("cells", cells, torch.int32)
    check_shape("noise", noise, (len(cells), 3))
    check_dtype("noise", noise, torch.float32)
    check_grid(1, resolution)
    positions = torch.empty_like(noise, memory_format=torch.contiguous_format, requires_grad=False)
    if len(cells):
        launch(_sample, (cells, noise, resolution), (positions,))
    return positions


def cell_centres(cells: Tensor, resolution: int) -> Tensor:
    """Return the centres (n, 3) of cells in scene coordinates; arguments and errors as in `sample_cells`."""
    check_shape("cells", cells, (None,))
    half = torch.full((), 0.5, device=cells.device).expand(len(cells), 3)
    return sample_cells(cells, resolution, half)


def occupied(positions: Tensor, grid: OccupancyBits) -> Tensor:
    """Return whether points lie in occupied cells; each is looked up in the smallest cascade that contains it.

    Args:
        positions: (n, 3) float32, scene coordinates; points outside of all cascades are not occupied.
        grid: occupied cells.
    Returns:
        (n,) bool.
    Raises:
        ValueError: a shape, dtype or device disagrees, or no grid has this resolution.
    """
    check_grid(grid.cascades, grid.resolution)
    check_shape("positions", positions, (None, 3))
    check_dtype("positions", positions, torch.float32)
    check_shape("grid.bits", grid.bits, (grid.cascades * grid.resolution**3 // 8,))
    check_dtype("grid.bits", grid.bits, torch.uint8)
    found = torch.empty(len(positions), dtype=torch.uint8, device=positions.device)
    if len(positions):
        launch(_query, (positions, grid.bits, grid.cascades, grid.resolution), (found,))
    return found.view(torch.bool)


def check_grid(cascades: int, resolution: int) -> None:
    """Raise ValueError unless a grid can have this shape."""
    if resolution < 2 or resolution > MAX_RESOLUTION or resolution & (resolution - 1):
        raise ValueError(f"resolution: expected a power of two in [2, {MAX_RESOLUTION}], got {resolution}")
    if not 1 <= cascades <= 16:
        raise ValueError(f"cascades: expected 1 to 16, got {cascades}")


def _check_densities(densities: Tensor) -> None:
    check_shape("densities", densities, (None, None))
    check_dtype("densities", densities, torch.float32)
    resolution = round(densities.shape[1] ** (1 / 3))
    if resolution < 1 or resolution**3 != densities.shape[1] or resolution & (resolution - 1):
        raise ValueError(
            "densities: expected shape (cascades, resolution^3) with resolution a power of two, "
            f"got {tuple(densities.shape)}"
        )
    check_grid(len(densities), resolution)
