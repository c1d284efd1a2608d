"""All masks of a photo from a model that answers points with masks, in bounded memory.

The procedure is that of "Segment Anything" (arXiv 2304.02643, B: automatic mask generation) with crops: a grid of
points on the photo and on each crop of it, three masks a point, of which those stay that the model thinks well of and
that hardly change with the threshold; then duplicates go, and so do specks and holes.

Memory. At 4000 x 3000 a mask takes 48 MB as logits and 120 MB while it is judged, so all that a grid of 32 x 32 points
answers would take 370 GB. So points go through the model in batches, and of a batch only those masks that the model
thinks well of are enlarged, a few at a time; before the next few they are reduced to the borders of their runs, about
100 kB a mask. Both batches are as large as a budget allows: with 2 GB, 50 points and 16 masks of 12 megapixels. The
model comes on top: for vit_h in half precision 1.3 GB of weights and, in its encoder, some 2 GB for the attention of
4096 tokens to each other in 16 heads (0.54 GB a copy). That is 5.5 GB of a card's 8; calculated, not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from omniseg.masks.run_length import MaskStack, mask_borders

_BYTES_PER_PIXEL = 10
"""Of a mask being judged: 4 for its logit, 1 each for the mask, its padded copy, its borders, and comparisons."""
_MOST_POINTS = 64
_MOST_ELEMENTS = 2**31 - 1
_CROP_OVERLAP = 512 / 1500
_EDGE = 20


@dataclass(frozen=True, kw_only=True)
class SamConfig:
    """Which masks segment-anything is asked for, and which of them stay."""

    points_per_side: int = 32
    """Points in a row of the grid over the photo."""
    crop_layers: int = 1
    """Crops that are looked at too: 1 is 2 x 2 of them, 2 also 4 x 4."""
    crop_points_divisor: int = 1
    """A crop has this many times fewer points a side than the layer above."""
    iou: float = 0.88
    """The model's own estimate of a mask's quality is above this; 0: any."""
    stability: float = 0.9
    """A mask with a higher threshold has at least this part of the pixels of one with a lower threshold."""
    stability_offset: float = 1.0
    """How far the two thresholds are from the usual one."""
    box_nms: float = 0.7
    """Of two masks in a crop whose boxes overlap by more, the better one stays."""
    crop_nms: float = 0.7
    """The same between crops, where the one of the smaller crop stays."""
    min_region: int = 128
    """Specks and holes below this many pixels are removed; 0: all stay."""

    def __post_init__(self) -> None:
        for name, least in (("points_per_side", 1), ("crop_layers", 0), ("crop_points_divisor", 1), ("min_region", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if self.crop_layers > 4:
            raise ValueError(f"crop_layers: expected at most 4, got {self.crop_layers}")
        for name in ("iou", "stability", "box_nms", "crop_nms"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
        if not self.stability_offset >= 0:
            raise ValueError(f"stability_offset: expected at least 0, got {self.stability_offset}")


class PointModel(Protocol):
    """A model that answers a point with three masks, about one picture at a time."""

    point_bytes: int
    """Memory that one point of a batch takes in `predict`."""
    threshold: float
    """Logits above this are inside."""

    def encode(self, crop: np.ndarray) -> None:
        """Look at a picture (h, w, 3) uint8."""
        ...

    def predict(self, points: np.ndarray) -> tuple[Tensor, Tensor]:
        """Small logits (n, 3, s, s) and estimated IoU (n, 3) at points (n, 2) x y in pixels of the picture."""
        ...

    def enlarge(self, logits: Tensor) -> Tensor:
        """Small logits (k, s, s) at the size of the picture (k, h, w)."""
        ...


@dataclass(frozen=True)
class _Found:
    """Masks in coordinates of the photo.

    boxes: (n, 4) float64 left, top, right, bottom: the outermost pixels.
    scores: (n,) float64, the higher the sooner it stays.
    """

    borders: list[np.ndarray]
    boxes: np.ndarray
    scores: np.ndarray

    @classmethod
    def joined(cls, parts: list[_Found]) -> _Found:
        boxes = np.concatenate([np.empty((0, 4)), *(part.boxes for part in parts)])
        scores = np.concatenate([np.empty(0), *(part.scores for part in parts)])
        return cls([b for part in parts for b in part.borders], boxes, scores)

    def without_duplicates(self, overlap: float) -> _Found:
        keep = non_maximum_suppression(self.boxes, self.scores, overlap)
        return _Found([self.borders[k] for k in keep], self.boxes[keep], self.scores[keep])


def generate_masks(model: PointModel, image: np.ndarray, config: SamConfig, memory: float) -> MaskStack:
    """All masks of a photo.

    Args:
        model: answers points.
        image: (height, width, 3) uint8.
        config: which masks stay.
        memory: GB that a batch may take beside the model.
    """
    height, width = image.shape[:2]
    parts = []
    for layer, (left, top, right, bottom) in crop_boxes(width, height, config.crop_layers):
        model.encode(np.ascontiguousarray(image[top:bottom, left:right]))
        n = max(1, config.points_per_side // config.crop_points_divisor**layer)
        points = point_grid(n) * [right - left, bottom - top]
        place = _Place((left, top, right, bottom), width, height)
        found = _Found.joined(list(_ask(model, points, place, config, memory)))
        found = found.without_duplicates(config.box_nms)
        parts.append(replace(found, scores=np.full(len(found.boxes), 1 / (right - left) / (bottom - top))))
    found = _Found.joined(parts)
    if len(parts) > 1:
        found = found.without_duplicates(config.crop_nms)
    if config.min_region:
        found = _tidied(found, width, height, config.min_region)
        found = found.without_duplicates(max(config.box_nms, config.crop_nms))
    return MaskStack(width, height, tuple(found.borders))


def crop_boxes(width: int, height: int, layers: int) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Layer and left, top, right, bottom of the photo itself and of overlapping crops, 2^layer a side."""
    boxes = [(0, (0, 0, width, height))]
    for layer in range(1, layers + 1):
        n = 2**layer
        overlap = int(_CROP_OVERLAP * min(width, height) * 2 / n)
        w, h = (-(-(side + overlap * (n - 1)) // n) for side in (width, height))
        for x in range(n):
            for y in range(n):
                left, top = x * (w - overlap), y * (h - overlap)
                right, bottom = min(left + w, width), min(top + h, height)
                if right > left and bottom > top:
                    boxes.append((layer, (left, top, right, bottom)))
    return boxes


def point_grid(n: int) -> np.ndarray:
    """(n * n, 2) x y of the centres of n by n cells of the unit square, row by row."""
    centres = (np.arange(n) + 0.5) / n
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


@dataclass(frozen=True)
class _Place:
    """Where a crop (left, top, right, bottom) lies in a photo of width x height."""

    crop: tuple[int, int, int, int]
    width: int
    height: int


def _ask(model: PointModel, points: np.ndarray, place: _Place, config: SamConfig, memory: float) -> Iterator[_Found]:
    """The good masks at all points (n, 2) of a crop, a few at a time."""
    budget = memory * 1e9
    left, top, right, bottom = place.crop
    pixels = (bottom - top) * (right - left + 2)
    n_points = int(min(max(1, budget // model.point_bytes), _MOST_POINTS))
    n_masks = int(max(1, min(budget // (_BYTES_PER_PIXEL * pixels), _MOST_ELEMENTS // pixels)))
    for first in range(0, len(points), n_points):
        logits, ious = model.predict(points[first : first + n_points])
        logits, ious = logits.flatten(0, 1), ious.flatten()
        good = (ious > config.iou) | (config.iou == 0)
        logits, ious = logits[good], ious[good]
        for k in range(0, len(logits), n_masks):
            yield _judge(model, logits[k : k + n_masks], ious[k : k + n_masks], place, config)


def _judge(model: PointModel, logits: Tensor, ious: Tensor, place: _Place, config: SamConfig) -> _Found:
    """Of some masks the stable ones. Nothing of the photo's size outlives this function."""
    full = model.enlarge(logits)
    stable = _stability(full, model.threshold, config.stability_offset) >= config.stability
    masks = (full > model.threshold)[stable]
    del full
    return _placed(row_runs(masks), ious[stable].tolist(), place)


def _stability(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """(k,) IoU of each mask at a higher and at a lower threshold, -1 where there is nothing at all."""
    inner = (logits > threshold + offset).sum((1, 2))
    outer = (logits > threshold - offset).sum((1, 2))
    return torch.where(outer > 0, inner / outer.clamp(min=1), -1.0)


def _placed(masks: list[np.ndarray], ious: list[float], place: _Place) -> _Found:
    """Borders and boxes in the photo of row runs in a crop; without masks that the crop's edge cuts off."""
    all_borders, boxes, scores = [], [], []
    left, top = place.crop[:2]
    for runs, iou in zip(masks, ious):
        if not len(runs):
            continue
        rows, starts, ends = runs.T
        box = np.array([starts.min() + left, rows.min() + top, ends.max() - 1 + left, rows.max() + top], float)
        near_crop = np.abs(box - place.crop) <= _EDGE
        near_photo = np.abs(box - (0, 0, place.width, place.height)) <= _EDGE
        if (near_crop & ~near_photo).any():
            continue
        borders = (((rows + top) * place.width + left)[:, None] + runs[:, 1:]).reshape(-1)
        touching = np.flatnonzero(borders[1:-1:2] == borders[2::2]) * 2 + 1  # a run that goes on in the next row
        all_borders.append(np.delete(borders, np.concatenate([touching, touching + 1])))
        boxes.append(box)
        scores.append(iou)
    return _Found(all_borders, np.array(boxes).reshape(-1, 4), np.array(scores))


def row_runs(masks: Tensor) -> list[np.ndarray]:
    """For each mask of (k, height, width) bool its runs in rows, (n_runs, 3) int64 row, start and end."""
    padded = F.pad(masks, (1, 1))
    changes = (padded[:, :, 1:] != padded[:, :, :-1]).nonzero().cpu().numpy()
    of_mask = np.searchsorted(changes[:, 0], np.arange(len(masks) + 1))
    runs = np.concatenate([changes[::2, 1:], changes[1::2, 2:]], axis=1)
    return [runs[first // 2 : last // 2] for first, last in pairwise(of_mask)]


def non_maximum_suppression(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Indices, best first, of boxes (n, 4) of which no better one that stays has an IoU above `overlap`."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.argsort(-scores, kind="stable")
    keep = []
    while len(left):
        best, left = left[0], left[1:]
        keep.append(best)
        corner = np.minimum(boxes[left, 2:], boxes[best, 2:]) - np.maximum(boxes[left, :2], boxes[best, :2])
        shared = corner.clip(0).prod(1)
        left = left[shared <= overlap * (areas[left] + areas[best] - shared)]
    return np.array(keep, np.int64)


def _tidied(found: _Found, width: int, height: int, min_region: int) -> _Found:
    """Masks without specks and holes; those that had none score higher."""
    stack = MaskStack(width, height, tuple(found.borders))
    all_borders, boxes, scores = [], [], []
    for k, box in enumerate(found.boxes):
        mask = stack.mask(k)
        changed = remove_small_regions(mask, box.astype(np.int64), min_region)
        if changed:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = np.array([columns[0], rows[0], columns[-1], rows[-1]], float)
        all_borders.append(mask_borders(mask, width, height) if changed else found.borders[k])
        boxes.append(box)
        scores.append(float(not changed))
    return _Found(all_borders, np.array(boxes).reshape(-1, 4), np.array(scores))


def remove_small_regions(mask: np.ndarray, box: np.ndarray, min_region: int) -> bool:
    """Fill holes of a mask (height, width) bool, then remove islands, below `min_region` pixels, in place.

    Background that the edge of the photo cuts off counts as a hole. Of islands that are all too small, the largest
    stays.

    Args:
        mask: the mask.
        box: (4,) int64 its left, top, right, bottom: outermost pixels.
        min_region: pixels.
    Returns:
        Whether that changed the mask.
    """
    # Only around the box: at 12 megapixels the whole photo would take 200 ms a mask.
    left, top = np.maximum(box[:2] - 1, 0)
    window = mask[top : box[3] + 2, left : box[2] + 2]
    around = np.ones_like(window)
    around[box[1] - top : box[3] + 1 - top, box[0] - left : box[2] + 1 - left] = False
    before = window.copy()
    regions, areas = _connected(~window)
    small = areas < min_region
    small[0] = False
    small[regions[around]] = False  # goes on outside of the window
    window |= small[regions]
    regions, areas = _connected(window)
    if len(areas) > 1:
        large = areas >= min_region
        large[1 + areas[1:].argmax()] = True
        large[0] = False
        window[:] = large[regions]
    return not np.array_equal(window, before)


def _connected(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Region of each pixel, 0 outside of the mask, and pixels of each region."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(regions, np.int32), np.asarray(stats[:, cv2.CC_STAT_AREA], np.int64)
