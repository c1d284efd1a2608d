"""The sample scene: a path that covers the room, files that the reader reads, a writer that harms nothing."""

import errno
import json
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from omniseg.data.formats import read_scene
from omniseg.errors import InputError
from omniseg_sample_scenes import capture
from omniseg_sample_scenes.builder import LEVELS
from omniseg_sample_scenes.capture import is_test_view, make_sample, sample_camera
from omniseg_sample_scenes.kinds import KINDS
from omniseg_sample_scenes.living_room import camera_path
from omniseg_sample_scenes.render import render_scene
from omniseg_sample_scenes.scene import build_scene
from scene_labels import label_points
from unprojection import seen_from, unproject

N_TRAIN, N_TEST = 7, 2
DEPTH_SCALE = KINDS["room"].depth_scale


@pytest.fixture(scope="module")
def folder(device, tmp_path_factory):
    out = tmp_path_factory.mktemp("sample") / "room"
    return make_sample(out, train_views=N_TRAIN, test_views=N_TEST, width=32, height=24, progress=False)


@pytest.mark.slow
def test_what_test_views_see_is_seen_by_train_views(room):
    camera, poses = sample_camera(48, 36), camera_path(92)
    test = is_test_view(80, 12)
    depths = [render_scene(room, camera, pose).depth for pose in poses]
    for k in np.flatnonzero(test):
        points = unproject(camera, poses[k], depths[k]).reshape(-1, 3)
        train = np.flatnonzero(~test)
        times = sum(seen_from(camera, poses[j], depths[j], points, 0.05)[0].astype(int) for j in train)
        assert (times >= 3).mean() > 0.98
        assert np.median(times) > 15


def test_cameras_keep_clear_of_everything(room):
    for n in (10, 92):
        eyes = torch.tensor(camera_path(n)[:, :, 3], dtype=torch.float32)
        assert label_points(room, eyes).distance.min() > 0.3


