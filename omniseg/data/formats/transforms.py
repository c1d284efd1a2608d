"""Reader of JSON captures: `transforms.json` (instant-ngp, nerfstudio), `transforms_{train,val,test}.json` (NeRF)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from omniseg.cameras import Camera, CameraModel
from omniseg.cameras.poses import checked_pose, opengl_to_opencv
from omniseg.data.formats.folders import (
    hierarchy_path,
    label_paths,
    read_json,
    scaled_folders,
    true_factors,
    view_names,
    warn_missing,
    with_image_suffix,
)
from omniseg.data.formats.ply import read_ply_points
from omniseg.data.image_io import image_header
from omniseg.data.scene import Scene, Split, View, capture_kind
from omniseg.errors import InputError

LOOKED_FOR = "transforms.json, or transforms_train.json (with _val, _test)"

SPLIT_FILES: dict[Split, str] = {
    "train": "transforms_train.json",
    "val": "transforms_val.json",
    "test": "transforms_test.json",
}

_NGP_SCALE = 0.33
"""instant-ngp's default scale: input coordinates times this, plus one half, are those of its unit cube."""

_DEPTH_UNIT = 1e-3
"""Input units per step of a depth image if the file has none: nerfstudio's millimetres."""

_MODELS = {
    "PINHOLE": CameraModel.PERSPECTIVE,
    "SIMPLE_PINHOLE": CameraModel.PERSPECTIVE,
    "SIMPLE_RADIAL": CameraModel.PERSPECTIVE,
    "RADIAL": CameraModel.PERSPECTIVE,
    "OPENCV": CameraModel.PERSPECTIVE,
    "PERSPECTIVE": CameraModel.PERSPECTIVE,
    "OPENCV_FISHEYE": CameraModel.FISHEYE,
}
"""Lens models by nerfstudio's `camera_model`."""


def detect(root: Path) -> bool:
    """Tell whether `root` holds one of the JSON files."""
    return any((root / name).is_file() for name in ("transforms.json", *SPLIT_FILES.values()))


def read(root: Path) -> Scene:
    """Read `transforms_{train,val,test}.json` if transforms_train.json exists, else `transforms.json`.

    Raises:
        InputError: a file is damaged, or its images are missing.
    """
    splits: dict[Split, Path] = {split: root / name for split, name in SPLIT_FILES.items() if (root / name).is_file()}
    if "train" not in splits and (root / "transforms.json").is_file():
        return read_file(root / "transforms.json")
    views, alpha = read_splits(root, splits)
    kind = "synthetic" if alpha else capture_kind(np.stack([view.c2w for view in views]))
    return Scene(root=root, format="transforms", kind=kind, views=views)


def read_splits(root: Path, splits: Mapping[Split, Path]) -> tuple[tuple[View, ...], bool]:
    """Read one file for each split.

    Returns:
        The views, and True if the images have an alpha channel.
    Raises:
        InputError: a file is damaged, or its images are missing.
    """
    frames = [replace(f, split=split) for split, path in splits.items() for f in read_frames(path, read_json(path))]
    return make_views(root, frames), image_header(frames[0].image).alpha


def read_file(path: Path) -> Scene:
    """Read one JSON file that lists all frames.

    Raises:
        InputError: the file is damaged, or its images are missing.
    """
    meta = read_json(path)
    frames = _with_splits(read_frames(path, meta), meta)
    views = make_views(path.parent, frames)
    extent = None
    if _is_number(meta.get("aabb_scale")):
        extent = 0.5 * meta["aabb_scale"] / (meta["scale"] if _is_number(meta.get("scale")) else _NGP_SCALE)
    cloud = path.parent / str(meta.get("ply_file_path") or "")
    return Scene(
        root=path.parent,
        format="transforms",
        kind=capture_kind(np.stack([view.c2w for view in views])),
        views=views,
        points=read_ply_points(cloud) if cloud.is_file() else None,
        aabb=checked_aabb(meta["aabb"], path) if "aabb" in meta else None,
        extent=extent,
    )


