import json

import numpy as np
import pytest

from omniseg.data.formats import read_scene
from omniseg.data.splits import split_views
from omniseg.errors import InputError
from scene_files import frames, opengl, orbit, write_image, write_images, write_json

BOX = [[-3.0, -2.0, 0.0], [3.0, 2.0, 2.5]]


def write_room(root, n=4, n_test=2):
    """Write the layout of our own sample scene; returns its poses."""
    poses = orbit(n + n_test)
    for split, start, stop in (("train", 0, n), ("test", n, n + n_test)):
        names = [f"rgb/{i:04d}.png" for i in range(start, stop)]
        write_images(root, names)
        listed = frames(names, poses[start:stop])
        for frame, name in zip(listed, names):
            frame["depth_file_path"] = name.replace("rgb", "depth")
            write_image(root / frame["depth_file_path"])
        meta = {"camera_angle_x": 1.0, "aabb": BOX, "integer_depth_scale": 2e-4, "frames": listed}
        if n_test or split == "train":
            write_json(root / f"transforms_{split}.json", meta)
    return poses


def write_author(root, n_images=16, stride=5, names="rgb_{}.jpg", step=1, axes=None):
    """Write the layout of OmniSeg3D's authors; returns the poses of the images."""
    poses = orbit(n_images * stride)
    listed = []
    for pose in poses:
        matrix = np.array(opengl(pose))
        matrix[:, 1:3] *= -1  # their axes are OpenCV's
        listed.append({"file_path": "results/frame0.jpg", "transform_matrix": matrix.tolist()})
    meta = {"fl_x": 30.0, "fl_y": 30.0, "w": 24, "h": 16, "aabb": BOX, "integer_depth_scale": 1e-3}
    write_json(root / "transforms_train.json", {**meta, "frames": listed} | ({"camera_axes": axes} if axes else {}))
    for i in range(n_images):
        write_image(root / "results" / "rgb" / names.format(f"{i * step:06d}"))
        write_image(root / "results" / "depth" / f"depth{i * step:06d}.png")
    return poses[::stride]


def fails(root, *words):
    with pytest.raises(InputError) as error:
        read_scene(root)
    for word in words:
        assert word in str(error.value), str(error.value)


def test_reads_our_own_layout(tmp_path):
    poses = write_room(tmp_path)
    write_image(tmp_path / "labels" / "object" / "0001.png")
    write_image(tmp_path / "labels" / "part" / "0001.png")
    (tmp_path / "sam").mkdir()
    (tmp_path / "sam" / "0002.npz").touch()
    scene = read_scene(tmp_path)
    assert (scene.format, scene.kind) == ("replica", "replica")
    np.testing.assert_array_equal(scene.aabb, BOX)
    assert [view.name for view in scene.views] == [f"{i:04d}" for i in range(6)]
    np.testing.assert_allclose([view.c2w for view in scene.views], poses, atol=1e-12)
    assert [view.split for view in scene.views] == ["train"] * 4 + ["test"] * 2
    assert scene.views[1].depth_path == tmp_path / "depth" / "0001.png"
    assert scene.views[1].depth_unit == 2e-4
    assert scene.views[1].label_paths == {
        level: tmp_path / "labels" / level / "0001.png" for level in ("object", "part")
    }
    assert scene.views[0].label_paths == {}
    assert [view.hierarchy_path is not None for view in scene.views] == [False, False, True] + [False] * 3


def test_depth_is_found_beside_the_images(tmp_path):
    write_room(tmp_path)
    for split in ("train", "test"):
        path = tmp_path / f"transforms_{split}.json"
        meta = json.loads(path.read_text())
        for frame in meta["frames"]:
            del frame["depth_file_path"]
        write_json(path, meta)
    for i in (0, 1, 2, 4, 5):
        (tmp_path / "depth" / f"{i:04d}.png").unlink()
    depths = [view.depth_path for view in read_scene(tmp_path).views]
    assert depths == [None] * 3 + [tmp_path / "depth" / "0003.png"] + [None] * 2


def test_without_test_views_every_8th_is_held_out(tmp_path):
    write_room(tmp_path, n=9, n_test=0)
    assert split_views(read_scene(tmp_path)).test == (0, 8)


