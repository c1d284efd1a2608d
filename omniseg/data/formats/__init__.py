"""Scenes on disk: reading them in any supported format, placing them, and serving their pixels as rays."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from omniseg.data.formats import colmap, llff, replica, transforms
from omniseg.data.scene import Scene
from omniseg.errors import InputError

READERS: dict[str, ModuleType] = {
    "colmap": colmap,
    "replica": replica,
    "transforms": transforms,
    "llff": llff,
}
"""Formats by name, tried in this order. A reader is a module: `LOOKED_FOR`, `detect(root)`, `read(root)`."""


def read_scene(root: str | Path) -> Scene:
    """Read a capture, recognising its format. No pixel is read.

    Args:
        root: a folder, or a `transforms.json` to be read whatever else lies beside it.
    Raises:
        InputError: missing, empty, no known format, or damaged.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: does not exist; give the folder of a capture")
    if root.is_file():
        return _read_json_file(root)
    if not root.is_dir():
        raise InputError(f"{root}: is neither a folder nor a file; give the folder of a capture")
    for reader in READERS.values():
        if reader.detect(root):
            return reader.read(root)
    looked_for = "; ".join(reader.LOOKED_FOR for reader in READERS.values())
    empty = " (the folder is empty)" if not any(root.iterdir()) else ""
    raise InputError(f"{root}: no scene found{empty}. Looked for {looked_for}.")


def _read_json_file(path: Path) -> Scene:
    if path.suffix.lower() != ".json":
        raise InputError(f"{path}: is a file; give the folder of a capture, or its transforms.json")
    if path.name in transforms.SPLIT_FILES.values():
        return (replica if replica.detect(path.parent) else transforms).read(path.parent)
    return transforms.read_file(path)
