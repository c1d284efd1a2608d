"""Torch twin of `omniseg_kernels.gather`."""

import torch
from torch import Tensor


def sample_positions(rays_o: Tensor, rays_d: Tensor, t_starts: Tensor, t_ends: Tensor, ray_indices: Tensor) -> Tensor:
    """Return the middles (n_samples, 3) of the intervals on their rays."""
    rays = ray_indices.long()
    return rays_o[rays] + (0.5 * (t_starts + t_ends))[:, None] * rays_d[rays]


def append_ray_channels(values: Tensor, ray_values: Tensor, ray_indices: Tensor) -> Tensor:
    """Return the channels of each sample followed by those of its ray."""
    return torch.cat([values, ray_values[ray_indices.long()]], dim=1)
