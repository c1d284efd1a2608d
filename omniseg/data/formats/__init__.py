"""Readers of captures, one module a format, and the recognition of the format."""

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
"""Readers by the name of their format, tried in this order: modules with `LOOKED_FOR`, `detect(root)`, `read(root)`."""


def read_scene(root: str | Path) -> Scene:
    """Read a capture of any supported format, without its pixels.

    Args:
        root: a folder, or a `transforms.json` to read whatever other formats are beside it.
    Raises:
        InputError: the path does not exist, holds no known format, or the capture is damaged.
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
