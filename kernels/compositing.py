"""Volume rendering along packed rays: weights from densities, and sums of values by those weights.

    alpha_i = 1 - exp(-sigma_i dt_i),  T_i = T_0 prod_{j<i} (1 - alpha_j),  w_i = T_i alpha_i        (Max 1995)
    value = sum_i w_i c_i,  opacity = sum_i w_i,  depth = sum_i w_i (t_start_i + t_end_i) / 2

T_i is the transmittance between the camera and sample i. Backward, let G_i = dL/dw_i include the cotangents of all sums
that w_i enters. One scan from the far end of a ray then gives

    dL/dsigma_i = dt_i (T_{i+1} G_i - sum_{j>i} G_j w_j),  T_{i+1} = T_0 - opacity + sum_{j>i} w_j

One thread handles one ray and goes through its samples in tiles. Steps that do not depend on the order of samples (the
exponentials, the sums over channels) run over a whole tile first, because the compiler vectorises such loops. Loops
that store to an array are separate, because the compiler must assume that a store changes the arrays that are read.
"""

from dataclasses import dataclass
from functools import cache

import taichi as ti
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._packed import extent
from ._vector_math import dot, exponential
from .launch import TI_DTYPE, arch, check_dtype, check_like, check_shape, launch

_MOST_CHANNELS = 32
_TILE = 16


def _channels(real, n_channels: int):
    """Return the array type of the channels of each sample or ray: rows of a matrix for 0 channels, else vectors.

    Taichi has no vector of length 0.
    """
    if not n_channels:
        return ti.types.ndarray(real, ndim=2)
    return ti.types.ndarray(ti.types.vector(n_channels, real), ndim=1)


@ti.func
def _write_value_gradients(
    g_out: ti.template(), weights: ti.template(), packed_info: ti.template(), ray: ti.i32, g: ti.template()
):
    """Write the gradient of the values of one ray: weight times the cotangent of the ray's sum."""
    start, end = extent(packed_info, ray, weights.shape[0])
    cotangent = g_out[ray]
    for s in range(start, end):
        g[s] = cotangent * weights[s]


