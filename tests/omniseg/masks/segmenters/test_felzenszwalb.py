"""Regions of equal colour: the merging worked by hand, and nested masks of pictures."""

from itertools import pairwise

import numpy as np
import pytest

from omniseg.data.image_io import read_image
from omniseg.masks.hierarchy import absorb_covered, build_hierarchy
from omniseg.masks.segmenters.felzenszwalb import (
    FelzenszwalbConfig,
    FelzenszwalbSegmenter,
    masks_from_labels,
    merge_regions,
)
from scene_files import real_capture


def noisy_squares() -> np.ndarray:
    """A dark left half, and a bright right half that is of two shades."""
    image = np.full((60, 80, 3), 40.0)
    image[:, 40:], image[30:, 40:] = 180, 210
    return (image + np.random.default_rng(0).normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)


def test_the_most_alike_neighbours_are_merged_first():
    """Strips of 0, 1, 5, 0: the last is like the first, but beside the third only."""
    labels = np.repeat(np.arange(4), 3)[None].repeat(5, axis=0)
    colours = np.array([0.0, 1.0, 5.0, 0.0])[labels][..., None]
    four, three, two, one = merge_regions(labels, colours, (1, 4, 3, 2))
    assert four.tolist() == [0, 1, 2, 3]
    assert three.tolist() == [0, 0, 1, 2]
    assert two.tolist() == [0, 0, 0, 1] or two.tolist() == [0, 0, 1, 1]
    assert one.tolist() == [0, 0, 0, 0]


def test_cost_weighs_area_and_border():
    """Between equal differences of colour, the pair of small regions costs less; so does a long border."""
    labels = np.repeat([0, 1, 2], [20, 2, 2])[None].repeat(3, axis=0)
    assert merge_regions(labels, labels[..., None] * 10.0, (2,))[0].tolist() == [0, 1, 1]
    labels = np.array([[0, 0, 3, 3], [0, 0, 3, 3], [1, 1, 1, 1], [2, 2, 2, 2]])
    value = np.array([0.0, 10.0, 20.0, 40.0])  # 0 and 1 meet along 2 pixels, 1 and 2 along 4
    assert merge_regions(labels, value[labels][..., None], (3,))[0].tolist() == [0, 1, 1, 2]


def test_costs_are_those_of_the_regions_as_they_have_become():
    """Strips of -3, 0, 4, 9: once the first two are one, of mean -1.5, the 4 is nearer to the 9."""
    labels = np.repeat([1, 0, 2, 3], 3)[None].repeat(5, axis=0)
    value = np.array([0.0, -3.0, 4.0, 9.0])
    assert merge_regions(labels, value[labels][..., None], (2,))[0].tolist() == [0, 0, 1, 1]


def test_merging_is_nested_and_reaches_the_counts():
    rng = np.random.default_rng(0)
    labels = np.unique(rng.integers(0, 60, (12, 9)).repeat(3, 0).repeat(3, 1), return_inverse=True)[1].reshape(36, 27)
    levels = merge_regions(labels, rng.random((36, 27, 3)), (1000, 20, 7, 2))
    assert [level.max() + 1 for level in levels] == [labels.max() + 1, 20, 7, 2]
    for fine, coarse in pairwise(levels):
        assert all(len(set(coarse[fine == region])) == 1 for region in range(fine.max() + 1))


def test_label_masks_are_the_labels():
    labels = np.random.default_rng(0).integers(0, 5, (7, 6)) * 3
    got = masks_from_labels(labels)
    assert len(got) == 5
    for k, value in enumerate(np.unique(labels)):
        np.testing.assert_array_equal(got.mask(k), labels == value)
    one = masks_from_labels(np.zeros((2, 3), int))
    assert [b.tolist() for b in one.borders] == [[0, 6]]


def test_halves_and_shades_are_found_as_nested_masks():
    image = noisy_squares()
    config = FelzenszwalbConfig(regions=(3, 2), scale=200, min_pixels=100)
    got = absorb_covered(FelzenszwalbSegmenter(config).segment(image, "a"))
    assert (got.width, got.height) == (80, 60)
    hierarchy = build_hierarchy(got)
    left, upper, lower = hierarchy.indices[30, 10], hierarchy.indices[10, 60], hierarchy.indices[50, 60]
    assert len({left, upper, lower}) == 3
    assert hierarchy.correlation[upper, lower] == 1
    assert hierarchy.correlation[left, upper] == 0
    assert (hierarchy.indices[:, :38] == left).mean() > 0.99
    assert (hierarchy.indices[32:, 42:] == lower).mean() > 0.99


@pytest.mark.parametrize("size", [(640, 480), (333, 1001), (20, 15), (1, 1), (1, 9)])
def test_masks_have_the_size_of_the_photo_and_cover_it_at_each_level(size: tuple[int, int]):
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    config = FelzenszwalbConfig(regions=(9, 3), longest_side=100)
    got = FelzenszwalbSegmenter(config).segment(image, "a")
    assert (got.width, got.height) == size
    assert got.areas.sum() == 2 * size[0] * size[1]
    assert got.areas.min() > 0


def test_a_photo_of_one_colour_is_one_region():
    got = FelzenszwalbSegmenter(FelzenszwalbConfig()).segment(np.full((50, 40, 3), 7, np.uint8), "a")
    assert set(got.areas) == {2000}


def test_a_real_photo_has_a_sensible_number_of_regions_at_several_levels():
    image = read_image(real_capture("fox") / "images/0001.jpg")
    got = absorb_covered(FelzenszwalbSegmenter(FelzenszwalbConfig(longest_side=384, min_pixels=20)).segment(image, "a"))
    assert 50 < len(got) < 250
    assert (got.areas > 0.1 * image.shape[0] * image.shape[1]).sum() >= 2
    hierarchy = build_hierarchy(got)
    assert 50 < len(hierarchy.correlation) < 200
    assert hierarchy.labelled.all()
    assert hierarchy.correlation.max() >= 3


@pytest.mark.parametrize("options", [{"regions": ()}, {"regions": (3, 0)}, {"longest_side": 3}, {"scale": 0.0}])
def test_bad_configurations_are_named(options: dict):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected"):
        FelzenszwalbConfig(**options)
