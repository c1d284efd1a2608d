import json
import math

import numpy as np
import pytest

from omniseg.cameras import CameraModel
from omniseg.config import CaptureConfig
from omniseg.data.formats import read_scene
from omniseg.data.splits import split_views
from omniseg.errors import InputError
from scene_files import (
    HEIGHT,
    WIDTH,
    frames,
    opengl,
    orbit,
    real_capture,
    write_images,
    write_json,
    write_transforms,
)


def fails(root, *words):
    with pytest.raises(InputError) as error:
        read_scene(root)
    message = str(error.value)
    assert message.count("\n") <= 1
    for word in words:
        assert word in message, message


def edit(root, **changes):
    path = root / "transforms.json"
    write_json(path, {**json.loads(path.read_text()), **changes})


def test_reads_what_was_written(tmp_path):
    poses = orbit(5)
    write_transforms(tmp_path, poses, fl_y=31.0, cx=11.0, cy=9.0, k1=0.1, k2=0.2, p1=0.01, p2=0.02, k3=0.3)
    scene = read_scene(tmp_path)
    assert (scene.format, scene.kind, len(scene.views)) == ("transforms", "unbounded", 5)
    view = scene.views[2]
    assert (view.name, view.image_path) == ("0002", tmp_path / "images" / "0002.png")
    camera = view.camera
    assert (camera.width, camera.height, camera.fx, camera.fy) == (WIDTH, HEIGHT, 30.0, 31.0)
    assert (camera.cx, camera.cy, camera.model) == (11.0, 9.0, CameraModel.PERSPECTIVE)
    assert camera.distortion == (0.1, 0.2, 0.01, 0.02, 0.3, 0, 0, 0)
    np.testing.assert_allclose([v.c2w for v in scene.views], poses, atol=1e-12)


def test_opengl_axes_by_hand(tmp_path):
    # The identity looks along -z with y up; in OpenCV axes forward is -z, and down is -y.
    write_transforms(tmp_path, orbit(1))
    edit(tmp_path, frames=[{"file_path": "images/0000.png", "transform_matrix": np.eye(4).tolist()}])
    np.testing.assert_array_equal(read_scene(tmp_path).views[0].c2w[:, :3], np.diag([1, -1, -1]))


def test_a_file_may_say_that_its_axes_are_opencv(tmp_path):
    write_transforms(tmp_path, orbit(3))
    path = tmp_path / "transforms.json"
    want = [view.c2w for view in read_scene(tmp_path).views]
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) * [1, -1, -1, 1]).tolist()
    path.write_text(json.dumps({**content, "camera_axes": "opencv"}))
    np.testing.assert_allclose([view.c2w for view in read_scene(tmp_path).views], want, atol=1e-12)
    path.write_text(json.dumps({**content, "camera_axes": "blender"}))
    with pytest.raises(InputError, match="`camera_axes` is 'blender'; expected opencv or opengl"):
        read_scene(tmp_path)


@pytest.mark.parametrize("spelling", ["./images/0000", "images\\0000.png", "images/0000.jpg", "images/0000.png"])
def test_spellings_of_a_file_path(tmp_path, spelling):
    write_transforms(tmp_path, orbit(1))
    edit(tmp_path, frames=frames([spelling], orbit(1)))
    assert read_scene(tmp_path).views[0].image_path == tmp_path / "images" / "0000.png"


def test_a_number_with_a_point_is_no_suffix(tmp_path):
    write_images(tmp_path, ["images/frame_1.5.png"])
    write_json(tmp_path / "transforms.json", {"fl_x": 9.0, "frames": frames(["images/frame_1.5"], orbit(1))})
    assert read_scene(tmp_path).views[0].image_path.name == "frame_1.5.png"


def test_field_of_view_instead_of_focal_length(tmp_path):
    write_transforms(tmp_path, orbit(1))
    edit(tmp_path, fl_x=None, camera_angle_x=math.pi / 2)
    camera = read_scene(tmp_path).views[0].camera
    assert (camera.fx, camera.fy) == pytest.approx((WIDTH / 2, WIDTH / 2))
    edit(tmp_path, camera_angle_y=2 * math.atan(0.25))
    assert read_scene(tmp_path).views[0].camera.fy == pytest.approx(2 * HEIGHT)


