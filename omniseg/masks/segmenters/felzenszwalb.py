"""Masks from colour alone, without learned weights: regions of equal colour, merged into larger and larger ones.

A photo is cut once into small regions (Felzenszwalb & Huttenlocher, "Efficient graph-based image segmentation",
IJCV 2004). Then neighbours i and j are merged, the cheapest pair first, by Ward's criterion per pixel of their border:

    cost = |m_i - m_j|^2 a_i a_j / (a_i + a_j) / b_ij

with mean Lab colour m, area a and length b of the common border. The regions at several stages of this are levels that
are nested by construction.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from omniseg.data.image_io import nearest, shrink
from omniseg.masks.run_length import MaskStack


@dataclass(frozen=True, kw_only=True)
class FelzenszwalbConfig:
    """Sizes and numbers of the regions of equal colour that a photo is cut into."""

    regions: tuple[int, ...] = (120, 45, 15, 5)
    """Number of regions at each level, from parts to large things."""
    longest_side: int = 768
    """Longest side at which photos are segmented, in pixels; larger photos are shrunk to it."""
    scale: float = 100.0
    """Scale of observation: a larger one gives larger regions before the merging."""
    sigma: float = 0.8
    """Width of the Gaussian blur before the segmentation, in pixels of the shrunken photo."""
    min_pixels: int = 80
    """Area of the smallest region before the merging, in pixels of the shrunken photo."""

    def __post_init__(self) -> None:
        if not self.regions or min(self.regions) < 1:
            raise ValueError(f"regions: expected numbers of at least 1, got {self.regions}")
        for name, least in (("longest_side", 16), ("scale", 1), ("sigma", 0), ("min_pixels", 1)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")


class FelzenszwalbSegmenter:
    """Segmenter into regions of equal colour at several levels, each made of whole regions of the level before."""

    def __init__(self, config: FelzenszwalbConfig) -> None:
        self.config = config

    def knows(self, name: str) -> bool:
        """Return True: every photo has colours."""
        return True

    def segment(self, image: np.ndarray, name: str) -> MaskStack:
        """Return the masks of a photo (height, width, 3) uint8, in its size."""
        height, width = image.shape[:2]
        by = max(1.0, max(height, width) / self.config.longest_side)
        small = shrink(image, max(1, round(width / by)), max(1, round(height / by)))
        borders = []
        for labels in self._levels(small):
            borders += masks_from_labels(nearest(labels, width, height)).borders
        return MaskStack(width, height, tuple(borders))

    def _levels(self, image: np.ndarray) -> list[np.ndarray]:
        from skimage.segmentation import felzenszwalb  # takes a second to import

        labels = felzenszwalb(image, scale=self.config.scale, sigma=self.config.sigma, min_size=self.config.min_pixels)
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        return [merged[labels] for merged in merge_regions(labels, lab, self.config.regions)]


def merge_regions(labels: np.ndarray, colours: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Merge neighbouring regions, the most alike first, down to each of several numbers of regions.

    Args:
        labels: (height, width) region of each pixel, 0 to n - 1.
        colours: (height, width, channels).
        counts: numbers of regions to stop at; n or more leaves the regions as they are.
    Returns:
        For each count, from the largest, (n,) the new region of each old one, 0 to count - 1.
    """
    n = int(labels.max()) + 1
    areas = np.bincount(labels.ravel(), minlength=n).astype(float)
    sums = np.stack([np.bincount(labels.ravel(), c.ravel(), n) for c in np.moveaxis(colours, 2, 0)], axis=1)
    borders = _borders(labels)
    version, alive = np.zeros(n, np.int64), np.ones(n, np.bool_)
    into = np.arange(n)

    def entry(i: int, j: int) -> tuple[float, int, int, int, int]:
        apart = sums[i] / areas[i] - sums[j] / areas[j]
        cost = apart @ apart * areas[i] * areas[j] / (areas[i] + areas[j]) / borders[i][j]
        return float(cost), i, j, int(version[i]), int(version[j])

    queue = [entry(i, j) for i in range(n) for j in borders[i] if i < j]
    heapq.heapify(queue)
    levels, left = [], n
    for count in sorted(set(counts), reverse=True):
        while left > count and queue:
            _, i, j, seen_i, seen_j = heapq.heappop(queue)
            if not (alive[i] and alive[j]) or version[i] != seen_i or version[j] != seen_j:
                continue  # outdated: one of them has changed and has a newer entry
            areas[i] += areas[j]
            sums[i] += sums[j]
            alive[j] = False
            version[i] += 1
            into[into == j] = i
            for k, length in borders[j].items():
                del borders[k][j]
                if k != i:
                    borders[i][k] = borders[k][i] = borders[i].get(k, 0) + length
            for k in borders[i]:
                heapq.heappush(queue, entry(i, k))
            left -= 1
        levels.append(np.unique(into, return_inverse=True)[1])
    return levels


def _borders(labels: np.ndarray) -> list[dict[int, int]]:
    """Return the neighbours of each region, with the number of pixel edges between them."""
    n = int(labels.max()) + 1
    a = np.concatenate([labels[:, 1:].ravel(), labels[1:].ravel()]).astype(np.int64)
    b = np.concatenate([labels[:, :-1].ravel(), labels[:-1].ravel()]).astype(np.int64)
    low, high = np.minimum(a, b)[a != b], np.maximum(a, b)[a != b]
    pairs, lengths = np.unique(low * n + high, return_counts=True)
    borders: list[dict[int, int]] = [{} for _ in range(n)]
    for pair, length in zip(pairs.tolist(), lengths.tolist()):
        i, j = divmod(pair, n)
        borders[i][j] = borders[j][i] = length
    return borders


def masks_from_labels(labels: np.ndarray) -> MaskStack:
    """Return one mask for each number in a label image (height, width), in rising order."""
    flat = np.ascontiguousarray(labels).ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(starts[1:], len(flat))
    order = np.argsort(flat[starts], kind="stable")
    borders = np.stack([starts, ends], axis=1)[order]
    where = np.flatnonzero(np.diff(flat[starts][order])) + 1
    parts = tuple(part.ravel().astype(np.int64) for part in np.split(borders, where))
    return MaskStack(labels.shape[1], labels.shape[0], parts)
