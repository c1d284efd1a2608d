"""Values of rays gathered to their samples: positions of samples, and channels of the ray beside those of the sample.

    x_i = o_r + (t_start_i + t_end_i) / 2 d_r,  (v_i, u_r),  r the ray of sample i

In plain PyTorch both take an `index_select`, which copies row by row, and further passes over all samples.
"""

from functools import cache
from math import gcd

import taichi as ti
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .launch import TI_DTYPE, check_dtype, check_like, check_shape, launch

_WORDS = {2: (torch.int16, ti.i16), 4: (torch.int32, ti.i32), 8: (torch.int64, ti.i64)}
"""Integer types (torch, Taichi) that channels are copied as, by size in bytes."""


@cache
def _positions_kernel(dtype: torch.dtype):
    real = TI_DTYPE[dtype]
    points, samples = (ti.types.ndarray(kind, ndim=1) for kind in (ti.types.vector(3, real), real))

    @ti.kernel
    def forward(
        rays_o: points, rays_d: points, t_starts: samples, t_ends: samples,
        ray_indices: ti.types.ndarray(ti.i32, ndim=1), positions: points,
    ):  # fmt: skip
        for s in range(ray_indices.shape[0]):
            r = ti.math.clamp(ray_indices[s], 0, rays_o.shape[0] - 1)
            positions[s] = rays_o[r] + real(0.5) * (t_starts[s] + t_ends[s]) * rays_d[r]

    return forward


class _SamplePositions(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rays_o: Tensor, rays_d: Tensor, t_starts: Tensor, t_ends: Tensor, ray_indices: Tensor) -> Tensor:
        ctx.save_for_backward(t_starts, t_ends, ray_indices)
        ctx.n_rays = len(rays_o)
        positions = rays_o.new_empty(len(ray_indices), 3)
        if len(ray_indices):
            inputs = (rays_o, rays_d, t_starts, t_ends, ray_indices)
            launch(_positions_kernel(rays_o.dtype), inputs, (positions,))
        return positions

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        t_starts, t_ends, ray_indices = ctx.saved_tensors
        nothing = g.new_zeros(ctx.n_rays, 3)
        g_o = nothing.index_add(0, ray_indices, g) if ctx.needs_input_grad[0] else None
        along = 0.5 * (t_starts + t_ends)[:, None] * g
        g_d = nothing.index_add(0, ray_indices, along) if ctx.needs_input_grad[1] else None
        return g_o, g_d, None, None, None


def sample_positions(rays_o: Tensor, rays_d: Tensor, t_starts: Tensor, t_ends: Tensor, ray_indices: Tensor) -> Tensor:
    """Return the middle of each sample, o + (t_start + t_end) / 2 d; once differentiable in `rays_o` and `rays_d`.

    Args:
        rays_o, rays_d: (n_rays, 3) origins and directions, scene coordinates, float32 or float64; at least one.
        t_starts, t_ends: (n_samples,) ends of each interval along its ray, scene units, dtype of the rays.
        ray_indices: (n_samples,) int32 ray of each sample.
    Returns:
        (n_samples, 3) positions, scene coordinates.
    Raises:
        ValueError: a shape, dtype or device disagrees, or there are samples and no ray.
    """
    check_dtype("rays_o", rays_o, *TI_DTYPE)
    check_shape("rays_o", rays_o, (None, 3))
    check_shape("rays_d", rays_d, tuple(rays_o.shape))
    check_like("rays_d", rays_d, "rays_o", rays_o)
    _check_indices(ray_indices, len(rays_o))
    for name, t in (("t_starts", t_starts), ("t_ends", t_ends)):
        check_shape(name, t, (len(ray_indices),))
        check_like(name, t, "rays_o", rays_o)
    return _SamplePositions.apply(rays_o, rays_d, t_starts, t_ends, ray_indices)


@cache
def _append_kernel(word: int, own: int, more: int):
    """Compile the copy of rows of `own` words per sample and `more` words per ray; a word has `word` bytes."""
    kind = _WORDS[word][1]
    values, ray_values, rows = (ti.types.ndarray(ti.types.vector(n, kind), ndim=1) for n in (own, more, own + more))

    @ti.kernel
    def forward(values: values, ray_values: ray_values, ray_indices: ti.types.ndarray(ti.i32, ndim=1), out: rows):
        for s in range(ray_indices.shape[0]):
            r = ti.math.clamp(ray_indices[s], 0, ray_values.shape[0] - 1)
            joined = ti.Vector.zero(kind, own + more)
            for k in ti.static(range(own)):
                joined[k] = values[s][k]
            for k in ti.static(range(more)):
                joined[own + k] = ray_values[r][k]
            out[s] = joined

    return forward


def _words(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bytes of rows (n, c) as rows of integers of another size."""
    flat = rows.contiguous().flatten()  # flattened, since a single row counts as contiguous with any stride
    if flat.data_ptr() % dtype.itemsize:  # a slice of a larger tensor that begins between two words
        flat = flat.clone()
    return flat.view(dtype).view(len(rows), -1)


class _AppendRayChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, ray_values: Tensor, ray_indices: Tensor) -> Tensor:
        ctx.save_for_backward(ray_indices)
        ctx.shape = ray_values.shape
        own, more = values.shape[1], ray_values.shape[1]
        out = values.new_empty(len(values), own + more)
        size = values.element_size()
        word = gcd(own * size, more * size, 8)
        if len(values):
            kernel = _append_kernel(word, own * size // word, more * size // word)
            as_words = _WORDS[word][0]
            inputs = (_words(values, as_words), _words(ray_values, as_words), ray_indices)
            launch(kernel, inputs, (out.view(as_words),))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        (ray_indices,) = ctx.saved_tensors
        g_values, g_more = g.split([g.shape[1] - ctx.shape[1], ctx.shape[1]], dim=1)
        g_rays = g.new_zeros(ctx.shape).index_add(0, ray_indices, g_more) if ctx.needs_input_grad[1] else None
        return g_values, g_rays, None


def append_ray_channels(values: Tensor, ray_values: Tensor, ray_indices: Tensor) -> Tensor:
    """Return the channels of each sample followed by those of its ray, (v_i, u_r); once differentiable in both.

    Args:
        values: (n_samples, n_own) at least one channel, of a dtype of 2, 4 or 8 bytes.
        ray_values: (n_rays, n_more) at least one channel, dtype of `values`.
        ray_indices: (n_samples,) int32 ray of each sample.
    Returns:
        (n_samples, n_own + n_more).
    Raises:
        ValueError: a shape, dtype or device disagrees, or there are samples and no ray.
    """
    check_dtype("values", values, torch.bfloat16, torch.float16, *TI_DTYPE)
    check_shape("values", values, (len(ray_indices), None))
    check_shape("ray_values", ray_values, (None, None))
    check_like("ray_values", ray_values, "values", values)
    if not values.shape[1] or not ray_values.shape[1]:
        raise ValueError(f"values, ray_values: expected channels, got {values.shape[1]} and {ray_values.shape[1]}")
    _check_indices(ray_indices, len(ray_values))
    return _AppendRayChannels.apply(values, ray_values, ray_indices)


def _check_indices(ray_indices: Tensor, n_rays: int) -> None:
    check_shape("ray_indices", ray_indices, (None,))
    check_dtype("ray_indices", ray_indices, torch.int32)
    if len(ray_indices) and not n_rays:
        raise ValueError(f"ray_indices: there are {len(ray_indices)} samples but no ray")
