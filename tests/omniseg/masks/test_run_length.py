"""Run-length coded masks are the masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniseg.masks.run_length import MaskStack, mask_borders


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**16), st.floats(0, 1))
def test_masks_come_back(width, height, seed, density):
    random = np.random.default_rng(seed)
    masks = [random.random((height, width)) < density for _ in range(3)]
    stack = MaskStack.from_masks(masks, width, height)
    assert len(stack) == 3
    assert all(np.array_equal(stack.mask(k), mask) for k, mask in enumerate(masks))
    assert stack.areas.tolist() == [mask.sum() for mask in masks]
    pixels = random.permutation(width * height)
    assert np.array_equal(stack.contain(pixels), np.stack([m.reshape(-1)[pixels] for m in masks], axis=1))


def test_borders_by_hand():
    mask = np.array([[1, 1, 0], [0, 1, 1]])
    assert mask_borders(mask, 3, 2).tolist() == [0, 2, 4, 6]
    assert mask_borders(np.zeros((2, 3)), 3, 2).tolist() == []
    assert mask_borders(np.ones((2, 3)), 3, 2).tolist() == [0, 6]


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask: expected shape \(2, 3\), got \(3, 2\)"):
        MaskStack.from_masks([np.ones((3, 2))], 3, 2)