@pytest.mark.parametrize("meta", [{"camera_model": "OPENCV_FISHEYE"}, {"is_fisheye": True}])
def test_fisheye(tmp_path, meta):
    write_transforms(tmp_path, orbit(1), k1=0.1, k2=0.2, k3=0.3, k4=0.4, **meta)
    camera = read_scene(tmp_path).views[0].camera
    assert camera.model == CameraModel.FISHEYE
    assert camera.distortion[:4] == (0.1, 0.2, 0.3, 0.4)


def test_pinhole_has_no_distortion(tmp_path):
    write_transforms(tmp_path, orbit(1), k1=0.1, camera_model="PINHOLE")
    assert not any(read_scene(tmp_path).views[0].camera.distortion)


def test_a_frame_may_have_its_own_camera(tmp_path):
    names = write_transforms(tmp_path, orbit(2))
    listed = frames(names, orbit(2))
    listed[1] |= {"fl_x": 50.0, "cx": 3.0, "k1": 0.5}
    edit(tmp_path, frames=listed)
    first, second = (view.camera for view in read_scene(tmp_path).views)
    assert (first.fx, first.cx, first.distortion[0]) == (30.0, WIDTH / 2, 0.0)
    assert (second.fx, second.cx, second.distortion[0]) == (50.0, 3.0, 0.5)


def test_depth(tmp_path):
    names = write_transforms(tmp_path, orbit(2))
    listed = frames(names, orbit(2))
    listed[0]["depth_file_path"] = "depth/0.png"
    edit(tmp_path, frames=listed)
    write_images(tmp_path, ["depth/0.png"])
    first, second = read_scene(tmp_path).views
    assert (first.depth_path, first.depth_unit) == (tmp_path / "depth" / "0.png", 1e-3)
    assert second.depth_path is None
    edit(tmp_path, depth_unit_scale_factor=0.01)
    assert read_scene(tmp_path).views[0].depth_unit == 0.01


def test_splits_by_file_names(tmp_path):
    names = write_transforms(tmp_path, orbit(4))
    edit(tmp_path, train_filenames=names[:2], val_filenames=[names[2]], test_filenames=["images\\0003.png"])
    assert [view.split for view in read_scene(tmp_path).views] == ["train", "train", "val", "test"]


def test_smaller_images(tmp_path):
    names = write_transforms(tmp_path, orbit(2), w=WIDTH, h=HEIGHT)
    write_images(tmp_path, [name.replace("images", "images_2") for name in names], width=12, height=8)
    assert list(read_scene(tmp_path).views[0].images) == [1, 2]
    edit(tmp_path, w=4 * WIDTH, h=4 * HEIGHT)  # the calibration saw larger photos than those on disk
    assert list(read_scene(tmp_path).views[0].images) == [4, 8]


def test_some_images_missing(tmp_path, caplog):
    write_transforms(tmp_path, orbit(4))
    (tmp_path / "images" / "0001.png").unlink()
    assert len(read_scene(tmp_path).views) == 3
    assert len(caplog.records) == 1
    assert "skipped 1 of 4" in caplog.text


def test_an_image_listed_twice_counts_once(tmp_path):
    names = write_transforms(tmp_path, orbit(2))
    edit(tmp_path, frames=frames([*names, names[0]], orbit(3)))
    assert len(read_scene(tmp_path).views) == 2


def test_points_from_a_ply(tmp_path):
    points = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    write_transforms(tmp_path, orbit(1), ply_file_path="sparse_pc.ply")
    assert read_scene(tmp_path).points is None  # listed, but not there
    head = "ply\nformat {}\nelement vertex 2\nproperty float x\nproperty uchar red\nproperty float y\n"
    head += "property float z\nelement face 0\nproperty list uchar int vertex_indices\nend_header\n"
    path = tmp_path / "sparse_pc.ply"
    path.write_text(head.format("ascii 1.0") + "1 9 2 3\n4 9 5 6\n")
    np.testing.assert_array_equal(read_scene(tmp_path).points, points)
    rows = np.empty(2, [("x", "<f4"), ("r", "u1"), ("yz", "<f4", 2)])
    rows["x"], rows["yz"] = points[:, 0], points[:, 1:]
    content = head.format("binary_little_endian 1.0").encode() + rows.tobytes()
    path.write_bytes(content)
    np.testing.assert_array_equal(read_scene(tmp_path).points, points)
    for damaged in (content[:-1], b"", b"\xff\xd8 a photo", content.replace(b"float y", b"float q")):
        path.write_bytes(damaged)
        fails(tmp_path, "sparse_pc.ply", "PLY")


