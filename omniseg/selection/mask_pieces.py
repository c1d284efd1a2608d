"""Connected pieces of masks and their holes: counted, and removed where they are small."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_EIGHT, _FOUR = 8, 4
"""Neighbours of a pixel in a mask, and of one outside it: a line of pixels that touch at corners parts the outside."""


def clean_mask(mask: np.ndarray, share: float, kept: Sequence[tuple[int, int]] = ()) -> np.ndarray:
    """Return a mask without its small pieces, with its small holes filled.

    Args:
        mask: (height, width) bool.
        share: pieces and holes that are smaller than this share of the largest piece are small; 0: none are.
        kept: rows and columns of pixels whose pieces are kept, however small.
    """
    if share <= 0 or not mask.any():
        return mask
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=_EIGHT)
    areas = stats[:, cv2.CC_STAT_AREA]
    limit = share * areas[1:].max()
    stays = areas >= limit
    stays[[pieces[at] for at in kept]] = True
    stays[0] = False
    found = stays[pieces]
    _, gaps, stats, _ = cv2.connectedComponentsWithStats((~found).astype(np.uint8), connectivity=_FOUR)
    fills = (stats[:, cv2.CC_STAT_AREA] < limit) & _enclosed(stats, mask.shape)
    return found | fills[gaps]


def count_pieces(mask: np.ndarray) -> tuple[int, int]:
    """Return the numbers of connected pieces and of holes of a mask (height, width) bool.

    A hole is surrounded by the mask; what reaches the border of the picture is none.
    """
    pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=_EIGHT)[0] - 1
    _, _, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=_FOUR)
    return pieces, int(_enclosed(stats, mask.shape).sum())


def _enclosed(stats: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return which components, by OpenCV's statistics, do not reach the border of the picture; not the background."""
    left, top, width, height = stats[:, :4].T
    inside = (left > 0) & (top > 0) & (left + width < shape[1]) & (top + height < shape[0])
    inside[0] = False
    return inside
