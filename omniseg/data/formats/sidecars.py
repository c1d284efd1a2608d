"""Files beside the photos that belong to a view by its name: mask hierarchies, labels, masks of pixels to leave out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from omniseg.errors import InputError

_HIERARCHIES = re.compile(r"sam([_.-].*|\d+)?")
"""Names of the folders of mask hierarchies: `sam`, or OmniSeg3D's `sam_4`."""

_COLOUR_TYPES = (2, 6)
"""Colour types of PNG files with three channels, byte 25."""


class Sidecars:
    """Files of one capture that are found by the names of its views.

    A view has several names where its photo has several files: masks may be named after any of them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._hierarchies = hierarchy_folders(root)

    def hierarchy(self, names: Sequence[str]) -> Path | None:
        """Return the mask hierarchy `sam/NAME.npz` of a view (also below `results`, or in `sam_4`...), or None."""
        paths = (folder / f"{name}.npz" for folder in self._hierarchies for name in names)
        return next((path for path in paths if path.is_file()), None)

    def labels(self, names: Sequence[str]) -> Mapping[str, Path]:
        """Return the label images `labels/LEVEL/NAME.png` of a view by level."""
        return next(filter(None, (label_paths(self._root / "labels", name) for name in names)), {})


def file_names(name: str, images: Iterable[tuple[Path, Path]], views: Collection[str]) -> tuple[str, ...]:
    """Return the names by which files of a view may go: its own, then those of its images without suffix.

    Args:
        name: of the view.
        images: folder, and file below it, of each image.
        views: names of all views; that of another one is not taken.
    """
    below = (file.relative_to(folder).with_suffix("").as_posix() for folder, file in images)
    return (name, *dict.fromkeys(each for each in below if each not in views))


def hierarchy_folders(root: Path) -> list[Path]:
    """Return the folders of a capture that may hold mask hierarchies, `sam` first."""
    bases = [base for base in (root, root / "results") if base.is_dir()]
    found = [path for base in bases for path in sorted(base.iterdir()) if _HIERARCHIES.fullmatch(path.name)]
    return sorted((path for path in found if path.is_dir()), key=lambda path: path.name != "sam")


def unmatched_hierarchy(root: Path) -> Path | None:
    """Return the first mask hierarchy in the capture, whatever view it belongs to; None if there is none."""
    return next((path for folder in hierarchy_folders(root) for path in sorted(folder.rglob("*.npz"))), None)


def label_paths(labels: Path, name: str) -> Mapping[str, Path]:
    """Return the label images `LEVEL/NAME.png` of a view below the folder `labels`, by level."""
    if not labels.is_dir():
        return {}
    levels = sorted(folder.name for folder in labels.iterdir() if folder.is_dir())
    return {level: path for level in levels if (path := labels / level / f"{name}.png").is_file()}


def colmap_masks(root: Path, files: Mapping[str, str]) -> dict[str, Path]:
    """Return COLMAP's masks of pixels to leave out by view name: `masks/FILE.png`, else `masks/NAME.png`.

    FILE is the photo with its suffix, as in 0001.jpg.png. Colour pictures in `masks/NAME.png` beside `patches` or `sam`
    are those that show mask hierarchies, not masks.

    Args:
        root: folder of the capture.
        files: path of each view's photo below the image folder, by the name of the view.
    Raises:
        InputError: some views have a mask and others have not.
    """
    folder = root / "masks"
    if not folder.is_dir():
        return {}
    found = {name: path for name, file in files.items() if (path := folder / f"{file}.png").is_file()}
    if not found:
        shown = any((root / name).is_dir() for name in ("patches", "sam"))
        short = {name: folder / f"{PurePosixPath(file).with_suffix('')}.png" for name, file in files.items()}
        found = {name: path for name, path in short.items() if path.is_file() and not (shown and _is_colour(path))}
    missing = [name for name in files if name not in found]
    if found and missing:
        example = next(iter(found.values()))
        raise InputError(
            f"{folder}: {len(missing)} of {len(files)} photos have no mask there (first: {files[missing[0]]}), others "
            f"have (such as {example.name}); add a white picture for each, or move the folder away"
        )
    return found


def _is_colour(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(26)
    return len(head) == 26 and head[25] in _COLOUR_TYPES
