"""Pixels that are trained on and measured, where masks or an alpha channel leave others out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import torch
from torch import Tensor

from omniseg.data.image_io import image_header, nearest, read_image, same_aspect
from omniseg.data.mask_pictures import read_black_and_white
from omniseg.data.scene import View
from omniseg.errors import InputError

_OPAQUE = 128
"""Alpha from which a pixel is valid, where alpha leaves pixels out."""


@dataclass(frozen=True)
class ValidPixels:
    """Valid pixels of V views as runs; pixels are numbered one view after another, as in `ImageSet`.

    The rank of a valid pixel is the number of valid pixels before it, so a random rank is a random valid pixel.

    begins: (n_runs,) int64 first pixel of each run, rising.
    ends: (n_runs,) int64 number of ranks up to the end of each run (inclusive sum of the lengths).
    n: number of valid pixels.
    """

    begins: Tensor
    ends: Tensor
    n: int

    @classmethod
    def from_masks(cls, masks: Sequence[np.ndarray | None], offsets: np.ndarray) -> ValidPixels:
        """Encode the masks of V views.

        Args:
            masks: (height, width) bool, or any shape of as many pixels; None: all are valid.
            offsets: (V + 1,) pixels of view v are offsets[v] to offsets[v + 1].
        """
        runs = [_runs(mask, int(a), int(b)) for mask, a, b in zip(masks, offsets, offsets[1:])]
        begins, stops = np.concatenate([np.empty((2, 0), np.int64), *runs], axis=1)
        ends = np.cumsum(stops - begins)
        return cls(torch.from_numpy(begins), torch.from_numpy(ends), int(ends[-1]) if len(ends) else 0)

    @cached_property
    def _shifts(self) -> Tensor:
        """Pixel number minus rank in each run, (n_runs,)."""
        return self.begins - torch.cat([self.ends.new_zeros(1), self.ends])[:-1]

    def pixels(self, ranks: Tensor) -> Tensor:
        """Return the numbers (n,) int64 of the pixels at ranks (n,) int64."""
        return ranks + self._shifts[torch.searchsorted(self.ends, ranks, right=True)]

    def mask(self, start: int, stop: int) -> Tensor:
        """Return whether pixels `start` to `stop` are valid, (stop - start,) bool."""
        at = torch.arange(start, stop, device=self.begins.device)
        run = torch.searchsorted(self.begins, at, right=True) - 1
        last = torch.cat([self.ends + self._shifts, self.begins.new_zeros(1)])  # of run -1: nothing
        return at < last[run]

    def to(self, device: torch.device | str) -> ValidPixels:
        """Return the same on `device`."""
        return replace(self, begins=self.begins.to(device), ends=self.ends.to(device))


def _runs(mask: np.ndarray | None, start: int, stop: int) -> np.ndarray:
    """Return the first pixel of each run, and the pixel after it, (2, n) int64."""
    if mask is None:
        return np.array([[start], [stop]])
    flat = np.concatenate([[False], mask.reshape(-1), [False]])
    return start + np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2).T


def valid_mask(view: View, width: int, height: int, image: np.ndarray | None = None) -> np.ndarray | None:
    """Return which pixels of a view are valid at a size.

    A pixel that is shrunk from several is valid where all of them are.

    Args:
        view: names the mask and says what alpha means.
        width, height: size that is wanted, of the photo's aspect.
        image: (h, w, 3 or 4) photo of the view at any size, if it is in memory.
    Returns:
        (height, width) bool; None: all are valid.
    Raises:
        InputError: the mask does not open, is not black and white, or has another aspect than the photo.
    """
    masks = []
    if view.ignore_path is not None:
        mask = read_black_and_white(view.ignore_path)
        if not same_aspect(mask.shape, (height, width)):
            raise InputError(
                f"{view.ignore_path}: is {mask.shape[1]} x {mask.shape[0]}, which does not fit its photo of "
                f"{width} x {height}"
            )
        masks.append(mask)
    if view.ignore_transparent and (image is not None or image_header(view.image_path).alpha):
        image = read_image(view.image_path) if image is None else image
        if image.shape[2] == 4:
            masks.append(image[..., 3] >= _OPAQUE)
    if not masks:
        return None
    return np.logical_and.reduce([_resized(mask, width, height) for mask in masks])


def _resized(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    if mask.shape[0] < height or mask.shape[1] < width:
        return nearest(mask, width, height)
    share = cv2.resize((~mask).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return share < 1e-3
