"""Reader of JSON captures: `transforms.json` (instant-ngp, nerfstudio), `transforms_{train,val,test}.json` (NeRF)."""

from __future__ import annotations

import logging
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from omniseg.cameras import Camera
from omniseg.cameras.poses import checked_pose, opengl_to_opencv
from omniseg.config import CaptureConfig
from omniseg.data.formats.folders import (
    ImageFinder,
    given_folder,
    read_json,
    rescaled_cameras,
    scaled_folders,
    true_factors,
    view_names,
    warn_missing,
)
from omniseg.data.formats.json_cameras import is_positive, json_camera, listed_path
from omniseg.data.formats.ply import read_ply_points
from omniseg.data.formats.sidecars import Sidecars
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

_log = logging.getLogger("omniseg")


def detect(root: Path) -> bool:
    """Tell whether `root` holds one of the JSON files."""
    return any((root / name).is_file() for name in ("transforms.json", *SPLIT_FILES.values()))


def read(root: Path, capture: CaptureConfig) -> Scene:
    """Read `transforms_{train,val,test}.json` if transforms_train.json exists, else `transforms.json`.

    Raises:
        InputError: a file is damaged, or its images are missing.
    """
    splits: dict[Split, Path] = {split: root / name for split, name in SPLIT_FILES.items() if (root / name).is_file()}
    if "train" not in splits and (root / "transforms.json").is_file():
        return read_file(root / "transforms.json", capture)
    frames = [frame for split, path in splits.items() for frame in read_split(path, split, read_json(path), capture)]
    views = make_views(root, frames, next(iter(splits.values())))
    transparent = capture.alpha == "transparent" and image_header(frames[0].image).alpha
    kind = "synthetic" if transparent else capture_kind(np.stack([view.c2w for view in views]))
    return Scene(root=root, format="transforms", kind=kind, views=views)


def read_split(
    path: Path, split: Split, meta: Mapping[str, Any], capture: CaptureConfig, opencv_axes: bool | None = None
) -> list[ListedFrame]:
    """Read the frames of the file of one split.

    A split other than train whose file lists nothing that exists is left out with a warning: BlenderNeRF writes a test
    split before, or without, rendering its images.

    Args:
        path: the JSON file.
        split: that its frames belong to.
        meta: its content.
        capture: folder of the images.
        opencv_axes: as in `read_frames`.
    Raises:
        InputError: the file is damaged, or the images of the train split are missing.
    """
    listed = meta.get("frames")
    if split != "train" and isinstance(listed, list):
        finder, names = _Images(path, capture), [entry.get("file_path") for entry in listed if isinstance(entry, dict)]
        if len(names) == len(listed) and not any(isinstance(name, str) and finder.find(name) for name in names):
            what = f"lists {len(listed)} {split} views whose images do not exist" if listed else "lists no frames"
            _log.warning("%s: %s, so there is no %s split", path, what, split)
            return []
    return [replace(frame, split=split) for frame in read_frames(path, meta, capture, opencv_axes)]


class _Images:
    """Finder of the images that a JSON file lists, where it says or in the folder that a person named."""

    def __init__(self, path: Path, capture: CaptureConfig) -> None:
        self._root = path.parent
        self._given = given_folder(path.parent, capture.images) if capture.images else None
        self._finder = ImageFinder()

    def find(self, listed: str) -> Path | None:
        """Return the image of a listed path; in a named folder, the path below its first folder or the name alone."""
        path = PurePosixPath(listed.replace("\\", "/"))
        if self._given is None:
            return self._finder.find(self._root / path)
        below = (PurePosixPath(*path.parts[k:]) for k in range(len(path.parts)))
        return next((found for part in below if (found := self._finder.find(self._given / part))), None)


def read_file(path: Path, capture: CaptureConfig) -> Scene:
    """Read one JSON file that lists all frames.

    Raises:
        InputError: the file is damaged, its images are missing, or its lists of splits do not fit its frames.
    """
    meta = read_json(path)
    frames = _with_splits(read_frames(path, meta, capture), meta, path)
    views = make_views(path.parent, frames, path)
    extent = None
    if is_positive(meta.get("aabb_scale")):
        extent = 0.5 * meta["aabb_scale"] / (meta["scale"] if is_positive(meta.get("scale")) else _NGP_SCALE)
    cloud = listed_path(path.parent, meta.get("ply_file_path"))
    return Scene(
        root=path.parent,
        format="transforms",
        kind=capture_kind(np.stack([view.c2w for view in views])),
        views=views,
        points=read_ply_points(cloud) if cloud is not None and cloud.is_file() else None,
        aabb=checked_aabb(meta["aabb"], path) if meta.get("aabb") is not None else None,
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
    where = [f"{path}: frame {number}" for number in range(len(frames))]
    cameras = [json_camera({**meta, **frame}, at) for frame, at in zip(frames, where)]
    poses = [checked_pose(frame.get("transform_matrix"), at) for frame, at in zip(frames, where)]
    stacked = np.stack(poses)
    return cameras, stacked if has_opencv_axes(meta, path) else opengl_to_opencv(stacked)


@dataclass(frozen=True)
class ListedFrame:
    """A frame of a JSON file, whose image exists.

    listed: path as the file lists it, with "/".
    image: path of the image.
    camera, c2w, depth_path, depth_unit, ignore_path, split: as in `View`.
    """

    listed: str
    image: Path
    camera: Camera
    c2w: np.ndarray
    depth_path: Path | None
    depth_unit: float
    ignore_path: Path | None = None
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


def read_frames(
    path: Path, meta: Mapping[str, Any], capture: CaptureConfig, opencv_axes: bool | None = None
) -> list[ListedFrame]:
    """Read the frames whose images exist. One warning counts the others, and one the depth images that do not exist.

    Args:
        path: the JSON file, to which file paths are relative.
        meta: its content.
        capture: folder of the images.
        opencv_axes: True if the file's camera axes are OpenCV's, False if OpenGL's; None: what the file says.
    Raises:
        InputError: a frame is damaged, no image exists, or a mask of pixels to leave out does not exist.
    """
    listed = meta.get("frames")
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path}: lists no frames; expected `frames`: [{{file_path, transform_matrix}}, ...]")
    opencv_axes = has_opencv_axes(meta, path) if opencv_axes is None else opencv_axes
    frames, missing, images = [], [], _Images(path, capture)
    for number, entry in enumerate(listed):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise InputError(f"{path}: frame {number} has no `file_path`")
        name = entry["file_path"].replace("\\", "/")
        image = images.find(name)
        if image is None:
            missing.append(name)
            continue
        where = f"{path}: frame {name}"
        c2w = checked_pose(entry.get("transform_matrix"), where)
        values = {**meta, **entry}
        frames.append(
            ListedFrame(
                listed=name,
                image=image,
                camera=json_camera(values, where, image),
                c2w=c2w if opencv_axes else opengl_to_opencv(c2w),
                depth_path=listed_path(path.parent, values.get("depth_file_path") or values.get("depth_path")),
                depth_unit=depth_unit(values),
                ignore_path=_existing_mask(listed_path(path.parent, values.get("mask_path")), where),
            )
        )
    warn_missing(missing, len(listed), path)
    return _without_missing_depth(frames, path)


