"""COCO's run-length codes, which segment-anything writes, as a list of counts or as a string.

Counts are lengths of runs, outside and inside by turns, column by column. In a string each number takes one or more
characters, from "0" (48) on, of five bits each, lowest bits first. Bit 5 is set where the number goes on in the next
character; bit 4 of its last character is the sign. From the fourth number on, the string holds the difference to the
number two before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from omniseg.masks.run_length import mask_borders

_MOST_PIXELS = 2**30
"""Largest mask that is decoded, so that a damaged size cannot fill the memory."""


def decode_rle(code: Any) -> tuple[np.ndarray, int, int]:
    """Decode {"size": [h, w], "counts": ...} into the borders that `MaskStack` keeps, the width and the height.

    Raises:
        ValueError: the code is damaged or something else.
    """
    if not isinstance(code, dict) or not {"size", "counts"} <= set(code):
        raise ValueError('expected "segmentation" of {"size": [h, w], "counts": ...} or polygons')
    size, counts = code["size"], code["counts"]
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
        raise ValueError(f'expected "size": [height, width], got {str(size)[:40]}')
    height, width = size
    if height * width > _MOST_PIXELS:
        raise ValueError(f"{width} x {height} is larger than any photo")
    lengths = _from_string(counts) if isinstance(counts, str) else _from_list(counts)
    if len(lengths) and (lengths.min() < 0 or lengths.max() > height * width):
        raise ValueError("a run is longer than the mask, or negative")
    if lengths.sum() != height * width:
        raise ValueError(f"runs add up to {lengths.sum()} pixels, but {width} x {height} is {width * height}")
    inside = np.arange(len(lengths)) % 2 == 1
    mask = np.repeat(inside, lengths).reshape(width, height).T
    return mask_borders(mask, width, height), width, height


def _from_list(counts: Any) -> np.ndarray:
    if not isinstance(counts, list) or not all(type(n) is int and abs(n) <= _MOST_PIXELS for n in counts):
        raise ValueError('expected "counts" to be a list of numbers or a string')
    return np.array(counts, np.int64)


def _from_string(counts: str) -> np.ndarray:
    try:
        digits = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        digits = np.array([-1])
    last = digits & 0x20 == 0
    if not len(digits):
        return np.empty(0, np.int64)
    if digits.min() < 0 or digits.max() > 63 or not last[-1]:
        raise ValueError("a string of counts has characters that do not belong there")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 6:
        raise ValueError("a string of counts has a number that is too long")
    place = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((digits & 0x1F) << 5 * place, starts)
    numbers -= np.where(digits[ends] & 0x10, 1 << 5 * (ends - starts + 1), 0)
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers
