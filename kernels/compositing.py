"""Volume rendering along packed rays: weights from densities, and sums of values by those weights.

    alpha_i = 1 - exp(-sigma_i dt_i),  T_i = prod_{j<i} (1 - alpha_j),  w_i = T_i alpha_i        (Max 1995)
    value = sum_i w_i c_i,  opacity = sum_i w_i,  depth = sum_i w_i (t_start_i + t_end_i) / 2

The weights are computed once; every composite (colour, features, depth) reads them and returns its gradient
to them. With G_i the cotangent of w_i, the adjoint of the weights is one scan from the far end of a ray:

    dL/dsigma_i = dt_i (T_{i+1} G_i - sum_{j>i} G_j w_j),  T_{i+1} = T_end + sum_{j>i} w_j

A ray belongs to one thread, which reads and writes its samples in order. What does not depend on the order (the
exponentials) is done for a tile of samples first, which the compiler vectorises.
"""

from dataclasses import dataclass
from functools import cache
from math import factorial, log

import taichi as ti
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .launch import TI_DTYPE, check_dtype, check_like, check_shape, launch

_MOST_CHANNELS = 32
_TILE = 16
_LANES = 4
"""A sum over channels is kept in so many parts, so that no addition waits for the one before it."""


@ti.func
def _extent(packed_info: ti.template(), ray: ti.i32, n_samples: ti.i32):
    """First sample of a ray and the one after its last, within the samples there are."""
    start = ti.max(0, packed_info[ray, 0])
    count = ti.max(0, ti.min(packed_info[ray, 1], n_samples - start))
    return start, start + count


@ti.func
def _exp(x: ti.f32) -> ti.f32:
    """exp(x) to 2e-7 of its value for x from -87 to 88, below that exp(-87): 2^k times a polynomial, which, unlike the
    call of a library, can be vectorised."""
    octaves = ti.max(x, -87.0) * ti.static(1 / log(2))
    k = ti.cast(octaves - 0.5, ti.i32)
    rest = (octaves - ti.cast(k, ti.f32)) * ti.static(log(2))
    power = ti.f32(ti.static(1 / factorial(6)))
    for n in ti.static((5, 4, 3, 2, 1, 0)):
        power = power * rest + ti.static(1 / factorial(n))
    return ti.bit_cast((k + 127) << 23, ti.f32) * power


@cache
def _weights_kernel(dtype: torch.dtype):
    real = TI_DTYPE[dtype]
    samples, rays = ti.types.ndarray(real, ndim=1), ti.types.ndarray(ti.i32, ndim=2)

    @ti.kernel
    def forward(t_starts: samples, t_ends: samples, sigmas: samples, packed_info: rays, weights: samples):
        for r in range(packed_info.shape[0]):
            start, end = _extent(packed_info, r, sigmas.shape[0])
            light, passing = real(1.0), ti.Vector([0] * _TILE, real)
            for tile in range((end - start + _TILE - 1) // _TILE):
                first = start + tile * _TILE
                count = ti.min(_TILE, end - first)
                for i in range(count):
                    thickness = sigmas[first + i] * (t_ends[first + i] - t_starts[first + i])
                    passing[i] = _exp(-thickness) if ti.static(dtype == torch.float32) else ti.exp(-thickness)
                for i in range(count):
                    left = light * passing[i]
                    weights[first + i] = light - left
                    light = left

    return forward


@cache
def _weights_backward_kernel(dtype: torch.dtype):
    real = TI_DTYPE[dtype]
    samples, rays = ti.types.ndarray(real, ndim=1), ti.types.ndarray(ti.i32, ndim=2)

    @ti.kernel
    def backward(
        t_starts: samples,
        t_ends: samples,
        weights: samples,
        packed_info: rays,
        g_weights: samples,
        g_sigmas: samples,
    ):
        for r in range(packed_info.shape[0]):
            start, end = _extent(packed_info, r, weights.shape[0])
            light = real(1.0)
            for s in range(start, end):
                light -= weights[s]
            behind = real(0.0)
            for k in range(end - start):
                s = end - 1 - k
                g, w = g_weights[s], weights[s]
                g_sigmas[s] = (t_ends[s] - t_starts[s]) * (light * g - behind)
                light += w
                behind += g * w

    return backward


class _RenderWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx, t_starts: Tensor, t_ends: Tensor, sigmas: Tensor, packed_info: Tensor) -> Tensor:
        weights = sigmas.new_zeros(len(sigmas))
        if len(packed_info):
            launch(_weights_kernel(sigmas.dtype), (t_starts, t_ends, sigmas, packed_info), (weights,))
        ctx.save_for_backward(t_starts, t_ends, weights, packed_info)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx, g_weights: Tensor):
        t_starts, t_ends, weights, packed_info = ctx.saved_tensors
        g_sigmas = weights.new_zeros(len(weights))
        if len(packed_info):
            inputs = (t_starts, t_ends, weights, packed_info, g_weights)
            launch(_weights_backward_kernel(weights.dtype), inputs, (g_sigmas,))
        return None, None, g_sigmas, None


