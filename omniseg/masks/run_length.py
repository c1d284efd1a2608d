"""Run-length coded masks of one image: three hundred of them at 12 megapixels take a few megabytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MaskStack:
    """Masks of one image, each as the borders of its runs.

    Pixels are numbered row by row from the top left. A pixel is in a mask when the number of borders at or
    before it is odd.

    width, height: size of the image in pixels.
    borders: one int64 array a mask, strictly rising, of even length, values from 0 to width * height.
    """

    width: int
    height: int
    borders: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.borders)

    @classmethod
    def from_masks(cls, masks: Iterable[np.ndarray], width: int, height: int) -> MaskStack:
        """Encode masks (height, width) of bool, or of numbers that are not 0 inside; only one is held in full.

        Raises:
            ValueError: a mask has another shape.
        """
        return cls(width, height, tuple(mask_borders(mask, width, height) for mask in masks))

    @property
    def areas(self) -> np.ndarray:
        """Area (n,) int64 of each mask in pixels."""
        return np.array([(b[1::2] - b[::2]).sum() for b in self.borders], np.int64)

    def mask(self, k: int) -> np.ndarray:
        """Return mask k as (height, width) bool."""
        marks = np.zeros(self.width * self.height + 1, np.bool_)
        marks[self.borders[k]] = True
        return np.logical_xor.accumulate(marks[:-1]).reshape(self.height, self.width)

    def contain(self, pixels: np.ndarray) -> np.ndarray:
        """Return (n_pixels, n_masks) bool: the masks that contain each of the pixel numbers (n_pixels,)."""
        inside = np.zeros((len(pixels), len(self)), np.bool_)
        for k, borders in enumerate(self.borders):
            inside[:, k] = np.searchsorted(borders, pixels, side="right") % 2 == 1
        return inside


def mask_borders(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the borders of the runs of one mask (height, width), as `MaskStack` keeps them.

    Raises:
        ValueError: the mask has another shape.
    """
    if mask.shape != (height, width):
        raise ValueError(f"mask: expected shape ({height}, {width}), got {mask.shape}")
    flat = np.ascontiguousarray(mask).reshape(-1) != 0
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if len(flat) and flat[0]:
        borders = np.concatenate([[0], borders])
    return np.append(borders, len(flat)) if len(borders) % 2 else borders
