"""Automatic mask generation in bounded memory, by a model that predicts the masks at a point.

The procedure is that of "Segment Anything" (arXiv 2304.02643, B: automatic mask generation) with crops. The model
predicts three masks at each point of a grid over the photo, and of a grid over each crop of it. Masks stay if the model
rates them well and if they hardly change with the threshold. Then duplicates, specks and holes are removed.

Memory. At 4000 x 3000 a mask takes 48 MB as logits and 120 MB while it is judged; all masks of 32 x 32 points would
take 370 GB. So points go through the model in batches. Of a batch only the masks that the model rates well are
enlarged, a few at a time, and each is reduced to the borders of its runs, about 100 kB, before the next ones. Both
batches are as large as a budget allows: with 2 GB, 50 points and 16 masks of 12 megapixels. The model comes on top: for
vit_h in half precision 1.3 GB of weights and about 2 GB in its encoder, for the attention between 4096 tokens in 16
heads (0.54 GB a copy). That makes 5.5 GB of a card's 8; calculated, not measured.
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
"""Memory of a mask being judged: 4 for its logit, 1 each for the mask, its padded copy, its borders, comparisons."""
_MOST_POINTS = 64
"""Largest batch of points, which is segment-anything's own."""
_MOST_ELEMENTS = 2**31 - 1
"""Largest batch of mask pixels: torch's `nonzero` takes no more on a GPU."""