def render_weights(t_starts: Tensor, t_ends: Tensor, sigmas: Tensor, packed_info: Tensor) -> Tensor:
    """Weights of packed samples in volume rendering; differentiable in `sigmas` only, once.

    Args:
        t_starts, t_ends: (n_samples,) ends of each interval along its ray, scene units, front to back.
        sigmas: (n_samples,) density >= 0, 1 / scene unit, float32 or float64.
        packed_info: (n_rays, 2) int32, first sample and count of each ray. Samples that belong to no ray
            (padding) get weight 0 and gradient 0.
    Returns:
        (n_samples,) weights in [0, 1]; along a ray they sum to its opacity (Max 1995).
    Raises:
        ValueError: a shape, dtype or device disagrees.
    """
    check_dtype("sigmas", sigmas, *TI_DTYPE)
    check_shape("sigmas", sigmas, (None,))
    _check_samples(sigmas, "sigmas", t_starts, t_ends, packed_info)
    return _RenderWeights.apply(t_starts, t_ends, sigmas, packed_info)


@dataclass(frozen=True)
class Composite:
    """Sums along rays: `values` (n_rays, n_channels), `opacity` (n_rays,), `depth` (n_rays,), scene units."""

    values: Tensor
    opacity: Tensor
    depth: Tensor


def _channels(real, n_channels: int):
    """Array of the channels of each sample or ray; there is no vector of none."""
    if not n_channels:
        return ti.types.ndarray(real, ndim=2)
    return ti.types.ndarray(ti.types.vector(n_channels, real), ndim=1)


@cache
def _composite_kernel(dtype: torch.dtype, n_channels: int):
    real = TI_DTYPE[dtype]
    samples, rays = ti.types.ndarray(real, ndim=1), ti.types.ndarray(ti.i32, ndim=2)
    channels = _channels(real, n_channels)

    @ti.kernel
    def forward(
        weights: samples, values: channels, t_starts: samples, t_ends: samples, packed_info: rays,
        out: channels, opacity: samples, depth: samples,
    ):  # fmt: skip
        for r in range(packed_info.shape[0]):
            total, along = real(0.0), real(0.0)
            sums = ti.Vector.zero(real, max(n_channels, 1))
            start, end = _extent(packed_info, r, weights.shape[0])
            for s in range(start, end):
                w = weights[s]
                total += w
                along += w * (t_starts[s] + t_ends[s])
                if ti.static(n_channels):
                    sums += w * values[s]
            opacity[r] = total
            depth[r] = along * real(0.5)
            if ti.static(n_channels):
                out[r] = sums

    return forward


