"""Torch twin of `omniseg_kernels.spherical_harmonics`: the textbook definition, for any degree."""

from math import factorial, pi, sqrt

import torch
from torch import Tensor


def spherical_harmonics(dirs: Tensor, degree: int = 4) -> Tensor:
    """Return the real spherical harmonics (n, degree^2) of `dirs` (n, 3).

        Y_l^m = (-1)^m N_l^|m| Q_l^|m|(z) {Re, Im}(x + iy)^|m|      Re for m > 0, Im for m < 0

    with Q the m-th derivative of the Legendre polynomial P_l, by its three-term recurrence in l.
    """
    x, y, z = dirs.unbind(1)
    real, imag = [torch.ones_like(x)], [torch.zeros_like(x)]
    for m in range(1, degree):
        real.append(x * real[m - 1] - y * imag[m - 1])
        imag.append(x * imag[m - 1] + y * real[m - 1])
    out = []
    for band in range(degree):
        for m in range(-band, band + 1):
            order = abs(m)
            norm = sqrt((2 * band + 1) / (4 * pi) * factorial(band - order) / factorial(band + order))
            norm *= (-1) ** order * (sqrt(2) if m else 1)
            out.append(norm * _legendre(band, order, z) * (imag if m < 0 else real)[order])
    return torch.stack(out, 1)


def _legendre(band: int, order: int, z: Tensor) -> Tensor:
    """Return the derivative of this order of the Legendre polynomial P_band."""
    below, here = torch.zeros_like(z), torch.ones_like(z)
    for k in range(1, order + 1):
        here = here * (2 * k - 1)
    for k in range(order + 1, band + 1):
        below, here = here, ((2 * k - 1) * z * here - (k + order - 1) * below) / (k - order)
    return here
