"""Tensors made visible: image files, depth in colours, contact sheets."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniseg.files import write_atomic
from omniseg.rendering import Rendering


def to_uint8(image: Tensor) -> np.ndarray:
    """Image (height, width, channels) in [0, 1] as bytes; values outside are clipped."""
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()


def depth_picture(rendering: Rendering, width: int) -> np.ndarray:
    """Depth of an image's rendering in colours (height, width, 3): near is red, far blue, nothing black."""
    opacity = rendering.opacity.view(-1, width).cpu().numpy()
    depth = rendering.depth.view(-1, width).cpu().numpy() / np.maximum(opacity, 1e-6)
    solid = opacity > 0.5
    if not solid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    # In disparity, as an eye judges distance; the percentiles keep a few floating specks from washing it out.
    disparity = 1 / np.maximum(depth, 1e-6)
    low, high = np.percentile(disparity[solid], (2, 98))
    level = np.clip((disparity - low) / max(high - low, 1e-6), 0, 1)
    colours = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(solid[..., None], colours, 0).astype(np.uint8)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Rows of pictures of one height each, below one another; narrow rows are filled up with white."""
    strips = [np.concatenate(row, axis=1) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return np.concatenate(padded, axis=0)


def save_image(path: Path, image: np.ndarray) -> None:
    """Write an image, atomically; the suffix says the format.

    Args:
        path: of the file.
        image: (height, width, 3 or 4) uint8 RGB or RGBA, or (height, width) uint8 or uint16 grey.

    Raises:
        InputError: the file cannot be written.
    """
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError(f"path: no image format is called {path.suffix!r}")
    write_atomic(path, lambda temporary: temporary.write_bytes(data.tobytes()))


def mark_selection(
    photo: np.ndarray, selected: np.ndarray, truth: np.ndarray, click: tuple[int, int] | None
) -> np.ndarray:
    """A photo (height, width, 3) on which a selection is compared with the truth, both (height, width) bool.

    Green: rightly selected; red: wrongly; blue: missed; a ring around the click (row, column).
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
    """Colours (count, 3) uint8, neighbours in the list far apart; the k-th is the same however many there are."""
    k = np.arange(max(count, 1))
    hue = (k * 0.61803398875 + 0.02) % 1.0 * 179
    hsv = np.stack([hue, 150 + 70 * (k // 3 % 2), 235 - 60 * (k // 2 % 2)], axis=1).astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0][:count]


def paint_ids(picture: np.ndarray, ids: np.ndarray, colours: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """A picture (height, width, 3) with areas tinted and outlined.

    Args:
        picture: (height, width, 3) uint8.
        ids: (height, width) integers; 0 stays as it is.
        colours: (n, 3) uint8, that of id k at k - 1.
        strength: of the tint, in [0, 1].
    """
    palette = np.concatenate([np.zeros((1, 3)), colours.reshape(-1, 3)])[ids]
    border = np.zeros(ids.shape, bool)
    border[1:] |= ids[1:] != ids[:-1]
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    share = np.where(border, 0.9, strength)[..., None] * (ids > 0)[..., None]
    return (picture * (1 - share) + palette * share).round().astype(np.uint8)


class FeatureColours:
    """Colours of features: their three main directions as red, green and blue, the same in every picture.

    Args:
        features: (n, dim) of unit length, of what will be shown, or a sample of it.
    """

    def __init__(self, features: Tensor) -> None:
        self._mean = features.mean(0)
        centred = features - self._mean
        count = min(3, *centred.shape)
        self._axes = torch.linalg.svd(centred, full_matrices=False).Vh[:count].T
        shown = centred @ self._axes
        self._low, high = torch.quantile(shown, torch.tensor([0.02, 0.98], device=shown.device), dim=0)
        self._range = (high - self._low).clamp(min=1e-6)

    def picture(self, features: Tensor, opacity: Tensor, width: int) -> np.ndarray:
        """Picture (height, width, 3) of rendered features (n, dim), black where nothing is."""
        shown = (F.normalize(features, dim=1) - self._mean) @ self._axes
        level = ((shown - self._low) / self._range).clamp(0, 1)
        level = F.pad(level, (0, 3 - level.shape[1])) * (opacity > 0.5)[:, None]
        return to_uint8(level.view(-1, width, 3))
