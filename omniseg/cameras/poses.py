"""Camera poses: made (`look_at`), checked, converted between conventions, and the point that they look at."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from omniseg.errors import InputError

_REWEIGHTINGS = 10
"""Steps of the iteratively reweighted least squares in `axes_crossing`."""


def upright_rotation(forward: np.ndarray) -> np.ndarray:
    """Return the camera-to-world rotation (3, 3) of an upright camera (z is up) that looks along `forward` (3,).

    A vector of length 0 counts as +y. A camera that looks straight up or down has its right side along +x.
    """
    length = np.linalg.norm(forward)
    z = forward / length if length > 1e-6 else np.array([0.0, 1.0, 0.0])
    x = np.cross(z, [0.0, 0.0, 1.0])
    x = np.array([1.0, 0.0, 0.0]) if np.linalg.norm(x) < 1e-6 else x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the pose (3, 4), camera to world, OpenCV axes, of an upright camera (z is up) that looks at `target`.

    Args:
        position: (3,) of the camera; `upright_rotation` says what happens at or straight below or above the target.
        target: (3,).
    """
    return np.column_stack([upright_rotation(target - position), position])


class AxesCrossing(NamedTuple):
    """The point that optical axes come closest to.

    point: (3,) in the coordinates of the poses.
    certainty: smallest eigenvalue of the mean projector across the axes, 0 (all parallel) to 2/3.
    """

    point: np.ndarray
    certainty: float


def axes_crossing(c2w: np.ndarray) -> AxesCrossing:
    """Return the point with the smallest sum of distances to the optical axes of poses (V, 3, 4).

    Iteratively reweighted least squares, so that a few cameras that look elsewhere do not matter.
    """
    middle = c2w[:, :, 3].mean(0)  # positions may be large, as those of georeferenced captures
    forward, position = c2w[:, :, 2], c2w[:, :, 3] - middle
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    certainty = float(np.linalg.eigvalsh(across.mean(0))[0])
    weight = np.ones(len(c2w))
    point = np.zeros(3)
    for _ in range(_REWEIGHTINGS):
        left = np.einsum("n,nij->ij", weight, across)
        right = np.einsum("n,nij,nj->i", weight, across, position)
        point = np.linalg.lstsq(left, right, rcond=1e-9)[0]
        miss = np.linalg.norm(np.einsum("nij,nj->ni", across, point - position), axis=1)
        weight = 1 / np.maximum(miss, 1e-3 * (np.median(miss) + 1e-12) + 1e-12)
    return AxesCrossing(point + middle, certainty)


def opengl_to_opencv(c2w: np.ndarray) -> np.ndarray:
    """Turn camera axes right, up, backwards into right, down, forwards, in poses (..., 3 or 4, 4)."""
    return c2w * np.array([1.0, -1.0, -1.0, 1.0])


def checked_pose(matrix: object, where: str) -> np.ndarray:
    """Return a pose as (3, 4) float64 with an exact rotation.

    A uniform scale of the rotation is removed (Blender writes one for a camera below a scaled parent).

    Args:
        matrix: 3 x 4 or 4 x 4 numbers.
        where: file and view, for the message.
    Raises:
        InputError: the shape differs, a number is not finite, or the left part is no rotation.
    """
    try:
        pose = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        pose = np.empty(0)
    if pose.shape not in ((3, 4), (4, 4)):
        raise InputError(f"{where}: the pose is not a 3 x 4 or 4 x 4 matrix of numbers")
    pose = pose[:3]
    if not np.isfinite(pose).all():
        raise InputError(f"{where}: the pose holds NaN or infinity; remove the view or repeat the calibration")
    left, stretch, right = np.linalg.svd(pose[:, :3])
    rotation = left @ right
    if stretch[0] <= 0 or np.ptp(stretch) > 1e-2 * stretch[0] or np.linalg.det(rotation) < 0:
        raise InputError(f"{where}: the pose is not a rotation and a translation (mirrored, skewed or zero)")
    return np.concatenate([rotation, pose[:, 3:]], axis=1)


def quaternion_rotation(wxyz: np.ndarray) -> np.ndarray:
    """Return the rotation matrices (n, 3, 3) of quaternions (n, 4), w first, of any length above 0; else NaN."""
    length = np.linalg.norm(wxyz, axis=1)
    usable = (length > 0) & np.isfinite(length)
    xyzw = np.where(usable[:, None], wxyz, 1.0)[:, [1, 2, 3, 0]]
    rotations = Rotation.from_quat(xyzw).as_matrix()
    rotations[~usable] = np.nan
    return rotations
