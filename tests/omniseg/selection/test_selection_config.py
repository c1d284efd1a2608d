"""Numbers of levels, prompts and the segment tree that make no sense are refused."""

import pytest

from omniseg.config import LevelConfig, MaskConfig, PromptConfig, SegmentTreeConfig, SmoothingConfig


def test_larger_pictures_are_smoothed_in_more_rounds():
    config = SmoothingConfig(rounds=3, side=240)
    assert [config.rounds_in(side) for side in (1, 60, 240, 480, 800, 2**20)] == [1, 1, 3, 4, 5, 15]
    assert SmoothingConfig(rounds=0).rounds_in(800) == 0


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (LevelConfig, {"bins": 8}),
        (LevelConfig, {"tolerance": 1.0}),
        (LevelConfig, {"min_width": -0.1}),
        (LevelConfig, {"min_growth": 1.0}),
        (LevelConfig, {"min_share": 0.99}),
        (LevelConfig, {"max_share": 1.5}),
        (LevelConfig, {"unrelated": float("nan")}),
        (LevelConfig, {"max_levels": 0}),
        (LevelConfig, {"first_width": 2.0}),
        (LevelConfig, {"min_step": 0.9}),
        (MaskConfig, {"min_piece": 1.0}),
        (SmoothingConfig, {"rounds": -1}),
        (SmoothingConfig, {"side": 0.5}),
        (SmoothingConfig, {"agreement": float("inf")}),
        (SmoothingConfig, {"colour": 0.0}),
        (SmoothingConfig, {"distance": float("nan")}),
        (PromptConfig, {"scribble_clicks": 0}),
        (PromptConfig, {"scribble_spacing": 0.0}),
        (PromptConfig, {"box_grid": 0}),
        (PromptConfig, {"box_pixels": 0}),
        (PromptConfig, {"box_thresholds": 0}),
        (PromptConfig, {"box_angles": (2.0, 0.05)}),
        (PromptConfig, {"box_cover": -1.0}),
        (PromptConfig, {"hidden_margin": float("inf")}),
        *((SegmentTreeConfig, {name: 0}) for name in ("views", "rays", "max_points", "rays_per_point", "min_rays")),
        *((SegmentTreeConfig, {name: 0}) for name in ("neighbours", "min_points", "candidates", "levels", "voxel")),
        (SegmentTreeConfig, {"agreement": -1.0}),
        (SegmentTreeConfig, {"position_weight": float("nan")}),
        (SegmentTreeConfig, {"default_level": 6.5}),
        (SegmentTreeConfig, {"levels": 3}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: type, bad: dict):
    name = "default_level" if bad == {"levels": 3} else next(iter(bad))
    with pytest.raises(ValueError, match=rf"{name}.*: expected"):
        kind(**bad)
