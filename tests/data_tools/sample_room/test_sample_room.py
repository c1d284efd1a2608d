"""The sample room: exact geometry, consistent labels, a path that covers it, a writer that harms nothing."""

import errno
import json
from dataclasses import replace
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from omniseg.cameras import CameraModel, look_at
from omniseg.data.formats import read_scene
from omniseg.errors import InputError
from omniseg_sample_room import capture as sample
from omniseg_sample_room.builder import LEVELS
from omniseg_sample_room.capture import DEPTH_SCALE, camera_path, is_test_view, make_sample, sample_camera
from omniseg_sample_room.render import render_room
from omniseg_sample_room.room import build_room

N_TRAIN, N_TEST = 7, 2


@pytest.fixture(scope="module")
def room(device):
    return build_room(0, texel=0.5)  # coarse light: most tests are about geometry


@pytest.fixture(scope="module")
def views(room):
    """Some cameras of the path and what they see."""
    camera, poses = sample_camera(96, 72), camera_path(9)
    return camera, poses, [render_room(room, camera, pose) for pose in poses]


@pytest.fixture(scope="module")
def folder(device, tmp_path_factory):
    out = tmp_path_factory.mktemp("sample") / "room"
    return make_sample(out, train_views=N_TRAIN, test_views=N_TEST, width=32, height=24, progress=False)


def unproject(camera, pose, depth):
    """(H, W, 3) points in the room of the pixel centres."""
    y, x = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    local = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], -1)
    return local * depth[..., None] @ pose[:, :3].T + pose[:, 3]


