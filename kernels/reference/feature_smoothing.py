"""Torch twin of `omniseg_kernels.feature_smoothing`."""

from torch import Tensor
from torch.nn import functional as F


def smooth_features(features: Tensor, guides: Tensor, solid: Tensor, *, rounds: int, agreement: float) -> Tensor:
    """Return the edge-aware mean of a picture of features."""
    height, width, _ = features.shape
    for n in range(rounds):
        total, reach = features.clone(), 2**n
        for dy in (-reach, 0, reach):
            for dx in (-reach, 0, reach):
                if (dx or dy) and abs(dx) < width and abs(dy) < height:
                    own, other = _overlap(height, width, dy, dx), _overlap(height, width, -dy, -dx)
                    alike = (features[own] * features[other]).sum(2).clamp(max=1)
                    apart = (guides[own] - guides[other]).square().sum(2)
                    steps = (dx * dx + dy * dy) / reach**2
                    weights = (agreement * (alike - 1) - 0.5 * apart - 0.25 * steps).exp()
                    weights = weights * (solid[own] & solid[other])
                    total[own] += weights[..., None] * features[other]
        features = features.where(~solid[..., None], F.normalize(total, dim=2))
    return features


def _overlap(height: int, width: int, dy: int, dx: int) -> tuple[slice, slice]:
    """Return the rows and columns whose neighbour (dy, dx) lies in the picture."""
    return slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0))
