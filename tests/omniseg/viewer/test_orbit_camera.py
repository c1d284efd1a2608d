"""OrbitCamera: points of the scene under a drag, limits, and the viewpoints of photos."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from omniseg.cameras import Camera, Cameras
from omniseg.viewer.orbit_camera import OrbitCamera
from tiny_scene import CAMERA, ball_cameras

SIZE = (300, 200)
DRAG = st.floats(-3, 3)


def start(view: int = 0) -> OrbitCamera:
    return OrbitCamera.from_viewpoint(ball_cameras(), view)


def seen(camera: OrbitCamera, point: tuple[float, float, float]) -> list[float]:
    """Pixel (x, y) at which a point is."""
    return camera.cameras(*SIZE).project(torch.tensor([point])).xy[0, 0].tolist()


def focal(camera: OrbitCamera) -> float:
    return float(camera.cameras(*SIZE).intrinsics[0, 0])


@pytest.mark.parametrize("view", range(8))
def test_a_viewpoint_is_the_photos(view: int):
    cameras = ball_cameras()
    assert_close(start(view).cameras(24, 24).c2w[0], cameras.c2w[view], rtol=0, atol=1e-5)
    assert_close(start(view).cameras(24, 24).intrinsics[0], cameras.intrinsics[view])
    assert_close(torch.tensor(start(view).eye), cameras.c2w[view, :, 3], rtol=0, atol=1e-5)


@pytest.mark.parametrize("turned", [0, 1, 2, 3])
@pytest.mark.parametrize("z", [1.0, -1.0])
def test_straight_up_and_down_keep_their_right_side(turned: int, z: float):
    angle = turned * math.pi / 2
    right, forward = np.array([math.cos(angle), math.sin(angle), 0]), np.array([0, 0, z])
    c2w = np.column_stack([right, np.cross(forward, right), forward, -2 * forward])
    camera = OrbitCamera.from_viewpoint(Cameras.stack([CAMERA], c2w[None]))
    assert_close(camera.cameras(24, 24).c2w[0], torch.tensor(c2w).float(), rtol=0, atol=1e-5)


def test_a_camera_that_is_not_upright_is_set_upright():
    cameras = ball_cameras()
    roll = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    rolled = replace(cameras, c2w=torch.cat([cameras.c2w[:, :, :3] @ roll, cameras.c2w[:, :, 3:]], dim=2))
    assert_close(OrbitCamera.from_viewpoint(rolled).cameras(24, 24).c2w[0], cameras.c2w[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(24, 24), (48, 24), (24, 48), (7, 31)])
def test_a_picture_of_any_size_has_all_the_photo_in_it(size: tuple[int, int]):
    lens = Camera(width=60, height=40, fx=50.0, fy=52.0, cx=21.0, cy=20.0)
    cameras = Cameras.stack([lens], ball_cameras(1).c2w)
    made = OrbitCamera.from_viewpoint(cameras).cameras(*size)
    fx, fy, cx, cy = made.intrinsics[0].tolist()
    assert made.size.tolist() == [list(size)]
    assert (cx, cy) == (size[0] / 2, size[1] / 2)
    assert fx / fy == pytest.approx(50 / 52)
    assert fx == pytest.approx(OrbitCamera.from_viewpoint(cameras).focal_length(*size))
    assert size[0] / fx >= 60 / 50 * 0.999
    assert size[1] / fy >= 40 / 52 * 0.999
    assert not made.distortion.any()


def test_a_drag_takes_the_near_side_of_the_scene_along():
    before = start()
    near = tuple(0.5 * e + 0.5 * t for e, t in zip(before.eye, before.target))
    x, y = seen(before, near)
    assert seen(before.orbit(0.1, 0), near)[0] > x + 5
    assert seen(before.orbit(0, 0.1), near)[1] > y + 5
    assert seen(before.orbit(0.1, 0.2), before.target) == pytest.approx([150, 100], abs=1e-3)


def test_a_pan_keeps_the_target_under_the_mouse():
    before = start(3).orbit(0.3, 0.2)
    x, y = seen(before.pan(20 / focal(before), -30 / focal(before)), before.target)
    assert (x, y) == pytest.approx((170, 70), abs=0.01)


def test_zoom_goes_nearer_and_stops_before_the_target():
    before = start()
    assert before.zoom(1).distance == pytest.approx(0.9 * before.distance)
    assert before.zoom(3).zoom(-3).distance == pytest.approx(before.distance)
    assert before.zoom(1).target == before.target
    assert 0 < before.zoom(1e4).distance < 0.1
    assert before.zoom(-300).distance < 100


def test_fly():
    before = start()
    x, y, z = (after - was for after, was in zip(before.fly(0, 0, 0.5).eye, before.eye))
    assert (x, y, z) == pytest.approx((0, 0, 0.5))
    c2w = before.cameras(*SIZE).c2w[0]
    ahead = before.fly(0.25, 0, 0)
    assert_close(torch.tensor(ahead.eye), c2w[:, 3] + 0.25 * c2w[:, 2], rtol=0, atol=1e-5)
    aside = before.fly(0, 0.25, 0)
    assert_close(torch.tensor(aside.target), torch.tensor(before.target) + 0.25 * c2w[:, 0], rtol=0, atol=1e-5)
    assert np.linalg.norm(before.fly(1e6, 0, 0).target) < 100


def test_another_focus_changes_no_view():
    before = start(2).orbit(0.1, 0.3)
    after = before.focused(0.7)
    assert_close(after.cameras(*SIZE).c2w, before.cameras(*SIZE).c2w, rtol=0, atol=1e-5)
    assert after.distance == 0.7


@given(drags=st.lists(st.tuples(DRAG, DRAG), max_size=6), steps=st.floats(-50, 50))
def test_never_flips_or_rolls(drags: list[tuple[float, float]], steps: float):
    camera = start().zoom(steps)
    for dx, dy in drags:
        camera = camera.orbit(dx, dy)
        rotation = camera.cameras(*SIZE).c2w[0, :, :3]
        assert_close(rotation.T @ rotation, torch.eye(3), rtol=0, atol=1e-5)
        assert torch.linalg.det(rotation) > 0.99
        assert abs(rotation[2, 0]) < 1e-6  # the right side stays level
        assert rotation[2, 1] < 1e-6  # and up stays up


def test_over_the_pole_the_picture_stays():
    above = start().orbit(0, 10)
    assert_close(above.orbit(0, 1).cameras(*SIZE).c2w, above.cameras(*SIZE).c2w)
    assert above.orbit(0, -0.1).pitch == pytest.approx(-math.pi / 2 + 0.15)
