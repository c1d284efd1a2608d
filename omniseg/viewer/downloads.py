"""Files for a browser: made in a temporary folder by the same functions as those of the commands, and read as bytes."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from omniseg.errors import InputError
from omniseg.export.surface import SurfaceKind, export_surface
from omniseg.run_folder import SELECTIONS
from omniseg.selection.selections import Selection
from omniseg.selection.session import Edit, SegmentationSession
from omniseg.viewer.run_files import write_view

MAX_UPLOAD_BYTES = 4 << 20
"""Limit of a selection file that is given to the page; a thousand clicks take a fifth of it."""


@dataclass(frozen=True, repr=False)
class Download:
    """A file to be saved by a browser."""

    name: str
    content: bytes

    def __str__(self) -> str:
        size = len(self.content) / 1000
        return f"{self.name}, {size / 1000:.1f} MB" if size >= 1000 else f"{self.name}, {max(size, 0.1):.1f} kB"


def view_download(session: SegmentationSession) -> Download:
    """Return masks, cut-outs and an overlay of the session's view, and its selections, as a ZIP file."""

    def make(folder: Path) -> Path:
        write_view(folder / "view", session)
        return _zipped(folder / "view", folder / "view.zip")

    return _made(make)


def selections_download(session: SegmentationSession) -> Download:
    """Return all selections as a selection file."""

    def make(folder: Path) -> Path:
        session.save(folder / SELECTIONS)
        return folder / SELECTIONS

    return _made(make)


def surface_download(
    session: SegmentationSession,
    name: str,
    kind: SurfaceKind,
    selections: Mapping[int, Selection],
    *,
    resolution: int,
    progress: bool = True,
) -> Download:
    """Return a mesh or points of some selections, or of the whole scene without any; see `export_surface`.

    Args:
        session: of the run.
        name: NAME.glb or NAME.ply.
        kind: "mesh" or "points".
        selections: by their number.
        resolution: cells along the longest edge.
        progress: show progress bars.
    Raises:
        InputError: nothing is there, or trimesh is missing.
    """

    def make(folder: Path) -> Path:
        path = folder / name
        export_surface(path, session.model, kind, selections=selections, resolution=resolution, progress=progress)
        return path

    return _made(make)


def load_upload(session: SegmentationSession, name: str, content: bytes) -> Edit:
    """Replace all selections by those of a file that a browser sent, which can be undone.

    Raises:
        InputError: it is too large, or not a selection file of this feature field; the selections stay as they are.
    """
    if (size := len(content)) > MAX_UPLOAD_BYTES:
        raise InputError(
            f"{name}: {size} bytes are too many for a selection file, which has {MAX_UPLOAD_BYTES} at most"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / SELECTIONS
        path.write_bytes(content)
        try:
            edit = session.load(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from error
    count = len(session.selections.all)
    return Edit(edit.selection, edit.n_pixels, action=f"loaded {count} selection{'s' * (count != 1)} from {name}")


def _made(make: Callable[[Path], Path]) -> Download:
    """Return the file that a function makes in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder))
        return Download(path.name, path.read_bytes())


def _zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path
