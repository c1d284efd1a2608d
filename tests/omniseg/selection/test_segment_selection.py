"""A segment of everything as clicks and a threshold."""

from dataclasses import replace

import pytest
import torch

from learned_ball import learned_ball
from omniseg.config import SegmentTreeConfig
from omniseg.selection.segment_selection import select_segment
from omniseg.selection.segment_tree import Segments, SegmentTree
from omniseg.selection.selections import empty_selection
from omniseg.selection.tree_building import build_tree, surface_points

CONFIG = SegmentTreeConfig(views=4, rays=8000)


@pytest.fixture(scope="module")
def tree(device: torch.device) -> SegmentTree:
    model = learned_ball(device)
    model = replace(model, config=replace(model.config, segment_tree=CONFIG))
    return build_tree(*surface_points(model, progress=False), CONFIG)


def iou_of(segments: Segments, number: int) -> tuple[float, float]:
    """IoU as it was said, and as it is."""
    selection, said = select_segment(segments, number, empty_selection(()))
    selected = selection.select(segments.tree.features, segments.tree.positions)
    inside = segments.ids == number
    return said, float((selected & inside).sum() / (selected | inside).sum())


@pytest.mark.parametrize("level", [2, 4, 5])
def test_clicks_select_the_segment(tree: SegmentTree, level: int):
    segments = tree.cut(level)
    for number in range(1, min(len(segments), 6) + 1):
        said, got = iou_of(segments, number)
        assert got == pytest.approx(said, abs=1e-5)
        assert got > 0.8


def test_name_and_colour_stay(tree: SegmentTree):
    before = replace(empty_selection(()), name="left", colour=(1, 2, 3), threshold=0.1)
    selection, _ = select_segment(tree.cut(4), 1, before)
    assert (selection.name, selection.colour) == ("left", (1, 2, 3))
    assert selection.clicks
    assert selection.clicks[0].accept


def toy(features: list[list[float]], ids: list[int]) -> Segments:
    unit = torch.nn.functional.normalize(torch.tensor(features), dim=1)
    n = len(unit)
    positions = torch.arange(n, dtype=torch.float32)[:, None] * torch.tensor([[0.1, 0.0, 0.0]])
    children = torch.stack([torch.arange(n - 1), torch.arange(n, 2 * n - 1)], dim=1)
    return Segments(SegmentTree(unit, positions, children, torch.ones(n - 1), CONFIG), torch.tensor(ids))


def test_what_is_like_the_segment_is_rejected_or_too_far_away():
    """Two segments on both sides of the first one in features, which no single threshold parts from it."""
    segments = toy([[1, 0.0], [1, 0.3], [1, -0.3], [1, 0.32], [1, -0.32]], [1, 1, 1, 2, 3])
    assert iou_of(segments, 1) == (1.0, 1.0)


def test_equal_features_are_parted_by_distance():
    segments = toy([[1.0, 0.0]] * 6, [1, 1, 1, 2, 2, 2])
    said, got = iou_of(segments, 1)
    assert said == got == 1.0


def test_a_segment_that_is_not_there(tree: SegmentTree):
    with pytest.raises(ValueError, match="number: expected 1 to"):
        select_segment(tree.cut(4), 10_000, empty_selection(()))
