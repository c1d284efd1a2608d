"""Scores by hand, and plateaus of scores whose leaps are known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from omniseg.config import LevelConfig
from omniseg.selection.query import Click, Plateau, main_plateau, plateaus, score

AXES = torch.eye(3)
CONFIG = LevelConfig()
HERE, THERE = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)


def click(axis: int, accept: bool = True, position: tuple[float, float, float] = HERE) -> Click:
    return Click(accept, position, tuple(AXES[axis].tolist()))


def test_score_by_hand(device):
    features, positions = AXES.to(device), torch.zeros(3, 3, device=device)
    assert score(features, positions, [click(0)]).tolist() == [1.0, 0.5, 0.5]
    assert score(-features, positions, [click(0)]).tolist() == [0.0, 0.5, 0.5]
    assert score(features, positions, [click(0), click(1)]).tolist() == [1.0, 1.0, 0.5]


def test_distance_lowers_the_score():
    positions = torch.tensor([HERE, THERE])
    found = score(AXES[[0, 0]], positions, [click(0)], spatial_weight=2.0)
    assert found.tolist() == pytest.approx([1.0, math.exp(-2.0)])
    near_both = score(AXES[[0, 0]], positions, [click(0), click(0, position=THERE)], spatial_weight=2.0)
    assert near_both.tolist() == [1.0, 1.0]


def test_what_is_more_like_a_rejected_click_is_taken_away():
    positions = torch.zeros(3, 3)
    assert score(AXES, positions, [click(0), click(1, accept=False)]).tolist() == [1.0, 0.0, 0.5]
    between = F.normalize(torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0]]), dim=1)
    kept, taken = score(between, positions[:2], [click(0), click(1, accept=False)], spatial_weight=9.0).tolist()
    assert kept > 0.8
    assert taken == 0


def test_rejected_clicks_alone_select_nothing():
    assert score(AXES, torch.zeros(3, 3), [click(0, accept=False)]).tolist() == [0.0, 0.0, 0.0]
    assert score(AXES, torch.zeros(3, 3), []).tolist() == [0.0, 0.0, 0.0]


@given(st.permutations(range(4)), st.floats(0, 3))
def test_the_order_of_clicks_means_nothing(order, weight):
    generator = torch.Generator().manual_seed(3)
    features = F.normalize(torch.randn(40, 3, generator=generator), dim=1)
    positions = torch.randn(40, 3, generator=generator)
    clicks = [click(0), click(1, False), click(2, position=THERE), click(0, False, THERE)]
    shuffled = [clicks[k] for k in order]
    torch.testing.assert_close(score(features, positions, clicks, weight), score(features, positions, shuffled, weight))


def steps(*groups: tuple[float, int]) -> torch.Tensor:
    """Scores of so many points each, at an angle (radians) from the click."""
    return torch.cat([torch.full((n,), 0.5 + 0.5 * math.cos(angle)) for angle, n in groups])


def test_plateaus_lie_between_leaps(device):
    scores = steps((0.1, 100), (0.7, 300), (1.2, 900), (2.5, 9000)).to(device)
    found = plateaus(scores, CONFIG)
    assert [plateau.count for plateau in found] == [100, 400, 1300]
    for plateau, (low, high) in zip(found, ((0.1, 0.7), (0.7, 1.2), (1.2, 2.5))):
        assert low < math.acos(2 * plateau.threshold - 1) < high
        assert int((scores >= plateau.threshold).sum()) == plateau.count
    assert main_plateau(found, CONFIG) is found[0]


def test_almost_nothing_and_almost_all_are_no_plateaus():
    assert plateaus(steps((0.1, 1), (0.5, 50_000)), CONFIG) == ()
    assert plateaus(torch.zeros(0), CONFIG) == ()
    assert plateaus(torch.zeros(50), CONFIG) == ()
    assert main_plateau((), CONFIG) is None


def test_even_growth_has_no_plateau():
    angles = torch.arange(1, 20_000).log() / 4  # e times as many every quarter of a radian
    assert plateaus(0.5 + 0.5 * torch.cos(angles), CONFIG) == ()


def test_the_main_one_is_the_smallest_of_the_wide_ones():
    narrow, wide, widest = Plateau(0.95, 0.1, 5), Plateau(0.9, 0.2, 10), Plateau(0.8, 0.3, 20)
    assert main_plateau((narrow, wide, widest), CONFIG) is wide
    assert main_plateau((narrow, widest), CONFIG) is widest
