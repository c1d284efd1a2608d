"""COCO's run-length codes, against a plain encoder of lists and of strings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniseg.masks.run_length import mask_borders
from omniseg.masks.segmenters.coco_rle import decode_rle


def counts_of(mask: np.ndarray) -> list[int]:
    """Lengths of runs of a mask, column by column, outside first."""
    counts, inside, length = [], False, 0
    for value in mask.T.reshape(-1).tolist():
        if value != inside:
            counts.append(length)
            inside, length = value, 0
        length += 1
    return [*counts, length]


def string_of(counts: list[int]) -> str:
    out = ""
    for i, count in enumerate(counts):
        number, more = count - (counts[i - 2] if i > 2 else 0), True
        while more:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            out += chr(48 + digit + 32 * more)
    return out


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
def test_both_forms_give_the_mask_back(width: int, height: int, seed: int, filled: float):
    mask = np.random.default_rng(seed).random((height, width)) < filled
    counts = counts_of(mask)
    for form in (counts, string_of(counts), [*counts, 0]):
        borders, w, h = decode_rle({"size": [height, width], "counts": form})
        assert (w, h) == (width, height)
        np.testing.assert_array_equal(borders, mask_borders(mask, width, height))


def test_strings_worked_by_hand():
    """6 is "6"; 1 is "1"; 40 = 8 + 32 is 8 + more, 1: "X1"; -3 is 29: "M"; 16 needs a second digit: "`0"."""
    assert string_of([6, 1, 40]) == "61X1"
    borders, width, height = decode_rle({"size": [47, 1], "counts": "61X1"})
    assert (borders.tolist(), width, height) == ([6, 7], 1, 47)
    assert string_of([0, 16, 5, 13]) == "0`05M"
    borders, *_ = decode_rle({"size": [34, 1], "counts": "0`05M"})
    assert borders.tolist() == [0, 16, 21, 34]


def test_columns_come_first():
    borders, width, height = decode_rle({"size": [2, 3], "counts": [0, 2, 4]})
    assert (borders.tolist(), width, height) == ([0, 1, 3, 4], 3, 2)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "segmentation"),
        ([[1, 2, 3, 4]], "or polygons"),
        ({"size": [4, 4]}, "counts"),
        ({"size": [4], "counts": [16]}, r"\[height, width\]"),
        ({"size": [4.0, 4], "counts": [16]}, r"\[height, width\]"),
        ({"size": [0, 4], "counts": []}, r"\[height, width\]"),
        ({"size": [True, 4], "counts": [4]}, r"\[height, width\]"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "larger than any photo"),
        ({"size": [4, 4], "counts": [15]}, "add up to 15 pixels, but 4 x 4 is 16"),
        ({"size": [4, 4], "counts": [20, -4]}, "longer than the mask, or negative"),
        ({"size": [4, 4], "counts": [1e30]}, "list of numbers"),
        ({"size": [4, 4], "counts": [10**30]}, "list of numbers"),
        ({"size": [4, 4], "counts": {"0": 16}}, "list of numbers"),
        ({"size": [4, 4], "counts": ""}, "add up to 0 pixels"),
        ({"size": [4, 4], "counts": "é"}, "characters that do not belong there"),
        ({"size": [4, 4], "counts": "\x01"}, "characters that do not belong there"),
        ({"size": [4, 4], "counts": "o"}, "characters that do not belong there"),
        ({"size": [4, 4], "counts": "o" * 50 + "0"}, "too long"),
        ({"size": [4, 4], "counts": "M"}, "longer than the mask, or negative"),
    ],
)
def test_bad_codes_are_explained(code: object, words: str):
    with pytest.raises(ValueError, match=words):
        decode_rle(code)
