"""Reader of rooms with a box and depth: `transforms_train.json` with `aabb` (OmniSeg3D's Replica, and our sample)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omniseg.config import CaptureConfig
from omniseg.data.formats.folders import ImageFinder, given_folder, list_images, read_json
from omniseg.data.formats.json_cameras import listed_path
from omniseg.data.formats.pairing import pair_by_numbers
from omniseg.data.formats.transforms import (
    SPLIT_FILES,
    ListedFrame,
    checked_aabb,
    depth_unit,
    has_opencv_axes,
    make_views,
    read_frames,
    read_split,
)
from omniseg.data.scene import Scene, Split
from omniseg.errors import InputError

LOOKED_FOR = "Replica (transforms_train.json with `aabb`)"


def detect(root: Path) -> bool:
    """Tell whether `root` has a transforms_train.json with a box."""
    path = root / SPLIT_FILES["train"]
    try:
        return path.is_file() and read_json(path).get("aabb") is not None
    except InputError:  # the other reader of such files explains the damage
        return False


def read(root: Path, capture: CaptureConfig) -> Scene:
    """Read a room.

    Raises:
        InputError: a file is damaged, or its images are missing.
    """
    path = root / SPLIT_FILES["train"]
    meta = read_json(path)
    box = checked_aabb(meta.get("aabb"), path)
    frames = [f for split, name in SPLIT_FILES.items() for f in _frames(root, root / name, split, capture)]
    test_given = any(frame.split != "train" for frame in frames)
    if not test_given:
        frames = [replace(frame, split=None) for frame in frames]
    return Scene(root=root, format="replica", kind="replica", views=make_views(root, frames, path), aabb=box)


def _frames(root: Path, path: Path, split: Split, capture: CaptureConfig) -> list[ListedFrame]:
    if not path.is_file():
        return []
    meta = read_json(path)
    listed = meta.get("frames")
    folder = _author_folder(root, capture)
    if isinstance(listed, list) and listed and folder is not None and not _images_exist(root, listed):
        return _author_frames(path, meta, folder, capture)
    frames = read_split(path, split, meta, capture, _opencv_axes(meta, listed, path))
    return [_with_depth(root, frame) for frame in frames]


def _author_folder(root: Path, capture: CaptureConfig) -> Path | None:
    if capture.images:
        return given_folder(root, capture.images)
    return next((root / name for name in ("results/rgb", "rgb") if (root / name).is_dir()), None)


def _images_exist(root: Path, listed: list[Any]) -> bool:
    finder = ImageFinder()
    paths = (listed_path(root, entry.get("file_path")) for entry in listed if isinstance(entry, dict))
    return any(path is not None and finder.find(path) is not None for path in paths)


def _opencv_axes(meta: Mapping[str, Any], listed: object, path: Path) -> bool:
    """Tell whether the file's camera axes are OpenCV's: by `camera_axes`, or else in OmniSeg3D's own layout."""
    if "camera_axes" in meta:
        return has_opencv_axes(meta, path)
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    return "depth_path" in first or str(first.get("file_path", "")).startswith("results/")


def _author_frames(path: Path, meta: Mapping[str, Any], folder: Path, capture: CaptureConfig) -> list[ListedFrame]:
    """Read OmniSeg3D's own layout: the poses of a whole path in OpenCV axes, images of some of them in `results/rgb`.

    An image belongs to the frame whose number its name ends in or, if the names only count the images, to every k-th
    frame. OmniSeg3D trains on every second image and tests on images 1, 9, 17...; we call the others "val".
    """
    images, listed = list_images(folder), meta["frames"]
    if not images:
        raise InputError(f"{folder}: holds no images, but {path} holds poses")
    numbers = [int(match[0]) if (match := re.search(r"\d+(?=\D*$)", name)) else -1 for name in images]
    # Numbers of frames go up to the end of the path; numbers that only count the images stop early.
    are_frames = len(set(numbers)) == len(images) and len(listed) // 2 <= max(numbers) < len(listed)
    if not are_frames:
        if len(listed) % len(images):
            raise InputError(
                f"{folder}: {len(images)} images do not fit the {len(listed)} poses in {path}; "
                "expected one for each, or for every k-th, or names that end in the number of the pose"
            )
        numbers = [i * (len(listed) // len(images)) for i in range(len(images))]
    entries = []
    for name, number in zip(images, numbers):
        entry = listed[number] if isinstance(listed[number], dict) else {}
        kept = {key: value for key, value in entry.items() if not key.startswith("depth")}
        entries.append({**kept, "file_path": (folder / name).relative_to(path.parent).as_posix()})
    axes = "camera_axes" not in meta or _opencv_axes(meta, listed, path)
    frames = read_frames(path, {**meta, "frames": entries}, replace(capture, images=""), axes)
    splits: list[Split] = ["test" if i % 8 == 1 else "train" if i % 2 == 0 else "val" for i in range(len(images))]
    root = path.parent
    depths = [path.name for path in sorted((folder.parent / "depth").glob("*.png"))]
    # depth0010.png beside frame0010.jpg: names differ, numbers do not.
    pairs = pair_by_numbers(depths, images, same_numbering=True) or {}
    image_of = {folder / image: folder.parent / "depth" / depth for depth, image in pairs.items()}
    frames = [replace(frame, depth_path=image_of.get(frame.image), depth_unit=depth_unit(meta)) for frame in frames]
    return [replace(_with_depth(root, frame), split=split) for frame, split in zip(frames, splits)]


def _with_depth(root: Path, frame: ListedFrame) -> ListedFrame:
    """Add the depth image of the same name beside the images' folder if the file names none."""
    if frame.depth_path is not None or frame.image.parent.name != "rgb":
        return frame
    path = frame.image.parent.parent / "depth" / f"{frame.image.stem}.png"
    return replace(frame, depth_path=path) if path.is_file() else frame
