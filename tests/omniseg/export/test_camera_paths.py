"""Camera paths look at the subject, stay upright, and avoid where no camera was."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from omniseg.cameras import Camera, Cameras
from omniseg.data.normalisation import Normalisation
from omniseg.errors import InputError
from omniseg.export import camera_paths as paths
from scene_files import IDENTITY, inverse_c2w, look_at, opengl, orbit, sideways

CAMERA = Camera(width=48, height=32, fx=50.0, fy=52.0, cx=20.0, cy=17.0, distortion=(0.1, *(0.0,) * 7))


def batch(poses: np.ndarray) -> Cameras:
    return Cameras.stack([CAMERA] * len(poses), poses)


def check_cameras(path: Cameras, n: int) -> np.ndarray:
    """Rotations, upright, undistorted, of the given image size; returns the poses."""
    c2w = path.c2w.double().numpy()
    assert len(path) == n
    assert np.isfinite(c2w).all()
    rotation = c2w[:, :, :3]
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (n, 3, 3)), atol=1e-5)
    assert (np.linalg.det(rotation) > 0).all()
    np.testing.assert_allclose(rotation[:, 2, 0], 0, atol=1e-5, err_msg="the right axis is level")
    assert (rotation[:, 2, 1] <= 1e-5).all(), "the down axis points down"
    assert not path.distortion.any()
    assert (path.size == torch.tensor([48, 32])).all()
    return c2w


def looks_at(c2w: np.ndarray, point: np.ndarray) -> None:
    towards = point - c2w[:, :, 3]
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    np.testing.assert_allclose(c2w[:, :, 2], towards, atol=1e-4)


@pytest.mark.parametrize("path", [paths.orbit, paths.spiral])
def test_paths_look_at_the_subject(path):
    target = np.array([0.2, -0.1, 0.3])
    looks_at(check_cameras(path(batch(orbit(9, 3.0, 1.0, target)), 24), 24), target)


def test_orbit_is_a_closed_circle_as_far_and_as_high_as_the_cameras():
    c2w = check_cameras(paths.orbit(batch(orbit(9, 3.0, 1.0)), 40), 40)
    position = c2w[:, :, 3]
    np.testing.assert_allclose(np.linalg.norm(position[:, :2], axis=1), 3.0, rtol=1e-5)
    np.testing.assert_allclose(position[:, 2], 1.0, rtol=1e-5)
    steps = np.linalg.norm(position - np.roll(position, 1, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-4)


@pytest.mark.parametrize("first", [0.0, 2.0, -3.0])
def test_orbit_swings_where_the_cameras_leave_a_gap(first: float):
    angles = first + np.linspace(0, np.deg2rad(200), 12)
    poses = np.stack([look_at([2 * np.cos(a), 2 * np.sin(a), 0.5]) for a in angles])
    c2w = check_cameras(paths.orbit(batch(poses), 60), 60)
    turn = (np.arctan2(c2w[:, 1, 3], c2w[:, 0, 3]) - first + 0.1) % (2 * np.pi) - 0.1
    assert turn.min() >= -1e-4
    assert turn.max() <= np.deg2rad(200) + 1e-4
    assert np.ptp(turn) == pytest.approx(np.deg2rad(200), abs=1e-3)
    assert np.abs(np.diff(turn)).max() < 0.3, "no jump"


def test_spiral_stays_within_the_spread_of_the_cameras():
    poses = sideways(9, 5.0)
    c2w = check_cameras(paths.spiral(batch(poses), 50), 50)
    low, high = poses[:, :, 3].min(0) - 1e-6, poses[:, :, 3].max(0) + 1e-6
    assert (c2w[:, :, 3] >= low).all()
    assert (c2w[:, :, 3] <= high).all()
    assert np.ptp(c2w[:, 0, 3]) > 0.3
    assert (c2w[:, 1, 2] > 0.9).all(), "towards the subject"


@pytest.mark.parametrize("path", [paths.orbit, paths.spiral])
@pytest.mark.parametrize(
    "poses",
    [
        orbit(1),
        look_at([0, 0, 0], [0, 1, 0])[None],
        np.stack([look_at([0, 0, 0], [np.cos(a), np.sin(a), 0.1]) for a in range(6)]),  # a panorama
        np.stack([look_at([0, 0, 3], [0, 1e-9, 0])] * 3),  # straight down
        orbit(8, 2.0, 0.0),
        np.stack([look_at(c2w[:, 3], 2 * c2w[:, 3]) for c2w in orbit(8, 1.0, 0.2)]),  # looking outwards
    ],
)
def test_odd_captures_still_give_cameras(path, poses: np.ndarray):
    check_cameras(path(batch(poses), 5), 5)


def test_from_file_round_trip(tmp_path: Path):
    poses = orbit(4, 3.0)
    frames = [{"transform_matrix": opengl(c2w)} for c2w in poses]
    file = tmp_path / "path.json"
    file.write_text(
        json.dumps({"w": 48, "h": 32, "fl_x": 50.0, "fl_y": 52.0, "cx": 20.0, "cy": 17.0, "frames": frames})
    )
    rotation = look_at([1, 2, 3])[:, :3]
    normalisation = Normalisation(0.5, rotation, np.array([0.1, -0.2, 0.3]))
    cameras = paths.from_file(file, normalisation)
    assert_close(cameras.c2w, torch.from_numpy(normalisation.c2w(poses)).float())
    assert_close(cameras.intrinsics, torch.tensor([[50.0, 52.0, 20.0, 17.0]]).expand(4, 4))
    assert_close(
        torch.from_numpy(inverse_c2w(normalisation, cameras.c2w.double().numpy())),
        torch.from_numpy(poses),
        atol=1e-5,
        rtol=0,
    )


def test_from_file_with_a_camera_for_each_frame(tmp_path: Path):
    poses = orbit(2)
    listed = [{"transform_matrix": opengl(pose), "camera_angle_x": angle, "w": width, "h": 10}
              for pose, angle, width in zip(poses, (np.pi / 2, np.pi / 3), (20, 40))]  # fmt: skip
    file = tmp_path / "path.json"
    file.write_text(json.dumps({"frames": listed}))
    cameras = paths.from_file(file, IDENTITY)
    assert cameras.size.tolist() == [[20, 10], [40, 10]]
    assert_close(cameras.intrinsics[:, 0], torch.tensor([10.0, 20 * 3**0.5]))
    del listed[1]["w"]
    file.write_text(json.dumps({"frames": listed}))
    with pytest.raises(InputError, match="frame 1: does not say the size"):
        paths.from_file(file, IDENTITY)


@pytest.mark.parametrize(
    "content", ["", "{}", '{"frames": []}', '{"frames": [{"transform_matrix": 1}], "w": 8, "h": 8}', "[1]"]
)
def test_from_file_refuses(tmp_path: Path, content: str):
    file = tmp_path / "path.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"path\.json"):
        paths.from_file(file, IDENTITY)
    with pytest.raises(InputError, match="nothing"):
        paths.from_file(tmp_path / "nothing.json", IDENTITY)


@pytest.mark.parametrize("width", [1, 24, 96, 100])
def test_resized_shows_the_same(width: int):
    cameras = batch(orbit(3))
    other = cameras.resized(width)
    assert other.size[:, 0].tolist() == [width] * 3
    assert other.size[:, 1].tolist() == [max(round(width * 32 / 48), 1)] * 3
    views = torch.tensor([0, 1, 2])
    xy = torch.tensor([[3.0, 4.0], [40.0, 30.0], [24.0, 16.0]])
    for a, b in zip(cameras.rays(views, xy), other.rays(views, xy * width / 48)):
        assert_close(a, b, atol=1e-5, rtol=1e-5)
