"""What may be wrong with a capture, learned along with the field: camera poses and exposure."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from omniseg.cameras import Cameras


class Corrections(nn.Module):
    """A small motion of every camera and a gain and offset of every photo's colours; nothing, unless asked for.

    They help to learn from photos that disagree. A rendering for looking at uses none of them.

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
        """The cameras in their corrected poses; differentiable."""
        if self.motions is None:
            return cameras
        # The mean motion would only shift the whole scene away from the test views.
        motions = self.motions - self.motions.mean(0)
        rotation = rotation_matrix(motions[:, :3]) @ cameras.c2w[:, :, :3]
        translation = cameras.c2w[:, :, 3:] + motions[:, 3:, None]
        return replace(cameras, c2w=torch.cat([rotation, translation], dim=2))

    def colour(self, rgb: Tensor, views: Tensor) -> Tensor:
        """Colours (n, 3) as the camera of each view (n,) exposed them; differentiable."""
        if self.gains is None or self.offsets is None:
            return rgb
        gains, offsets = self.gains - self.gains.mean(0), self.offsets - self.offsets.mean(0)
        return rgb * gains[views].exp() + offsets[views]


def rotation_matrix(vectors: Tensor) -> Tensor:
    """Rotation matrices (n, 3, 3) of rotation vectors (n, 3), radians, by the exponential map; differentiable."""
    x, y, z = vectors.unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    return torch.linalg.matrix_exp(skew)