def test_ngp_box(tmp_path):
    write_transforms(tmp_path, orbit(2), aabb_scale=4)
    assert read_scene(tmp_path).extent == pytest.approx(2 / 0.33)


def test_nerf_synthetic(tmp_path):
    for split, poses in (("train", orbit(4)), ("val", orbit(1)), ("test", orbit(2))):
        names = [f"{split}/r_{i}" for i in range(len(poses))]
        write_images(tmp_path, [name + ".png" for name in names], channels=4)
        write_json(
            tmp_path / f"transforms_{split}.json",
            {"camera_angle_x": 0.7, "frames": frames(["./" + name for name in names], poses)},
        )
    scene = read_scene(tmp_path)
    assert (scene.format, scene.kind) == ("transforms", "synthetic")
    assert [view.name for view in scene.views] == [
        "test/r_0", "test/r_1", "train/r_0", "train/r_1", "train/r_2", "train/r_3", "val/r_0"
    ]  # fmt: skip
    assert [view.split for view in scene.views] == ["test"] * 2 + ["train"] * 4 + ["val"]
    assert read_scene(tmp_path / "transforms_test.json").views[0].split == "test"


def test_test_views_repeated_as_val_stay_test_views(tmp_path):
    write_images(tmp_path, ["a.png", "b.png"])
    for split, name in (("train", "a.png"), ("val", "b.png"), ("test", "b.png")):
        write_json(tmp_path / f"transforms_{split}.json", {"fl_x": 9.0, "frames": frames([name], orbit(1))})
    assert [view.split for view in read_scene(tmp_path).views] == ["train", "test"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["not valid JSON"]),
        ('{"frames": [', ["not valid JSON"]),
        (b"\xff\xd8\xff\xe0", ["not valid JSON"]),
        ("[" * 100_000, ["not valid JSON"]),
        ("[]", ["JSON object", "list"]),
        ("{}", ["no frames"]),
        ('{"frames": []}', ["no frames"]),
        ('{"frames": [3]}', ["frame 0", "file_path"]),
        ('{"frames": [{"file_path": 3}]}', ["frame 0", "file_path"]),
    ],
)
def test_damaged_json(tmp_path, content, words):
    path = tmp_path / "transforms.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    fails(tmp_path, str(path), *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fl_x": None}, ["focal length"]),
        ({"fl_x": "wide"}, ["fl_x", "not a number"]),
        ({"fl_x": float("nan")}, ["fl_x", "not a number"]),
        ({"fl_x": 10**400}, ["fl_x", "not a number"]),
        ({"fl_x": -3.0}, ["fx, fy"]),
        ({"w": -5, "h": 16}, ["width, height"]),
        ({"camera_model": "EQUIRECTANGULAR"}, ["EQUIRECTANGULAR", "OPENCV_FISHEYE"]),
        ({"k4": 0.1}, ["k4"]),
        ({"aabb": [[0, 0, 0], [0, 1, 1]]}, ["aabb"]),
    ],
)
def test_invalid_numbers(tmp_path, change, words):
    write_transforms(tmp_path, orbit(1))
    edit(tmp_path, **change)
    fails(tmp_path, "transforms.json", *words)


def _bad(row, column, value):
    matrix = opengl(orbit(1)[0])
    matrix[row][column] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (_bad(0, 3, float("nan")), ["NaN"]),
        (_bad(1, 1, float("inf")), ["NaN or infinity"]),
        (_bad(0, 3, "far"), ["matrix of numbers"]),
        (_bad(0, 3, None), ["NaN"]),
        (_bad(0, 0, 9.0), ["not a rotation"]),
        (np.zeros((4, 4)).tolist(), ["not a rotation"]),
        (np.diag([1.0, 1.0, -1.0, 1.0]).tolist(), ["mirrored"]),
        ([[1, 0, 0]], ["matrix of numbers"]),
        ([[1, 0], [1, 0, 0]], ["matrix of numbers"]),
        (None, ["matrix of numbers"]),
    ],
)
def test_invalid_poses(tmp_path, matrix, words):
    names = write_transforms(tmp_path, orbit(2))
    listed = frames(names, orbit(2))
    listed[1]["transform_matrix"] = matrix
    edit(tmp_path, frames=listed)
    fails(tmp_path, "transforms.json", "images/0001.png", *words)


