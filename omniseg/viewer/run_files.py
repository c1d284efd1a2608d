"""Files that a viewer writes into a run folder: selections, screenshots and exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omniseg.data.image_io import save_image
from omniseg.export.masks import write_selections
from omniseg.rendering.visualize import to_uint8
from omniseg.run_folder import EXPORTS, SCREENSHOTS, SELECTIONS
from omniseg.selection.session import SegmentationSession


class RunFiles:
    """Reads and writes the files of a viewer.

    Each method returns a sentence, with paths from the run folder on. It raises InputError if a file cannot be read or
    written.

    Attributes:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: list[Path] = []

    def take_written(self) -> list[Path]:
        """Return the files and folders written since the last call, in order."""
        written, self._written = self._written, []
        return written

    def save(self, session: SegmentationSession) -> str:
        """Write all selections to RUN/selections.json."""
        path = self.folder / SELECTIONS
        session.save(path)
        self._written.append(path)
        return f"saved {self._short(path)}"

    def load(self, session: SegmentationSession) -> str:
        """Replace all selections by those of RUN/selections.json."""
        path = self.folder / SELECTIONS
        session.load(path)
        return f"{len(session.selections.all)} selections from {self._short(path)}"

    def screenshot(self, picture: np.ndarray) -> str:
        """Write a picture (height, width, 3) uint8 to RUN/screenshots/NUMBER.png."""
        path = _next_number(self.folder / SCREENSHOTS, ".png")
        save_image(path, picture)
        self._written.append(path)
        return f"saved {self._short(path)}"

    def export(self, session: SegmentationSession) -> str:
        """Write masks, cut-outs and an overlay of the session's view, and all selections, to RUN/exports/NUMBER."""
        folder = _next_number(self.folder / EXPORTS)
        write_view(folder, session)
        self._written.append(folder)
        return f"exported masks, cut-outs and selections to {self._short(folder)}"

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self.folder.parent))


def write_view(folder: Path, session: SegmentationSession) -> None:
    """Write masks, cut-outs and an overlay of the session's view, and all selections, into a folder.

    Raises:
        InputError: a file cannot be written.
    """
    view = session.view
    if view is None:
        raise RuntimeError("the session has no view yet: call look() first")
    picture = to_uint8(view.rendering.straight_rgb.view(view.height, view.width, 3))
    write_selections(folder, "view", picture, view, session.selections)
    session.save(folder / SELECTIONS)


def _next_number(folder: Path, suffix: str = "") -> Path:
    """Return a path in a folder, numbered 0000, 0001 ..., after all that are there."""
    taken = [int(path.stem) for path in folder.glob(f"[0-9][0-9][0-9][0-9]{suffix}")]
    return folder / f"{max(taken, default=-1) + 1:04d}{suffix}"
