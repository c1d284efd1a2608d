"""Exponential and dot product that the compiler vectorises on a CPU."""

from math import factorial, log

import taichi as ti

_LANES = 4
"""Number of partial sums over channels, so that additions do not wait for each other."""
_UNROLLED = 32
"""Longest loop that Taichi unrolls without a warning."""


@ti.func
def exponential(x: ti.f32) -> ti.f32:
    """Return exp(x) to a relative 2e-7 for x in [-87, 88], and exp(-87) below.

    It is 2^k times a polynomial, which can be vectorised; a call of the C library cannot.
    """
    octaves = ti.max(x, -87.0) * ti.static(1 / log(2))
    k = ti.cast(octaves - 0.5, ti.i32)
    rest = (octaves - ti.cast(k, ti.f32)) * ti.static(log(2))
    power = ti.f32(ti.static(1 / factorial(6)))
    for n in ti.static((5, 4, 3, 2, 1, 0)):
        power = power * rest + ti.static(1 / factorial(n))
    return ti.bit_cast((k + 127) << 23, ti.f32) * power


@ti.func
def dot(a, b, real: ti.template(), n_channels: ti.template()):
    """Return the sum over channels of a * b, in `_LANES` partial sums."""
    parts = ti.Vector.zero(real, _LANES)
    for first in ti.static(range(0, n_channels, _UNROLLED)):
        for c in ti.static(range(first, min(first + _UNROLLED, n_channels))):
            parts[c % _LANES] += a[c] * b[c]
    return parts.sum()
