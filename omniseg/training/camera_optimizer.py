"""Learned corrections of camera poses and exposure."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from omniseg.cameras import Cameras


class CameraOptimizer(nn.Module):
    """Small motion of every camera, and gain and offset of every photo's colours, learned along with the field.

    They help to learn from photos that disagree. Renderings for evaluation and viewing use none of them.

    Args:
        n_views: number of training views.
        poses: learn a rotation vector (radians) and a translation (scene units) of every camera.
        exposure: learn a gain (logarithm) and an offset of every colour channel of every photo.
    """

    def __init__(self, n_views: int, *, poses: bool, exposure: bool) -> None:
        super().__init__()
        self.motions = nn.Parameter(torch.zeros(n_views, 6)) if poses else None
        self.gains = nn.Parameter(torch.zeros(n_views, 3)) if exposure else None
        self.offsets = nn.Parameter(torch.zeros(n_views, 3)) if exposure else None

    def cameras(self, cameras: Cameras) -> Cameras:
        """Return the cameras in their corrected poses; differentiable in the motions."""
        if self.motions is None:
            return cameras
        # A motion that all cameras share would only move the scene away from the test views.
        motions = self.motions - self.motions.mean(0)
        rotation = rotation_matrix(motions[:, :3]) @ cameras.c2w[:, :, :3]
        translation = cameras.c2w[:, :, 3:] + motions[:, 3:, None]
        return replace(cameras, c2w=torch.cat([rotation, translation], dim=2))

    def colour(self, rgb: Tensor, views: Tensor) -> Tensor:
        """Return colours (n, 3) with the exposure of their views (n,) int64; differentiable in all but the views."""
        if self.gains is None or self.offsets is None:
            return rgb
        gains, offsets = self.gains - self.gains.mean(0), self.offsets - self.offsets.mean(0)
        return rgb * gains[views].exp() + offsets[views]


def rotation_matrix(vectors: Tensor) -> Tensor:
    """Return rotation matrices (n, 3, 3) of rotation vectors (n, 3), radians; differentiable.

    By the exponential map, R = exp([v]_x).
    """
    x, y, z = vectors.unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    return torch.linalg.matrix_exp(skew)
