"""Cross-view consistency of depth: how many other views have a surface where a pixel has one.

The pixel's point, o + t d, is projected into another view; that view agrees if its own distance t' at the pixel hit
satisfies |t' - r| < tolerance * r, where r is the distance of the point from that view. Nothing here is differentiable.
"""

import taichi as ti
import torch
from torch import Tensor

from ._pinhole import PinholeViews, check_partners, pairs, ray_length, view_of
from .launch import check_like, check_shape, launch

_VALUES = ti.types.ndarray(ti.f32, ndim=1)
_ROWS = ti.types.ndarray(ti.f32, ndim=2)
_INTS = ti.types.ndarray(ti.i32, ndim=2)


@ti.kernel
def _count(
    distances: _VALUES, table: _INTS, intrinsics: _ROWS, partners: ti.types.ndarray(ti.i64, ndim=2), warps: _ROWS,
    places: _INTS, tolerance: ti.f32, counts: ti.types.ndarray(ti.i32, ndim=1),
):  # fmt: skip
    for pixel in range(distances.shape[0]):
        found, own = 0, distances[pixel]
        if own > 0.0:
            view = view_of(pixel, table)
            x = ti.cast((pixel - table[view, 0]) % table[view, 1], ti.f32)
            y = ti.cast((pixel - table[view, 0]) // table[view, 1], ti.f32)
            s = ray_length(intrinsics, view, x, y) / own
            for k in range(partners.shape[1]):
                pair = view * partners.shape[1] + k
                start, width, height = places[pair, 0], places[pair, 1], places[pair, 2]
                z = warps[pair, 6] * x + warps[pair, 7] * y + warps[pair, 8] + warps[pair, 11] * s
                if z > 0.0 and places[pair, 3] > 0:
                    u = (warps[pair, 0] * x + warps[pair, 1] * y + warps[pair, 2] + warps[pair, 9] * s) / z
                    v = (warps[pair, 3] * x + warps[pair, 4] * y + warps[pair, 5] + warps[pair, 10] * s) / z
                    if u > -0.5 and v > -0.5 and u < ti.cast(width, ti.f32) - 0.5 and v < ti.cast(height, ti.f32) - 0.5:
                        # Clamped as integers too: for NaN no comparison holds.
                        i = ti.math.clamp(ti.cast(u + 0.5, ti.i32), 0, width - 1)
                        j = ti.math.clamp(ti.cast(v + 0.5, ti.i32), 0, height - 1)
                        far = z / s * ray_length(intrinsics, ti.cast(partners[view, k], ti.i32), u, v)
                        there = distances[start + j * width + i]
                        if there > 0.0 and ti.abs(there - far) < tolerance * far:
                            found += 1
        counts[pixel] = found


def agreeing_views(views: PinholeViews, distances: Tensor, partners: Tensor, tolerance: float) -> Tensor:
    """Count the other views that have the surface of each pixel, too; not differentiable.

    A view agrees if the pixel in which it sees the point has a distance that differs from the point's by less than
    `tolerance` times the latter.

    Args:
        views: V views, of any sizes.
        distances: (n_pixels,) float32 distance along the ray, packed as the pixels of `views`, world units; 0 or less
            where it is unknown: such a pixel neither agrees with others nor has any that agree.
        partners: (V, M) int64 views that each is compared with, -1 for none; one that is named twice counts twice.
        tolerance: relative, above 0.
    Returns:
        (n_pixels,) int32, from 0 to M.
    Raises:
        ValueError: a shape, dtype or device disagrees, a partner is no view, or `tolerance` is not above 0.
    """
    check_shape("distances", distances, (views.n_pixels,))
    check_like("distances", distances, "c2w", views.c2w)
    check_partners("partners", partners, views)
    if not tolerance > 0:
        raise ValueError(f"tolerance: expected above 0, got {tolerance}")
    counts = torch.zeros(views.n_pixels, dtype=torch.int32, device=distances.device)
    if partners.numel():
        inputs = (distances, views.table, views.intrinsics, partners, *pairs(views, partners), tolerance)
        launch(_count, inputs, (counts,))
    return counts
