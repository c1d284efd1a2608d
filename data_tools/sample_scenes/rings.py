"""Closed camera paths around the middle of a scene."""

import math
from collections.abc import Callable

import numpy as np

from omniseg.cameras import look_at

TURN = 2.0 * math.pi


def poses_along(n: int, place: Callable[[float], tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return n poses (n, 3, 4), camera to world, OpenCV axes, evenly on a closed path.

    Args:
        n: number of cameras.
        place: angle in [0, 2 pi) along the path -> eye and point looked at, (3,) each.
    """
    return np.stack([look_at(*place(TURN * k / n))[:3] for k in range(n)])


def rounded(angle: float, half: tuple[float, float]) -> np.ndarray:
    """Return the point (2,) in this direction on a curve between ellipse and rectangle with these half edges."""
    x, y = math.cos(angle), math.sin(angle)
    reach = (abs(x / half[0]) ** 3 + abs(y / half[1]) ** 3) ** (-1 / 3)
    return np.array([reach * x, reach * y])