def read_path(path: Path) -> tuple[list[Camera], np.ndarray]:
    """Read the cameras of a JSON file as a path to render along; its images need not exist.

    Returns:
        Cameras, and their poses (n, 3, 4) in input coordinates, OpenCV axes.
    Raises:
        InputError: the file is damaged, lists no frames, or lacks the size of the images.
    """
    meta = read_json(path)
    frames = meta.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{path}: lists no frames; expected `frames`: [{{transform_matrix}}, ...]")
    if not all(_is_number(meta.get(key)) and meta[key] >= 1 for key in ("w", "h")):
        raise InputError(f"{path}: does not say the size of the images; expected `w` and `h` in pixels")
    where = [f"{path}: frame {number}" for number in range(len(frames))]
    cameras = [_camera({**meta, **frame}, path, at) for frame, at in zip(frames, where)]
    poses = [checked_pose(frame.get("transform_matrix"), at) for frame, at in zip(frames, where)]
    stacked = np.stack(poses)
    return cameras, stacked if has_opencv_axes(meta, path) else opengl_to_opencv(stacked)


@dataclass(frozen=True)
class ListedFrame:
    """A frame of a JSON file, whose image exists.

    listed: path as the file lists it, with "/".
    image: path of the image.
    camera, c2w, depth_path, depth_unit, split: as in `View`.
    """

    listed: str
    image: Path
    camera: Camera
    c2w: np.ndarray
    depth_path: Path | None
    depth_unit: float
    split: Split | None = None


def has_opencv_axes(meta: Mapping[str, Any], path: Path) -> bool:
    """Return whether the camera axes of a JSON file are OpenCV's, by its `camera_axes`; without it they are OpenGL's.

    Raises:
        InputError: it names other axes.
    """
    axes = meta.get("camera_axes", "opengl")
    if axes not in ("opencv", "opengl"):
        raise InputError(f"{path}: `camera_axes` is {axes!r}; expected opencv or opengl")
    return axes == "opencv"


def read_frames(path: Path, meta: Mapping[str, Any], opencv_axes: bool | None = None) -> list[ListedFrame]:
    """Read the frames whose images exist. A warning counts the others.

    Args:
        path: the JSON file, to which file paths are relative.
        meta: its content.
        opencv_axes: True if the file's camera axes are OpenCV's, False if OpenGL's; None: what the file says.
    Raises:
        InputError: a frame is damaged, or no image exists.
    """
    listed = meta.get("frames")
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path}: lists no frames; expected `frames`: [{{file_path, transform_matrix}}, ...]")
    opencv_axes = has_opencv_axes(meta, path) if opencv_axes is None else opencv_axes
    frames, missing = [], []
    for number, entry in enumerate(listed):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise InputError(f"{path}: frame {number} has no `file_path`")
        name = entry["file_path"].replace("\\", "/")
        image = with_image_suffix(path.parent / name)
        if image is None:
            missing.append(name)
            continue
        where = f"{path}: frame {name}"
        c2w = checked_pose(entry.get("transform_matrix"), where)
        values = {**meta, **entry}
        depth = values.get("depth_file_path") or values.get("depth_path")
        frames.append(
            ListedFrame(
                listed=name,
                image=image,
                camera=_camera(values, image, where),
                c2w=c2w if opencv_axes else opengl_to_opencv(c2w),
                depth_path=path.parent / depth if isinstance(depth, str) else None,
                depth_unit=depth_unit(values),
            )
        )
    warn_missing(missing, len(listed), path)
    return frames


def depth_unit(values: Mapping[str, Any]) -> float:
    """Return the input units per integer step of a depth image."""
    for key in ("integer_depth_scale", "depth_unit_scale_factor"):
        if _is_number(values.get(key)):
            return float(values[key])
    return _DEPTH_UNIT


