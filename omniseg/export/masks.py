"""What segment.py and the window write: masks, cut-outs and overlays of a view, and photos to cut from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from omniseg.data.drawing import paint_ids
from omniseg.data.formats import read_scene
from omniseg.data.image_io import read_image, same_aspect, save_image, shrink
from omniseg.errors import InputError
from omniseg.rendering.view import RenderedView
from omniseg.rendering.visualize import to_uint8
from omniseg.selection.selections import Selections


class SourcePhotos:
    """The photos of a run's capture, as far as they are still where they were.

    Args:
        scene: the capture; None: there are none.
    Raises:
        InputError: the capture cannot be read.
    """

    def __init__(self, scene: Path | None) -> None:
        self._paths: Mapping[str, Path] = {}
        if scene is not None:
            self._paths = {view.name: view.image_path for view in read_scene(scene).views}

    def picture(self, name: str, frame: RenderedView) -> np.ndarray:
        """Photo (height, width, 3) uint8 of a view at the size of a frame; without one, what the frame shows.

        Raises:
            InputError: the photo is damaged.
        """
        path = self._paths.get(name)
        if path is not None:
            photo = read_image(path)
            if same_aspect(photo.shape[:2], (frame.height, frame.width)):
                return shrink(photo, frame.width, frame.height)[..., :3]
        return to_uint8(frame.rendering.over(1.0).view(frame.height, frame.width, 3))


def write_selections(
    out: Path, name: str, picture: np.ndarray, frame: RenderedView, selections: Selections
) -> list[int]:
    """Write what selections select in a view: masks, cut-outs where there is anything, and one overlay.

    Args:
        out: gets masks/SELECTION/NAME.png, cutouts/SELECTION/NAME.png and overlays/NAME.png.
        name: of the view.
        picture: (height, width, 3) uint8 to cut from.
        frame: the view, of the same size.
        selections: every one with clicks counts.
    Returns:
        Number of selected pixels of each selection.
    Raises:
        InputError: a file cannot be written.
    """
    masks = [selection.mask(frame) for selection in selections.every]
    for folder, mask in zip(folder_names([selection.name for selection in selections.every]), masks):
        alpha = (mask.view(frame.height, frame.width).cpu().numpy() * 255).astype(np.uint8)
        save_image(out / "masks" / folder / f"{name}.png", alpha)
        if alpha.any():
            save_image(out / "cutouts" / folder / f"{name}.png", np.dstack([picture, alpha]))
    ids = selections.label(masks).view(frame.height, frame.width).cpu().numpy()
    colours = np.array([selection.colour for selection in selections.every], np.uint8)
    save_image(out / "overlays" / f"{name}.png", paint_ids(picture, ids, colours))
    return [int(mask.sum()) for mask in masks]


def write_segments(out: Path, name: str, picture: np.ndarray, ids: np.ndarray, colours: np.ndarray) -> None:
    """Write the segments of a view: ids/NAME.png, 16 bit, 0 = nothing, and overlays/NAME.png.

    Args:
        out: folder.
        name: of the view.
        picture: (height, width, 3) uint8.
        ids: (height, width) integers.
        colours: (n, 3) uint8, that of id k at k - 1.
    Raises:
        InputError: a file cannot be written.
    """
    save_image(out / "ids" / f"{name}.png", ids.astype(np.uint16))
    save_image(out / "overlays" / f"{name}.png", paint_ids(picture, ids, colours))


def folder_names(names: Sequence[str]) -> list[str]:
    """Selections' names as those of folders, all different: what a file system does not like becomes "_"."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        safe = re.sub(r"[^\w.\- ]", "_", name).strip(". ") or "selection"
        found.append(f"{safe} {number}" if safe in found else safe)
    return found


def capture_of(run_scene: str, given: Path | None) -> Path | None:
    """Where the capture of a run is: as given, else where it was if it still is there, else None.

    Raises:
        InputError: the given one does not exist.
    """
    if given is not None:
        if not given.exists():
            raise InputError(f"--scene {given}: does not exist")
        return given
    return Path(run_scene) if run_scene and Path(run_scene).exists() else None
