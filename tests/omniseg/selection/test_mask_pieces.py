"""Small pieces and holes by hand."""

import numpy as np
import pytest

from omniseg.selection.mask_pieces import clean_mask, count_pieces


def picture(*rows: str) -> np.ndarray:
    """Return the mask of the pixels that are #."""
    return np.array([[pixel == "#" for pixel in row] for row in rows])


RAGGED = picture(
    "##..........",
    "##..#####...",
    "....#.###..#",
    "....###..##.",
    "....###.###.",
    "#...####.#..",
)


def test_small_pieces_go_and_small_holes_are_filled():
    assert count_pieces(RAGGED) == (3, 2)  # corners join pieces, not holes
    assert (clean_mask(RAGGED, 0.0) == RAGGED).all()
    large = clean_mask(RAGGED, 0.1)
    assert count_pieces(large) == (2, 1)  # the piece of 1 pixel and the hole of 1 are below 2.5 pixels
    assert not large[5, 0]
    assert large[2, 5]
    assert count_pieces(clean_mask(RAGGED, 0.3)) == (1, 0)


def test_clicked_pieces_stay():
    found = clean_mask(RAGGED, 0.3, kept=[(5, 0), (4, 0)])
    assert found[5, 0]
    assert not found[4, 0]  # nothing was selected there
    assert not found[0, 0]


@pytest.mark.parametrize("value", [True, False])
def test_plain_masks_stay(value):
    mask = np.full((4, 5), value)
    assert (clean_mask(mask, 0.5) == value).all()
    assert count_pieces(mask) == (int(value), 0)


def test_what_reaches_the_border_of_the_picture_is_no_hole():
    mask = np.ones((9, 9), bool)
    mask[4, 8] = mask[0, 3] = mask[8, 8] = False
    assert count_pieces(mask) == (1, 0)
    assert (clean_mask(mask, 0.5) == mask).all()
