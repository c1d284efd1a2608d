"""LLFF captures: `poses_bounds.npy` beside a folder of images (Mildenhall et al. 2019)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omniseg.cameras import Camera
from omniseg.cameras.poses import checked_pose
from omniseg.config import CaptureConfig
from omniseg.data.formats.folders import (
    image_folders,
    list_images,
    rescaled_cameras,
    true_factors,
    view_names,
)
from omniseg.data.formats.sidecars import Sidecars, file_names
from omniseg.data.scene import Scene, View, capture_kind
from omniseg.errors import InputError

LOOKED_FOR = "LLFF (poses_bounds.npy)"

_FILE = "poses_bounds.npy"


def detect(root: Path) -> bool:
    """Tell whether `root` holds poses_bounds.npy."""
    return (root / _FILE).is_file()


def read(root: Path, capture: CaptureConfig) -> Scene:
    """Read an LLFF capture; images in sorted order belong to the rows of the file.

    Raises:
        InputError: the file is damaged, or it does not fit the images.
    """
    path = root / _FILE
    rows = _rows(path)
    folders = {f: folder for f, folder in image_folders(root, capture.images).items() if list_images(folder)}
    if not folders:
        raise InputError(
            f"{path}: holds {len(rows)} poses, but there is no folder `images` (or `images_4`...) of images"
        )
    files = {f: list_images(folder) for f, folder in folders.items()}
    for f, names in files.items():
        if len(names) != len(rows):
            raise InputError(f"{folders[f]}: holds {len(names)} images, but {path} holds {len(rows)} poses")
    names = view_names(files[min(files)])
    cameras = [_camera(row, f"{path}: row {i}") for i, row in enumerate(rows)]
    first = folders[min(files)] / files[min(files)][0]
    changed = rescaled_cameras(dict.fromkeys(cameras, first), path)
    cameras = [changed.get(camera, camera) for camera in cameras]
    factors = true_factors(cameras[0], {f: folders[f] / files[f][0] for f in files})
    views, sidecars, taken = [], Sidecars(root), set(names)
    for i, (name, row, camera) in enumerate(zip(names, rows, cameras)):
        down, right, back, position = row[:15].reshape(3, 5)[:, :4].T
        c2w = np.stack([right, down, -back, position], axis=1)
        known = file_names(name, [(folders[f], folders[f] / files[f][i]) for f in files], taken)
        near, far = float(row[15]), float(row[16])
        views.append(
            View(
                name=name,
                images={factors[f]: folders[f] / files[f][i] for f in files},
                camera=camera,
                c2w=checked_pose(c2w, f"{path}: row {i} ({name})"),
                depth_range=(near, far) if 0 < near < far < np.inf else None,
                hierarchy_path=sidecars.hierarchy(known),
                label_paths=sidecars.labels(known),
            )
        )
    kind = capture_kind(np.stack([view.c2w for view in views]))
    return Scene(root=root, format="llff", kind=kind, views=tuple(sorted(views, key=lambda view: view.name)))


def _rows(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); copy the file again") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: is truncated or not a plain numpy array ({error})") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 17 or rows.dtype.kind not in "fiu":
        found = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else "an archive"
        raise InputError(f"{path}: expected numbers of shape (views, 17), found {found}")
    if not len(rows):
        raise InputError(f"{path}: holds no poses")
    return rows.astype(np.float64)


def _camera(row: np.ndarray, where: str) -> Camera:
    height, width, focal = row[[4, 9, 14]]
    if not (np.isfinite([height, width, focal]).all() and 1 <= height <= 1e5 and 1 <= width <= 1e5 and focal > 0):
        raise InputError(f"{where}: height {height}, width {width}, focal length {focal} are not a camera's")
    width, height = round(width), round(height)
    return Camera(width, height, focal, focal, width / 2, height / 2)
