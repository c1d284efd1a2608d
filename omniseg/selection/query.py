"""Clicks and their scores: how much pixels or points belong to what was clicked (OmniSeg3D, section 3.3).

    score = max over accepted clicks of (1 + f . f_click) / 2 * exp(-w * |x - x_click|)

and 0 where the feature is more similar to a rejected click's than to any accepted one's (arXiv 2311.11666). Points
that score at least a threshold are selected. As the threshold falls, a selection grows in leaps, from part to object
to group. Between two leaps lies a plateau, along which it hardly changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from omniseg.config import LevelConfig


@dataclass(frozen=True)
class Click:
    """A point of the surface that was clicked.

    Attributes:
        accept: select what is similar to it; False: take that away.
        position: scene coordinates.
        feature: its feature, of unit length.
    """

    accept: bool
    position: tuple[float, float, float]
    feature: tuple[float, ...]


def similarity(features: Tensor, prompts: Tensor) -> Tensor:
    """Return (1 + cosine) / 2 in [0, 1], (n, m), of unit features (n, dim) and those of prompts (m, dim)."""
    return 0.5 + 0.5 * (features @ prompts.t())  # the product is small, the features are not


def score(features: Tensor, positions: Tensor, clicks: Sequence[Click], spatial_weight: float = 0.0) -> Tensor:
    """Return how much points belong to what was clicked.

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
        to_rejected = similarity(features, features.new_tensor([click.feature for click in rejected])).amax(1)
        found = torch.where(to_rejected > alike.amax(1), 0.0, found)
    return found


@dataclass(frozen=True)
class Plateau:
    """A range of thresholds along which a selection hardly changes.

    Attributes:
        threshold: in the middle of the range.
        width: extent of the range, as an angle between features, radians.
        count: points selected at `threshold`.
    """

    threshold: float
    width: float
    count: int


def plateaus(scores: Tensor, config: LevelConfig) -> tuple[Plateau, ...]:
    """Return the plateaus of the scores (n,) of all points in view, from the smallest selection to the largest.

    There may be none.
    """
    n = len(scores)
    if not n:
        return ()
    # In angles between features: where two are similar, the score hardly changes with the angle.
    angles = torch.acos((2 * scores.clamp(0, 1) - 1).clamp(-1, 1))
    bins = (angles * (config.bins / math.pi)).long().clamp(max=config.bins - 1)
    end = int(math.acos(2 * config.unrelated - 1) * config.bins / math.pi)
    counts = torch.bincount(bins, minlength=config.bins).cumsum(0).cpu().double()[:end]
    first = torch.searchsorted(counts, counts / (1 + config.tolerance), side="left")
    last = torch.searchsorted(counts, counts * (1 + config.tolerance), side="right")
    widths = (last - first) * (math.pi / config.bins)
    widths[(counts < max(n * config.min_share, 1)) | (counts > n * config.max_share)] = 0.0
    found: list[Plateau] = []
    for at in widths.argsort(descending=True, stable=True).tolist():
        width, middle = float(widths[at]), int(first[at] + last[at]) // 2
        count = int(counts[middle])
        if width < config.min_width or len(found) == config.max_levels:
            break
        if all(max(count, p.count) >= config.min_growth * min(count, p.count) for p in found):
            found.append(Plateau(0.5 + 0.5 * math.cos((middle + 1) * math.pi / config.bins), width, count))
    return tuple(sorted(found, key=lambda plateau: plateau.count))


def main_plateau(found: Sequence[Plateau], config: LevelConfig) -> Plateau | None:
    """Return the plateau that a first click most likely means: the smallest selection among the wide ones."""
    widest = max((plateau.width for plateau in found), default=0.0)
    wide = [plateau for plateau in found if plateau.width >= widest * config.first_width]
    return min(wide, key=lambda plateau: plateau.count, default=None)
