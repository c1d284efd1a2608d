"""Poses that are made stand upright; the point that axes come closest to; rotations of quaternions."""

import numpy as np
import pytest

from omniseg.cameras.poses import axes_crossing, look_at, quaternion_rotation, upright_rotation
from scene_files import look_at as look_at_of_the_tests
from scene_files import orbit


def test_look_at_stands_upright():
    rng = np.random.default_rng(0)
    for position, target in rng.normal(size=(20, 2, 3)):
        np.testing.assert_array_equal(look_at(position, target), look_at_of_the_tests(position, target))


@pytest.mark.parametrize(
    ("forward", "right", "down"),
    [
        ([0, 0, 2], [1, 0, 0], [0, 1, 0]),
        ([0, 0, -2], [1, 0, 0], [0, -1, 0]),
        ([0, 0, 0], [1, 0, 0], [0, 0, -1]),
    ],
)
def test_look_at_straight_up_down_and_nowhere(forward, right, down):
    rotation = upright_rotation(np.array(forward, float))
    np.testing.assert_array_equal(rotation[:, 0], right)
    np.testing.assert_array_equal(rotation[:, 1], down)
    assert np.linalg.det(rotation) == 1


def test_axes_cross_at_the_target_whatever_a_few_cameras_do():
    target = np.array([0.2, -0.1, 0.3])
    poses = np.concatenate([orbit(30, target=target), look_at(np.array([4.0, 0, 1]), np.array([40.0, 9, 3]))[None]])
    point, certainty = axes_crossing(poses)
    np.testing.assert_allclose(point, target, atol=1e-3)
    assert 0.1 < certainty <= 2 / 3


def test_parallel_axes_cross_with_no_certainty():
    poses = np.stack([look_at(np.array([x, 0.0, 0]), np.array([x, 5.0, 0])) for x in (0.0, 1.0, 2.0)])
    assert axes_crossing(poses).certainty == pytest.approx(0, abs=1e-12)


def test_rotations_of_quaternions():
    wxyz = np.random.default_rng(0).normal(size=(1000, 4))
    w, x, y, z = (wxyz / np.linalg.norm(wxyz, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    np.testing.assert_allclose(quaternion_rotation(wxyz), np.array(rows).transpose(2, 0, 1), atol=1e-15)


def test_quaternions_without_a_rotation_give_nan():
    bad = [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]]
    rotations = quaternion_rotation(np.array([[2, 0, 0, 0], *bad], float))
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    assert np.isnan(rotations[1:]).all()
