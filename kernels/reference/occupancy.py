"""Torch twin of `omniseg_kernels.occupancy`."""

import torch
from torch import Tensor

from ..occupancy import OccupancyBits


def morton_encode(ijk: Tensor) -> Tensor:
    """Return codes (n,) of cells (n, 3): bit b of axis a becomes bit 3 b + a."""
    codes = torch.zeros_like(ijk[:, 0])
    for bit in range(10):
        for axis in range(3):
            codes |= ((ijk[:, axis] >> bit) & 1) << (3 * bit + axis)
    return codes


def morton_decode(codes: Tensor) -> Tensor:
    """Return the cells (n, 3) of codes (n,)."""
    ijk = torch.zeros_like(codes)[:, None].repeat(1, 3)
    for bit in range(10):
        for axis in range(3):
            ijk[:, axis] |= ((codes >> (3 * bit + axis)) & 1) << bit
    return ijk


def pack_bits(densities: Tensor, threshold: float | Tensor) -> Tensor:
    """Return bits (cascades * resolution^3 / 8,) uint8 of visible cells above the threshold, lowest bit first."""
    keep = (densities > threshold) & (densities >= 0)
    values = 2 ** torch.arange(8, device=densities.device)
    return (keep.reshape(-1, 8) * values).sum(1).to(torch.uint8)


def update_densities(densities: Tensor, cells: Tensor, sigmas: Tensor, decay: float) -> None:
    """Decay every visible cell, then take the maximum with the new densities, in place."""
    flat = densities.view(-1)
    visible = flat >= 0
    sigmas = sigmas.nan_to_num(nan=0.0)
    known = (cells >= 0) & (cells < len(flat))
    highest = torch.zeros_like(flat)
    highest.scatter_reduce_(0, cells[known].long(), sigmas[known], "amax")
    flat.copy_(torch.where(visible, torch.maximum(flat * decay, highest), flat))


def sample_cells(cells: Tensor, resolution: int, noise: Tensor) -> Tensor:
    """Return positions (n, 3) within the cells."""
    cascade = cells.div(resolution**3, rounding_mode="floor")
    corner = morton_decode(cells - cascade * resolution**3)
    unit = (corner + noise) / resolution * 2 - 1
    return unit * (2.0**cascade)[:, None]


def cell_centres(cells: Tensor, resolution: int) -> Tensor:
    """Return the centres (n, 3) of the cells."""
    return sample_cells(cells, resolution, torch.full((len(cells), 3), 0.5, device=cells.device))


def occupied(positions: Tensor, grid: OccupancyBits) -> Tensor:
    """Return (n,) bool, the bit of each point's cell in the smallest cascade that contains it."""
    reach = positions.abs().amax(1)
    cascade = torch.zeros(len(positions), dtype=torch.int32, device=positions.device)
    for k in range(grid.cascades - 1):
        cascade += (reach > 2.0**k).int()
    scaled = (positions / (2.0**cascade)[:, None] + 1) * (0.5 * grid.resolution)
    ijk = scaled.nan_to_num(0.0).clamp(0, grid.resolution - 1).int()
    index = (cascade * grid.resolution**3 + morton_encode(ijk)).long()
    bit = (grid.bits[index // 8].int() >> (index % 8)) & 1
    return (bit == 1) & (reach <= 2.0 ** (grid.cascades - 1))
