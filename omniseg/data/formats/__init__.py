"""Readers of captures, one module a format, and the recognition of the format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

from omniseg.config import CaptureConfig
from omniseg.data.formats import colmap, llff, replica, transforms
from omniseg.data.formats.colmap_selection import MODEL_FILES
from omniseg.data.formats.folders import IMAGE_SUFFIXES, image_folders
from omniseg.data.scene import Scene
from omniseg.errors import InputError

READERS: dict[str, ModuleType] = {
    "colmap": colmap,
    "replica": replica,
    "transforms": transforms,
    "llff": llff,
}
"""Readers by the name of their format, tried in this order: modules with `LOOKED_FOR`, `detect(root)`,
`read(root, capture)`."""


def read_scene(root: str | Path, capture: CaptureConfig | None = None) -> Scene:
    """Read a capture of any supported format, without its pixels.

    Args:
        root: a folder, or a `transforms.json` (or the folder of a COLMAP model, or a file in it) to read whatever other
            formats are beside it.
        capture: choices that the files leave; None: its defaults.
    Raises:
        InputError: the path does not exist, holds no known format, or the capture is damaged.
    """
    root, capture = Path(root), capture or CaptureConfig()
    if not root.exists():
        raise InputError(f"{root}: does not exist; give the folder of a capture")
    if root.is_file():
        return _with_choices(_read_file(root, capture), capture)
    if not root.is_dir():
        raise InputError(f"{root}: is neither a folder nor a file; give the folder of a capture")
    for reader in READERS.values():
        if reader.detect(root):
            return _with_choices(reader.read(root, capture), capture)
    raise InputError(_nothing_found(root))


def _with_choices(scene: Scene, capture: CaptureConfig) -> Scene:
    """Return the scene with the meaning of alpha that was chosen."""
    if capture.alpha == "transparent":
        return scene
    return replace(scene, views=tuple(replace(view, ignore_transparent=True) for view in scene.views))


def _nothing_found(root: Path) -> str:
    if not any(root.iterdir()):
        return f"{root}: no scene found (the folder is empty). {_looked_for()}"
    photos = [folder for folder in (root, *image_folders(root, "").values()) if _has_photos(folder)]
    if photos:
        return (
            f"{photos[0]}: these are photos without poses: compute the poses first, for example with "
            f"`colmap automatic_reconstructor` (docs/data.md). {_looked_for()}"
        )
    return f"{root}: no scene found. {_looked_for()}"


def _looked_for() -> str:
    return f"Looked for {'; '.join(reader.LOOKED_FOR for reader in READERS.values())}."


def _has_photos(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())


def _read_file(path: Path, capture: CaptureConfig) -> Scene:
    if path.name in MODEL_FILES:
        return colmap.read(path.parent, capture)
    if path.suffix.lower() != ".json":
        raise InputError(f"{path}: is a file; give the folder of a capture, or its transforms.json")
    if path.name in transforms.SPLIT_FILES.values():
        return (replica if replica.detect(path.parent) else transforms).read(path.parent, capture)
    return transforms.read_file(path, capture)
