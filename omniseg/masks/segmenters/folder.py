"""Masks made elsewhere, read from a folder of pictures or of JSON files, or from one JSON file."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from omniseg.data.mask_pictures import read_mask_picture
from omniseg.errors import InputError
from omniseg.masks.run_length import MaskStack, mask_borders
from omniseg.masks.segmenters.coco_json import CocoMasks, Mask, decode_masks, is_coco, read_json_masks

_COCO_NAME = re.compile(r"coco|instances|annotations", re.IGNORECASE)
"""Names of the files that tools write COCO's JSON into."""


class FolderSegmenter:
    """Segmenter that reads the masks of a photo, in this order, from

    - `NAME.json`: a list of {"segmentation": ...}, which segment-anything's mask generator writes, or an object that
      holds such a list as "annotations" (SA-1B),
    - `NAME/*.png`: pictures of one mask each, black and white, or of ids,
    - `NAME.png`: one such picture,
    - COCO's JSON for all photos, in the folder or instead of it.

    A picture of ids holds one mask for each id but 0.
    """

    def __init__(self, folder: Path) -> None:
        """Check that the folder, or COCO's file, exists.

        Raises:
            InputError: it does not.
        """
        if not folder.is_dir() and not (folder.is_file() and folder.suffix.lower() == ".json"):
            raise InputError(
                f"{folder}: is not a folder; --masks is a folder with NAME.json, NAME.png or NAME/*.png for each "
                "photo, or a COCO file for all"
            )
        self.folder = folder

    def knows(self, name: str) -> bool:
        """Tell whether there are masks for the photo of this name."""
        return self._json(name).is_file() or bool(self._pictures(name)) or any(c.knows(name) for c in self._coco)

    def segment(self, image: np.ndarray, name: str) -> MaskStack:
        """Return the masks of a photo, in the size of their files.

        Raises:
            InputError: there are none, one is damaged, sizes differ, or the aspect is not the photo's.
        """
        path = self._json(name)
        if path.is_file():
            return _stack(_read_json(path, image), image, path)
        pictures = self._pictures(name)
        if pictures:
            return _stack([mask for picture in pictures for mask in _read_picture(picture)], image, pictures[0].parent)
        for coco in self._coco:
            if coco.knows(name):
                return _stack(coco.masks(name), image, coco.path)
        raise InputError(f"{self.folder}: has neither {name}.json nor {name}.png nor {name}/*.png")

    def _json(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _pictures(self, name: str) -> list[Path]:
        found = sorted(p for p in (self.folder / name).glob("*.png") if not p.name.startswith("."))
        alone = self.folder / f"{name}.png"
        return found or ([alone] if alone.is_file() else [])

    @cached_property
    def _coco(self) -> list[CocoMasks]:
        """Files for all photos: the one that was given, or those in the folder that are named like one or alone."""
        if self.folder.is_file():
            return [CocoMasks(self.folder)]
        files = sorted(self.folder.glob("*.json"))
        files = files if len(files) == 1 else [path for path in files if _COCO_NAME.search(path.stem)]
        found = ((path, read_json_masks(path)) for path in files)
        return [CocoMasks(path, content) for path, content in found if is_coco(content)]


def _stack(masks: list[Mask], image: np.ndarray, path: Path) -> MaskStack:
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


def _read_picture(path: Path) -> list[Mask]:
    """Return the mask of a black and white picture, or one mask for each id but 0 of a picture of ids."""
    pixels = read_mask_picture(path)
    height, width = pixels.shape
    if pixels.dtype == np.bool_:
        return [(mask_borders(pixels, width, height), width, height)]
    flat = pixels.reshape(-1)
    begins = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    runs, ids = np.stack([begins, np.append(begins[1:], len(flat))], axis=1), flat[begins]
    order = np.argsort(ids, kind="stable")
    numbers, first = np.unique(ids[order], return_index=True)
    of_ids = np.split(runs[order], first[1:])
    return [(own.reshape(-1), width, height) for number, own in zip(numbers, of_ids) if number]


def _read_json(path: Path, image: np.ndarray) -> list[Mask]:
    content = read_json_masks(path)
    listed: Any = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(listed, list):
        raise InputError(f'{path}: expected a list of masks, or an object that holds them as "annotations"')
    codes = [entry.get("segmentation") if isinstance(entry, dict) else entry for entry in listed]
    height, width = image.shape[:2]
    return decode_masks(codes, width, height, str(path))
