"""Lens models: ideal to distorted image points and back, in focal lengths from the principal point.

A camera sees the point (x, y, z), camera axes, at pixel f * (u', v') + c, with

    PERSPECTIVE  (u, v) = (x, y) / z                         Brown 1966, OpenCV's rational form
    FISHEYE      (u, v) = theta * (x, y) / |(x, y)|          Kannala and Brandt 2006, COLMAP's thin prism
    FOV          r' = atan(2 r tan(omega / 2)) / omega       Devernay and Faugeras 2001

    u' = u q(u^2 + v^2) + 2 p1 u v + p2 (3 u^2 + v^2) + sx (u^2 + v^2)    and v' likewise
    q(s) = (1 + a1 s + a2 s^2 + a3 s^3 + a4 s^4) / (1 + b1 s + b2 s^2 + b3 s^3)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor


class CameraModel(IntEnum):
    """Lens model, which gives the eight numbers in `distortion` their meaning; zeros are an ideal lens.

    PERSPECTIVE: k1, k2, p1, p2, k3, k4, k5, k6 (OpenCV's order).
    FISHEYE: k1, k2, k3, k4, p1, p2, sx1, sy1 (equidistant; the last four are COLMAP's thin prism).
    FOV: omega in radians, seven zeros.
    """

    PERSPECTIVE = 0
    FISHEYE = 1
    FOV = 2


_NEWTON_STEPS = 6
"""Steps of `undistort`, enough for a hundredth of a pixel in float32."""


def coefficients(distortion: Tensor, model: Tensor) -> Tensor:
    """Return (V, 11) a1 a2 a3 a4, b1 b2 b3, p1 p2, sx sy of the module's formula; zeros for FOV."""
    k1, k2, p1, p2, k3, k4, k5, k6 = distortion.unbind(1)
    zero = torch.zeros_like(k1)
    perspective = torch.stack([k1, k2, k3, zero, k4, k5, k6, p1, p2, zero, zero], dim=1)
    k1, k2, k3, k4, p1, p2, sx, sy = distortion.unbind(1)
    fisheye = torch.stack([k1, k2, k3, k4, zero, zero, zero, p1, p2, sx, sy], dim=1)
    model = model[:, None]
    perspective = torch.where(model == CameraModel.PERSPECTIVE, perspective, 0)
    return torch.where(model == CameraModel.FISHEYE, fisheye, perspective)


def _radial(s: Tensor, c: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return value and derivative of q(s)."""
    a1, a2, a3, a4, b1, b2, b3 = c[:7]
    top = 1 + s * (a1 + s * (a2 + s * (a3 + s * a4)))
    bottom = 1 + s * (b1 + s * (b2 + s * b3))
    d_top = a1 + s * (2 * a2 + s * (3 * a3 + s * 4 * a4))
    d_bottom = b1 + s * (2 * b2 + s * 3 * b3)
    q = top / bottom
    return q, (d_top - q * d_bottom) / bottom


def distort(points: Tensor, c: Sequence[Tensor]) -> Tensor:
    """Distort ideal points (V, n, 2) with coefficients (V,) each."""
    c = [value[:, None] for value in c]
    p1, p2, sx, sy = c[7:]
    u, v = points.unbind(-1)
    s = u * u + v * v
    q, _ = _radial(s, c)
    return torch.stack(
        [
            u * q + 2 * p1 * u * v + p2 * (s + 2 * u * u) + sx * s,
            v * q + 2 * p2 * u * v + p1 * (s + 2 * v * v) + sy * s,
        ],
        dim=-1,
    )


def undistort(points: Tensor, coefficients: Tensor) -> Tensor:
    """Invert the distortion of (n, 2) points by Newton's method with the analytic Jacobian."""
    c = coefficients.unbind(1)
    p1, p2, sx, sy = c[7:]
    x, y = points.unbind(1)
    u, v = x, y
    for _ in range(_NEWTON_STEPS):
        uu, vv, uv = u * u, v * v, u * v
        s = uu + vv
        q, dq = _radial(s, c)
        dq = 2 * dq
        error_u = u * q + 2 * p1 * uv + p2 * (s + 2 * uu) + sx * s - x
        error_v = v * q + 2 * p2 * uv + p1 * (s + 2 * vv) + sy * s - y
        tangent = 2 * (p1 * u + p2 * v) + dq * uv
        juu = q + dq * uu + 2 * p1 * v + 6 * p2 * u + 2 * sx * u
        jvv = q + dq * vv + 2 * p2 * u + 6 * p1 * v + 2 * sy * v
        juv = tangent + 2 * sx * v
        jvu = tangent + 2 * sy * u
        det = juu * jvv - juv * jvu
        # Where the lens folds the image there is no inverse: keep the point rather than jump away.
        det = torch.where(det > 1e-3, det, torch.inf)
        u = u - (jvv * error_u - juv * error_v) / det
        v = v - (juu * error_v - jvu * error_u) / det
    return torch.stack([u, v], dim=1)


def perspective_directions(points: Tensor) -> Tensor:
    """Return the unit directions (n, 3) of ideal points (n, 2)."""
    return torch.nn.functional.normalize(torch.cat([points, torch.ones_like(points[:, :1])], 1), dim=1)


def fisheye_directions(points: Tensor) -> Tensor:
    """Return the unit directions (n, 3) of ideal equidistant points (n, 2); they may point backwards."""
    theta = points.norm(dim=1, keepdim=True)
    return torch.cat([points * torch.sinc(theta / math.pi), torch.cos(theta)], dim=1)


def ratio(angle: Tensor, radius: Tensor) -> Tensor:
    """Return angle / radius, 1 on the axis where both are 0."""
    return torch.where(radius > 0, angle / torch.where(radius > 0, radius, 1), 1)


def fov_directions(points: Tensor, omega: Tensor) -> Tensor:
    """Return the unit directions (n, 3) of FOV points (n, 2); the angle is capped just below 90 degrees."""
    omega = omega[:, None].clamp(1e-4, math.pi - 1e-4)
    distorted = points.norm(dim=1, keepdim=True)
    radius = torch.tan((distorted * omega).clamp(max=math.pi / 2 - 1e-4)) / (2 * torch.tan(omega / 2))
    return perspective_directions(points * ratio(radius, distorted))


def fov_factor(radius: Tensor, omega: Tensor) -> Tensor:
    """Return the distorted over the ideal radius in the FOV model."""
    omega = omega.clamp(1e-4, math.pi - 1e-4)
    return ratio(torch.atan(2 * radius * torch.tan(omega / 2)) / omega, radius)