def test_a_scaled_rotation_is_one(tmp_path):
    names = write_transforms(tmp_path, orbit(2))
    listed = frames(names, orbit(2))
    matrix = np.array(listed[0]["transform_matrix"])
    matrix[:3, :3] *= 2
    listed[0]["transform_matrix"] = matrix.tolist()
    edit(tmp_path, frames=listed)
    np.testing.assert_allclose(read_scene(tmp_path).views[0].c2w, orbit(2)[0], atol=1e-12)


def test_poses_without_images(tmp_path):
    names = write_transforms(tmp_path, orbit(2))
    for name in names:
        (tmp_path / name).unlink()
    fails(tmp_path, "transforms.json", "2 images", "none exists")


def test_fox_from_json():
    scene = read_scene(real_capture("fox") / "transforms.json")
    assert (scene.format, scene.kind, len(scene.views)) == ("transforms", "unbounded", 50)
    assert scene.views[0].camera.distortion[:4] == (0.0578421, -0.0805099, -0.000980296, 0.00015575)


def test_lego():
    scene = read_scene(real_capture("lego"))
    assert (scene.kind, len(scene.views)) == ("synthetic", 125)
    assert {view.split for view in scene.views} == {"train", "test"}


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("test_frames", [["./test/0001", "./test/0002"], []], ids=["not rendered", "no frames"])
def test_a_test_split_without_images_is_left_out(tmp_path, caplog, test_frames):
    """BlenderNeRF's default export."""
    names = [f"train/{i:04d}.png" for i in range(4)]
    write_images(tmp_path, names)
    meta = {"camera_angle_x": 0.7, "w": WIDTH, "h": HEIGHT}
    write_json(tmp_path / "transforms_train.json", {**meta, "frames": frames(names, orbit(4))})
    write_json(tmp_path / "transforms_test.json", {**meta, "frames": frames(test_frames, orbit(2))})
    scene = read_scene(tmp_path)
    assert [view.split for view in scene.views] == ["train"] * 4
    splits = split_views(scene)
    assert (splits.train, splits.test) == ((0, 1, 2, 3), ())
    (line,) = messages(caplog)
    assert f"{tmp_path / 'transforms_test.json'}: lists " in line
    assert line.endswith("so there is no test split")
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    fails(tmp_path, "transforms_train.json", "none exists")


def test_backslashes_in_every_path(tmp_path):
    write_transforms(tmp_path, orbit(1))
    write_images(tmp_path, ["depth/0.png", "masks/0.png", "images/0.png"])
    cloud = tmp_path / "cloud" / "points.ply"
    cloud.parent.mkdir()
    head = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    cloud.write_text(head + "1 2 3\n")
    entry = {
        "file_path": "images\\0.png",
        "depth_file_path": "depth\\0.png",
        "mask_path": ".\\masks\\0.png",
        "transform_matrix": opengl(orbit(1)[0]),
    }
    edit(tmp_path, frames=[entry], ply_file_path="cloud\\points.ply")
    scene = read_scene(tmp_path)
    view = scene.views[0]
    assert view.image_path == tmp_path / "images" / "0.png"
    assert view.depth_path == tmp_path / "depth" / "0.png"
    assert view.ignore_path == tmp_path / "masks" / "0.png"
    assert scene.points.tolist() == [[1, 2, 3]]


def test_a_mask_that_does_not_exist(tmp_path):
    names = write_transforms(tmp_path, orbit(2))
    listed = frames(names, orbit(2))
    listed[1]["mask_path"] = "masks/1.png"
    edit(tmp_path, frames=listed)
    fails(tmp_path, "images/0001.png", "`mask_path`", str(tmp_path / "masks" / "1.png"), "does not exist")


def test_split_lists_that_do_not_match(tmp_path, caplog):
    names = write_transforms(tmp_path, orbit(4))
    edit(tmp_path, train_filenames=["./" + name for name in names[:3]], test_filenames=[names[3], "images/9.png"])
    assert [view.split for view in read_scene(tmp_path).views] == ["train"] * 3 + ["test"]
    (line,) = messages(caplog)
    assert "1 of 2 names in `test_filenames` are no frames (first: images/9.png)" in line
    edit(tmp_path, train_filenames=[name.removeprefix("images/") for name in names])
    fails(tmp_path, "no name in `train_filenames`", "0000.png, but images/0000.png")


def test_split_lists_may_name_frames_whose_images_are_missing(tmp_path, caplog):
    names = write_transforms(tmp_path, orbit(3))
    (tmp_path / names[2]).unlink()
    edit(tmp_path, train_filenames=names[:1], test_filenames=names[1:])
    assert [view.split for view in read_scene(tmp_path).views] == ["train", "test"]
    assert len(caplog.records) == 1  # the one that counts missing images


