"""Sharpness of photos, and the choice of the sharpest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

BLURRED = 0.15
"""Fraction of the median sharpness of a capture below which a photo counts as blurred."""

_WIDTH = 640
"""Longest side in pixels at which sharpness is measured, so that noise of single pixels does not count."""


def sharpness(image: np.ndarray) -> float:
    """Return the variance of the Laplacian of an image (height, width) or (height, width, 3) uint8.

    It is comparable between photos of one scene and one shape.
    """
    factor = _WIDTH / max(image.shape[:2])
    if factor < 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def sharpest(values: Sequence[float], count: int) -> list[int]:
    """Return the index of the sharpest image in each of `count` equal windows, ascending; all where there are fewer."""
    if count >= len(values):
        return list(range(len(values)))
    borders = np.linspace(0, len(values), count + 1).round().astype(int)
    return [int(first + np.argmax(values[first:end])) for first, end in pairwise(borders)]


def blurred(values: Sequence[float]) -> list[int]:
    """Return the indices of the images that are much less sharp than the median."""
    return np.flatnonzero(np.asarray(values) < BLURRED * np.median(values)).tolist() if len(values) else []