def _existing_mask(path: Path | None, where: str) -> Path | None:
    if path is not None and not path.is_file():
        raise InputError(f"{where}: its `mask_path` {path} does not exist; put it there, or remove the key")
    return path


def _without_missing_depth(frames: list[ListedFrame], path: Path) -> list[ListedFrame]:
    """Drop the paths of depth images that do not exist; a warning counts them."""
    lost = [frame.depth_path for frame in frames if frame.depth_path is not None and not frame.depth_path.is_file()]
    if not lost:
        return frames
    _log.warning(
        "%s: %d of %d views have no depth, since their depth images do not exist (first: %s)",
        path, len(lost), len(frames), lost[0],
    )  # fmt: skip
    return [replace(frame, depth_path=None) if frame.depth_path in lost else frame for frame in frames]


def depth_unit(values: Mapping[str, Any]) -> float:
    """Return the input units per integer step of a depth image."""
    for key in ("integer_depth_scale", "depth_unit_scale_factor"):
        if is_positive(values.get(key)):
            return float(values[key])
    return _DEPTH_UNIT


def make_views(root: Path, frames: list[ListedFrame], source: Path) -> tuple[View, ...]:
    """Make views of frames: find their smaller images, and name them by their paths below the deepest shared folder.

    An image that is listed in several splits counts once: in train before test before val. Cameras whose photos have
    another size by one factor are rescaled.

    Args:
        root: folder of masks and labels.
        frames: at least one.
        source: the pose file, for warnings.
    """
    order = ("train", "test", "val", None)
    by_image = {f.image: f for f in sorted(frames, key=lambda f: order.index(f.split), reverse=True)}
    frames = list(by_image.values())
    changed = rescaled_cameras({frame.camera: frame.image for frame in reversed(frames)}, source)
    frames = [replace(frame, camera=changed.get(frame.camera, frame.camera)) for frame in frames]
    parents = {os.path.abspath(frame.image.parent) for frame in frames}
    common = Path(os.path.commonpath(parents))
    names = view_names([Path(os.path.abspath(f.image)).relative_to(common).as_posix() for f in frames])
    folders = {parent: scaled_folders(parent) for parent in {frame.image.parent for frame in frames}}
    factors: dict[int, int] = {}
    views, finder, sidecars = [], ImageFinder(), Sidecars(root)
    for name, frame in zip(names, frames):
        images = {1: frame.image}
        for factor, folder in folders[frame.image.parent].items():
            if factor > 1 and (small := finder.find(folder / frame.image.name)):
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
                ignore_path=frame.ignore_path,
                hierarchy_path=sidecars.hierarchy((name,)),
                label_paths=sidecars.labels((name,)),
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


def _with_splits(frames: list[ListedFrame], meta: Mapping[str, Any], path: Path) -> list[ListedFrame]:
    """Set the splits of frames by nerfstudio's `train_filenames`, `val_filenames`, `test_filenames`.

    Raises:
        InputError: no name in a list is that of a frame.
    """
    listed = {_plain(str(entry.get("file_path"))) for entry in meta["frames"]}
    splits: dict[str, Split] = {}
    for split in SPLIT_FILES:
        key = f"{split}_filenames"
        names = meta.get(key)
        if not isinstance(names, list) or not names:
            continue
        plain = [_plain(str(name)) for name in names]
        unknown = [name for name in plain if name not in listed]
        if len(unknown) == len(plain):
            example = meta["frames"][0]["file_path"]
            raise InputError(f"{path}: no name in `{key}` is a `file_path` of its frames ({names[0]}, but {example})")
        if unknown:
            counts = len(unknown), len(plain)
            _log.warning("%s: %d of %d names in `%s` are no frames (first: %s)", path, *counts, key, unknown[0])
        splits |= dict.fromkeys(plain, split)
    return [replace(frame, split=splits.get(_plain(frame.listed))) for frame in frames]


def _plain(name: str) -> str:
    """Return a listed path with "/" and without "./"."""
    return posixpath.normpath(name.replace("\\", "/"))
