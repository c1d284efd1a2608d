"""Masks made elsewhere, read from a folder of pictures or of segment-anything's JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from omniseg.data.image_io import decode, read_bytes
from omniseg.errors import InputError
from omniseg.masks.run_length import MaskStack, mask_borders
from omniseg.masks.segmenters.coco_rle import decode_rle


class FolderSegmenter:
    """Segmenter that reads the masks of a photo from `NAME.json` or `NAME/*.png`.

    The JSON is a list of {"segmentation": {"size": [h, w], "counts": ...}}, which segment-anything's mask generator
    writes, or an object that holds such a list as "annotations" (SA-1B).
    """

    def __init__(self, folder: Path) -> None:
        """Check that the folder exists.

        Raises:
            InputError: it does not.
        """
        if not folder.is_dir():
            raise InputError(
                f"{folder}: is not a folder; --masks is a folder with NAME.json, or with NAME/*.png, for each photo"
            )
        self.folder = folder

    def knows(self, name: str) -> bool:
        """Tell whether there are masks for the photo of this name."""
        return self._json(name).is_file() or bool(self._pictures(name))

    def segment(self, image: np.ndarray, name: str) -> MaskStack:
        """Return the masks of a photo, in the size of their files.

        Raises:
            InputError: there are none, one is damaged, sizes differ, or the aspect is not the photo's.
        """
        path = self._json(name)
        if path.is_file():
            return _stack(_read_json(path), image, path)
        pictures = self._pictures(name)
        if not pictures:
            raise InputError(f"{self.folder}: has neither {name}.json nor {name}/*.png")
        return _stack(_read_pictures(pictures), image, self.folder / name)

    def _json(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _pictures(self, name: str) -> list[Path]:
        return sorted(p for p in (self.folder / name).glob("*.png") if not p.name.startswith("."))


_Mask = tuple[np.ndarray, int, int]
"""Borders, width, height."""


def _stack(masks: list[_Mask], image: np.ndarray, path: Path) -> MaskStack:
    height, width = image.shape[:2]
    if not masks:
        return MaskStack(width, height, ())
    sizes = {(w, h) for _, w, h in masks}
    if len(sizes) > 1:
        (w, h), (other_w, other_h) = sorted(sizes)[:2]
        raise InputError(f"{path}: masks are of different sizes, {w} x {h} and {other_w} x {other_h}")
    w, h = sizes.pop()
    # Up to a pixel of the smaller size, which may be rounded.
    if abs(w * height - h * width) > max(w, h, width, height):
        raise InputError(f"{path}: masks are {w} x {h}, which is not the aspect of their photo of {width} x {height}")
    return MaskStack(w, h, tuple(borders for borders, _, _ in masks))


def _read_pictures(paths: list[Path]) -> list[_Mask]:
    masks = []
    for path in paths:
        pixels = decode(read_bytes(path))
        if pixels is None:
            raise InputError(f"{path}: does not open as a mask; export it again as PNG, black outside, white inside")
        value = pixels if pixels.ndim == 2 else pixels[..., :3].max(2)
        mask = value > value.max() / 2  # for 0 and 1, for 0 and 255, and for soft edges
        height, width = mask.shape
        masks.append((mask_borders(mask, width, height), width, height))
    return masks


def _read_json(path: Path) -> list[_Mask]:
    try:
        content = json.loads(read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); write the masks again") from error
    listed: Any = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(listed, list):
        raise InputError(f'{path}: expected a list of masks, or an object that holds them as "annotations"')
    masks = []
    for number, entry in enumerate(listed):
        try:
            masks.append(decode_rle(entry.get("segmentation") if isinstance(entry, dict) else entry))
        except ValueError as error:
            raise InputError(f"{path}: mask {number}: {error}") from error
    return masks
