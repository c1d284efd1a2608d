"""Real spherical harmonics of directions, the encoding of the view direction.

The basis of degree n is every Y_l^m with l < n, at index l^2 + l + m: orthonormal on the unit sphere, with
the Condon-Shortley phase, written as polynomials in the direction (x, y, z) (Sloan 2008, appendix A2). Order
and signs are those of instant-ngp (Müller et al. 2022).
"""

from functools import cache
from math import pi, sqrt

import taichi as ti
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .launch import TI_DTYPE, arch, check_dtype, check_shape, launch

MAX_DEGREE = 4

# Norms of the polynomials by band l and order |m|; xy (l = 2, m = -2) shares the norm of xz and yz.
_Y00 = sqrt(1 / (4 * pi))
_Y1 = sqrt(3 / (4 * pi))
_Y20, _Y21, _Y22 = sqrt(5 / (16 * pi)), sqrt(15 / (4 * pi)), sqrt(15 / (16 * pi))
_Y30, _Y31 = sqrt(7 / (16 * pi)), sqrt(21 / (32 * pi))
_Y32, _Y33 = sqrt(105 / (16 * pi)), sqrt(35 / (32 * pi))


@cache
def _forward_kernel(dtype: torch.dtype, degree: int, by_band: bool):
    real = TI_DTYPE[dtype]
    matrix = ti.types.ndarray(real, ndim=2)

    @ti.func
    def bands_0_and_1(x: real, y: real, z: real, out: ti.template(), n: ti.i32):
        out[0, n] = real(_Y00)
        if ti.static(degree > 1):
            out[1, n] = real(-_Y1) * y
            out[2, n] = real(_Y1) * z
            out[3, n] = real(-_Y1) * x

    @ti.func
    def band_2(x: real, y: real, z: real, out: ti.template(), n: ti.i32):
        out[4, n] = real(_Y21) * x * y
        out[5, n] = real(-_Y21) * y * z
        out[6, n] = real(_Y20) * (3 * z * z - 1)
        out[7, n] = real(-_Y21) * x * z
        out[8, n] = real(_Y22) * (x * x - y * y)

    @ti.func
    def band_3(x: real, y: real, z: real, out: ti.template(), n: ti.i32):
        xx, yy, zz = x * x, y * y, z * z
        out[9, n] = real(-_Y33) * y * (3 * xx - yy)
        out[10, n] = real(2 * _Y32) * x * y * z
        out[11, n] = real(-_Y31) * y * (5 * zz - 1)
        out[12, n] = real(_Y30) * z * (5 * zz - 3)
        out[13, n] = real(-_Y31) * x * (5 * zz - 1)
        out[14, n] = real(_Y32) * z * (xx - yy)
        out[15, n] = real(-_Y33) * x * (xx - 3 * yy)

    # One loop would write sixteen rows at a time. On a CPU, rows that are a whole number of memory pages long share one
    # set of the first cache and evict each other: one loop per band is three times faster then.
    @ti.kernel
    def forward(dirs: matrix, out: matrix):  # (n, 3) -> (degree^2, n)
        for n in range(dirs.shape[0]):
            bands_0_and_1(dirs[n, 0], dirs[n, 1], dirs[n, 2], out, n)
            if ti.static(degree > 2 and not by_band):
                band_2(dirs[n, 0], dirs[n, 1], dirs[n, 2], out, n)
            if ti.static(degree > 3 and not by_band):
                band_3(dirs[n, 0], dirs[n, 1], dirs[n, 2], out, n)
        if ti.static(degree > 2 and by_band):
            for n in range(dirs.shape[0]):
                band_2(dirs[n, 0], dirs[n, 1], dirs[n, 2], out, n)
        if ti.static(degree > 3 and by_band):
            for n in range(dirs.shape[0]):
                band_3(dirs[n, 0], dirs[n, 1], dirs[n, 2], out, n)

    return forward