def test_poses_are_rotations_and_upright():
    poses = camera_path(31)
    turns = poses[:, :, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (31, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)
    np.testing.assert_allclose(turns[:, 2, 0], 0.0, atol=1e-12)  # the horizon is level
    assert (turns[:, 2, 1] < 0).all()  # y points down


@pytest.mark.parametrize(("n_train", "n_test"), [(1, 0), (1, 1), (7, 2), (80, 12), (3, 9)])
def test_test_views_lie_evenly_on_the_path(n_train, n_test):
    test = is_test_view(n_train, n_test)
    assert test.sum() == n_test
    assert len(test) == n_train + n_test
    gaps = np.diff(np.flatnonzero(test))
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_files_are_plain(folder, device):
    meta = {split: json.loads((folder / f"transforms_{split}.json").read_text()) for split in ("train", "test")}
    stems = {split: {frame["file_path"] for frame in meta[split]["frames"]} for split in meta}
    assert len(stems["train"]) == N_TRAIN
    assert len(stems["test"]) == N_TEST
    assert not stems["train"] & stems["test"]
    names = json.loads((folder / "labels" / "names.json").read_text())
    room = build_scene(texel=0.5)
    poses = camera_path(N_TRAIN + N_TEST)
    for split in meta.values():
        assert split["integer_depth_scale"] == DEPTH_SCALE
        camera = sample_camera(split["w"], split["h"])
        assert (split["fl_x"], split["fl_y"], split["cx"], split["cy"]) == (camera.fx, camera.fy, 16.0, 12.0)
        assert split["camera_angle_x"] == pytest.approx(2 * np.arctan(0.5 * split["w"] / split["fl_x"]))
        lower, upper = np.array(split["aabb"])
        for frame in split["frames"]:
            stem = frame["file_path"][4:-4]
            truth = render_scene(room, camera, poses[int(stem)])
            colour = cv2.imread(str(folder / frame["file_path"]))
            depth = cv2.imread(str(folder / frame["depth_file_path"]), cv2.IMREAD_UNCHANGED)
            assert (colour.dtype, colour.shape) == (np.uint8, (24, 32, 3))
            assert (depth.dtype, depth.shape) == (np.uint16, (24, 32))
            np.testing.assert_allclose(depth * DEPTH_SCALE, truth.depth, atol=0.51 * DEPTH_SCALE)
            points = unproject(camera, poses[int(stem)], truth.depth)
            assert (points > lower).all()
            assert (points < upper).all()
            for level in LEVELS:
                labels = cv2.imread(str(folder / "labels" / level / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
                np.testing.assert_array_equal(labels, truth.labels[level])
                assert {str(i) for i in np.unique(labels)} <= set(names[level])


def test_the_reader_reads_it(folder):
    scene = read_scene(folder)
    assert scene.kind == "replica"
    assert [view.split for view in scene.views].count("test") == N_TEST
    poses = camera_path(N_TRAIN + N_TEST)
    for view in scene.views:
        np.testing.assert_allclose(view.c2w, poses[int(view.image_path.stem)], atol=1e-12)
        assert view.camera == sample_camera(32, 24)
        assert view.depth_path is not None
        assert view.depth_path.is_file()
        assert view.depth_unit == DEPTH_SCALE
        assert set(view.label_paths) == set(LEVELS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("train_views", 0),
        ("test_views", -1),
        ("width", 7),
        ("height", 0),
        ("train_views", 10_000),
        ("points", -1),
        ("scene", "kitchen"),
    ],
)
def test_bad_numbers_are_refused(tmp_path, name, value):
    with pytest.raises(InputError, match=name):
        make_sample(tmp_path / "room", **{name: value})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tiny(room, monkeypatch):
    """Writer of the smallest sample; it uses the room that the other tests share."""
    monkeypatch.setattr(capture, "build_scene", lambda *_args, **_options: room)
    return partial(make_sample, train_views=1, test_views=0, width=8, height=8, progress=False)


def test_an_earlier_sample_is_replaced_only_on_demand(tmp_path, tiny):
    out = tiny(tmp_path / "deep" / "room")
    (out / "masks").mkdir()  # what later tools add to a sample goes with it
    with pytest.raises(InputError, match="--overwrite"):
        tiny(out)
    assert (out / "masks").is_dir()
    tiny(out, overwrite=True)
    assert not (out / "masks").exists()
    assert [path.name for path in out.parent.iterdir()] == ["room"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_strangers_folder_is_left_alone(tmp_path, tiny, overwrite):
    out, unfinished = tmp_path / "room", tmp_path / "other.partial"
    for folder in (out, unfinished):
        folder.mkdir()
        (folder / "sample.json").write_text("[]")
    for target, named in ((out, "room: exists"), (tmp_path / "other", r"other\.partial")):
        with pytest.raises(InputError, match=named):
            tiny(target, overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "other.partial",
        "room",
        "sample.json",
        "sample.json",
    ]


def test_a_file_in_the_way_is_named(tmp_path, tiny):
    (tmp_path / "room").write_text("mine")
    with pytest.raises(InputError, match="room"):
        tiny(tmp_path / "room", overwrite=True)
    with pytest.raises(InputError, match="inner"):
        tiny(tmp_path / "room" / "inner")
    assert (tmp_path / "room").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_keeps_what_was(tmp_path, monkeypatch, tiny, error):
    out = tiny(tmp_path / "room")
    before = {path: path.read_bytes() for path in out.rglob("*.*")}

    def fail(*_args):
        raise error

    monkeypatch.setattr(capture, "_write_view", fail)
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    for target in (out, tmp_path / "new"):
        with pytest.raises(expected) as caught:
            tiny(target, overwrite=True)
        assert str(target) in str(caught.value) or expected is KeyboardInterrupt
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_leftovers_of_a_killed_run_are_cleared(tmp_path, tiny):
    out = tiny(tmp_path / "room")
    out.rename(tmp_path / "room.partial")
    tiny(out)
    assert [path.name for path in tmp_path.iterdir()] == ["room"]
