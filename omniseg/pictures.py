"""Tensors made visible: image files, depth in colours, contact sheets."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

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
    """Write an RGB or RGBA image (height, width, channels) uint8, atomically; the suffix says the format.

    Raises:
        InputError: the file cannot be written.
    """
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, order))
    if not done:
        raise ValueError(f"path: no image format is called {path.suffix!r}")
    write_atomic(path, lambda temporary: temporary.write_bytes(data.tobytes()))
