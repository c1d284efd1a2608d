"""Masks, cut-outs and overlays of a view as files, and the photos to cut from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from omniseg.config import CaptureConfig
from omniseg.data.drawing import paint_ids
from omniseg.data.formats import read_scene
from omniseg.data.image_io import read_image, same_aspect, save_image, shrink
from omniseg.errors import BadArgument
from omniseg.rendering.view import RenderedView
from omniseg.rendering.visualize import to_uint8
from omniseg.selection.selections import Selections, labels_from_masks


class SourcePhotos:
    """The photos of a run's capture; where one is missing, the rendering takes its place.

    Args:
        scene: the capture; None: there are no photos.
        capture: choices of reading it, those of the run.
    Raises:
        InputError: the capture cannot be read.
    """

    def __init__(self, scene: Path | None, capture: CaptureConfig | None = None) -> None:
        self._paths: Mapping[str, Path] = {}
        if scene is not None:
            self._paths = {view.name: view.image_path for view in read_scene(scene, capture).views}

    def picture(self, name: str, view: RenderedView) -> np.ndarray:
        """Return the photo (height, width, 3) uint8 of this name at the size of a view, else the view's own colours.

        Raises:
            InputError: the photo is damaged.
        """
        path = self._paths.get(name)
        if path is not None:
            photo = read_image(path)
            if same_aspect(photo.shape[:2], (view.height, view.width)):
                return shrink(photo, view.width, view.height)[..., :3]
        return to_uint8(view.rendering.over(1.0).view(view.height, view.width, 3))


def write_selections(
    out: Path, name: str, picture: np.ndarray, view: RenderedView, selections: Selections
) -> list[int]:
    """Write what selections select in a view: masks, cut-outs where anything is selected, and one overlay.

    Args:
        out: folder for masks/SELECTION/NAME.png, cutouts/SELECTION/NAME.png and overlays/NAME.png.
        name: file name without suffix.
        picture: (height, width, 3) uint8 to cut from, of the size of the view.
        view: in which to select.
        selections: to write.
    Returns:
        Number of selected pixels of each selection.
    Raises:
        InputError: a file cannot be written.
    """
    masks = [selection.mask(view) for selection in selections.all]
    for folder, mask in zip(folder_names([selection.name for selection in selections.all]), masks):
        alpha = (mask * 255).astype(np.uint8)
        save_image(out / "masks" / folder / f"{name}.png", alpha)
        if alpha.any():
            save_image(out / "cutouts" / folder / f"{name}.png", np.dstack([picture, alpha]))
    colours = np.array([selection.colour for selection in selections.all], np.uint8)
    save_image(out / "overlays" / f"{name}.png", paint_ids(picture, labels_from_masks(masks), colours))
    return [int(mask.sum()) for mask in masks]


def write_segments(out: Path, name: str, picture: np.ndarray, ids: np.ndarray, colours: np.ndarray) -> None:
    """Write the segments of a view: ids/NAME.png, 16 bit, 0 = nothing, and overlays/NAME.png.

    Args:
        out: folder.
        name: file name without suffix.
        picture: (height, width, 3) uint8.
        ids: (height, width) integers.
        colours: (n, 3) uint8; id k has colour k - 1.
    Raises:
        InputError: a file cannot be written.
    """
    save_image(out / "ids" / f"{name}.png", ids.astype(np.uint16))
    save_image(out / "overlays" / f"{name}.png", paint_ids(picture, ids, colours))


def folder_names(names: Sequence[str]) -> list[str]:
    """Return different folder names for the names of selections; characters that file systems dislike become "_"."""
    found: list[str] = []
    for number, name in enumerate(names, 1):
        safe = re.sub(r"[^\w.\- ]", "_", name).strip(". ") or "selection"
        found.append(f"{safe} {number}" if safe in found else safe)
    return found


def find_capture(recorded: str, given: Path | None) -> Path | None:
    """Return where the capture of a run is: the given path, else the recorded one if it still exists, else None.

    Args:
        recorded: path in the run's configuration.
        given: path that a person gave.
    Raises:
        InputError: the given path does not exist.
    """
    if given is not None:
        if not given.exists():
            raise BadArgument("scene", "does not exist; give the folder or file of the capture", given)
        return given
    return Path(recorded) if recorded and Path(recorded).exists() else None
