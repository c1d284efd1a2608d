"""Tensors as pictures: colours, depth and features."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniseg.rendering.renderer import Rendering


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
