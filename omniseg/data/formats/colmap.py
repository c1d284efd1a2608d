"""Reader of COLMAP captures: a sparse model beside a folder of images."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath

import numpy as np

from omniseg.cameras import Camera
from omniseg.config import CaptureConfig
from omniseg.data.formats import colmap_binary, colmap_text
from omniseg.data.formats.colmap_model import ColmapImage, ColmapModel, ColmapPoints
from omniseg.data.formats.colmap_selection import capture_folder, largest_model, model_folders
from omniseg.data.formats.folders import (
    ImageFinder,
    image_folders,
    list_images,
    read_json,
    rescaled_cameras,
    true_factors,
    view_names,
    warn_missing,
)
from omniseg.data.formats.pairing import natural_key, pair_by_numbers
from omniseg.data.formats.sidecars import Sidecars, colmap_masks, file_names
from omniseg.data.scene import Scene, View, capture_kind
from omniseg.errors import InputError

LOOKED_FOR = "COLMAP (sparse/0/cameras.bin or .txt, with images)"

_SMALL_PART = 0.75
"""Share of the frames of a transforms.json below which a COLMAP model beside it may be the wrong one of the two."""
_FEW_POINTS = 200
"""Fewer reliable points than this are not enough: then all are used."""
_MIN_TRACK = 3
"""Images that must see a reliable point."""
_MAX_ERROR = 3.0
"""Largest reprojection error of a reliable point, as a multiple of the median."""


_SHOWN = 60
"""Most characters of a name in a message."""

_log = logging.getLogger("omniseg")


def detect(root: Path) -> bool:
    """Tell whether `root` holds a COLMAP model."""
    return bool(model_folders(root))


def read(root: Path, capture: CaptureConfig) -> Scene:
    """Read a COLMAP capture, of several models the one with most images.

    Args:
        root: folder of the capture, or of one of its models.
        capture: folder of the images.
    Raises:
        InputError: the model is damaged, or its images are missing.
    """
    folder = largest_model(root)
    if folder == root:
        root = capture_folder(folder, capture.images)
    model = read_model(folder)
    if folder != root:
        _mention_json(root / "transforms.json", folder, model)
    views = tuple(sorted(_views(root, folder, model, capture), key=lambda view: view.name))
    points = model.points.xyz[_reliable(model.points)]
    return Scene(
        root=root,
        format="colmap",
        kind=capture_kind(np.stack([view.c2w for view in views])),
        views=views,
        points=points if len(points) else None,
    )


def _mention_json(path: Path, folder: Path, model: ColmapModel) -> None:
    """Warn if a transforms.json beside the model lists far more images than it."""
    try:
        frames = read_json(path).get("frames") if path.is_file() else None
    except InputError:
        return
    if isinstance(frames, list) and len(model.images) < _SMALL_PART * len(frames):
        _log.warning(
            "%s: has only %d images, transforms.json beside it lists %d; --scene %s reads that one",
            folder, len(model.images), len(frames), path,
        )  # fmt: skip


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


def _views(root: Path, folder: Path, model: ColmapModel, capture: CaptureConfig) -> list[View]:
    folders = image_folders(root, capture.images)
    if not folders:
        raise InputError(
            f"{root}: has poses in {folder}, but no folder `images` (or `images_4`, `input`, `rgb`, `photos`); "
            "--images names another one"
        )
    paths = _pair(folders, folder, [image.name for image in model.images])
    found = [image for image in model.images if any(image.name in files for files in paths.values())]
    missing = [image.name for image in model.images if not any(image.name in files for files in paths.values())]
    warn_missing(missing, len(model.images), folder / "images")

    # An image is named by its largest file: masks are made from those files.
    largest = [next(f for f in paths if image.name in paths[f]) for image in found]
    names = view_names([_below(folders[f], paths[f][image.name]) for f, image in zip(largest, found)])
    cameras = _fitted_cameras(folder, model, {i.name: paths[f][i.name] for f, i in zip(largest, found)}, found)
    factors = {}
    for nominal, files in paths.items():
        first = next((image for image in found if image.name in files), None)
        if first is not None:
            factors |= true_factors(cameras[first.camera_id], {nominal: files[first.name]})
    masks = colmap_masks(
        root, {name: _below(folders[f], paths[f][image.name]) for name, f, image in zip(names, largest, found)}
    )
    sidecars, taken, views = Sidecars(root), set(names), []
    seen_points = _seen_points(model)
    for name, image in zip(names, found):
        files = {f: each[image.name] for f, each in paths.items() if image.name in each}
        known = file_names(name, [(folders[f], file) for f, file in files.items()], taken)
        views.append(
            View(
                name=name,
                images={factors[f]: file for f, file in files.items()},
                camera=cameras[image.camera_id],
                c2w=image.c2w,
                ignore_path=masks.get(name),
                hierarchy_path=sidecars.hierarchy(known),
                label_paths=sidecars.labels(known),
                seen_points=seen_points[image.name] if len(seen_points[image.name]) else None,
            )
        )
    return views


def _fitted_cameras(
    folder: Path, model: ColmapModel, largest: dict[str, Path], found: list[ColmapImage]
) -> dict[int, Camera]:
    """Return the cameras by id, rescaled where all photos differ from them by one factor."""
    first = {model.cameras[image.camera_id]: largest[image.name] for image in reversed(found)}
    changed = rescaled_cameras(first, folder / "cameras")
    return {number: changed.get(camera, camera) for number, camera in model.cameras.items()}


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _pair(folders: dict[int, Path], model: Path, names: list[str]) -> dict[int, dict[str, Path]]:
    """Return the files in each image folder by the model's image names.

    Where no file of a folder has such a name, its files are paired by the numbers in their names (LLFF's releases
    renamed the shrunken images): with the largest images if there are any, else with the model's names.

    Raises:
        InputError: nothing has the listed names, and no pairing is certain.
    """
    finder = ImageFinder()
    paths: dict[int, dict[str, Path]] = {}
    for factor, folder in folders.items():
        named = {name: _find(finder, folder, name) for name in names}
        paths[factor] = {name: path for name, path in named.items() if path is not None}
    for factor in [factor for factor in folders if factor > 1 and paths.get(1)]:
        if _renumbered(list_images(folders[1]), list_images(folders[factor])) and paths[factor]:
            _log.warning(
                "%s: not used, since some of its names fit images of %s, others none", folders[factor], folders[1]
            )
            del paths[factor]
    unpaired = [factor for factor in paths if not paths[factor] and list_images(folders[factor])]
    for factor in unpaired:
        files = list_images(folders[factor])
        known = list_images(folders[1]) if factor > 1 and paths.get(1) else []
        pairs = pair_by_numbers(known or names, files)
        if pairs is None:
            _log.warning("%s: not used, since its names fit no image of %s", folders[factor], model)
            continue
        if known:
            paths[factor] = {
                name: folders[factor] / pairs[at]
                for name, path in paths[1].items()
                if (at := _below(folders[1], path)) in pairs
            }
        else:
            paths[factor] = {name: folders[factor] / file for name, file in pairs.items()}
            _say_pairs(folders[factor], pairs)
    if unpaired and not any(paths.values()):
        files = list_images(folders[unpaired[0]])
        raise InputError(
            f"{model}: lists {_first(names)}, but {folders[unpaired[0]]} holds {_first(files)} ({len(names)} and "
            f"{len(files)} images): which is which is not certain; give the photos their names back, or repeat the "
            "reconstruction"
        )
    return paths


def _renumbered(files: list[str], smaller: list[str]) -> bool:
    """Tell whether names are missing on both sides: then equal names may be different photos."""
    ours, theirs = ({PurePosixPath(file).with_suffix("") for file in names} for names in (files, smaller))
    return bool(ours - theirs) and bool(theirs - ours)


def _find(finder: ImageFinder, folder: Path, name: str) -> Path | None:
    """Return the file of a listed name below a folder; the name may begin with that of the folder itself."""
    path = finder.find(folder / name)
    if path is None and name.startswith(f"{folder.name}/"):
        path = finder.find(folder.parent / name)
    return path


def _first(names: list[str]) -> str:
    """Return the first three names for a message."""
    return ", ".join(name[-_SHOWN:] for name in sorted(names, key=natural_key)[:3])


def _say_pairs(folder: Path, pairs: dict[str, str]) -> None:
    first = min(pairs, key=natural_key)
    _log.warning(
        "%s: its files are not named as the poses are, so they are paired by the numbers in their names: %s is %s ...",
        folder, pairs[first], first,
    )  # fmt: skip


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