def make_views(root: Path, frames: list[ListedFrame]) -> tuple[View, ...]:
    """Make views of frames: find their smaller images, and name them by their paths below the deepest shared folder.

    An image that is listed in several splits counts once: in train before test before val.
    """
    order = ("train", "test", "val", None)
    by_image = {f.image: f for f in sorted(frames, key=lambda f: order.index(f.split), reverse=True)}
    frames = list(by_image.values())
    parents = {os.path.abspath(frame.image.parent) for frame in frames}
    common = Path(os.path.commonpath(parents))
    names = view_names([Path(os.path.abspath(f.image)).relative_to(common).as_posix() for f in frames])
    folders = {parent: scaled_folders(parent) for parent in {frame.image.parent for frame in frames}}
    factors: dict[int, int] = {}
    views = []
    for name, frame in zip(names, frames):
        images = {1: frame.image}
        for factor, folder in folders[frame.image.parent].items():
            if factor > 1 and (small := with_image_suffix(folder / frame.image.name)):
                images[factor] = small
        new = {factor: image for factor, image in images.items() if factor not in factors}
        factors |= true_factors(frame.camera, new)
        views.append(
            View(
                name=name,
                images={factors[factor]: image for factor, image in images.items()},
                camera=frame.camera,
                c2w=frame.c2w,
                split=frame.split,
                depth_path=frame.depth_path,
                depth_unit=frame.depth_unit,
                hierarchy_path=hierarchy_path(root, name),
                label_paths=label_paths(root / "labels", name),
            )
        )
    return tuple(sorted(views, key=lambda view: view.name))


def checked_aabb(value: object, path: Path) -> np.ndarray:
    """Return the box in a JSON file as (2, 3) float64.

    Raises:
        InputError: it is not [[min x, y, z], [max x, y, z]].
    """
    try:
        box = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        box = np.empty(0)
    if box.shape != (2, 3) or not np.isfinite(box).all() or not (box[0] < box[1]).all():
        raise InputError(f"{path}: `aabb` is not [[min x, y, z], [max x, y, z]] with min < max")
    return box


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _camera(values: Mapping[str, Any], image: Path, where: str) -> Camera:
    def number(key: str, default: float = 0.0) -> float:
        value = values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{where}: `{key}` is not a number")
        return float(value)

    width, height = round(number("w")), round(number("h"))
    if not width or not height:
        header = image_header(image)
        width, height = header.width, header.height
    name = values.get("camera_model", "OPENCV_FISHEYE" if values.get("is_fisheye") else "OPENCV")
    model = _MODELS.get(name)
    if model is None:
        raise InputError(
            f"{where}: camera model {name} is not supported; undistort the images (supported: {', '.join(_MODELS)})"
        )
    fx = number("fl_x") or _focal(width, number("camera_angle_x"))
    fy = number("fl_y") or _focal(height, number("camera_angle_y")) or fx
    if not (fx or fy):
        raise InputError(f"{where}: has no focal length; expected `fl_x` in pixels or `camera_angle_x` in radians")
    k1, k2, k3, k4, p1, p2 = (number(key) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    if "PINHOLE" in name:
        k1 = k2 = k3 = k4 = p1 = p2 = 0.0
    if model == CameraModel.PERSPECTIVE and k4:
        raise InputError(f"{where}: k4 with camera model {name} is not supported; undistort the images")
    perspective, zeros = model == CameraModel.PERSPECTIVE, (0.0, 0.0, 0.0)
    try:
        return Camera(
            width=width,
            height=height,
            fx=fx or fy,
            fy=fy or fx,
            cx=number("cx", width / 2),
            cy=number("cy", height / 2),
            model=model,
            distortion=(k1, k2, p1, p2, k3, *zeros) if perspective else (k1, k2, k3, k4, p1, p2, 0.0, 0.0),
        )
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _focal(side: int, angle: float) -> float:
    return 0.5 * side / math.tan(0.5 * angle) if 0 < angle < math.pi else 0.0


def _with_splits(frames: list[ListedFrame], meta: Mapping[str, Any]) -> list[ListedFrame]:
    """Set the splits of frames by nerfstudio's `train_filenames`, `val_filenames`, `test_filenames`."""
    splits: dict[str, Split] = {}
    for split in SPLIT_FILES:
        names = meta.get(f"{split}_filenames")
        if isinstance(names, list):
            splits |= {str(name).replace("\\", "/"): split for name in names}
    return [replace(frame, split=splits.get(frame.listed)) for frame in frames]
