"""Torch twin of `omniseg_kernels.ray_aabb`."""

import torch
from torch import Tensor


def ray_aabb(rays_o: Tensor, rays_d: Tensor, aabb: Tensor, near: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the interval (t_min, t_max), each (n,), of every ray within the box; (near, near) where it is empty."""
    low, high = aabb[:3], aabb[3:]
    within = (rays_o >= low) & (rays_o <= high)
    moves = rays_d.abs() > 1e-12
    step = torch.where(moves, rays_d, torch.ones_like(rays_d))
    first, second = (low - rays_o) / step, (high - rays_o) / step
    always, never = torch.inf, -torch.inf
    enter = torch.where(moves, torch.minimum(first, second), never)
    leave = torch.where(moves, torch.maximum(first, second), torch.where(within, always, never))
    t_min = enter.amax(1).clamp(min=near)
    t_max = leave.amin(1)
    hit = (t_max > t_min) & (t_max < 1e30)
    empty = torch.full_like(t_min, near)
    return torch.where(hit, t_min, empty), torch.where(hit, t_max, empty)
