"""Pictures of tensors: colours, depth and features."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniseg.rendering.renderer import Rendering

_PERCENTILES = (2.0, 98.0)
"""Range of disparities, and of principal components, that colours span; the rest is clipped."""


def to_uint8(image: Tensor) -> np.ndarray:
    """Return an image (height, width, channels) in [0, 1] as uint8; values outside are clipped."""
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()


def depth_picture(rendering: Rendering, width: int) -> np.ndarray:
    """Return the depth of an image's rendering as colours (height, width, 3) uint8; see `distance_picture`."""
    opacity = rendering.opacity.view(-1, width).cpu().numpy()
    depth = rendering.depth.view(-1, width).cpu().numpy() / np.maximum(opacity, 1e-6)
    return distance_picture(depth, rendering.solid.view(-1, width).cpu().numpy())


def distance_picture(distance: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return distances as colours (height, width, 3) uint8: near red, far blue, unknown black.

    Disparity, between its 2nd and 98th percentile, is mapped to the colours, so that a few floaters do not wash it out.

    Args:
        distance: (height, width) float.
        known: (height, width) bool.
    """
    if not known.any():
        return np.zeros((*distance.shape, 3), np.uint8)
    disparity = 1 / np.maximum(distance, 1e-6)
    low, high = np.percentile(disparity[known], _PERCENTILES)
    level = np.clip((disparity - low) / max(high - low, 1e-6), 0, 1)
    colours = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(known[..., None], colours, 0).astype(np.uint8)


class FeatureColours:
    """Colours for features: their three principal components as red, green and blue, the same in every picture.

    Args:
        features: (n, dim) of unit length, a sample of those to show, at least one.
    """

    def __init__(self, features: Tensor) -> None:
        self._mean = features.mean(0)
        centred = features - self._mean
        count = min(3, *centred.shape)
        self._axes = torch.linalg.svd(centred, full_matrices=False).Vh[:count].T
        shown = centred @ self._axes
        self._low, high = torch.quantile(shown, torch.tensor(_PERCENTILES, device=shown.device) / 100, dim=0)
        self._range = (high - self._low).clamp(min=1e-6)

    def picture(self, features: Tensor, solid: Tensor, width: int) -> np.ndarray:
        """Return a picture (height, width, 3) uint8 of rendered features (height * width, dim).

        Pixels that are not `solid`, (height * width,) bool, are black.
        """
        shown = (F.normalize(features, dim=1) - self._mean) @ self._axes
        level = ((shown - self._low) / self._range).clamp(0, 1)
        level = F.pad(level, (0, 3 - level.shape[1])) * solid[:, None]
        return to_uint8(level.view(-1, width, 3))
