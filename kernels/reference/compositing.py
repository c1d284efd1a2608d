"""Torch twin of `omniseg_kernels.compositing`: rays side by side in a rectangle as wide as the longest."""

import torch
from torch import Tensor

from ..compositing import VolumeRendering


def _rectangle(packed_info: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the sample at each place (n_rays, longest), and whether there is one."""
    first, count = packed_info.long().unbind(1)
    place = torch.arange(int(count.max()) if len(count) else 0, device=packed_info.device)
    there = place < count[:, None]
    return torch.where(there, first[:, None] + place, 0), there


def volume_render(
    t_starts: Tensor,
    t_ends: Tensor,
    sigmas: Tensor,
    values: Tensor,
    packed_info: Tensor,
    transmittance: Tensor | None = None,
) -> VolumeRendering:
    """Render rays; a weight is T_0 times exp(-optical depth before) - exp(-optical depth behind) the sample."""
    sample, there = _rectangle(packed_info)
    thickness = (sigmas * (t_ends - t_starts))[sample] * there
    behind = torch.exp(-thickness.cumsum(1))
    before = torch.cat([torch.ones_like(behind[:, :1]), behind[:, :-1]], 1)
    w = (before - behind) * (1 if transmittance is None else transmittance[:, None])
    weights = torch.zeros_like(sigmas).index_put((sample[there],), w[there])
    middle = (t_starts + t_ends) / 2
    values = torch.cat([values, torch.ones_like(middle)[:, None], middle[:, None]], 1)
    sums = composite(weights, values, packed_info)
    return VolumeRendering(weights, sums[:, :-2], sums[:, -2], sums[:, -1])


def composite(weights: Tensor, values: Tensor, packed_info: Tensor) -> Tensor:
    """Sum weights times values along rays."""
    sample, there = _rectangle(packed_info)
    return ((weights[sample] * there)[:, :, None] * values[sample]).sum(1)
