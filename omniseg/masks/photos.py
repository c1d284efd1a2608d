"""Photos to segment, with the view names of their capture, and the folder where their hierarchies belong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from omniseg.data.formats import READERS, read_scene
from omniseg.data.formats.folders import IMAGE_SUFFIXES, image_folders, list_images, view_names
from omniseg.data.scene import Scene
from omniseg.errors import InputError

MASKS, PATCHES, HIERARCHIES = "masks", "patches", "sam"
"""Folders of the files that are written, below the root of a capture."""


@dataclass(frozen=True)
class Photo:
    """One image file and the name of its view."""

    name: str
    path: Path


@dataclass(frozen=True)
class Photos:
    """Photos of one capture or folder.

    root: folder in which a reader looks for `sam/NAME.npz`.
    photos: sorted by name, at least one.
    left_out: number of other images in the same folder, which no view of the capture uses.
    """

    root: Path
    photos: tuple[Photo, ...]
    left_out: int = 0


def find_photos(images: Path) -> Photos:
    """Find the photos of a capture, of the folder of its images, or of any folder.

    Raises:
        InputError: the path does not exist, holds no photos, or is a capture that cannot be read.
    """
    if not images.exists():
        raise InputError(f"{images}: does not exist; give a folder of photos, or of a capture")
    if images.is_file() or _is_capture(images):
        scene = read_scene(images)
        return Photos(scene.root, tuple(Photo(view.name, view.image_path) for view in scene.views))
    folders = image_folders(images, "")
    if folders and not any(p.suffix.lower() in IMAGE_SUFFIXES for p in images.iterdir()):
        images = folders[min(folders)]  # of a capture that has no poses yet
    files = list_images(images)
    if not files:
        raise InputError(f"{images}: holds no photos ({', '.join(s[1:] for s in IMAGE_SUFFIXES)})")
    # Not resolved: for a link to a folder of images, `sam` belongs beside the link.
    folder = Path(os.path.abspath(images))
    for root in folder.parents[:2]:
        found = _views_below(root, images, files)
        if found:
            return found
    photos = tuple(Photo(name, images / file) for name, file in zip(view_names(files), files))
    return Photos(folder.parent, tuple(sorted(photos, key=lambda photo: photo.name)))


def _is_capture(root: Path) -> bool:
    return any(reader.detect(root) for reader in READERS.values())


def _views_below(root: Path, images: Path, files: list[str]) -> Photos | None:
    """Return those files that are views of the capture in `root`; None if there is no capture or no such file."""
    scene = _read_if_capture(root)
    if scene is None:
        return None
    names = {os.path.abspath(path): view.name for view in scene.views for path in view.images.values()}
    paths = [images / file for file in files]
    photos = [Photo(names[at], path) for path in paths if (at := os.path.abspath(path)) in names]
    by_name = {photo.name: photo for photo in reversed(photos)}
    if not by_name:
        return None
    return Photos(root, tuple(by_name[name] for name in sorted(by_name)), len(files) - len(by_name))


def _read_if_capture(root: Path) -> Scene | None:
    try:
        return read_scene(root) if _is_capture(root) else None
    except InputError:  # photos can be segmented even if the capture around them is damaged
        return None