def test_intrinsics_as_parts_of_the_image(tmp_path):
    write_transforms(tmp_path, orbit(1), cx=0.5, cy=0.25)
    camera = read_scene(tmp_path).views[0].camera
    assert (camera.fx, camera.cx, camera.cy) == (30.0, 0.5 * WIDTH, 0.25 * HEIGHT)
    edit(tmp_path, fl_x=1.125, fl_y=1.6875, w=2400, h=1600)
    camera = read_scene(tmp_path).views[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (2700.0, 2700.0, 1200.0, 400.0)
    edit(tmp_path, cx=1200, cy=400)
    fails(tmp_path, "focal length of 1.125 is too short for 2400 pixels")
    edit(tmp_path, fl_x=2700, cx=0, cy=0)
    fails(tmp_path, "`cx`, `cy` are 0")


def test_the_rational_model_of_opencv(tmp_path):
    values = {"k1": 0.1, "k2": 0.2, "p1": 0.01, "p2": 0.02, "k3": 0.3, "k4": 0.4, "k5": 0.5, "k6": 0.6}
    want = (0.1, 0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6)
    write_transforms(tmp_path, orbit(1), **values)
    assert read_scene(tmp_path).views[0].camera.distortion == want
    edit(tmp_path, camera_model="FULL_OPENCV", k5=0, k6=0)
    assert read_scene(tmp_path).views[0].camera.distortion == (*want[:6], 0, 0)
    edit(tmp_path, camera_model="OPENCV_FISHEYE", k5=0.5)
    fails(tmp_path, "k5 and k6")


@pytest.mark.parametrize(
    ("fisheye", "model"), [(True, "OPENCV"), (True, "PINHOLE"), (False, "OPENCV_FISHEYE"), (1, "RADIAL")]
)
def test_is_fisheye_that_contradicts_the_camera_model(tmp_path, fisheye, model):
    write_transforms(tmp_path, orbit(1), is_fisheye=fisheye, camera_model=model)
    fails(tmp_path, "`is_fisheye`", model)
    edit(tmp_path, is_fisheye=not fisheye)
    read_scene(tmp_path)


def test_null_counts_as_absent(tmp_path):
    empty = dict.fromkeys(
        ["aabb", "aabb_scale", "ply_file_path", "camera_model", "is_fisheye", "cx", "k1", "mask_path"]
    )
    write_transforms(tmp_path, orbit(2), **empty)
    scene = read_scene(tmp_path)
    assert (scene.aabb, scene.extent, scene.points, scene.views[0].camera.cx) == (None, None, None, WIDTH / 2)


def test_a_byte_order_mark(tmp_path):
    write_transforms(tmp_path, orbit(2))
    path = tmp_path / "transforms.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_scene(tmp_path).views) == 2


def test_a_missing_depth_image_costs_the_depth_of_its_view(tmp_path, caplog):
    names = write_transforms(tmp_path, orbit(3))
    listed = frames(names, orbit(3))
    for i, frame in enumerate(listed):
        frame["depth_file_path"] = f"depth/{i}.png"
    edit(tmp_path, frames=listed)
    write_images(tmp_path, ["depth/0.png", "depth/2.png"])
    assert [view.depth_path is None for view in read_scene(tmp_path).views] == [False, True, False]
    (line,) = messages(caplog)
    assert "1 of 3 views have no depth" in line
    assert str(tmp_path / "depth" / "1.png") in line


def test_the_image_folder_may_be_named(tmp_path):
    write_transforms(tmp_path, orbit(2))
    (tmp_path / "images").rename(tmp_path / "shots")
    fails(tmp_path, "none exists", "--images")
    for root in (tmp_path, tmp_path / "transforms.json"):
        views = read_scene(root, CaptureConfig(images="shots")).views
        assert [view.image_path for view in views] == [tmp_path / "shots" / f"{i:04d}.png" for i in range(2)]


def test_photos_of_another_size_rescale_the_cameras(tmp_path, caplog):
    write_transforms(tmp_path, orbit(2), w=36, h=24, cx=15.0, cy=12.0)
    camera = read_scene(tmp_path).views[0].camera
    assert (camera.width, camera.height, camera.fx, camera.cx, camera.cy) == (WIDTH, HEIGHT, 20.0, 10.0, 8.0)
    (line,) = messages(caplog)
    assert "rescaled by 0.6667" in line
