"""Smooth features of a picture: an edge-aware mean, guided by distance, colour and the features themselves.

The features of neighbouring pixels differ by noise of the field, which a threshold turns into ragged borders, specks
and holes. `omniseg_kernels.smooth_features` says how they are averaged.
"""

import torch
from torch import Tensor

from omniseg.config import SmoothingConfig
from omniseg.rendering.renderer import Rendering
from omniseg_kernels import smooth_features


def smooth_picture(features: Tensor, rendering: Rendering, width: int, height: int, config: SmoothingConfig) -> Tensor:
    """Return the smooth features of a whole picture, without gradient.

    Args:
        features: (height * width, dim) of unit length where the picture is solid.
        rendering: of the same rays, with colour.
        width, height: pixels.
        config: rounds, and what makes an edge.
    Returns:
        (height * width, dim) of unit length where the picture is solid; other pixels keep their features.
    """
    if not config.rounds or not features.shape[1]:
        return features
    shape = height, width, -1
    found = smooth_features(
        features.view(shape),
        edge_guides(rendering, config).view(shape),
        rendering.solid.view(height, width),
        rounds=config.rounds_in(max(width, height)),
        agreement=config.agreement,
    )
    return found.view(len(features), -1)


def edge_guides(rendering: Rendering, config: SmoothingConfig) -> Tensor:
    """Return (n, 4) colour and log distance of rays, in units of the difference that makes an edge."""
    distance = rendering.distance.clamp(min=1e-6).log()[:, None]
    return torch.cat([rendering.straight_rgb.clamp(0, 1) / config.colour, distance / config.distance], dim=1)
