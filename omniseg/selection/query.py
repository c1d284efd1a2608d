"""Clicks, and how much pixels or points belong to what was clicked (OmniSeg3D, arXiv 2311.11666, section 3.3).

    score = max over accepted clicks of (1 + f . f_click) / 2 * exp(-w * |x - x_click|)

and 0 where the feature is more like a rejected click's than like any accepted one's. What scores at least a threshold
is selected. As the threshold falls, a selection grows in leaps, from part to object to group; between two leaps lies
a plateau, over which it hardly changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_BINS = 1024
_MOST_LEVELS = 7
_TOLERANCE = 0.08
_SHORTEST = 0.05
_FACTOR = 1.25
_FEWEST = 1 / 4000
_MOST = 0.98
UNRELATED = 0.45
"""What scores less has no mask in common with the click: where it ends is no plateau."""


@dataclass(frozen=True)
class Click:
    """A point that was pointed at.

    Attributes:
        accept: whether what is like it is wanted; else it is taken away.
        position: scene coordinates.
        feature: of unit length.
    """

    accept: bool
    position: tuple[float, float, float]
    feature: tuple[float, ...]


def similarity(features: Tensor, prompts: Tensor) -> Tensor:
    """(1 + cosine) / 2 in [0, 1], (n, m), of unit features (n, dim) with those of prompts (m, dim)."""
    return 0.5 + 0.5 * (features @ prompts.t())  # the product is small, the features are not


def score(features: Tensor, positions: Tensor, clicks: Sequence[Click], spatial_weight: float = 0.0) -> Tensor:
    """How much points belong to what was clicked.

    Args:
        features: (n, dim) of unit length.
        positions: (n, 3) scene coordinates.
        clicks: accepted and rejected ones.
        spatial_weight: w above, 1 / scene unit; distance from an accepted click lowers the score.
    Returns:
        (n,) in [0, 1]; 0 without an accepted click.
    """
    accepted, rejected = ([click for click in clicks if click.accept == accept] for accept in (True, False))
    if not accepted:
        return features.new_zeros(len(features))
    alike = similarity(features, features.new_tensor([click.feature for click in accepted]))
    found = alike
    if spatial_weight > 0:
        away = torch.cdist(positions, positions.new_tensor([click.position for click in accepted]))
        found = alike * torch.exp(-spatial_weight * away)
    found = found.amax(1)
    if rejected:
        unwanted = similarity(features, features.new_tensor([click.feature for click in rejected])).amax(1)
        found = torch.where(unwanted > alike.amax(1), 0.0, found)
    return found


@dataclass(frozen=True)
class Plateau:
    """Thresholds over which a selection hardly changes: the middle one, how far apart the ends are in angle between
    features, radians, and how many points are selected."""

    threshold: float
    width: float
    count: int


def plateaus(scores: Tensor) -> tuple[Plateau, ...]:
    """The plateaus of scores (n,) of everything that is in view, from the smallest selection to the largest.

    Selections of almost nothing and of almost everything are not among them; there may be none.
    """
    n = len(scores)
    if not n:
        return ()
    # In angles between features: where two are alike, the score hardly changes with the angle.
    angles = torch.acos((2 * scores.clamp(0, 1) - 1).clamp(-1, 1))
    bins = (angles * (_BINS / math.pi)).long().clamp(max=_BINS - 1)
    counts = torch.bincount(bins, minlength=_BINS).cumsum(0).cpu().double()[: _bin(UNRELATED)]
    first = torch.searchsorted(counts, counts / (1 + _TOLERANCE), side="left")
    last = torch.searchsorted(counts, counts * (1 + _TOLERANCE), side="right")
    widths = (last - first) * (math.pi / _BINS)
    widths[(counts < max(n * _FEWEST, 1)) | (counts > n * _MOST)] = 0.0
    found: list[Plateau] = []
    for at in widths.argsort(descending=True, stable=True).tolist():
        width, middle = float(widths[at]), int(first[at] + last[at]) // 2
        count = int(counts[middle])
        if width < _SHORTEST or len(found) == _MOST_LEVELS:
            break
        if all(max(count, p.count) >= _FACTOR * min(count, p.count) for p in found):
            found.append(Plateau(0.5 + 0.5 * math.cos((middle + 1) * math.pi / _BINS), width, count))
    return tuple(sorted(found, key=lambda plateau: plateau.count))


def _bin(score: float) -> int:
    return int(math.acos(2 * score - 1) * _BINS / math.pi)


def main_plateau(found: Sequence[Plateau]) -> Plateau | None:
    """What a first click most likely means: the smallest of those that are at least half as wide as the widest."""
    widest = max((plateau.width for plateau in found), default=0.0)
    return min((p for p in found if p.width >= widest / 2), key=lambda plateau: plateau.count, default=None)
