"""Torch twin of `omniseg_kernels.visibility`."""

import torch
from torch import Tensor

from .occupancy import cell_centres


def visible_cells(
    cascades: int,
    resolution: int,
    c2w: Tensor,
    intrinsics: Tensor,
    size: Tensor,
    near: float = 0.0,
    margin: float = 0.0,
) -> Tensor:
    """Return (cascades, resolution^3) bool, seen by at least one camera: the same test in camera coordinates."""
    cells = torch.arange(cascades * resolution**3, dtype=torch.int32, device=c2w.device)
    centre = cell_centres(cells, resolution)
    radius = 3**0.5 / resolution * 2.0 ** (cells // resolution**3)
    seen = torch.zeros_like(cells, dtype=torch.bool)
    for pose, (fx, fy, cx, cy), (width, height) in zip(c2w, intrinsics, size):
        x, y, z = ((centre - pose[:, 3]) @ pose[:, :3]).unbind(1)
        left = (fx * x + (cx + margin) * z) / torch.hypot(fx, cx + margin)
        right = ((width + margin - cx) * z - fx * x) / torch.hypot(fx, width + margin - cx)
        top = (fy * y + (cy + margin) * z) / torch.hypot(fy, cy + margin)
        bottom = ((height + margin - cy) * z - fy * y) / torch.hypot(fy, height + margin - cy)
        depth_in_pyramid = torch.stack([left, right, top, bottom, z]).amin(0)
        distance = (x * x + y * y + z * z).sqrt()
        seen |= (depth_in_pyramid >= -radius) & (distance + radius >= near)
    return seen.view(cascades, -1)