@cache
def _render_kernels(dtype: torch.dtype, n_channels: int, on: str):
    """Compile forward and backward for a dtype and a number of channels; `on` is "cpu" or "cuda"."""
    real, tile = TI_DTYPE[dtype], _TILE if on == "cpu" else 1
    samples, rays = ti.types.ndarray(real, ndim=1), ti.types.ndarray(ti.i32, ndim=2)
    channels = _channels(real, n_channels)

    @ti.kernel
    def forward(
        t_starts: samples, t_ends: samples, sigmas: samples, values: channels, packed_info: rays,
        transmittance: samples, weights: samples, out: channels, opacity: samples, depth: samples,
    ):  # fmt: skip
        for r in range(packed_info.shape[0]):
            start, end = extent(packed_info, r, sigmas.shape[0])
            w = ti.Vector([0] * tile, real)  # of each sample of the tile: first 1 - alpha, then the weight
            T, twice_depth, sums = transmittance[r], real(0.0), ti.Vector.zero(real, max(n_channels, 1))
            for k in range((end - start + tile - 1) // tile):
                first = start + k * tile
                count = ti.min(tile, end - first)
                for i in range(count):
                    thickness = sigmas[first + i] * (t_ends[first + i] - t_starts[first + i])
                    w[i] = exponential(-thickness) if ti.static(dtype == torch.float32) else ti.exp(-thickness)
                for i in range(count):
                    T_behind = T * w[i]
                    w[i] = T - T_behind
                    T = T_behind
                for i in range(count):
                    twice_depth += w[i] * (t_starts[first + i] + t_ends[first + i])
                    if ti.static(n_channels):
                        sums += w[i] * values[first + i]
                for i in range(count):
                    weights[first + i] = w[i]
            opacity[r] = transmittance[r] - T
            depth[r] = twice_depth * real(0.5)
            if ti.static(n_channels):
                out[r] = sums

    @ti.kernel
    def backward(
        t_starts: samples, t_ends: samples, values: channels, packed_info: rays, transmittance: samples,
        weights: samples, opacity: samples, g_weights: samples, g_out: channels, g_opacity: samples, g_depth: samples,
        g_sigmas: samples, g_values: channels,
    ):  # fmt: skip
        for r in range(packed_info.shape[0]):
            start, end = extent(packed_info, r, weights.shape[0])
            g = ti.Vector([0] * tile, real)  # of each sample of the tile: first G, then dL / d(sigma dt)
            T_behind, g_behind = transmittance[r] - opacity[r], real(0.0)  # g_behind: sum of G_j w_j over j > i
            g_total, g_along = g_opacity[r], real(0.5) * g_depth[r]
            cotangent = ti.Vector.zero(real, max(n_channels, 1))
            if ti.static(n_channels):
                cotangent = g_out[r]
            tiles = (end - start + tile - 1) // tile
            for k in range(tiles):
                first = start + (tiles - 1 - k) * tile
                count = ti.min(tile, end - first)
                for i in range(count):
                    s = first + i
                    total = g_weights[s] + g_total + g_along * (t_starts[s] + t_ends[s])
                    if ti.static(n_channels):
                        total += dot(cotangent, values[s], real, n_channels)
                    g[i] = total
                for j in range(count):
                    i = count - 1 - j
                    w, g_w = weights[first + i], g[i]
                    g[i] = T_behind * g_w - g_behind
                    T_behind += w
                    g_behind += g_w * w
                for i in range(count):
                    g_sigmas[first + i] = (t_ends[first + i] - t_starts[first + i]) * g[i]
            if ti.static(n_channels):
                _write_value_gradients(g_out, weights, packed_info, r, g_values)

    return forward, backward


class _VolumeRender(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        t_starts: Tensor,
        t_ends: Tensor,
        sigmas: Tensor,
        values: Tensor,
        packed_info: Tensor,
        transmittance: Tensor,
    ):
        n_rays, n_channels = len(packed_info), values.shape[1]
        weights = sigmas.new_zeros(len(sigmas))  # zeros, because the kernel skips samples of no ray (padding)
        out = sigmas.new_empty(n_rays, n_channels)
        opacity, depth = sigmas.new_empty(n_rays), sigmas.new_empty(n_rays)
        ctx.kernels = _render_kernels(sigmas.dtype, n_channels, arch())
        if n_rays:
            inputs = (t_starts, t_ends, sigmas, values, packed_info, transmittance)
            launch(ctx.kernels[0], inputs, (weights, out, opacity, depth))
        ctx.save_for_backward(t_starts, t_ends, values, packed_info, transmittance, weights, opacity)
        return weights, out, opacity, depth

    @staticmethod
    @once_differentiable
    def backward(ctx, *cotangents: Tensor):
        inputs = ctx.saved_tensors
        values, packed_info, weights = inputs[2], inputs[3], inputs[5]
        g_sigmas, g_values = weights.new_zeros(weights.shape), weights.new_zeros(values.shape)
        if len(packed_info):
            launch(ctx.kernels[1], (*inputs, *cotangents), (g_sigmas, g_values))
        return None, None, g_sigmas, g_values, None, None


@dataclass(frozen=True)
class VolumeRendering:
    """Result of `volume_render`.

    Attributes:
        weights: (n_samples,) share of each sample in its ray; along a ray they sum to its opacity.
        values: (n_rays, n_channels) sums of weight times value, without any background.
        opacity: (n_rays,) sums of weights, in [0, 1].
        depth: (n_rays,) sums of weight times distance: mean distance times opacity, scene units.
    """

    weights: Tensor
    values: Tensor
    opacity: Tensor
    depth: Tensor


def volume_render(
    t_starts: Tensor,
    t_ends: Tensor,
    sigmas: Tensor,
    values: Tensor,
    packed_info: Tensor,
    transmittance: Tensor | None = None,
) -> VolumeRendering:
    """Render packed samples (Max 1995); once differentiable in `sigmas` and `values`.

        w_i = T_i (1 - exp(-sigma_i dt_i)),  T_i = T_0 prod_{j<i} exp(-sigma_j dt_j)

    Args:
        t_starts, t_ends: (n_samples,) ends of each interval along its ray, scene units, front to back.
        sigmas: (n_samples,) density >= 0, 1 / scene unit, float32 or float64.
        values: (n_samples, n_channels) values to sum, dtype of `sigmas`; n_channels may be 0. A kernel is compiled for
            each number of channels up to 32; `composite` sums further channels.
        packed_info: (n_rays, 2) int32, first sample and count of each ray; no sample belongs to two rays. Samples that
            belong to no ray (padding) get weight 0 and gradient 0.
        transmittance: (n_rays,) T_0, the share of each ray's light that its first sample can still change, in [0, 1];
            1 unless given. Not differentiable.
    Returns:
        VolumeRendering; all sums of a ray without samples are 0.
    Raises:
        ValueError: a shape, dtype or device disagrees.
    """
    check_dtype("sigmas", sigmas, *TI_DTYPE)
    check_shape("sigmas", sigmas, (None,))
    for name, t in (("t_starts", t_starts), ("t_ends", t_ends)):
        check_shape(name, t, (len(sigmas),))
        check_like(name, t, "sigmas", sigmas)
    _check_values(values, "sigmas", sigmas, packed_info)
    if transmittance is None:
        transmittance = sigmas.new_ones(len(packed_info))
    check_shape("transmittance", transmittance, (len(packed_info),))
    check_like("transmittance", transmittance, "sigmas", sigmas)
    many = values.shape[1] > _MOST_CHANNELS
    first = values[:, :_MOST_CHANNELS] if many else values
    weights, out, opacity, depth = _VolumeRender.apply(t_starts, t_ends, sigmas, first, packed_info, transmittance)
    if many:
        out = torch.cat([out, composite(weights, values[:, _MOST_CHANNELS:], packed_info)], dim=1)
    return VolumeRendering(weights, out, opacity, depth)


@cache
def _composite_kernels(dtype: torch.dtype, n_channels: int):
    """Compile forward and the gradients of weights and of values."""
    real = TI_DTYPE[dtype]
    samples, rays = ti.types.ndarray(real, ndim=1), ti.types.ndarray(ti.i32, ndim=2)
    channels = _channels(real, n_channels)

    @ti.kernel
    def forward(weights: samples, values: channels, packed_info: rays, out: channels):
        for r in range(packed_info.shape[0]):
            sums = ti.Vector.zero(real, n_channels)
            start, end = extent(packed_info, r, weights.shape[0])
            for s in range(start, end):
                sums += weights[s] * values[s]
            out[r] = sums

    @ti.kernel
    def backward_weights(values: channels, packed_info: rays, g_out: channels, g_weights: samples):
        for r in range(packed_info.shape[0]):
            start, end = extent(packed_info, r, g_weights.shape[0])
            for s in range(start, end):
                g_weights[s] = dot(g_out[r], values[s], real, n_channels)

    @ti.kernel
    def backward_values(weights: samples, packed_info: rays, g_out: channels, g_values: channels):
        for r in range(packed_info.shape[0]):
            _write_value_gradients(g_out, weights, packed_info, r, g_values)

    return forward, backward_weights, backward_values


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights: Tensor, values: Tensor, packed_info: Tensor) -> Tensor:
        out = weights.new_empty(len(packed_info), values.shape[1])
        ctx.kernels = _composite_kernels(weights.dtype, values.shape[1])
        if len(packed_info):
            launch(ctx.kernels[0], (weights, values, packed_info), (out,))
        ctx.save_for_backward(weights, values, packed_info)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, g_out: Tensor):
        weights, values, packed_info = ctx.saved_tensors
        _, backward_weights, backward_values = ctx.kernels
        g_weights = g_values = None
        if ctx.needs_input_grad[0]:
            g_weights = weights.new_zeros(weights.shape)
            if len(packed_info):
                launch(backward_weights, (values, packed_info, g_out), (g_weights,))
        if ctx.needs_input_grad[1]:
            g_values = weights.new_zeros(values.shape)
            if len(packed_info):
                launch(backward_values, (weights, packed_info, g_out), (g_values,))
        return g_weights, g_values, None


