"""Masks of the sample room: true at severity 0, with every documented error above it."""

import numpy as np
import pytest

from omniseg_sample_scenes import masks as masks_module
from omniseg_sample_scenes.masks import sam_like_masks

HEIGHT, WIDTH = 60, 80


@pytest.fixture
def labels() -> dict[str, np.ndarray]:
    """24 parts of 10 x 20 pixels, four to an object, twelve to a group."""
    row, column = np.indices((HEIGHT, WIDTH))
    part = 1 + row // 10 * 4 + column // 20
    return {"part": part, "object": 1 + (part - 1) // 4, "group": 1 + (part - 1) // 12}


def masks_of(labels, severity: float, seed: int = 0) -> list[np.ndarray]:
    stack = sam_like_masks(labels, severity, np.random.default_rng(seed))
    return [stack.mask(k) for k in range(len(stack))]


def best_iou(mask: np.ndarray, labels) -> float:
    truth = [ids == k for ids in labels.values() for k in np.unique(ids)]
    return max((mask & t).sum() / (mask | t).sum() for t in truth)


def test_severity_0_is_the_truth(labels):
    found = masks_of(labels, 0)
    assert len(found) == 24 + 6 + 2
    assert all(best_iou(mask, labels) == 1 for mask in found)


def test_severity_1_is_as_bad_as_promised(labels):
    runs = [masks_of(labels, 1, seed) for seed in range(40)]
    counts = [len(masks) for masks in runs]
    # 6 objects are found by 0.75; 24 parts by 0.75 * 0.7, 2 groups alike; 15 % of all come in halves besides.
    expected = (6 * 0.75 + 26 * 0.75 * 0.7) * (1 + 2 * 0.15)
    assert np.mean(counts) == pytest.approx(expected, rel=0.12)
    assert np.std(counts) > 1, "every view sees other masks"
    quality = np.array([best_iou(mask, labels) for masks in runs for mask in masks])
    assert (quality > 0.75).mean() > 0.6, "most are nearly right"
    assert (quality < 0.6).mean() > 0.1, "halves and merged ones are not"
    assert (quality < 1).mean() > 0.9, "borders are bent"


def test_masks_are_merged_with_neighbours_of_their_size(labels):
    part = labels["part"]
    certain = 1 / masks_module._MERGED
    for label in (1, 14):
        merged = masks_module._merge(part == label, part, certain, np.random.default_rng(label))
        ids, counts = np.unique(part[merged], return_counts=True)
        assert len(ids) == 2
        assert label in ids
        assert counts.tolist() == [200, 200]
    small = np.zeros_like(part, bool)
    small[2:5, 2:5] = True
    ids = np.where(small, 2, 1)
    assert np.array_equal(masks_module._merge(small, ids, certain, np.random.default_rng(0)), small), "not with a wall"


def test_worse_is_worse(labels):
    quality = [
        np.mean([best_iou(mask, labels) for seed in range(10) for mask in masks_of(labels, severity, seed)])
        for severity in (0, 0.5, 1, 2)
    ]
    assert quality == sorted(quality, reverse=True)


def test_the_same_numbers_give_the_same_masks(labels):
    first, second, other = (masks_of(labels, 1, seed) for seed in (3, 3, 4))
    assert len(first) == len(second)
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert len(first) != len(other) or not all(np.array_equal(a, b) for a, b in zip(first, other))


def test_nothing_to_see():
    empty = {"part": np.zeros((HEIGHT, WIDTH), int), "object": np.zeros((HEIGHT, WIDTH), int)}
    assert masks_of(empty, 1) == []
