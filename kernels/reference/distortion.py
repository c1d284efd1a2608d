"""Torch twin of `omniseg_kernels.distortion`: the double sum itself."""

import torch
from torch import Tensor


def distortion_loss(weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor) -> Tensor:
    """Return (n_rays,) sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 (t_end_i - t_start_i)."""
    losses = [weights.new_zeros(0)]
    for first, count in packed_info.tolist():
        ray = slice(first, first + count)
        w, width, middle = weights[ray], (t_ends - t_starts)[ray], ((t_starts + t_ends) / 2)[ray]
        distance = (middle[:, None] - middle[None, :]).abs()
        losses.append((w @ distance @ w + (w * w * width).sum() / 3).reshape(1))
    return torch.cat(losses)
