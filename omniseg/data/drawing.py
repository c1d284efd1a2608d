"""Drawing on pictures: tinted areas with outlines, selections compared with labels, contact sheets."""

from collections.abc import Sequence

import cv2
import numpy as np


def contact_sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Return rows of pictures (height, width, 3) in one picture; narrow rows are padded with white.

    Pictures of one row have the same height.
    """
    strips = [np.concatenate(row, axis=1) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return np.concatenate(padded, axis=0)


def mark_selection(
    photo: np.ndarray, selected: np.ndarray, truth: np.ndarray, click: tuple[int, int] | None
) -> np.ndarray:
    """Return a darkened photo (height, width, 3) uint8 that compares a selection with the truth.

    Args:
        photo: (height, width, 3) uint8.
        selected, truth: (height, width) bool. In both: green; only selected: red; only true: blue.
        click: row and column of a pixel to draw a ring around.
    """
    picture = (photo * 0.5).astype(np.uint8)
    right, wrong, missed = selected & truth, selected & ~truth, truth & ~selected
    for mask, colour in ((right, (40, 220, 90)), (wrong, (235, 60, 50)), (missed, (60, 120, 255))):
        picture[mask] = (0.35 * photo[mask] + 0.65 * np.array(colour)).astype(np.uint8)
    if click is not None:
        radius = max(round(min(photo.shape[:2]) / 45), 3)
        for size, colour in ((radius + 1, (0, 0, 0)), (radius, (255, 255, 255))):
            cv2.circle(picture, click[::-1], size, colour, 1, cv2.LINE_AA)
    return picture


def distinct_colours(count: int) -> np.ndarray:
    """Return colours (count, 3) uint8, neighbours far apart; the k-th one does not depend on `count`."""
    k = np.arange(max(count, 1))
    hue = (k * 0.61803398875 + 0.02) % 1.0 * 179
    hsv = np.stack([hue, 150 + 70 * (k // 3 % 2), 235 - 60 * (k // 2 % 2)], axis=1).astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0][:count]


def paint_ids(picture: np.ndarray, ids: np.ndarray, colours: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """Return a picture (height, width, 3) uint8 with tinted and outlined areas.

    Args:
        picture: (height, width, 3) uint8.
        ids: (height, width) integers; where 0, the picture stays as it is.
        colours: (n, 3) uint8; id k has colour k - 1.
        strength: opacity of the tint, in [0, 1].
    """
    palette = np.concatenate([np.zeros((1, 3)), colours.reshape(-1, 3)])[ids]
    border = np.zeros(ids.shape, bool)
    border[1:] |= ids[1:] != ids[:-1]
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    share = np.where(border, 0.9, strength)[..., None] * (ids > 0)[..., None]
    return (picture * (1 - share) + palette * share).round().astype(np.uint8)
