"""Thresholds, clicks and prompts by hand, and on views whose features are the labels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from omniseg.evaluation.segmentation import (
    FeatureView,
    best_threshold,
    boundary_iou,
    innermost,
    iou,
    measure_level,
    similarity,
)

SIZE = 20


def view_of(name: str, ids: np.ndarray, device, mistake: np.ndarray | None = None, depth: float = 2.0) -> FeatureView:
    """Features are one-hot of the ids, those of `mistake` where it says something else."""
    shown = ids if mistake is None else mistake
    features = F.one_hot(torch.from_numpy(shown.reshape(-1)).long(), 8).float().to(device)
    y, x = np.indices(ids.shape)
    positions = torch.from_numpy(np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)).float().to(device) * 0.01
    far = torch.full((ids.size,), depth, device=device)
    return FeatureView(name, features, far, positions, 0.01, {"object": ids.astype(np.int32)})


def ids_of(column: int) -> np.ndarray:
    """Label 1 left of a column, label 2 right of it, in a frame of nothing."""
    ids = np.zeros((SIZE, SIZE), int)
    ids[2:-2, 2:column], ids[2:-2, column:-2] = 1, 2
    return ids


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=12))
def test_best_threshold_is_the_best_of_all(pairs):
    scores = torch.tensor([float(score) for score, _ in pairs])
    truth = torch.tensor([hit for _, hit in pairs])
    truth[0] = True
    threshold, best = best_threshold(scores, truth)
    assert best == pytest.approx(max(iou(scores >= t, truth) for t in scores))
    assert iou(scores >= threshold, truth) == pytest.approx(best)


def test_iou_by_hand():
    a, b = torch.tensor([True, True, False]), torch.tensor([False, True, True])
    assert iou(a, b) == pytest.approx(1 / 3)
    assert iou(a & ~a, b & ~b) == 1


def test_similarity_by_hand():
    features = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
    assert similarity(features, features[:1])[:, 0].tolist() == [1.0, 0.5, 0.0]


def test_innermost_is_far_from_border_and_image():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:, :11] = True  # touches three sides of the image
    row, column = divmod(innermost(mask), SIZE)
    assert column == 5
    assert 5 <= row < 15


def test_perfect_features_score_one(device):
    views = [view_of(str(k), ids_of(column), device) for k, column in enumerate((8, 10, 12))]
    quality = measure_level(views, "object", min_pixels=5, progress=False)
    assert quality is not None
    assert (quality.click_miou, quality.recall_50, quality.recall_75) == (1, 1, 1)
    assert quality.prompt_miou == 1
    one, two = quality.labels
    assert (one.id, one.view) == (1, "2")
    assert (two.id, two.view) == (2, "0")
    assert one.pixels == 16 * 10
    assert 2 <= one.clicked % SIZE < 12


def test_the_threshold_is_frozen_and_other_views_count(device):
    good, shifted = ids_of(12), ids_of(10)
    views = [view_of("a", good, device), view_of("b", shifted, device, mistake=ids_of(6))]
    quality = measure_level(views, "object", min_pixels=5, progress=False)
    assert quality is not None
    one = quality.labels[0]
    assert one.view == "a"
    assert one.same_view == 1
    assert one.click == pytest.approx(4 / 8), "half of the label is shown as the other"
    two = quality.labels[1]
    assert two.view == "b"
    assert two.same_view == pytest.approx(8 / 12), "the best threshold takes what is shown as the label"
    assert quality.recall_50 == 1
    assert quality.recall_75 == 0.5
    assert one.prompt is not None
    assert one.prompt == pytest.approx(0.5)


def test_what_cannot_be_measured_is_said(device):
    ids = ids_of(10)
    alone = measure_level([view_of("a", ids, device)], "object", min_pixels=5, progress=False)
    assert alone is not None
    assert [q.click for q in alone.labels] == [None, None]
    assert np.isnan(alone.click_miou)
    assert alone.recall_50 == 1, "needs one view only"
    assert measure_level([view_of("a", ids, device)], "object", min_pixels=500, progress=False) is None
    assert measure_level([view_of("a", ids, device)], "part", min_pixels=5, progress=False) is None


def test_small_labels_count_only_where_they_are_large_enough(device):
    views = [view_of("a", ids_of(10), device), view_of("b", ids_of(3), device)]  # 16 pixels of label 1 in b
    quality = measure_level(views, "object", min_pixels=20, progress=False)
    assert quality is not None
    assert [(q.id, q.click) for q in quality.labels] == [(1, None), (2, 1.0)]


def test_prompts_can_be_left_out_and_be_few(device):
    views = [view_of(str(k), ids_of(column), device) for k, column in enumerate((8, 10))]
    none = measure_level(views, "object", min_pixels=5, prompts=0, progress=False)
    assert none is not None
    assert np.isnan(none.prompt_miou)
    one = measure_level(views, "object", min_pixels=5, prompts=1, progress=False)
    assert one is not None
    assert one.prompt_miou == 1


def test_prompts_lose_strength_with_distance(device):
    """A twin of the object at the other end of the room looks the same; only the distance tells them apart."""
    ids = np.zeros((SIZE, SIZE), int)
    ids[2:10, 2:10] = 1
    twin = ids.copy()
    twin[12:18, 12:18] = 1
    views = [view_of(name, ids, device, mistake=twin) for name in "ab"]
    quality = measure_level(views, "object", min_pixels=5, progress=False)
    assert quality is not None
    assert quality.click_miou == pytest.approx(64 / 100)
    assert quality.prompt_miou == 1


def test_prompt_takes_the_view_where_the_object_itself_is_larger(device):
    """As many pixels farther away are a larger object: the view with more of it, though not in pixels."""
    near, far = ids_of(10), ids_of(9)
    views = [view_of("near", near, device), view_of("far", far, device, mistake=ids_of(7), depth=9.0)]
    quality = measure_level(views, "object", min_pixels=5, progress=False)
    assert quality is not None
    one = quality.labels[0]
    assert one.view == "near"
    assert one.prompt is not None
    assert one.prompt == 1, "the best threshold in the far view is perfect in the near one"
    assert one.click == pytest.approx(5 / 7)


def test_boundary_iou_by_hand():
    truth = np.zeros((30, 40), bool)
    truth[5:25, 5:35] = True
    inner = np.zeros_like(truth)
    inner[8:22, 8:32] = True
    assert boundary_iou(truth, truth) == 1
    assert boundary_iou(truth & ~truth, truth & ~truth) == 1
    assert boundary_iou(inner, truth) == 0  # its strip begins where the other ends
    shifted = np.roll(truth, 1, axis=1)
    strip, other = 20 * 30 - 16 * 26, 16 + 2 * 28 + 16  # all; the rows at top and bottom, and a column on each side
    other = 4 * 29 + 2 * 16  # four rows of 29 pixels in common, and a column on each side between them
    assert boundary_iou(shifted, truth) == pytest.approx(other / (2 * strip - other))


def test_specks_and_holes_are_those_that_the_label_does_not_have(device):
    ids = ids_of(10)
    ids[4, 4] = 0  # a hole of the label itself
    mistake = ids.copy()
    mistake[8, 5] = mistake[11, 6] = 2
    mistake[6, 15] = 1
    views = [view_of("a", ids, device), view_of("b", ids, device, mistake), view_of("c", ids, device, mistake)]
    quality = measure_level(views, "object", min_pixels=10, progress=False)
    clean = measure_level(views, "object", min_pixels=10, min_piece=0.05, progress=False)
    assert quality is not None
    assert clean is not None
    first, second = quality.labels
    assert (first.specks, first.holes, second.specks, second.holes) == (1, 2, 2, 1)
    assert (quality.specks, quality.holes) == (1.5, 1.5)
    assert 0.5 < quality.boundary_iou < 1
    assert (clean.specks, clean.holes) == (0, 0)
    assert clean.click_miou > quality.click_miou