@dataclass(frozen=True, kw_only=True)
class SamConfig:
    """Masks that segment-anything is asked for, and the rules by which they stay."""

    points_per_side: int = 32
    """Points in a row of the grid over the photo; the grid is square."""
    crop_layers: int = 1
    """Layers of overlapping crops beside the photo: 1 adds 2 x 2 crops, 2 also 4 x 4, ..."""
    crop_points_divisor: int = 1
    """Divisor of points per side from each layer of crops to the next."""
    crop_overlap: float = 512 / 1500
    """Overlap of the crops of layer 1, as a part of the photo's shorter side; layer k has 2^(1 - k) of it."""
    crop_edge: int = 20
    """Masks within this many pixels of a crop's edge count as cut off by it and are dropped."""
    iou: float = 0.88
    """Lowest quality (IoU) that the model estimates of its own mask; 0: any."""
    stability: float = 0.9
    """Lowest IoU between the masks at a higher and at a lower threshold."""
    stability_offset: float = 1.0
    """Distance of these two thresholds from the usual one, in logits."""
    box_nms: float = 0.7
    """Largest IoU of the boxes of two masks in a crop; above it only the better mask stays."""
    crop_nms: float = 0.7
    """Largest IoU of the boxes of two masks of different crops; above it only the smaller crop's mask stays."""
    min_region: int = 128
    """Smallest speck or hole that stays, in pixels; 0: all stay."""

    def __post_init__(self) -> None:
        for name, least in (
            ("points_per_side", 1),
            ("crop_layers", 0),
            ("crop_points_divisor", 1),
            ("crop_edge", 0),
            ("min_region", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if self.crop_layers > 4:
            raise ValueError(f"crop_layers: expected at most 4, got {self.crop_layers}")
        for name in ("iou", "stability", "box_nms", "crop_nms"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.crop_overlap < 1:
            raise ValueError(f"crop_overlap: expected at least 0 and below 1, got {self.crop_overlap}")
        if not self.stability_offset >= 0:
            raise ValueError(f"stability_offset: expected at least 0, got {self.stability_offset}")


class PointModel(Protocol):
    """A model that predicts three masks at a point, for one picture at a time."""

    point_bytes: int
    """Memory that one point of a batch takes in `predict`."""
    threshold: float
    """Logits above this are inside."""

    def encode(self, crop: np.ndarray) -> None:
        """Take a picture (h, w, 3) uint8, which `predict` and `enlarge` are then about."""
        ...

    def predict(self, points: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return small logits (n, 3, s, s) and estimated IoU (n, 3) at points (n, 2) x y in pixels of the picture."""
        ...

    def enlarge(self, logits: Tensor) -> Tensor:
        """Resize small logits (k, s, s) to the picture (k, h, w)."""
        ...


@dataclass(frozen=True)
class _Found:
    """Masks in coordinates of the photo.

    borders: n of them, as `MaskStack` keeps them.
    boxes: (n, 4) float64 left, top, right, bottom: the outermost pixels.
    scores: (n,) float64; of duplicates the one with the highest stays.
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
    """Return all masks of a photo.

    Args:
        model: predicts masks at points.
        image: (height, width, 3) uint8.
        config: grid, crops, and the masks that stay.
        memory: GB that a batch may take beside the model.
    Raises:
        ImportError: torchvision is not installed.
    """
    height, width = image.shape[:2]
    parts = []
    for layer, (left, top, right, bottom) in crop_boxes(width, height, config.crop_layers, config.crop_overlap):
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


def crop_boxes(
    width: int, height: int, layers: int, overlap: float = SamConfig.crop_overlap
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Return layer and (left, top, right, bottom) of the photo itself and of overlapping crops, 2^layer a side.

    Args:
        width, height: of the photo.
        layers: of crops; the photo is layer 0.
        overlap: of the crops in layer 1, as a part of the shorter side.
    """
    boxes = [(0, (0, 0, width, height))]
    for layer in range(1, layers + 1):
        n = 2**layer
        shared = int(overlap * min(width, height) * 2 / n)
        w, h = (-(-(side + shared * (n - 1)) // n) for side in (width, height))
        for x in range(n):
            for y in range(n):
                left, top = x * (w - shared), y * (h - shared)
                right, bottom = min(left + w, width), min(top + h, height)
                if right > left and bottom > top:
                    boxes.append((layer, (left, top, right, bottom)))
    return boxes


def point_grid(n: int) -> np.ndarray:
    """Return the centres (n * n, 2) x y of n by n cells of the unit square, row by row."""
    centres = (np.arange(n) + 0.5) / n
    return np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)


@dataclass(frozen=True)
class _Place:
    """Place of a crop (left, top, right, bottom) in a photo of width x height."""

    crop: tuple[int, int, int, int]
    width: int
    height: int


def _ask(model: PointModel, points: np.ndarray, place: _Place, config: SamConfig, memory: float) -> Iterator[_Found]:
    """Yield the masks to keep at all points (n, 2) of a crop, a few at a time."""
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
    """Return the stable ones of some masks, as runs. Nothing of the photo's size outlives this function."""
    full = model.enlarge(logits)
    stable = _stability(full, model.threshold, config.stability_offset) >= config.stability
    masks = (full > model.threshold)[stable]
    del full
    return _placed(row_runs(masks), ious[stable].tolist(), place, config.crop_edge)


def _stability(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """Return the IoU (k,) between each mask at a higher and at a lower threshold, -1 where both are empty."""
    inner = (logits > threshold + offset).sum((1, 2))
    outer = (logits > threshold - offset).sum((1, 2))
    return torch.where(outer > 0, inner / outer.clamp(min=1), -1.0)


def _placed(masks: list[np.ndarray], ious: list[float], place: _Place, edge: int) -> _Found:
    """Move row runs of a crop into the photo, as borders and boxes; drop masks that the crop's edge cuts off."""
    all_borders, boxes, scores = [], [], []
    left, top = place.crop[:2]
    for runs, iou in zip(masks, ious):
        if not len(runs):
            continue
        rows, starts, ends = runs.T
        box = np.array([starts.min() + left, rows.min() + top, ends.max() - 1 + left, rows.max() + top], float)
        near_crop = np.abs(box - place.crop) <= edge
        near_photo = np.abs(box - (0, 0, place.width, place.height)) <= edge
        if (near_crop & ~near_photo).any():
            continue
        borders = (((rows + top) * place.width + left)[:, None] + runs[:, 1:]).reshape(-1)
        touching = np.flatnonzero(borders[1:-1:2] == borders[2::2]) * 2 + 1  # the run goes on in the next row
        all_borders.append(np.delete(borders, np.concatenate([touching, touching + 1])))
        boxes.append(box)
        scores.append(iou)
    return _Found(all_borders, np.array(boxes).reshape(-1, 4), np.array(scores))


def row_runs(masks: Tensor) -> list[np.ndarray]:
    """Return the runs of each mask of (k, height, width) bool within rows: (n_runs, 3) int64 row, start, end."""
    padded = F.pad(masks, (1, 1))
    changes = (padded[:, :, 1:] != padded[:, :, :-1]).nonzero().cpu().numpy()
    of_mask = np.searchsorted(changes[:, 0], np.arange(len(masks) + 1))
    runs = np.concatenate([changes[::2, 1:], changes[1::2, 2:]], axis=1)
    return [runs[first // 2 : last // 2] for first, last in pairwise(of_mask)]


def non_maximum_suppression(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Return the indices, best first, of boxes (n, 4) whose IoU with each better box kept is at most `overlap`."""
    from torchvision.ops import nms  # an optional library, which segment-anything needs anyway

    return nms(torch.from_numpy(boxes), torch.from_numpy(scores), overlap).numpy()


def _tidied(found: _Found, width: int, height: int, min_region: int) -> _Found:
    """Remove specks and holes of masks; masks that had none score higher."""
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

    Background that the edge of the photo cuts off counts as a hole. If all islands are too small, the largest stays.

    Args:
        mask: (height, width) bool, changed in place.
        box: (4,) int64 left, top, right, bottom: the outermost pixels of the mask.
        min_region: pixels.
    Returns:
        True where the mask has changed.
    """
    # Only around the box: the whole of a 12 megapixel photo takes 200 ms a mask.
    left, top = np.maximum(box[:2] - 1, 0)
    window = mask[top : box[3] + 2, left : box[2] + 2]
    around = np.ones_like(window)
    around[box[1] - top : box[3] + 1 - top, box[0] - left : box[2] + 1 - left] = False
    before = window.copy()
    regions, areas = _connected(~window)
    small = areas < min_region
    small[0] = False
    small[regions[around]] = False  # these go on outside the window
    window |= small[regions]
    regions, areas = _connected(window)
    if len(areas) > 1:
        large = areas >= min_region
        large[1 + areas[1:].argmax()] = True
        large[0] = False
        window[:] = large[regions]
    return not np.array_equal(window, before)


def _connected(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the region of each pixel, 0 outside the mask, and the number of pixels of each region."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(regions, np.int32), np.asarray(stats[:, cv2.CC_STAT_AREA], np.int64)
