"""Torch twin of `omniseg_kernels.marching`: all rays take every step, and each is looked up in the grid."""

import torch
from torch import Tensor

from ..marching import RaySamples, StepRule
from ..occupancy import OccupancyBits
from .occupancy import morton_encode


def looked_up(positions: Tensor, dt: Tensor, grid: OccupancyBits) -> Tensor:
    """Return (n,) bool, the bit of the cell at a step's middle, in a cascade with cells no shorter than the step."""
    reach = torch.maximum(positions.abs().amax(1), 0.5 * dt * grid.resolution)
    cascade = sum((reach > 2.0**k).int() for k in range(grid.cascades - 1)) + torch.zeros_like(reach).int()
    unit = positions / (2.0**cascade)[:, None] + 1
    ijk = (unit * (0.5 * grid.resolution)).clamp(0, grid.resolution - 1).int()
    index = (cascade * grid.resolution**3 + morton_encode(ijk)).long()
    return (grid.bits[index // 8].int() >> (index % 8)) & 1 == 1


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
    """Return the samples of all rays, found step by step and sorted by ray."""
    t, t_max = spans[:, 0].clone(), spans[:, 1]
    count = torch.zeros(len(t), dtype=torch.int32, device=t.device)
    found = [(t[:0], t[:0], count[:0])]
    while len(ray := torch.nonzero((t < t_max) & (count < max_samples))[:, 0]):
        start = t[ray]
        dt = (start * rule.cone_angle).clamp(rule.min_step, rule.max_step)
        middle = start + 0.5 * dt
        occupied = looked_up(rays_o[ray] + middle[:, None] * rays_d[ray], dt, grid)
        found.append((start[occupied], (start + dt)[occupied], ray[occupied].int()))
        count[ray[occupied]] += 1
        t[ray] = start + dt
    t_starts, t_ends, rays = (torch.cat(column) for column in zip(*found))
    order = torch.argsort(rays, stable=True)
    n_samples = len(order)
    pad = (0, -n_samples % pad_to)
    t_starts, t_ends, rays = (torch.nn.functional.pad(column[order], pad) for column in (t_starts, t_ends, rays))
    packed_info = torch.stack([count.cumsum(0, dtype=torch.int32) - count, count], 1)
    return RaySamples(t_starts, t_ends, rays, packed_info, t, n_samples)