@cache
def _backward_kernel(dtype: torch.dtype, degree: int):
    real = TI_DTYPE[dtype]
    matrix = ti.types.ndarray(real, ndim=2)

    @ti.kernel
    def backward(dirs: matrix, g: matrix, g_dirs: matrix):  # (n, 3), (degree^2, n) -> (n, 3)
        for n in range(dirs.shape[0]):
            x, y, z = dirs[n, 0], dirs[n, 1], dirs[n, 2]
            gx, gy, gz = real(0.0), real(0.0), real(0.0)
            if ti.static(degree > 1):
                gx += real(-_Y1) * g[3, n]
                gy += real(-_Y1) * g[1, n]
                gz += real(_Y1) * g[2, n]
            if ti.static(degree > 2):
                gx += real(_Y21) * (y * g[4, n] - z * g[7, n]) + real(2 * _Y22) * x * g[8, n]
                gy += real(_Y21) * (x * g[4, n] - z * g[5, n]) - real(2 * _Y22) * y * g[8, n]
                gz += real(6 * _Y20) * z * g[6, n] - real(_Y21) * (y * g[5, n] + x * g[7, n])
            if ti.static(degree > 3):
                xx, yy, zz = x * x, y * y, z * z
                g9, g15 = real(-3 * _Y33) * g[9, n], real(-3 * _Y33) * g[15, n]
                g10, g14 = real(2 * _Y32) * g[10, n], real(_Y32) * g[14, n]
                g11, g13 = real(-_Y31) * g[11, n], real(-_Y31) * g[13, n]
                g12 = real(3 * _Y30) * g[12, n]
                gx += 2 * x * y * g9 + (xx - yy) * g15 + y * z * g10 + 2 * x * z * g14 + (5 * zz - 1) * g13
                gy += (xx - yy) * g9 - 2 * x * y * g15 + x * z * g10 - 2 * y * z * g14 + (5 * zz - 1) * g11
                gz += x * y * g10 + (xx - yy) * g14 + 10 * z * (y * g11 + x * g13) + (5 * zz - 1) * g12
            g_dirs[n, 0] = gx
            g_dirs[n, 1] = gy
            g_dirs[n, 2] = gz

    return backward


class _SphericalHarmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dirs: Tensor, degree: int) -> Tensor:
        out = dirs.new_empty(degree**2, len(dirs))
        if len(dirs):
            launch(_forward_kernel(dirs.dtype, degree, arch() == "cpu"), (dirs,), (out,))
        ctx.save_for_backward(dirs)
        ctx.degree = degree
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor):
        (dirs,) = ctx.saved_tensors
        g_dirs = torch.empty_like(dirs, memory_format=torch.contiguous_format)
        if len(dirs):
            launch(_backward_kernel(dirs.dtype, ctx.degree), (dirs, g), (g_dirs,))
        return g_dirs, None


def spherical_harmonics(dirs: Tensor, degree: int = MAX_DEGREE) -> Tensor:
    """Return the real spherical harmonics Y_l^m of directions, l < degree; once differentiable in `dirs`.

    Args:
        dirs: (n, 3) unit vectors, float32 or float64. They are not normalised; for other lengths, value and gradient
            are those of the polynomials (Sloan 2008, appendix A2).
        degree: number of bands, 1 to 4.
    Returns:
        (n, degree^2), channel l^2 + l + m holding Y_l^m. It is the transposed view of a contiguous
        (degree^2, n) tensor.
    Raises:
        ValueError: wrong shape, dtype or degree.
    """
    check_shape("dirs", dirs, (None, 3))
    check_dtype("dirs", dirs, *TI_DTYPE)
    if degree not in range(1, MAX_DEGREE + 1):
        raise ValueError(f"degree: expected 1 to {MAX_DEGREE}, got {degree}")
    return _SphericalHarmonics.apply(dirs, degree).t()