@cache
def _composite_backward_kernel(dtype: torch.dtype, n_channels: int):
    real = TI_DTYPE[dtype]
    samples, rays = ti.types.ndarray(real, ndim=1), ti.types.ndarray(ti.i32, ndim=2)
    channels = _channels(real, n_channels)

    @ti.kernel
    def backward(
        weights: samples, values: channels, t_starts: samples, t_ends: samples, packed_info: rays,
        g_out: channels, g_opacity: samples, g_depth: samples, g_weights: samples, g_values: channels,
    ):  # fmt: skip
        for r in range(packed_info.shape[0]):
            start, end = _extent(packed_info, r, weights.shape[0])
            g_total, g_along = g_opacity[r], g_depth[r] * real(0.5)
            # Two loops: a store may overlap what the other loop reads, as far as the compiler knows.
            for s in range(start, end):
                g_weight = ti.Vector.zero(real, _LANES)
                g_weight[0] = g_total + g_along * (t_starts[s] + t_ends[s])
                if ti.static(n_channels):
                    g, value = g_out[r], values[s]
                    for c in ti.static(range(n_channels)):
                        g_weight[c % _LANES] += g[c] * value[c]
                g_weights[s] = g_weight.sum()
            if ti.static(n_channels):
                g = g_out[r]
                for s in range(start, end):
                    g_values[s] = g * weights[s]

    return backward


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights: Tensor, values: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor):
        n_rays, n_channels = len(packed_info), values.shape[1]
        out = weights.new_empty(n_rays, n_channels)
        opacity, depth = weights.new_empty(n_rays), weights.new_empty(n_rays)
        if n_rays:
            kernel = _composite_kernel(weights.dtype, n_channels)
            launch(kernel, (weights, values, t_starts, t_ends, packed_info), (out, opacity, depth))
        ctx.save_for_backward(weights, values, t_starts, t_ends, packed_info)
        return out, opacity, depth

    @staticmethod
    @once_differentiable
    def backward(ctx, g_out: Tensor, g_opacity: Tensor, g_depth: Tensor):
        inputs = ctx.saved_tensors
        weights, values = inputs[0], inputs[1]
        g_weights, g_values = weights.new_zeros(weights.shape), values.new_zeros(values.shape)
        if len(g_opacity):
            kernel = _composite_backward_kernel(weights.dtype, values.shape[1])
            launch(kernel, (*inputs, g_out, g_opacity, g_depth), (g_weights, g_values))
        return g_weights, g_values, None, None, None


def composite(weights: Tensor, values: Tensor, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor) -> Composite:
    """Sum any number of channels, the weights and the distances along rays.

    Differentiable in `weights` and `values`, once. No background is added.

    Args:
        weights: (n_samples,) of `render_weights`, float32 or float64.
        values: (n_samples, n_channels) what to sum, dtype of `weights`; n_channels may be 0. The kernel is
            compiled for each number of channels up to 32 and runs once for every 32 of them.
        t_starts, t_ends: (n_samples,) ends of each interval along its ray, scene units.
        packed_info: (n_rays, 2) int32, first sample and count of each ray. Samples that belong to no ray
            (padding) are left out and get gradient 0.
    Returns:
        Composite; a ray without samples is 0 everywhere. Depth is not divided by the opacity.
    Raises:
        ValueError: a shape, dtype or device disagrees.
    """
    check_dtype("weights", weights, *TI_DTYPE)
    check_shape("weights", weights, (None,))
    check_shape("values", values, (len(weights), None))
    check_like("values", values, "weights", weights)
    _check_samples(weights, "weights", t_starts, t_ends, packed_info)
    parts = [
        _Composite.apply(weights, part, t_starts, t_ends, packed_info) for part in values.split(_MOST_CHANNELS, dim=1)
    ]
    _, opacity, depth = parts[0]
    return Composite(torch.cat([part[0] for part in parts], dim=1) if len(parts) > 1 else parts[0][0], opacity, depth)


def _check_samples(like: Tensor, name: str, t_starts: Tensor, t_ends: Tensor, packed_info: Tensor) -> None:
    for t_name, t in (("t_starts", t_starts), ("t_ends", t_ends)):
        check_shape(t_name, t, (len(like),))
        check_like(t_name, t, name, like)
    check_shape("packed_info", packed_info, (None, 2))
    check_dtype("packed_info", packed_info, torch.int32)
