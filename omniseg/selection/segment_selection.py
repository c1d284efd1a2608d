"""A segment of everything as a selection: the clicks and the threshold that select it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from omniseg.selection.query import Click, similarity
from omniseg.selection.segment_tree import Segments
from omniseg.selection.selections import Selection

_MOST_CLICKS = 8
"""Limit of the clicks that describe a segment."""
_CANDIDATES = 32
"""Number of points that are tried for each click."""
_LEAST_GAIN = 0.01
"""A further click must raise the IoU by this."""
_SPATIAL_WEIGHTS = (0.0, 1.0, 3.0, 9.0)
"""Spatial weights that are tried, 1 / scene unit."""


@dataclass(frozen=True)
class _Clicks:
    """Scores of n points for some clicks, without the spatial weight and with it; see `query.score`."""

    accepted: Tensor
    weighted: Tensor
    rejected: Tensor

    def scores(self) -> Tensor:
        return torch.where(self.rejected > self.accepted, 0.0, self.weighted)


@dataclass(frozen=True)
class _Fit:
    """A set of clicks and how well its best threshold selects the segment."""

    iou: float
    threshold: float
    points: tuple[tuple[int, bool], ...]
    state: _Clicks


def select_segment(segments: Segments, number: int, selection: Selection) -> tuple[Selection, float]:
    """Return a selection of one segment, with the name and the colour of another one, and its IoU with the segment.

    A selection is clicks and a threshold, so that it holds in every view, on meshes and in files. Clicks, some of them
    rejected, are added one after the other; each is the best of a few points of the tree.

    Args:
        segments: one level of the tree.
        number: of the segment, from 1.
        selection: its clicks, threshold and spatial weight are replaced.
    Raises:
        ValueError: there is no such segment.
    """
    inside = segments.ids == number
    if not bool(inside.any()):
        raise ValueError(f"number: expected 1 to {len(segments)}, got {number}")
    fits = {weight: _fit(segments, inside, weight) for weight in _SPATIAL_WEIGHTS}
    weight = max(fits, key=lambda weight: fits[weight].iou)
    best, tree = fits[weight], segments.tree
    clicks = []
    for point, accept in best.points:
        x, y, z = tree.positions[point].tolist()
        clicks.append(Click(accept, (x, y, z), tuple(tree.features[point].tolist())))
    return replace(selection, clicks=tuple(clicks), threshold=best.threshold, spatial_weight=weight), best.iou


def _fit(segments: Segments, inside: Tensor, weight: float) -> _Fit:
    none = torch.zeros_like(segments.tree.features[:, 0])
    best = _Fit(0.0, 1.0, (), _Clicks(none, none, none - 1))
    for _ in range(_MOST_CLICKS):
        selected = (best.state.scores() >= best.threshold) & bool(best.points)
        found = [best]
        # An accepted click belongs where the segment is not yet selected, a rejected one where something else is.
        for accept, where in ((True, inside & ~selected), (False, selected & ~inside)):
            points = _spread(where)
            if points:
                found.append(_best_click(segments, inside, weight, best, points, accept))
        better = max(found, key=lambda fit: fit.iou)
        if better.iou < best.iou + _LEAST_GAIN:
            break
        best = better
    return best


def _best_click(
    segments: Segments, inside: Tensor, weight: float, before: _Fit, points: Sequence[int], accept: bool
) -> _Fit:
    """Return the best fit with one click more, on one of these points of the tree."""
    tree, state = segments.tree, before.state
    alike = similarity(tree.features, tree.features[points])
    if accept:
        away = torch.cdist(tree.positions, tree.positions[points])
        accepted = torch.maximum(state.accepted[:, None], alike)
        weighted = torch.maximum(state.weighted[:, None], alike * torch.exp(-weight * away))
        rejected = state.rejected[:, None].expand_as(alike)
    else:
        accepted, weighted = (values[:, None].expand_as(alike) for values in (state.accepted, state.weighted))
        rejected = torch.maximum(state.rejected[:, None], alike)
    iou, threshold = _best_threshold(torch.where(rejected > accepted, 0.0, weighted), inside)
    at = int(iou.argmax())
    new = _Clicks(accepted[:, at], weighted[:, at], rejected[:, at])
    return _Fit(float(iou[at]), float(threshold[at]), (*before.points, (points[at], accept)), new)


def _best_threshold(scores: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest IoU with the points `inside` (n,) of any threshold, and that threshold, (m,) each.

    Args:
        scores: (n, m).
        inside: (n,) bool.
    """
    ranked, order = scores.sort(dim=0, descending=True)
    hits = inside[order].cumsum(0)
    counts = torch.arange(1, len(scores) + 1, device=scores.device)[:, None]
    iou = hits / (counts + inside.sum() - hits)
    below = torch.cat([ranked[1:], torch.zeros_like(ranked[:1])])
    # A threshold cannot part equal scores, and a score of 0 never selects.
    iou = torch.where((ranked > below) & (ranked > 0), iou, 0.0)
    best, at = iou.max(0)
    middle = 0.5 * (ranked + below)
    return best, middle.gather(0, at[None])[0]


def _spread(where: Tensor) -> list[int]:
    """Return the indices of a few of the true values, spread evenly."""
    points = where.nonzero()[:, 0]
    return points[:: max(len(points) // _CANDIDATES, 1)][:_CANDIDATES].tolist()
