"""Visibility of the cells of a cascaded occupancy grid: cells that no camera sees need no density.

A camera is represented by the five planes of its viewing pyramid, a cell by its bounding sphere. Nothing here is
differentiable.
"""

import taichi as ti
import torch
from torch import Tensor

from .launch import check_dtype, check_shape, launch
from .occupancy import cell_corner, check_grid

_VIEWS, _BYTES = ti.types.ndarray(ti.f32, ndim=3), ti.types.ndarray(ti.u8, ndim=1)


@ti.kernel
def _mark_visible(views: _VIEWS, near: ti.f32, resolution: ti.i32, visible: _BYTES):
    per_cascade = resolution * resolution * resolution
    for c in range(visible.shape[0]):
        centre = cell_corner(c, resolution, ti.math.vec3(0.5))
        # Half the diagonal of a cell, and a little more, so that rounding never hides a cell.
        radius = 1.7322 / resolution * ti.cast(1 << (c // per_cascade), ti.f32)
        seen, v = 0, 0
        while v < views.shape[0] and seen == 0:
            inside, plane = 1, 0
            while plane < 5 and inside == 1:
                normal = ti.math.vec3(views[v, plane, 0], views[v, plane, 1], views[v, plane, 2])
                if normal.dot(centre) + views[v, plane, 3] < -radius:
                    inside = 0
                plane += 1
            if inside == 1:
                origin = ti.math.vec3(views[v, 5, 0], views[v, 5, 1], views[v, 5, 2])
                if (centre - origin).norm() + radius >= near:
                    seen = 1
            v += 1
        visible[c] = ti.cast(seen, ti.u8)


def visible_cells(
    cascades: int,
    resolution: int,
    c2w: Tensor,
    intrinsics: Tensor,
    size: Tensor,
    near: float = 0.0,
    margin: float = 0.0,
) -> Tensor:
    """Return the cells that at least one camera may see. No cell that a pinhole camera sees is left out.

    A camera sees a cell if the cell's bounding sphere reaches into the viewing pyramid, widened by `margin` pixels, and
    out of the ball of radius `near` around the camera. Occlusion is ignored.

    Args:
        cascades: number of cubes, at least 1.
        resolution: cells along an edge of a cascade, a power of two, at most 256.
        c2w: (V, 3, 4) float32 T_world_camera, OpenCV axes, scene coordinates.
        intrinsics: (V, 4) float32 fx, fy, cx, cy, pixels.
        size: (V, 2) width and height, pixels.
        near: distance from the camera below which nothing is rendered, scene units.
        margin: pixels added on every side; must cover points that lens distortion moves into the image.
    Returns:
        (cascades, resolution^3) bool in Morton order; all False without a camera.
    Raises:
        ValueError: a shape, dtype or device disagrees, or no grid has this resolution.
    """
    check_grid(cascades, resolution)
    check_shape("c2w", c2w, (None, 3, 4))
    check_dtype("c2w", c2w, torch.float32)
    check_shape("intrinsics", intrinsics, (len(c2w), 4))
    check_shape("size", size, (len(c2w), 2))
    visible = torch.zeros(cascades * resolution**3, dtype=torch.uint8, device=c2w.device)
    if len(c2w):
        views = _frustum_planes(c2w.detach(), intrinsics.detach(), size, margin)
        launch(_mark_visible, (views, near, resolution), (visible,))
    return visible.view(torch.bool).view(cascades, -1)


def _frustum_planes(c2w: Tensor, intrinsics: Tensor, size: Tensor, margin: float) -> Tensor:
    """Return (V, 6, 4): planes (inward normal, offset) left, right, top, bottom, front; then the position, 0."""
    fx, fy, cx, cy = intrinsics.to(c2w.dtype).unbind(1)
    width, height = size.to(c2w.dtype).unbind(1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    normals = torch.stack(  # in camera axes; all planes pass through the camera's centre
        [
            torch.stack([fx, zero, cx + margin], 1),
            torch.stack([-fx, zero, width + margin - cx], 1),
            torch.stack([zero, fy, cy + margin], 1),
            torch.stack([zero, -fy, height + margin - cy], 1),
            torch.stack([zero, zero, one], 1),
        ],
        1,
    )
    normals = torch.nn.functional.normalize(normals, dim=2) @ c2w[:, :, :3].transpose(1, 2)
    origins = c2w[:, None, :, 3]
    offsets = -(normals * origins).sum(2, keepdim=True)
    planes = torch.cat([normals, offsets], 2)
    return torch.cat([planes, torch.nn.functional.pad(origins, (0, 1))], 1)
