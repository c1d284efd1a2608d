"""Distortion loss: small where the weights of a ray are concentrated in a short interval (Barron et al. 2022, eq. 15).

    loss_r = sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 dt_i,
    m_i = (t_start_i + t_end_i) / 2,  dt_i = t_end_i - t_start_i

The double sum takes linear time. With midpoints in ascending order, the samples in front of sample i contribute

    left_i = sum_{j<i} w_j (m_i - m_j) = left_{i-1} + (w_0 + ... + w_{i-1}) (m_i - m_{i-1})

Then sum_ij = 2 sum_i w_i left_i, and d loss / d w_i = 2 (left_i + right_i) + 2/3 w_i dt_i, with right_i the same scan
from the far end. All terms are positive, so nothing cancels.
"""

from functools import cache

import taichi as ti
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._packed import extent
from .launch import TI_DTYPE, check_dtype, check_like, check_shape, launch


@cache
def _forward_kernel(dtype: torch.dtype):
    real = TI_DTYPE[dtype]
    vector, rays = ti.types.ndarray(real, ndim=1), ti.types.ndarray(ti.i32, ndim=2)

    @ti.kernel
    def forward(weights: vector, t_starts: vector, t_ends: vector, packed_info: rays, loss: vector):
        for r in range(packed_info.shape[0]):
            start, end = extent(packed_info, r, weights.shape[0])
            pairs, own = real(0.0), real(0.0)
            weight_before, left, before = real(0.0), real(0.0), real(0.0)
            for s in range(start, end):
                w, middle = weights[s], (t_starts[s] + t_ends[s]) * real(0.5)
                left += weight_before * (middle - before)
                pairs += w * left
                own += w * w * (t_ends[s] - t_starts[s])
                weight_before += w
                before = middle
            loss[r] = 2 * pairs + own * real(1 / 3)

    return forward


@cache
def _backward_kernel(dtype: torch.dtype):
    real = TI_DTYPE[dtype]
    vector, rays = ti.types.ndarray(real, ndim=1), ti.types.ndarray(ti.i32, ndim=2)

    @ti.kernel
    def backward(weights: vector, t_starts: vector, t_ends: vector, packed_info: rays, g: vector, g_weights: vector):
        for r in range(packed_info.shape[0]):
            start, end = extent(packed_info, r, weights.shape[0])
            weight_before, left, before = real(0.0), real(0.0), real(0.0)
            for s in range(start, end):
                w, middle = weights[s], (t_starts[s] + t_ends[s]) * real(0.5)
                left += weight_before * (middle - before)
                g_weights[s] = 2 * g[r] * (left + w * (t_ends[s] - t_starts[s]) * real(1 / 3))
                weight_before += w
                before = middle
            weight_after, right, after = real(0.0), real(0.0), real(0.0)
            for k in range(end - start):
                s = end - 1 - k
                w, middle = weights[s], (t_starts[s] + t_ends[s]) * real(0.5)
                right += weight_after * (after - middle)
                # No `+=`, which is atomic: this ray owns its samples.
                g_weights[s] = g_weights[s] + 2 * g[r] * right
                weight_after += w
                after = middle

    return backward


class _DistortionLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor) -> Tensor:
        loss = weights.new_empty(len(packed_info))
        if len(packed_info):
            launch(_forward_kernel(weights.dtype), (weights, t_starts, t_ends, packed_info), (loss,))
        ctx.save_for_backward(weights, t_starts, t_ends, packed_info)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        weights, *geometry = ctx.saved_tensors
        # Zeros, because the kernel skips samples of no ray (padding).
        g_weights = torch.zeros_like(weights, memory_format=torch.contiguous_format)
        if len(g) and len(weights):
            launch(_backward_kernel(weights.dtype), (weights, *geometry, g), (g_weights,))
        return g_weights, None, None, None


def distortion_loss(weights: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor) -> Tensor:
    """Return the distortion of each ray (Barron et al. 2022, eq. 15); once differentiable in `weights` only.

        loss_r = sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 (t_end_i - t_start_i)

    Args:
        weights: (n_samples,) compositing weights, float32 or float64.
        t_starts, t_ends: (n_samples,) ends of each sample's interval, ascending and disjoint along a ray. The
            loss has their unit.
        packed_info: (n_rays, 2) int32, first sample and count; no sample belongs to two rays. Indices beyond the last
            sample are ignored; samples of no ray get gradient 0.
    Returns:
        (n_rays,) loss, 0 for a ray without samples.
    Raises:
        ValueError: a shape, dtype or device disagrees with `weights`.
    """
    check_shape("weights", weights, (None,))
    check_dtype("weights", weights, *TI_DTYPE)
    for name, tensor in (("t_starts", t_starts), ("t_ends", t_ends)):
        check_shape(name, tensor, (len(weights),))
        check_like(name, tensor, "weights", weights)
    check_shape("packed_info", packed_info, (None, 2))
    check_dtype("packed_info", packed_info, torch.int32)
    return _DistortionLoss.apply(weights, t_starts, t_ends, packed_info)
