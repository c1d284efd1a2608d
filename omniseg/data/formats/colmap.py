"""Reader of COLMAP captures: a sparse model beside a folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omniseg.data.formats import colmap_binary, colmap_text
from omniseg.data.formats.colmap_model import ColmapModel, ColmapPoints
from omniseg.data.formats.folders import (
    hierarchy_path,
    label_paths,
    list_images,
    scaled_folders,
    true_factors,
    view_names,
    warn_missing,
    with_image_suffix,
)
from omniseg.data.scene import Scene, View, capture_kind
from omniseg.errors import InputError

LOOKED_FOR = "COLMAP (sparse/0/cameras.bin or .txt, with images)"

_MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", "")
_MODEL_FILES = tuple(f"{name}{suffix}" for name in ("cameras", "images") for suffix in (".bin", ".txt"))
_FEW_POINTS = 200
"""Fewer reliable points than this are not enough: then all are used."""
_MIN_TRACK = 3
"""Images that must see a reliable point."""
_MAX_ERROR = 3.0
"""Largest reprojection error of a reliable point, as a multiple of the median."""


def _model_folder(root: Path) -> Path | None:
    for folder in _MODEL_FOLDERS:
        if any((root / folder / name).is_file() for name in _MODEL_FILES):
            return root / folder
    return None


def detect(root: Path) -> bool:
    """Tell whether `root` holds a COLMAP model."""
    return _model_folder(root) is not None


def read(root: Path) -> Scene:
    """Read a COLMAP capture.

    Raises:
        InputError: the model is damaged, or its images are missing.
    """
    folder = _model_folder(root)
    if folder is None:
        raise InputError(f"{root}: holds no COLMAP model")
    model = read_model(folder)
    views = tuple(sorted(_views(root, folder, model), key=lambda view: view.name))
    points = model.points.xyz[_reliable(model.points)]
    return Scene(
        root=root,
        format="colmap",
        kind=capture_kind(np.stack([view.c2w for view in views])),
        views=views,
        points=points if len(points) else None,
    )


def read_model(folder: Path) -> ColmapModel:
    """Read the model in `folder`, binary if cameras.bin exists, else text. Points may be missing.

    Raises:
        InputError: a file is missing, truncated, of another program, or contradicts another.
    """
    suffix = ".bin" if (folder / "cameras.bin").is_file() else ".txt"
    reader = colmap_binary if suffix == ".bin" else colmap_text
    paths = [folder / f"{name}{suffix}" for name in ("cameras", "images", "points3D")]
    for path in paths[:2]:
        if not path.is_file():
            raise InputError(f"{path}: does not exist; a COLMAP model needs cameras{suffix} and images{suffix}")
    cameras = reader.read_cameras(paths[0])
    images = reader.read_images(paths[1])
    empty = ColmapPoints(np.empty(0, np.int64), np.empty((0, 3)), np.empty(0), np.empty(0, np.int64))
    points = reader.read_points(paths[2]) if paths[2].is_file() else empty
    for image in images:
        if image.camera_id not in cameras:
            raise InputError(f"{paths[1]}: image {image.name} uses camera {image.camera_id}, which {paths[0]} lacks")
    return ColmapModel(cameras, images, points)


def _views(root: Path, folder: Path, model: ColmapModel) -> list[View]:
    folders = scaled_folders(root / "images")
    if not folders:
        raise InputError(f"{root}: has poses in {folder}, but no folder `images` (or `images_2`, `images_4`...)")
    paths = {factor: _pair(folders, factor, model) for factor in folders}
    found = [image for image in model.images if any(image.name in files for files in paths.values())]
    missing = [image.name for image in model.images if not any(image.name in files for files in paths.values())]
    warn_missing(missing, len(model.images), folder / "images")

    # An image is named by its largest file: masks are made from those files.
    largest = [next(f for f in folders if image.name in paths[f]) for image in found]
    names = view_names([paths[f][image.name].relative_to(folders[f]).as_posix() for f, image in zip(largest, found)])
    factors = {}
    for nominal, files in paths.items():
        first = next((image for image in found if image.name in files), None)
        if first is not None:
            factors |= true_factors(model.cameras[first.camera_id], {nominal: files[first.name]})
    seen_points = _seen_points(model)
    return [
        View(
            name=name,
            images={factors[f]: files[image.name] for f, files in paths.items() if image.name in files},
            camera=model.cameras[image.camera_id],
            c2w=image.c2w,
            hierarchy_path=hierarchy_path(root, name),
            label_paths=label_paths(root / "labels", name),
            seen_points=seen_points[image.name] if len(seen_points[image.name]) else None,
        )
        for name, image in zip(names, found)
    ]


def _pair(folders: dict[int, Path], factor: int, model: ColmapModel) -> dict[str, Path]:
    """Return the files in one image folder by the model's image names.

    If no file has such a name but the numbers agree (LLFF's releases renamed the shrunken images), files are paired
    in sorted order with the names in `images` if that exists, else with the model's.
    """
    folder = folders[factor]
    named = {image.name: with_image_suffix(folder / image.name) for image in model.images}
    paths = {name: path for name, path in named.items() if path is not None}
    if paths:
        return paths
    files = list_images(folder)
    originals = sorted(named)
    if factor > 1 and 1 in folders and len(files) == len(in_full := list_images(folders[1])):
        originals = in_full
    if len(files) != len(originals):
        return {}
    return {name: folder / file for name, file in zip(originals, files) if name in named}


def _reliable(points: ColmapPoints) -> np.ndarray:
    """Return the mask (n,) of the reliable points if there are enough of them, else of all finite points."""
    finite = np.isfinite(points.xyz).all(1)
    good = finite & (points.track >= _MIN_TRACK)
    if good.sum() >= _FEW_POINTS:
        good &= points.error <= _MAX_ERROR * np.median(points.error[good])
    return np.asarray(good if good.sum() >= _FEW_POINTS else finite)


def _seen_points(model: ColmapModel) -> dict[str, np.ndarray]:
    """Return the positions (n, 3) of the reliable points that each image sees, by its name."""
    good = np.flatnonzero(_reliable(model.points))
    good = good[np.argsort(model.points.ids[good])]
    ids, xyz = model.points.ids[good], model.points.xyz[good]
    seen = {}
    for image in model.images:
        place = np.searchsorted(ids, image.point_ids).clip(max=max(len(ids) - 1, 0))
        known = ids[place] == image.point_ids if len(ids) else np.zeros(len(place), bool)
        seen[image.name] = xyz[place[known]]
    return seen
