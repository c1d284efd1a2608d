"""Masks in COCO's JSON format: one file for all photos, whose annotations are polygons or run-length codes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from omniseg.data.image_io import read_bytes
from omniseg.errors import InputError
from omniseg.masks.run_length import mask_borders
from omniseg.masks.segmenters.coco_rle import decode_rle

Mask = tuple[np.ndarray, int, int]
"""Borders of a mask as `MaskStack` keeps them, width, height."""


class CocoMasks:
    """Masks of all photos in one file: `images` with their names and sizes, `annotations` with their masks."""

    def __init__(self, path: Path, content: Any = None) -> None:
        """Read the file; `content` is what it holds, if it is read already.

        Raises:
            InputError: it is no JSON of this kind.
        """
        content = read_json_masks(path) if content is None else content
        self.path = path
        self._images: dict[str, tuple[int, int, object]] = {}
        self._short: dict[str, list[str]] = defaultdict(list)
        self._annotations: dict[object, list[Any]] = defaultdict(list)
        if not is_coco(content):
            raise InputError(f'{path}: is not COCO\'s JSON, an object with "images" and "annotations"')
        try:
            for image in content["images"]:
                name = str(PurePosixPath(str(image["file_name"]).replace("\\", "/")).with_suffix(""))
                self._images[name] = int(image["width"]), int(image["height"]), image["id"]
                self._short[PurePosixPath(name).name].append(name)
            for annotation in content["annotations"]:
                self._annotations[annotation["image_id"]].append(annotation.get("segmentation"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: an image or annotation lacks a key of COCO ({error!r}); export it again"
            ) from error

    def knows(self, name: str) -> bool:
        """Tell whether the file lists the photo of this name, with its folders or, if it is the only one, without."""
        return self._listed(name) is not None

    def masks(self, name: str) -> list[Mask]:
        """Return the masks of a photo that the file lists.

        Raises:
            InputError: a mask is damaged.
        """
        listed = self._listed(name)
        assert listed is not None
        width, height, number = self._images[listed]
        return decode_masks(self._annotations[number], width, height, f"{self.path}: {listed}")

    def _listed(self, name: str) -> str | None:
        if name in self._images:
            return name
        same = self._short.get(PurePosixPath(name).name, [])
        return same[0] if len(same) == 1 else None


def is_coco(content: Any) -> bool:
    """Tell whether the content of a JSON file has the parts of COCO's."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ("images", "annotations"))


def read_json_masks(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: it is not valid.
    """
    try:
        return json.loads(read_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); write the masks again") from error


def decode_masks(codes: list[Any], width: int, height: int, where: str) -> list[Mask]:
    """Decode masks of one photo: run-length codes, or lists of polygons [x, y, x, y, ...] in pixels.

    Args:
        codes: one for each mask.
        width, height: size of the photo that polygons are drawn in.
        where: file and photo, for messages.
    Raises:
        InputError: a code is damaged or something else.
    """
    masks = []
    for number, code in enumerate(codes):
        try:
            masks.append(_polygons(code, width, height) if isinstance(code, list) else decode_rle(code))
        except ValueError as error:
            raise InputError(f"{where}: mask {number}: {error}") from error
    return masks


def _polygons(outlines: list[Any], width: int, height: int) -> Mask:
    """Return the pixels whose centres are in any of the polygons."""
    from skimage.draw import polygon  # takes a second to import

    if width < 1 or height < 1:
        raise ValueError("its image has no size")
    mask = np.zeros((height, width), np.bool_)
    for outline in outlines:
        try:
            points = np.asarray(outline, np.float64)
        except (TypeError, ValueError):
            points = np.empty(0)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            raise ValueError("expected polygons [x, y, x, y, x, y, ...] of numbers")
        mask[polygon(points[1::2] - 0.5, points[::2] - 0.5, mask.shape)] = True
    return mask_borders(mask, width, height), width, height
