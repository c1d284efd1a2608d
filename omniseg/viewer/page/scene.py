"""The 3D scene of the page: cameras of the photos to jump to, and surface points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from omniseg.data.drawing import distinct_colours
from omniseg.run_folder import Model
from omniseg.selection.survey import surface_colours, survey
from omniseg.viewer.live_view import SegmentLayer

if TYPE_CHECKING:
    import viser

MAX_CAMERAS = 200
"""Limit of the photos' cameras that are drawn, spread evenly."""
_POINT_VIEWS, _POINT_RAYS = 24, 40_000
"""Points come from at most this many views, and are about this many."""
_FRUSTUM_SCALE = 0.06
"""Size of a camera, scene units."""
_LINE_WIDTH = 1.5
"""Width of its lines, pixels."""
_COLOUR = (90, 200, 140)


def draw_cameras(scene: viser.SceneApi, model: Model) -> dict[int, viser.CameraFrustumHandle]:
    """Draw the cameras of the photos, hidden; return them by the index of their photo."""
    cameras = model.viewpoints.cameras
    drawn = {}
    for photo in cameras.spread(MAX_CAMERAS):
        c2w = cameras.c2w[photo].double().cpu().numpy()
        width, height = cameras.size[photo].tolist()
        fy = float(cameras.intrinsics[photo, 1])
        drawn[photo] = scene.add_camera_frustum(
            f"/cameras/{photo}",
            fov=2 * math.atan(height / (2 * fy)),
            aspect=width / height,
            scale=_FRUSTUM_SCALE,
            thickness=_LINE_WIDTH,
            thickness_units="screen",
            color=_COLOUR,
            wxyz=quaternion(c2w[:, :3]),
            position=c2w[:, 3],
            visible=False,
        )
    return drawn


@torch.no_grad()
def surface_cloud(model: Model, *, progress: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return points of the surface as the photos see it, (n, 3) scene coordinates, and their colours (n, 3) uint8."""
    cameras = model.viewpoints.cameras
    positions = survey(
        model, cameras.spread(_POINT_VIEWS), _POINT_RAYS, features=False, stagger=True, progress=progress
    ).positions
    middle = cameras.c2w[:, :, 3].mean(0)
    colours = surface_colours(model, positions, F.normalize(positions - middle, dim=1))
    return positions.cpu().numpy(), (colours.clamp(0, 1) * 255).round().byte().cpu().numpy()


def segment_cloud(layer: SegmentLayer) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the automatic segments, (n, 3) scene coordinates, and their colours (n, 3) uint8."""
    segments = layer.cut()
    return layer.tree.positions.cpu().numpy(), distinct_colours(len(segments))[segments.ids.cpu().numpy() - 1]


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """Return w, x, y, z of a rotation (3, 3)."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return np.array([w, x, y, z])