def composite(weights: Tensor, values: Tensor, packed_info: Tensor) -> Tensor:
    """Sum values along rays with given weights, sum_i w_i c_i; once differentiable in `weights` and `values`.

    Args:
        weights: (n_samples,) from `volume_render`, float32 or float64.
        values: (n_samples, n_channels) values to sum, dtype of `weights`; n_channels may be 0. A kernel is compiled for
            each number of channels up to 32 and runs once for every 32 channels.
        packed_info: (n_rays, 2) int32, first sample and count of each ray; no sample belongs to two rays. Samples that
            belong to no ray (padding) get gradient 0.
    Returns:
        (n_rays, n_channels) sums without any background; 0 for a ray without samples.
    Raises:
        ValueError: a shape, dtype or device disagrees.
    """
    check_dtype("weights", weights, *TI_DTYPE)
    check_shape("weights", weights, (None,))
    _check_values(values, "weights", weights, packed_info)
    if not values.shape[1]:
        return weights.new_zeros(len(packed_info), 0)
    parts = [_Composite.apply(weights, part, packed_info) for part in values.split(_MOST_CHANNELS, dim=1)]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def _check_values(values: Tensor, name: str, like: Tensor, packed_info: Tensor) -> None:
    check_shape("values", values, (len(like), None))
    check_like("values", values, name, like)
    check_shape("packed_info", packed_info, (None, 2))
    check_dtype("packed_info", packed_info, torch.int32)
