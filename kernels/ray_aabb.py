"""Intersection of rays with an axis-aligned box by the slab method (Kay and Kajiya 1986)."""

import taichi as ti
import torch
from torch import Tensor

from .launch import check_dtype, check_like, check_shape, launch

_PARALLEL = 1e-12
"""Direction components below this count as zero: they do not move a ray over any distance in a scene."""
_FAR = 1e30

_VECTOR, _MATRIX = ti.types.ndarray(ti.f32, ndim=1), ti.types.ndarray(ti.f32, ndim=2)


@ti.kernel
def _intersect(rays_o: _MATRIX, rays_d: _MATRIX, aabb: _VECTOR, near: ti.f32, t: _MATRIX):
    for n in range(rays_o.shape[0]):
        t_min, t_max = near, ti.f32(_FAR)
        for axis in ti.static(range(3)):
            o, d = rays_o[n, axis], rays_d[n, axis]
            low, high = aabb[axis], aabb[axis + 3]
            if ti.abs(d) > ti.f32(_PARALLEL):
                enter, leave = (low - o) / d, (high - o) / d
                t_min = ti.max(t_min, ti.min(enter, leave))
                t_max = ti.min(t_max, ti.max(enter, leave))
            elif not (low <= o and o <= high):
                t_max = near
        # Also true for NaN, and for a zero direction, which never leaves the box.
        if not (t_max > t_min and t_max < ti.f32(_FAR)):
            t_min, t_max = near, near
        t[0, n] = t_min
        t[1, n] = t_max


def ray_aabb(rays_o: Tensor, rays_d: Tensor, aabb: Tensor, near: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the interval of each ray that lies in a box and beyond `near`. Not differentiable.

        t_min = max(near, max_axis min(a, b)),  t_max = min_axis max(a, b),  a = (low - o) / d,  b = (high - o) / d

    Args:
        rays_o: (n, 3) float32 origins, anywhere.
        rays_d: (n, 3) float32 directions of any length, which is the unit of t. Components may be zero.
        aabb: (6,) float32, the lowest corner x, y, z, then the highest.
        near: smallest t, at least 0. A ray that starts in the box has t_min = near.
    Returns:
        t_min, t_max: (n,) float32, near <= t_min < t_max where the ray crosses the box. A ray that misses or only
        grazes the box, or whose direction is zero or NaN, has the empty interval t_min = t_max = near. Never NaN.
    Raises:
        ValueError: a shape, dtype or device disagrees, or `near` is negative or not finite.
    """
    check_shape("rays_o", rays_o, (None, 3))
    check_dtype("rays_o", rays_o, torch.float32)
    check_shape("rays_d", rays_d, tuple(rays_o.shape))
    check_like("rays_d", rays_d, "rays_o", rays_o)
    check_shape("aabb", aabb, (6,))
    check_like("aabb", aabb, "rays_o", rays_o)
    if not 0.0 <= near < _FAR:
        raise ValueError(f"near: expected a finite distance >= 0, got {near}")
    t = torch.empty(2, len(rays_o), device=rays_o.device)
    if len(rays_o):
        launch(_intersect, (rays_o, rays_d, aabb, near), (t,))
    return t[0], t[1]