def seen_from(camera, pose, depth, points, tolerance):
    """Which of the (n, 3) points a camera sees: in its image, at the depth of one of 3 x 3 pixels there."""
    x, y, z = ((points - pose[:, 3]) @ pose[:, :3]).T
    z = np.where(z > 0.05, z, np.nan)
    with np.errstate(invalid="ignore"):
        column = np.floor(x / z * camera.fx + camera.cx)
        row = np.floor(y / z * camera.fy + camera.cy)
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    column, row = (np.where(inside, k, 0).astype(int) for k in (column, row))
    near = np.stack([np.roll(depth, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    return inside & (np.abs(near[:, row, column] - z).min(0) < tolerance), row, column


def test_every_pixel_is_labelled_and_labels_are_nested(room, views):
    for image in views[2]:
        for fine, coarse in pairwise(LEVELS):
            parents = np.array([0, *(room.names[fine][i].parent for i in sorted(room.names[fine]))])
            assert image.labels[fine].min() > 0
            np.testing.assert_array_equal(parents[image.labels[fine]], image.labels[coarse])


def test_names_are_unique_and_their_parents_exist(room):
    for fine, coarse in zip(LEVELS, [*LEVELS[1:], None]):
        entries = room.names[fine]
        assert sorted(entries) == list(range(1, len(entries) + 1))
        assert len({entry.name for entry in entries.values()}) == len(entries)
        assert all(
            (entry.parent in room.names[coarse]) if coarse else entry.parent is None for entry in entries.values()
        )
        assert set(room.ids[fine].tolist()) == set(entries)


def test_furniture_is_made_of_parts(room):
    parts = {entry.name: entry.parent for entry in room.names["part"].values()}
    objects = {entry.name: entry.parent for entry in room.names["object"].values()}
    table = parts["dining table: top"]
    assert all(parts[f"dining table: leg {k}"] == table for k in (1, 2, 3, 4))
    assert len({objects[name] for name in ("dining table", "chair 1", "chair 4", "fruit bowl")}) == 1
    assert objects["sofa"] == objects["rug"] != objects["dining table"]


def test_depth_is_the_first_surface_along_the_ray(room, views):
    camera, poses, images = views
    for pose, image in zip(poses, images):
        points = unproject(camera, pose, image.depth).reshape(-1, 3)
        at_surface = room.label_points(torch.tensor(points, dtype=torch.float32))
        # Sphere tracing stops 0.05 mm before a surface; a ray that creeps along one may stop earlier.
        assert at_surface.distance.abs().quantile(0.999) < 1e-4
        assert at_surface.distance.abs().max() < 1e-3
        share = np.linspace(0.02, 0.98, 25)[:, None, None]  # nothing stands in the way
        between = (pose[:, 3] + share * (points[::17] - pose[:, 3])).reshape(-1, 3)
        assert room.label_points(torch.tensor(between, dtype=torch.float32)).distance.min() > 0


def test_labels_of_points_are_those_of_their_pixels(room, views):
    camera, poses, images = views
    for pose, image in zip(poses, images):
        points = unproject(camera, pose, image.depth).reshape(-1, 3)
        found = room.label_points(torch.tensor(points, dtype=torch.float32)).labels
        for level in LEVELS:  # where two solids touch either may be nearer
            assert (found[level].cpu().numpy() == image.labels[level].reshape(-1)).mean() > 0.99


def test_views_agree_on_depth_and_labels(views):
    camera, poses, images = views
    shared = 0
    for a, b in ((0, 1), (1, 2), (3, 0), (4, 7), (8, 5)):
        points = unproject(camera, poses[a], images[a].depth).reshape(-1, 3)
        seen, row, column = seen_from(camera, poses[b], images[b].depth, points, 0.01)
        shared += seen.sum()
        labels = images[b].labels["part"]
        around = np.stack([np.roll(labels, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
        same = (around[:, row, column] == images[a].labels["part"].reshape(-1)).any(0)
        assert same[seen].mean() > 0.98  # the rest lies on borders, where 1 cm reaches another part
    assert shared > 5000


def test_what_test_views_see_is_seen_by_train_views(room):
    camera, poses = sample_camera(48, 36), camera_path(92)
    test = is_test_view(80, 12)
    depths = [render_room(room, camera, pose).depth for pose in poses]
    for k in np.flatnonzero(test):
        points = unproject(camera, poses[k], depths[k]).reshape(-1, 3)
        train = np.flatnonzero(~test)
        times = sum(seen_from(camera, poses[j], depths[j], points, 0.05)[0].astype(int) for j in train)
        assert (times >= 3).mean() > 0.98
        assert np.median(times) > 15


def test_cameras_keep_clear_of_everything(room):
    for n in (10, 92):
        eyes = torch.tensor(camera_path(n)[:, :, 3], dtype=torch.float32)
        assert room.label_points(eyes).distance.min() > 0.3


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


def test_distance_is_that_of_a_solid_by_hand(room):
    found = room.label_points(torch.tensor([[2.0, -0.3, 0.05], [0.0, -0.3, 2.5], [0.0, 0.0, -0.02], [9.0, 0.0, 1.0]]))
    names = [room.names["part"][i].name for i in found.labels["part"].tolist()]
    assert names == ["floor: floor", "ceiling: ceiling", "floor: floor", "walls: east wall"]
    # The slabs around the room are 0.1 m thick.
    torch.testing.assert_close(found.distance.cpu(), torch.tensor([0.05, 0.1, -0.02, 6.2]), rtol=0, atol=1e-5)


def test_distance_never_grows_faster_than_the_point_moves(room):
    points = torch.rand(4000, 3) * torch.tensor([5.4, 4.4, 2.6]) - torch.tensor([2.7, 2.2, 0.0])
    step = 0.03 * torch.nn.functional.normalize(torch.randn(4000, 3), dim=1)
    change = room.label_points(points + step).distance - room.label_points(points).distance
    assert change.abs().max() < 0.03 + 1e-4


def test_no_points_have_no_labels(room):
    found = room.label_points(torch.zeros(0, 3))
    assert found.distance.shape == (0,)
    assert all(found.labels[level].shape == (0,) for level in LEVELS)


def test_a_camera_outside_sees_nothing(room):
    pose = look_at(np.array([0.0, 0.0, 9.0]), np.array([0.1, 0.0, 20.0]))
    image = render_room(room, sample_camera(9, 8), pose)
    assert image.depth.max() == 0
    assert all(image.labels[level].max() == 0 for level in LEVELS)


def test_same_seed_same_room_other_seed_other_room(views, device):
    camera, poses, images = views
    again, other = (render_room(build_room(seed, texel=0.5), camera, poses[0]) for seed in (0, 1))
    np.testing.assert_array_equal(again.colour, images[0].colour)
    np.testing.assert_array_equal(again.depth, images[0].depth)
    assert (other.colour != images[0].colour).mean() > 0.5
    assert (other.depth != images[0].depth).mean() > 0.1


def test_pictures_are_neither_dark_nor_flat(views):
    for image in views[2]:
        assert 60 < image.colour.mean() < 200
        assert image.colour.std() > 20


@pytest.mark.parametrize("shape", [(3,), (5, 2), (1, 2, 3)])
def test_label_points_refuses_other_shapes(room, shape):
    with pytest.raises(ValueError, match="points: expected shape"):
        room.label_points(torch.zeros(shape))


def test_render_refuses_lenses_and_other_poses(room):
    camera = sample_camera(8, 8)
    with pytest.raises(ValueError, match="c2w: expected shape"):
        render_room(room, camera, np.eye(3))
    with pytest.raises(ValueError, match="pinhole"):
        render_room(room, replace(camera, model=CameraModel.FISHEYE), np.eye(4))


def test_files_are_plain(folder, device):
    meta = {split: json.loads((folder / f"transforms_{split}.json").read_text()) for split in ("train", "test")}
    stems = {split: {frame["file_path"] for frame in meta[split]["frames"]} for split in meta}
    assert len(stems["train"]) == N_TRAIN
    assert len(stems["test"]) == N_TEST
    assert not stems["train"] & stems["test"]
    names = json.loads((folder / "labels" / "names.json").read_text())
    room = build_room(0, texel=0.5)
    poses = camera_path(N_TRAIN + N_TEST)
    for split in meta.values():
        assert split["integer_depth_scale"] == DEPTH_SCALE
        camera = sample_camera(split["w"], split["h"])
        assert (split["fl_x"], split["fl_y"], split["cx"], split["cy"]) == (camera.fx, camera.fy, 16.0, 12.0)
        assert split["camera_angle_x"] == pytest.approx(2 * np.arctan(0.5 * split["w"] / split["fl_x"]))
        lower, upper = np.array(split["aabb"])
        for frame in split["frames"]:
            stem = frame["file_path"][4:-4]
            truth = render_room(room, camera, poses[int(stem)])
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
    ],
)
def test_bad_numbers_are_refused(tmp_path, name, value):
    with pytest.raises(InputError, match=name):
        make_sample(tmp_path / "room", **{name: value})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tiny(room, monkeypatch):
    """A writer of the smallest sample, with the light of the room that is there."""
    monkeypatch.setattr(sample, "build_room", lambda *_args, **_options: room)
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

    monkeypatch.setattr(sample, "_write_view", fail)
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
