"""Torch twin of `omniseg_kernels.compositing`: rays side by side in a rectangle as wide as the longest."""

import torch
from torch import Tensor

from ..compositing import Composite


def _rectangle(packed_info: Tensor) -> tuple[Tensor, Tensor]:
    """Sample (n_rays, longest) at each place, and whether there is one."""
    first, count = packed_info.long().unbind(1)
    place = torch.arange(int(count.max()) if len(count) else 0, device=packed_info.device)
    there = place < count[:, None]
    return torch.where(there, first[:, None] + place, 0), there


def render_weights(t_starts: Tensor, t_ends: Tensor, sigmas: Tensor, packed_info: Tensor) -> Tensor:
    """Weights (n_samples,) = exp(-optical depth before) - exp(-optical depth behind)."""
    sample, there = _rectangle(packed_info)
    thickness = (sigmas * (t_ends - t_starts))[sample] * there
    behind = torch.exp(-thickness.cumsum(1))
    before = torch.cat([torch.ones_like(behind[:, :1]), behind[:, :-1]], 1)
    return torch.zeros_like(sigmas).index_put((sample[there],), (before - behind)[there])


def composite(weights: Tensor, values: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor) -> Composite:
    """Sums along rays of weights times values, one and the middle of the interval."""
    sample, there = _rectangle(packed_info)
    w = weights[sample] * there
    middle = ((t_starts + t_ends) / 2)[sample]
    return Composite((w[:, :, None] * values[sample]).sum(1), w.sum(1), (w * middle).sum(1))
