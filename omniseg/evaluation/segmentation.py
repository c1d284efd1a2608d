"""Agreement of selections with true labels: click mIoU, prompt mIoU and recall of each level.

All of them select by a threshold on a score. `best_threshold` is exact: it tries every distinct score.

    click   one click at the pixel of the label farthest from its border, in the view where the label is largest
    prompt  OmniSeg3D's protocol on Replica: many positive and negative pixels, of the view where the object's own size
            (sum of squared depths) is largest. The score of a pixel is the 0.95 quantile, over the positive ones, of
            similarity * exp(-distance / (2 sizes of the object)), less 0.15 times that of the best negative one
    shape   of the masks of a click: boundary IoU, the IoU of the strips, 2 pixels wide, along the borders of mask and
            label (Cheng et al. 2021); specks and holes, the pieces and the holes that a mask has more than its label
    recall  the share of labels that a click selects with an IoU of at least 0.5, or 0.75, in its own view

Segments of everything are measured by the one that fits a label best, see `best_matches`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from omniseg.selection.mask_pieces import clean_mask, count_pieces
from omniseg.selection.query import similarity

PROMPTS = 64
"""Most positive, and most negative, pixels of a prompt. OmniSeg3D takes 1024, which costs sixteen times as much."""
_QUANTILE = 0.95
"""The score of a pixel is this quantile of its scores for all positive pixels of a prompt (OmniSeg3D's protocol)."""
_NEGATIVE_SHARE = 0.15
"""The best score for a negative pixel, times this, is subtracted (OmniSeg3D's protocol)."""
_DECAY = 0.5
"""The score falls by exp(-this * distance / size of the object) (OmniSeg3D's protocol)."""
_BORDER = 2.0
"""Width of the strip along a border that the boundary IoU compares, pixels."""
_RECALLS = (0.5, 0.75)
"""Least IoU of a label that counts as found, for `recall_50` and `recall_75`."""


@dataclass(frozen=True)
class FeatureView:
    """A rendered view with labels; one row for each pixel, row by row from the top left.

    Attributes:
        name: name of the view.
        features: (height * width, dim) float32 of unit length; 0 where nothing is seen.
        depth: (height * width,) distance along the ray, scene units.
        positions: (height * width, 3) surface points, scene coordinates.
        pixel: size of a pixel at distance 1.
        labels: level -> (height, width) int32 ids, 0 = ignore.
    """

    name: str
    features: Tensor
    depth: Tensor
    positions: Tensor
    pixel: float
    labels: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LabelQuality:
    """Figures of one label of one level.

    Attributes:
        id: the label.
        view: name of its reference view, in which the click was set.
        pixels: number of its pixels in that view.
        clicked: index of the clicked pixel, row by row from the top left.
        threshold: best one in that view, of the similarity with the click.
        click, prompt: mean IoU over the other views that show the label; None where no other view does.
        same_view: IoU of the click in the reference view itself.
        boundary, specks, holes: shape of the click's masks, means over the other views; None as `click`.
    """

    id: int
    view: str
    pixels: int
    clicked: int
    threshold: float
    click: float | None
    prompt: float | None
    same_view: float
    boundary: float | None = None
    specks: float | None = None
    holes: float | None = None


@dataclass(frozen=True)
class LevelQuality:
    """Figures of one level of labels.

    Attributes:
        click_miou, prompt_miou: means over the labels that could be measured; NaN where none could.
        recall_50, recall_75: shares of the labels, see above.
        labels: figures of each label.
        boundary_iou, specks, holes: shape of the masks of clicks, means over the labels; NaN where none was measured.
        everything_miou: mean IoU of the best match among the segments of everything; None where not measured.
    """

    click_miou: float
    prompt_miou: float
    recall_50: float
    recall_75: float
    labels: tuple[LabelQuality, ...]
    boundary_iou: float = float("nan")
    specks: float = float("nan")
    holes: float = float("nan")
    everything_miou: float | None = None


def best_threshold(scores: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return the threshold whose selection `scores >= threshold` has the largest IoU with the truth, and that IoU.

    Args:
        scores: (n,) float.
        truth: (n,) bool, with at least one True.
    """
    order = scores.argsort(descending=True)
    ranked = scores[order]
    hits = truth[order].cumsum(0)
    iou = hits.double() / (torch.arange(1, len(hits) + 1, device=hits.device) + hits[-1] - hits)
    last = torch.ones_like(truth)  # equal scores are selected together
    last[:-1] = ranked[1:] < ranked[:-1]
    best = int(torch.where(last, iou, -1.0).argmax())
    return float(ranked[best]), float(iou[best])


def iou(selected: Tensor, truth: Tensor) -> float:
    """Return the intersection over union of two bool tensors; 1 where both are empty."""
    union = int((selected | truth).sum())
    return int((selected & truth).sum()) / union if union else 1.0


def boundary_iou(selected: np.ndarray, truth: np.ndarray) -> float:
    """Return the IoU of the strips inside two masks (height, width) bool along their borders (Cheng et al. 2021).

    The border of the picture is a border of what it cuts. 1 where both masks are empty.
    """
    a, b = _strip(selected), _strip(truth)
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def _strip(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask at most `_BORDER` pixels from one outside of it."""
    padded = np.pad(mask.astype(np.uint8), 1)
    return mask & (cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] <= _BORDER)


def best_matches(labels: np.ndarray, cuts: Sequence[np.ndarray], min_pixels: int) -> dict[int, float]:
    """Return the IoU of each label of a view with the segment, of any cut, that fits it best.

    Args:
        labels: (height, width) integer ids, 0 = ignore.
        cuts: (height, width) integer ids of the segments of each cut, 0 = none.
        min_pixels: smaller labels are left out.
    """
    areas = dict(zip(*np.unique(labels, return_counts=True)))
    found = {}
    for label, area in areas.items():
        if not label or area < min_pixels:
            continue
        inside, best = labels == label, 0.0
        for ids in cuts:
            hits, sizes = np.bincount(ids[inside]), np.bincount(ids.reshape(-1))[: ids[inside].max() + 1]
            best = max(best, float((hits[1:] / (sizes[1:] + area - hits[1:])).max(initial=0.0)))
        found[int(label)] = best
    return found


def innermost(mask: np.ndarray) -> int:
    """Return the index of the pixel of a mask (height, width) bool farthest from its border; image borders count."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return int(distance.argmax())


def measure_level(
    views: Sequence[FeatureView],
    level: str,
    *,
    min_pixels: int,
    prompts: int = PROMPTS,
    min_piece: float = 0.0,
    progress: bool = True,
) -> LevelQuality | None:
    """Measure every label of one level.

    Args:
        views: test views; those without this level are skipped.
        level: name.
        min_pixels: a label counts in a view where it has at least this many pixels.
        prompts: most positive, and most negative, pixels of a prompt.
        min_piece: masks of clicks lose pieces and holes below this share of their largest piece (`MaskConfig`).
        progress: show a bar.
    Returns:
        The figures; None where no label is large enough in any view.
    """
    views = [view for view in views if level in view.labels]
    pixels = {view.name: dict(zip(*np.unique(view.labels[level], return_counts=True))) for view in views}
    ids = sorted({int(i) for count in pixels.values() for i, n in count.items() if i and n >= min_pixels})
    found = []
    for label in tqdm(ids, desc=f"labels of level {level}", unit="label", delay=2, leave=False, disable=not progress):
        shown = [view for view in views if pixels[view.name].get(label, 0) >= min_pixels]
        found.append(_measure_label(shown, level, label, prompts, min_piece))
    if not found:
        return None
    return LevelQuality(
        click_miou=_mean([q.click for q in found]),
        prompt_miou=_mean([q.prompt for q in found]),
        recall_50=float(np.mean([q.same_view >= _RECALLS[0] for q in found])),
        recall_75=float(np.mean([q.same_view >= _RECALLS[1] for q in found])),
        labels=tuple(found),
        boundary_iou=_mean([q.boundary for q in found]),
        specks=_mean([q.specks for q in found]),
        holes=_mean([q.holes for q in found]),
    )


def _mean(values: Sequence[float | None]) -> float:
    """Return the mean of the values that are not None; NaN where there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _measure_label(
    shown: Sequence[FeatureView], level: str, label: int, prompts: int, min_piece: float
) -> LabelQuality:
    """Measure one label in the views that show it."""
    truths = [torch.from_numpy(view.labels[level].reshape(-1) == label).to(view.depth.device) for view in shown]
    at = int(np.argmax([int(truth.sum()) for truth in truths]))
    reference, truth = shown[at], truths[at]
    clicked = innermost(reference.labels[level] == label)
    click = reference.features[[clicked]]
    threshold, same_view = best_threshold(similarity(reference.features, click)[:, 0], truth)
    others = [view for n, view in enumerate(shown) if n != at]
    shapes = [_shape(view, level, label, click, threshold, min_piece) for view in others]
    means: list[float | None] = [float(value) for value in np.mean(shapes, axis=0)] if shapes else [None] * 4
    return LabelQuality(
        id=label,
        view=reference.name,
        pixels=int(truth.sum()),
        clicked=clicked,
        threshold=threshold,
        click=means[0],
        prompt=_prompt_iou(shown, truths, prompts),
        same_view=same_view,
        boundary=means[1],
        specks=means[2],
        holes=means[3],
    )


def _shape(
    view: FeatureView, level: str, label: int, click: Tensor, threshold: float, min_piece: float
) -> tuple[float, float, int, int]:
    """Return IoU, boundary IoU, specks and holes of what a click (1, dim) of another view selects in this one."""
    truth = view.labels[level] == label
    selected = (similarity(view.features, click)[:, 0] >= threshold).view(truth.shape).cpu().numpy()
    mask = clean_mask(selected, min_piece)
    (pieces, holes), (true_pieces, true_holes) = count_pieces(mask), count_pieces(truth)
    overlap = int((mask & truth).sum()) / int((mask | truth).sum())
    return overlap, boundary_iou(mask, truth), max(pieces - true_pieces, 0), max(holes - true_holes, 0)


def _prompt_iou(shown: Sequence[FeatureView], truths: Sequence[Tensor], prompts: int) -> float | None:
    """Return the IoU of a prompt, averaged over all views but its own; None where there is no other view."""
    if len(shown) < 2 or not prompts:
        return None
    sizes = [view.pixel * float(view.depth[mask].double().norm()) for view, mask in zip(shown, truths)]
    at = int(np.argmax(sizes))
    prompt = _Prompt.from_label(shown[at], truths[at], prompts, _DECAY / max(sizes[at], 1e-9))
    threshold, _ = best_threshold(prompt.score(shown[at]), truths[at])
    others = [n for n in range(len(shown)) if n != at]
    return float(np.mean([iou(prompt.score(shown[n]) >= threshold, truths[n]) for n in others]))


@dataclass(frozen=True)
class _Prompt:
    """A prompt: positive and negative pixels of an object in its reference view.

    Attributes:
        inside, outside: features (n, dim) and positions (n, 3) of the positive and of the negative pixels.
        decay: rate at which their scores fall with the distance, 1 / scene unit.
    """

    inside: tuple[Tensor, Tensor]
    outside: tuple[Tensor, Tensor]
    decay: float

    @classmethod
    def from_label(cls, view: FeatureView, truth: Tensor, most: int, decay: float) -> _Prompt:
        """Take at most so many pixels, evenly, inside and outside of a label (n,) bool."""

        def some(mask: Tensor) -> tuple[Tensor, Tensor]:
            pixels = mask.nonzero()[:, 0]
            pixels = pixels[:: max(-(-len(pixels) // most), 1)]
            return view.features[pixels], view.positions[pixels]

        return cls(some(truth), some(~truth), decay)

    def score(self, view: FeatureView) -> Tensor:
        """Return the score (n,) of each pixel of a view."""
        inside = self._scores(view, *self.inside)
        score = _nth_largest(inside, 1 + int((1 - _QUANTILE) * (len(inside) - 1)))
        if len(self.outside[0]):
            score = score - _NEGATIVE_SHARE * self._scores(view, *self.outside).amax(0)
        return score

    def _scores(self, view: FeatureView, features: Tensor, positions: Tensor) -> Tensor:
        """Return the score of each pixel of the view for each of these m pixels, (m, n)."""
        squares = positions.square().sum(1)[:, None] + view.positions.square().sum(1)
        distance = squares.addmm_(positions, view.positions.t(), alpha=-2).clamp_(min=0).sqrt_()
        return similarity(features, view.features).mul_(distance.mul_(-self.decay).exp_())


def _nth_largest(values: Tensor, n: int) -> Tensor:
    """Return the n-th largest of each column of (m, k), for small n; sorting is many times slower."""
    largest = [torch.full_like(values[0], -torch.inf) for _ in range(n)]
    for row in values:
        for place in range(n):
            largest[place], row = torch.maximum(largest[place], row), torch.minimum(largest[place], row)
    return largest[-1]