def test_camera_axes_may_be_named(tmp_path):
    write_room(tmp_path, n_test=0)
    path = tmp_path / "transforms_train.json"
    before = read_scene(tmp_path).views[0].c2w
    write_json(path, {**json.loads(path.read_text()), "camera_axes": "opencv"})
    np.testing.assert_allclose(read_scene(tmp_path).views[0].c2w, before * [1, -1, -1, 1])
    write_json(path, {**json.loads(path.read_text()), "camera_axes": "blender"})
    fails(tmp_path, "transforms_train.json", "camera_axes", "opencv or opengl")


@pytest.mark.parametrize(
    ("names", "step"),
    [("rgb_{}.jpg", 1), ("frame{}.jpg", 5)],
    ids=["images counted", "numbers of the frames"],
)
def test_the_authors_layout(tmp_path, names, step):
    poses = write_author(tmp_path, names=names, step=step)
    (tmp_path / "results" / "sam").mkdir()
    (tmp_path / "results" / "sam" / names.replace("jpg", "npz").format("000000")).touch()
    scene = read_scene(tmp_path)
    assert (scene.kind, len(scene.views)) == ("replica", 16)
    np.testing.assert_allclose([view.c2w for view in scene.views], poses, atol=1e-12)
    assert scene.views[3].depth_path == tmp_path / "results" / "depth" / f"depth{3 * step:06d}.png"
    assert scene.views[3].depth_unit == 1e-3
    assert scene.views[0].hierarchy_path is not None
    splits = split_views(scene)
    assert splits.train == tuple(range(0, 16, 2))
    assert splits.test == (1, 9)


def test_images_that_fit_no_stride(tmp_path):
    write_author(tmp_path)
    (tmp_path / "results" / "rgb" / "rgb_000003.jpg").unlink()
    fails(tmp_path, "results/rgb", "15 images do not fit the 80 poses")


def test_no_images(tmp_path):
    write_author(tmp_path, n_images=1)
    (tmp_path / "results" / "rgb" / "rgb_000000.jpg").unlink()
    fails(tmp_path, "results/rgb", "holds no images")


@pytest.mark.parametrize("box", [[], [[0, 0, 0]], [[1, 1, 1], [0, 2, 2]], [[0, 0, float("nan")], [1, 1, 1]], "big"])
def test_invalid_boxes(tmp_path, box):
    write_room(tmp_path, n_test=0)
    path = tmp_path / "transforms_train.json"
    write_json(path, {**json.loads(path.read_text()), "aabb": box})
    fails(tmp_path, str(path), "aabb")


def test_a_box_of_null_is_no_box(tmp_path):
    write_room(tmp_path)
    for split in ("train", "test"):
        path = tmp_path / f"transforms_{split}.json"
        write_json(path, {**json.loads(path.read_text()), "aabb": None})
    scene = read_scene(tmp_path)
    assert (scene.format, scene.aabb) == ("transforms", None)
    assert [view.split for view in scene.views] == ["train"] * 4 + ["test"] * 2


@pytest.mark.parametrize("spelling", ["rgb\\{:04d}.png", "rgb/{:04d}", "rgb/{:04d}.PNG"])
def test_spellings_of_our_own_layout(tmp_path, spelling):
    """No spelling makes it the authors' layout, whose axes are others."""
    poses = write_room(tmp_path)
    for split, numbers in (("train", range(4)), ("test", range(4, 6))):
        path = tmp_path / f"transforms_{split}.json"
        meta = json.loads(path.read_text())
        for number, frame in zip(numbers, meta["frames"]):
            frame["file_path"] = spelling.format(number)
            frame["depth_file_path"] = frame["depth_file_path"].replace("/", "\\")
        write_json(path, meta)
    views = read_scene(tmp_path).views
    np.testing.assert_allclose([view.c2w for view in views], poses, atol=1e-12)
    assert views[5].depth_path == tmp_path / "depth" / "0005.png"


def test_a_missing_depth_image_costs_the_depth_of_its_view(tmp_path):
    write_author(tmp_path)
    (tmp_path / "results" / "depth" / "depth000003.png").unlink()
    paths = [view.depth_path for view in read_scene(tmp_path).views]
    assert [k for k, path in enumerate(paths) if path is None] == [3]
    assert paths[4].name == "depth000004.png"


def test_damaged_json(tmp_path):
    write_room(tmp_path)
    path = tmp_path / "transforms_train.json"
    path.write_text(path.read_text()[:-20])
    fails(tmp_path, str(path), "not valid JSON")
