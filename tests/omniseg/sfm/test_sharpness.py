import cv2
import numpy as np
import pytest

from corner_photos import arc, photo
from omniseg.sfm.sharpness import blurred, sharpest, sharpness


def test_a_photo_is_the_less_sharp_the_more_it_is_blurred():
    sharp = photo(arc(3)[1])
    values = [sharpness(cv2.GaussianBlur(sharp, (0, 0), sigma)) for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert sharpness(sharp) > values[0] > values[1] > values[2] > values[3]
    assert sharpness(np.full((20, 30, 3), 7, np.uint8)) == 0


def test_the_sharpest_image_of_each_window_is_taken():
    assert sharpest([1, 9, 2, 3, 8, 4, 7, 5, 6], 3) == [1, 4, 6]
    assert sharpest([3, 1, 2], 3) == [0, 1, 2]
    assert sharpest([3, 1], 5) == [0, 1]


@pytest.mark.parametrize(("n", "count"), [(100, 7), (11, 10), (5, 3)])
def test_windows_are_of_equal_length_and_none_is_left_out(n, count):
    chosen = sharpest([0.0] * n, count)  # the first of each window
    steps = np.diff([*chosen, n])
    assert len(chosen) == count
    assert chosen[0] == 0
    assert steps.max() - steps.min() <= 1


def test_images_far_below_the_median_are_blurred():
    assert blurred([100, 110, 90, 5, 95]) == [3]
    assert blurred([100, 110, 90, 60]) == []
    assert blurred([]) == []
