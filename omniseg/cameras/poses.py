"""Poses as formats write them, brought to one convention and checked."""

from __future__ import annotations

import numpy as np

from omniseg.errors import InputError


def opengl_to_opencv(c2w: np.ndarray) -> np.ndarray:
    """Turn camera axes right, up, backwards into right, down, forwards; (..., 3 or 4, 4)."""
    return c2w * np.array([1.0, -1.0, -1.0, 1.0])


def checked_pose(matrix: object, where: str) -> np.ndarray:
    """Return a pose as (3, 4) float64 with an exact rotation.

    A uniform scale in the rotation part is removed (Blender writes one for a camera below a scaled parent).

    Args:
        matrix: 3 x 4 or 4 x 4 numbers.
        where: file and view, for the message.
    Raises:
        InputError: another shape, a number that is not finite, or no rotation.
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
    """Rotation matrices (n, 3, 3) of quaternions (n, 4), w first; normalised here. Zero gives NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        w, x, y, z = (wxyz / np.linalg.norm(wxyz, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)
