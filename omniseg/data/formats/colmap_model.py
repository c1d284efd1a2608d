"""COLMAP's sparse model in memory, and the checks that binary and text files share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from omniseg.cameras import Camera, CameraModel
from omniseg.cameras.poses import checked_pose, quaternion_rotation
from omniseg.errors import InputError

MODELS = (
    ("SIMPLE_PINHOLE", "f cx cy"),
    ("PINHOLE", "fx fy cx cy"),
    ("SIMPLE_RADIAL", "f cx cy k1"),
    ("RADIAL", "f cx cy k1 k2"),
    ("OPENCV", "fx fy cx cy k1 k2 p1 p2"),
    ("OPENCV_FISHEYE", "fx fy cx cy k1 k2 k3 k4"),
    ("FULL_OPENCV", "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    ("FOV", "fx fy cx cy omega"),
    ("SIMPLE_RADIAL_FISHEYE", "f cx cy k1"),
    ("RADIAL_FISHEYE", "f cx cy k1 k2"),
    ("THIN_PRISM_FISHEYE", "fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1"),
)
"""Names of camera models and of their parameters, by COLMAP's model id."""

NEWER_MODELS = (
    "RAD_TAN_THIN_PRISM_FISHEYE",
    "SIMPLE_DIVISION",
    "DIVISION",
    "SIMPLE_FISHEYE",
    "FISHEYE",
    "EUCM",
    "EQUIRECTANGULAR",
)
"""Names of later camera models, which we do not support, by model id minus len(MODELS)."""

_DISTORTION = {
    CameraModel.PERSPECTIVE: ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    CameraModel.FISHEYE: ("k1", "k2", "k3", "k4", "p1", "p2", "sx1", "sy1"),
    CameraModel.FOV: ("omega", *[""] * 7),
}
"""Names of the eight numbers in `Camera.distortion`."""

_MAX_SIDE = 2**17
"""Largest side of an image in pixels; beyond it the file is damaged."""


@dataclass(frozen=True)
class ColmapImage:
    """A registered image: name (path below the image folder), camera id, (3, 4) camera to world, ids of its points."""

    name: str
    camera_id: int
    c2w: np.ndarray
    point_ids: np.ndarray


@dataclass(frozen=True)
class ColmapPoints:
    """Ids (n,), positions (n, 3), reprojection errors (n,) in pixels and track lengths (n,) of the sparse points."""

    ids: np.ndarray
    xyz: np.ndarray
    error: np.ndarray
    track: np.ndarray


@dataclass(frozen=True)
class ColmapModel:
    """A sparse model: cameras by id, registered images in the file's order, points (possibly none)."""

    cameras: dict[int, Camera]
    images: tuple[ColmapImage, ...]
    points: ColmapPoints


def colmap_camera(model: str, width: int, height: int, values: dict[str, float], where: str) -> Camera:
    """Make a `Camera` from COLMAP's parameters by name (f or fx, fy, cx, cy, then the distortion).

    Raises:
        InputError: the size or a number is not a camera's, or the model is not supported.
    """
    if model not in dict(MODELS):
        raise InputError(
            f"{where}: camera model {model} is not supported; run `colmap image_undistorter` and use its output"
        )
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise InputError(f"{where}: no image has a size of {width} x {height}; the file is damaged")
    kind = CameraModel.PERSPECTIVE
    if model == "FOV":
        kind = CameraModel.FOV
    elif model.endswith("FISHEYE"):
        kind = CameraModel.FISHEYE
    fx, fy = (values["f"], values["f"]) if "f" in values else (values["fx"], values["fy"])
    try:
        return Camera(
            width=width,
            height=height,
            fx=fx,
            fy=fy,
            cx=values["cx"],
            cy=values["cy"],
            model=kind,
            distortion=tuple(values.get(name, 0.0) for name in _DISTORTION[kind]),
        )
    except ValueError as error:
        raise InputError(f"{where}: {error}; the file is damaged or not COLMAP's") from error


def colmap_images(
    path: Path, names: list[str], ids: list[int], poses: list, point_ids: list[np.ndarray]
) -> tuple[ColmapImage, ...]:
    """Make images from names, camera ids, world-to-camera poses qw qx qy qz tx ty tz, and ids of observed points.

    Raises:
        InputError: there are none, a name is empty, occurs twice or leaves the folder, or a pose is invalid.
    """
    if not names:
        raise InputError(f"{path}: holds no registered image; repeat the reconstruction")
    if "" in names:
        raise InputError(f"{path}: holds an image without a name; the file is damaged")
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path}: image {name} leaves the image folder; give a path below it")
    if len(set(names)) != len(names):
        raise InputError(f"{path}: holds two images of the same name; the file is damaged")
    numbers = np.array(poses, dtype=np.float64)
    rotation = quaternion_rotation(numbers[:, :4]).transpose(0, 2, 1)
    position = -rotation @ numbers[:, 4:, None]
    c2w = np.concatenate([rotation, position], axis=2)
    return tuple(
        ColmapImage(name, camera_id, checked_pose(pose, f"{path}: image {name}"), points)
        for name, camera_id, pose, points in zip(names, ids, c2w, point_ids)
    )
