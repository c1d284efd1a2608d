"""Choice of the COLMAP model in a capture that may hold several, and the folder of the capture it belongs to."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

from omniseg.data.formats.folders import image_folders
from omniseg.data.image_io import read_bytes
from omniseg.errors import InputError

MODEL_FILES = tuple(f"{name}{suffix}" for name in ("cameras", "images") for suffix in (".bin", ".txt"))
"""Files by one of which the folder of a model is recognised."""

_FOLDERS = ("sparse", "colmap/sparse")
"""Folders that hold a model, or models in folders that are numbered."""
_LEVELS = 4
"""Most folders between a model and its capture, both counted."""

_log = logging.getLogger("omniseg")


def is_model(folder: Path) -> bool:
    """Tell whether a folder holds a file of a COLMAP model."""
    return any((folder / name).is_file() for name in MODEL_FILES)


def model_folders(root: Path) -> list[Path]:
    """Return the folders of the models of a capture: those in `sparse`, else in `colmap/sparse`, else `root` itself."""
    for base in (root / folder for folder in _FOLDERS):
        numbered = [path for path in base.iterdir() if path.name.isdecimal()] if base.is_dir() else []
        found = [path for path in (*sorted(numbered, key=lambda path: int(path.name)), base) if is_model(path)]
        if found:
            return found
    return [root] if is_model(root) else []


def largest_model(root: Path) -> Path:
    """Return the folder of the model with most registered images; a warning names the others.

    Raises:
        InputError: there is no model.
    """
    folders = model_folders(root)
    if not folders:
        raise InputError(f"{root}: holds no COLMAP model")
    if len(folders) == 1:
        return folders[0]
    counts = [count_images(folder) for folder in folders]
    chosen = max(range(len(folders)), key=counts.__getitem__)
    others = ", ".join(f"{folders[k].name} ({counts[k]})" for k in range(len(folders)) if k != chosen)
    _log.warning(
        "%s: of several models the one with most images, %d, is read; the others (with their images): %s; "
        "--scene with the folder of a model reads that one", folders[chosen], counts[chosen], others,
    )  # fmt: skip
    return folders[chosen]


def count_images(folder: Path) -> int:
    """Return the number of images that a model says it registers, without reading it; 0 if it does not say."""
    binary, text = folder / "images.bin", folder / "images.txt"
    if binary.is_file():
        with binary.open("rb") as file:
            head = file.read(8)
        return struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not text.is_file():
        return 0
    lines = [line for line in read_bytes(text).split(b"\n") if not line.lstrip().startswith(b"#")]
    return len(lines) // 2


def capture_folder(model: Path, images: str) -> Path:
    """Return the folder of the capture to which a model belongs: the nearest with photos, at or above the model's."""
    folder = model.absolute()
    above = (folder, *folder.parents[: _LEVELS - 1])
    with_photos = (each for each in above if ((each / images).is_dir() if images else image_folders(each, "")))
    if Path(images).is_absolute():
        with_photos = (each for each in above if not (each.name.isdecimal() or each.name in ("sparse", "colmap")))
    return next(with_photos, folder)
