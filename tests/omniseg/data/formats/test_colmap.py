import struct
from pathlib import Path

import numpy as np
import pytest

from omniseg.cameras import CameraModel
from omniseg.config import CaptureConfig
from omniseg.data.formats import read_scene
from omniseg.data.formats.colmap import read_model
from omniseg.errors import InputError
from scene_files import (
    COLMAP_NAMES,
    HEIGHT,
    PINHOLE,
    WIDTH,
    cameras_bin,
    images_bin,
    orbit,
    points_bin,
    real_capture,
    write_colmap,
    write_colmap_text,
    write_images,
    write_transforms,
)

POINTS = np.random.default_rng(0).normal(size=(250, 3))


def fails(root: Path, *words: str) -> None:
    with pytest.raises(InputError) as error:
        read_scene(root)
    message = str(error.value)
    assert message.count("\n") <= 1
    for word in words:
        assert word in message, message


def test_reads_what_was_written(tmp_path):
    poses = orbit(5)
    write_colmap(tmp_path, poses, points=POINTS)
    scene = read_scene(tmp_path)
    assert (scene.format, scene.kind) == ("colmap", "unbounded")
    assert [view.name for view in scene.views] == [f"{i:04d}" for i in range(5)]
    assert scene.views[2].image_path == tmp_path / "images" / "0002.png"
    camera = scene.views[0].camera
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == PINHOLE[4]
    np.testing.assert_allclose([view.c2w for view in scene.views], poses, atol=1e-12)
    np.testing.assert_allclose(scene.points, POINTS)


def test_text_equals_binary(tmp_path):
    poses, points = orbit(4), POINTS[:7]
    names = write_colmap(tmp_path / "a", poses, points=points)
    write_colmap_text(tmp_path / "b" / "sparse" / "0", names, poses, points)
    write_images(tmp_path / "b" / "images", names)
    binary, text = read_scene(tmp_path / "a"), read_scene(tmp_path / "b")
    assert text.format == "colmap"
    for one, other in zip(binary.views, text.views):
        assert one.camera == other.camera
        np.testing.assert_allclose(one.c2w, other.c2w, atol=1e-12)
    np.testing.assert_allclose(text.points, binary.points)


def test_each_view_has_the_reliable_points_that_it_sees(tmp_path):
    seen = [[250, 3, 3], [], [1, 999], [2, 4, 5]]
    write_colmap(tmp_path, orbit(4), points=POINTS, seen=seen)
    (tmp_path / "images" / "0003.png").unlink()
    data = bytearray((tmp_path / "sparse" / "0" / "points3D.bin").read_bytes())
    at = 8 + 2 * (struct.calcsize("<Q3d3BdQ") + 3 * 8) + struct.calcsize("<Q3d3B")
    data[at : at + 8] = struct.pack("<d", 50.0)  # the reprojection error of point 3
    (tmp_path / "sparse" / "0" / "points3D.bin").write_bytes(data)
    first, second, third = read_scene(tmp_path).views
    assert first.seen_points is not None
    assert np.array_equal(first.seen_points, POINTS[[249]]), "point 3 is unreliable"
    assert second.seen_points is None
    assert third.seen_points is not None
    assert np.array_equal(third.seen_points, POINTS[[0]]), "there is no point 999"


def test_seen_points_in_text(tmp_path):
    names = write_colmap(tmp_path, orbit(3))
    write_colmap_text(tmp_path / "sparse" / "0", names, orbit(3), POINTS[:9])
    for path in (tmp_path / "sparse" / "0").glob("*.bin"):
        path.unlink()
    first, _, last = read_scene(tmp_path).views
    assert np.array_equal(first.seen_points, POINTS[[6]])
    assert last.seen_points is None


@pytest.mark.parametrize("folder", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_finds_the_model(tmp_path, folder):
    write_colmap(tmp_path, orbit(3), folder=folder)
    assert len(read_scene(tmp_path).views) == 3


@pytest.mark.parametrize("name", ["fox", "fern"])
def test_agrees_with_pycolmap(name):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is the oracle of COLMAP's files: pip install pycolmap")
    folder = real_capture(name) / "sparse" / "0"
    ours, theirs = read_model(folder), pycolmap.Reconstruction(str(folder))
    assert len(ours.images) == theirs.num_images()
    for image in ours.images:
        other = next(o for o in theirs.images.values() if o.name == image.name)
        world_to_camera = np.asarray(other.cam_from_world().matrix())
        np.testing.assert_allclose(world_to_camera[:, :3] @ image.c2w[:, :3], np.eye(3), atol=1e-9)
        np.testing.assert_allclose(
            world_to_camera[:, :3] @ image.c2w[:, 3] + world_to_camera[:, 3], np.zeros(3), atol=1e-9
        )
    xyz = {key: point.xyz for key, point in theirs.points3D.items()}
    assert len(ours.points.xyz) == len(xyz)
    np.testing.assert_array_equal(np.sort(ours.points.xyz, axis=0), np.sort(np.array(list(xyz.values())), axis=0))
    assert ours.points.track.sum() == theirs.compute_num_observations()


def test_a_model_that_pycolmap_wrote(tmp_path):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is the oracle of COLMAP's files: pip install pycolmap")
    write_colmap(tmp_path, orbit(3))
    model = tmp_path / "sparse" / "0"
    (model / "points3D.bin").write_bytes(points_bin(POINTS[:5], track=0))
    reconstruction = pycolmap.Reconstruction(str(model))
    before = read_scene(tmp_path)
    reconstruction.write_binary(str(model))  # newer versions add rigs.bin and frames.bin
    after = read_scene(tmp_path)
    np.testing.assert_allclose([v.c2w for v in after.views], [v.c2w for v in before.views], atol=1e-12)
    np.testing.assert_allclose(np.sort(after.points, axis=0), np.sort(before.points, axis=0))


@pytest.mark.parametrize("model", range(len(COLMAP_NAMES)))
def test_camera_models(tmp_path, model):
    pycolmap = pytest.importorskip(
        "pycolmap", reason="pycolmap knows how many parameters each model has: pip install pycolmap"
    )
    n = len(pycolmap.Camera(model=COLMAP_NAMES[model], width=1, height=1, params=_params(COLMAP_NAMES[model])).params)
    params = tuple(30.0 + i for i in range(n))
    write_colmap(tmp_path, orbit(2), cameras=[(7, model, WIDTH, HEIGHT, params)])
    camera = read_scene(tmp_path).views[0].camera
    fisheye = COLMAP_NAMES[model].endswith("FISHEYE")
    assert camera.model == (
        CameraModel.FOV if COLMAP_NAMES[model] == "FOV" else CameraModel.FISHEYE if fisheye else CameraModel.PERSPECTIVE
    )
    assert {camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion} - {0.0} == set(params)


def _params(name: str) -> list[float]:
    from omniseg.data.formats.colmap_model import MODELS

    return [1.0] * len(dict(MODELS)[name].split())


FILES = {
    "cameras.bin": cameras_bin(),
    "images.bin": images_bin(["0000.png", "0001.png"], orbit(2)),
    "points3D.bin": points_bin(POINTS[:3]),
}


@pytest.mark.parametrize("name", FILES)
def test_truncated_anywhere(tmp_path, name):
    write_colmap(tmp_path, orbit(2), points=POINTS[:3])
    path, content = tmp_path / "sparse" / "0" / name, FILES[name]
    for length in range(len(content)):
        path.write_bytes(content[:length])
        fails(tmp_path, str(path), "is truncated")


@pytest.mark.parametrize("name", FILES)
def test_trailing_bytes(tmp_path, name):
    write_colmap(tmp_path, orbit(2), points=POINTS[:3])
    path = tmp_path / "sparse" / "0" / name
    path.write_bytes(FILES[name] + b"\0")
    fails(tmp_path, str(path), "1 bytes too many")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("count", [2**32, 2**62, 2**64 - 1])
def test_absurd_counts(tmp_path, name, count):
    write_colmap(tmp_path, orbit(2), points=POINTS[:3])
    path = tmp_path / "sparse" / "0" / name
    path.write_bytes(struct.pack("<Q", count) + FILES[name][8:])
    fails(tmp_path, str(path), "has no room")


@pytest.mark.parametrize("length", [100, 2**40, 2**64 - 1])
def test_absurd_track(tmp_path, length):
    write_colmap(tmp_path, orbit(2))
    path = tmp_path / "sparse" / "0" / "points3D.bin"
    content = bytearray(FILES["points3D.bin"])
    content[8 + 43 : 8 + 51] = struct.pack("<Q", length)
    path.write_bytes(content)
    fails(tmp_path, str(path), "is truncated")


@pytest.mark.parametrize("name", FILES)
def test_a_photo_instead_of_a_model(tmp_path, name):
    write_colmap(tmp_path, orbit(2), points=POINTS[:3])
    write_images(tmp_path, ["photo.jpg"], width=200, height=150)
    path = tmp_path / "sparse" / "0" / name
    path.write_bytes((tmp_path / "photo.jpg").read_bytes())
    fails(tmp_path, str(path))


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ((1, 99, WIDTH, HEIGHT, (1.0, 1.0, 1.0)), ["camera model 99"]),
        ((1, -1, WIDTH, HEIGHT, (1.0, 1.0, 1.0)), ["camera model -1"]),
        ((1, 11, WIDTH, HEIGHT, (1.0,) * 16), ["RAD_TAN_THIN_PRISM_FISHEYE", "colmap image_undistorter"]),
        ((1, 17, WIDTH, HEIGHT, (1.0, 1.0)), ["EQUIRECTANGULAR", "colmap image_undistorter"]),
        ((1, 1, 2**40, HEIGHT, (1.0,) * 4), ["1099511627776 x 16"]),
        ((1, 1, 0, HEIGHT, (1.0,) * 4), ["0 x 16"]),
        ((1, 1, WIDTH, HEIGHT, (float("nan"), 1.0, 1.0, 1.0)), ["camera 1", "finite"]),
        ((1, 1, WIDTH, HEIGHT, (-30.0, 30.0, 1.0, 1.0)), ["camera 1", "fx, fy"]),
    ],
)
def test_invalid_cameras(tmp_path, camera, words):
    write_colmap(tmp_path, orbit(2), cameras=[camera])
    fails(tmp_path, "cameras.bin", *words)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["", "a.png"], ["without a name"]),
        (["a.png", "a.png"], ["two images of the same name"]),
        (["../a.png", "b.png"], ["leaves the image folder"]),
        (["/a.png", "b.png"], ["leaves the image folder"]),
        (["x" * 5000, "y" * 5000], ["not certain"]),
    ],
)
def test_invalid_image_names(tmp_path, names, words):
    write_colmap(tmp_path, orbit(2))
    (tmp_path / "sparse" / "0" / "images.bin").write_bytes(images_bin(names, orbit(2)))
    fails(tmp_path, *words)


def test_an_image_of_no_camera(tmp_path):
    write_colmap(tmp_path, orbit(2))
    (tmp_path / "sparse" / "0" / "images.bin").write_bytes(images_bin(["0000.png", "0001.png"], orbit(2), 5))
    fails(tmp_path, "images.bin", "camera 5", "cameras.bin")


def test_nan_pose(tmp_path):
    poses = orbit(3)
    poses[1, 0, 3] = np.nan
    write_colmap(tmp_path, poses)
    fails(tmp_path, "images.bin", "0001.png", "NaN")


def test_zero_quaternion(tmp_path):
    write_colmap(tmp_path, orbit(2))
    content = bytearray(FILES["images.bin"])
    content[12:44] = bytes(32)
    (tmp_path / "sparse" / "0" / "images.bin").write_bytes(content)
    fails(tmp_path, "images.bin", "0000.png", "NaN")


def test_no_image_registered(tmp_path):
    write_colmap(tmp_path, orbit(1)[:0])
    fails(tmp_path, "images.bin", "no registered image")


def test_half_a_model(tmp_path):
    write_colmap(tmp_path, orbit(2))
    (tmp_path / "sparse" / "0" / "images.bin").unlink()
    fails(tmp_path, "images.bin", "does not exist")


def test_poses_without_images(tmp_path):
    write_colmap(tmp_path, orbit(2), images=False)
    fails(tmp_path, "sparse/0", "no folder `images`")
    (tmp_path / "images").mkdir()
    fails(tmp_path, "2 images", "none exists")


def test_some_images_missing(tmp_path, caplog):
    write_colmap(tmp_path, orbit(5))
    for i in (1, 3):
        (tmp_path / "images" / f"{i:04d}.png").unlink()
    assert [view.name for view in read_scene(tmp_path).views] == ["0000", "0002", "0004"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'sparse' / '0' / 'images'}: skipped 2 of 5 views whose images do not exist"
    ]


def test_points_may_be_missing_and_are_filtered(tmp_path):
    write_colmap(tmp_path, orbit(2))
    path = tmp_path / "sparse" / "0" / "points3D.bin"
    assert read_scene(tmp_path).points is None
    good = points_bin(POINTS)[8:]
    poor = points_bin(np.full((4, 3), 9.0), track=2)[8:] + points_bin(np.full((4, 3), 9.0), error=50)[8:]
    path.write_bytes(struct.pack("<Q", len(POINTS) + 8) + good + poor)
    np.testing.assert_allclose(read_scene(tmp_path).points, POINTS)
    path.unlink()
    assert read_scene(tmp_path).points is None


def test_images_in_folders(tmp_path):
    write_colmap(tmp_path, orbit(3), names=["left/a.png", "right/a.png", "right/b.jpg"])
    assert [view.name for view in read_scene(tmp_path).views] == ["left/a", "right/a", "right/b"]


def test_names_that_differ_in_their_suffix(tmp_path):
    write_colmap(tmp_path, orbit(2), names=["a.jpg", "a.png"])
    assert [view.name for view in read_scene(tmp_path).views] == ["a.jpg", "a.png"]


def test_smaller_images(tmp_path):
    names = write_colmap(tmp_path, orbit(3))
    write_images(tmp_path / "images_2", names, width=12, height=8)
    write_images(tmp_path / "images_4", [name.replace(".png", ".jpg") for name in names], width=6, height=4)
    write_images(tmp_path / "masks", names)
    images = read_scene(tmp_path).views[1].images
    assert images == {
        1: tmp_path / "images" / "0001.png",
        2: tmp_path / "images_2" / "0001.png",
        4: tmp_path / "images_4" / "0001.jpg",
    }


def test_images_that_are_already_smaller_than_the_camera(tmp_path):
    names = write_colmap(tmp_path, orbit(3), images=False)
    write_images(tmp_path / "images", names, width=6, height=4)
    assert list(read_scene(tmp_path).views[0].images) == [4]


def test_renamed_smaller_images_are_paired_in_order(tmp_path):
    poses = orbit(3)
    write_colmap(tmp_path, poses[[2, 0, 1]], names=["IMG_9.JPG", "IMG_3.JPG", "IMG_5.JPG"], images=False)
    write_images(tmp_path / "images_2", ["image000.png", "image001.png", "image002.png"], width=12, height=8)
    views = read_scene(tmp_path).views
    assert [view.name for view in views] == ["image000", "image001", "image002"]
    np.testing.assert_allclose([view.c2w for view in views], poses, atol=1e-12)  # 3, 5, 9
    (tmp_path / "images_2" / "image001.png").unlink()
    fails(tmp_path, "lists IMG_3.JPG, IMG_5.JPG, IMG_9.JPG", "image000.png, image002.png", "not certain")


def test_renamed_smaller_images_follow_the_originals(tmp_path):
    names = ["IMG_3.png", "IMG_4.png", "IMG_5.png"]
    write_colmap(tmp_path, orbit(2), names=[names[0], names[2]])  # the second photo did not register
    write_images(tmp_path / "images", names)
    write_images(tmp_path / "images_2", ["image0.png", "image1.png", "image2.png"], width=12, height=8)
    views = read_scene(tmp_path).views
    assert [view.images[2].name for view in views] == ["image0.png", "image2.png"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cameras.txt", "1 PINHOLE 24\n"),
        ("cameras.txt", "1 PINHOLE 24 16 30 31 12\n"),
        ("cameras.txt", "1 PINHOLE 24 16 30 31 12 x\n"),
        ("cameras.txt", "1 EUCM 24 16 1 2 3 4 5 6\n"),
        ("images.txt", "1 1 0 0 0 0 0 0 1\n\n"),
        ("images.txt", "1 1 0 0 0 0 0 zero 1 a.png\n\n"),
        ("images.txt", "1 1 0 0 0 0 0 0 1 a.png\n1 2 3 4\n"),
        ("points3D.txt", "1 0 0\n"),
        ("points3D.txt", "1 0 0 zero 1 2 3 0.5 1 0\n"),
    ],
)
def test_damaged_text(tmp_path, name, content):
    write_colmap_text(tmp_path / "sparse" / "0", ["a.png"], orbit(1), POINTS[:3])
    write_images(tmp_path / "images", ["a.png"])
    read_scene(tmp_path)
    (tmp_path / "sparse" / "0" / name).write_text(content)
    fails(tmp_path, name)
    (tmp_path / "sparse" / "0" / name).write_bytes(b"\xff\xfe\x00binary")
    fails(tmp_path, name)


def test_fern():
    scene = read_scene(real_capture("fern"))
    assert (scene.kind, len(scene.views)) == ("forward", 20)
    assert [view.name for view in scene.views] == [f"image{i:03d}" for i in range(20)]
    assert list(scene.views[0].images) == [8]
    # LLFF's own poses of the same sorted files: the angles between neighbouring views must agree.
    rows = np.load(real_capture("fern") / "poses_bounds.npy")[:, :15].reshape(-1, 3, 5)
    theirs, ours = -rows[:, :, 2], np.array([view.c2w[:, 2] for view in scene.views])
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=2e-3)


def test_fox():
    scene = read_scene(real_capture("fox"))
    assert (scene.format, scene.kind, len(scene.views)) == ("colmap", "unbounded", 50)
    assert scene.views[0].camera.distortion[0] == pytest.approx(0.0559, abs=1e-4)
    assert scene.views[0].name == "0001"


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_of_several_models_the_largest_is_read(tmp_path, caplog):
    poses = orbit(5)
    write_colmap(tmp_path, poses[:2])
    names = [f"{i:04d}.png" for i in range(5)]
    write_colmap(tmp_path, poses[2:], names=names[2:], folder="sparse/1")
    write_colmap_text(tmp_path / "sparse" / "10", names[:1], poses[:1], POINTS[:3])
    scene = read_scene(tmp_path)
    assert [view.name for view in scene.views] == ["0002", "0003", "0004"]
    (line,) = messages(caplog)
    assert f"{tmp_path / 'sparse' / '1'}: of several models the one with most images, 3, is read" in line
    assert "0 (2), 10 (1)" in line


@pytest.mark.parametrize("named", ["sparse/0", "sparse/0/images.bin", "sparse/0/cameras.bin"])
def test_a_model_may_be_named(tmp_path, caplog, named):
    write_colmap(tmp_path, orbit(2))
    write_colmap(tmp_path, orbit(5), folder="sparse/1")
    (tmp_path / "sam").mkdir()
    (tmp_path / "sam" / "0001.npz").touch()
    scene = read_scene(tmp_path / named)
    assert (scene.root, len(scene.views)) == (tmp_path, 2)
    assert scene.views[1].hierarchy_path == tmp_path / "sam" / "0001.npz"
    assert not caplog.records


def test_the_only_model_need_not_be_number_0(tmp_path, caplog):
    write_colmap(tmp_path, orbit(3), folder="sparse/1")
    assert len(read_scene(tmp_path).views) == 3
    assert not caplog.records


def test_a_model_much_smaller_than_the_json_beside_it_is_mentioned(tmp_path, caplog):
    write_transforms(tmp_path, orbit(8))
    write_colmap(tmp_path, orbit(6))
    read_scene(tmp_path)
    assert not caplog.records  # six of eight
    write_colmap(tmp_path, orbit(5))
    assert len(read_scene(tmp_path).views) == 5
    (line,) = messages(caplog)
    assert "has only 5 images, transforms.json beside it lists 8" in line
    assert f"--scene {tmp_path / 'transforms.json'}" in line
    assert len(read_scene(tmp_path / "transforms.json").views) == 8


def test_renamed_photos_are_paired_by_their_numbers(tmp_path, caplog):
    poses = orbit(11)
    write_colmap(tmp_path, poses, names=[f"IMG_{i}.JPG" for i in range(11)], images=False)
    write_images(tmp_path / "images", [f"photo ({i + 1}).png" for i in range(11)])
    views = {view.name: view for view in read_scene(tmp_path).views}
    for i in range(11):
        np.testing.assert_allclose(views[f"photo ({i + 1})"].c2w, poses[i], atol=1e-12)
    (line,) = messages(caplog)
    assert "photo (1).png is IMG_0.JPG" in line


def test_renamed_photos_that_fit_in_two_ways_are_refused(tmp_path):
    write_colmap(tmp_path, orbit(4), names=["a10.png", "a2.png", "a3.png", "a4.png"], images=False)
    write_images(tmp_path / "images", [f"b{i}.png" for i in range(1, 6)])
    fails(tmp_path, "lists a2.png, a3.png, a4.png, but", "holds b1.png, b2.png, b3.png (4 and 5 images)")


def test_a_smaller_folder_of_other_photos_is_not_used(tmp_path, caplog):
    names = write_colmap(tmp_path, orbit(3))
    write_images(tmp_path / "images_2", ["x.png", "y.png", "z.png"], width=12, height=8)
    assert list(read_scene(tmp_path).views[0].images) == [1]
    assert "images_2: not used" in messages(caplog)[0]
    write_images(tmp_path / "images_2", names, width=12, height=8)
    assert list(read_scene(tmp_path).views[0].images) == [1, 2]


def test_a_smaller_folder_that_was_renumbered_within_the_same_names_is_not_used(tmp_path, caplog):
    write_colmap(tmp_path, orbit(3), names=["1.png", "2.png", "3.png"])
    write_images(tmp_path / "images_2", ["0.png", "1.png", "2.png"], width=12, height=8)
    assert [list(view.images) for view in read_scene(tmp_path).views] == [[1]] * 3
    assert "some of its names fit images of" in messages(caplog)[0]


def test_text_with_a_byte_order_mark_and_names_with_spaces(tmp_path):
    names = ["my  photo 1.png", "#2 of  the day.png", "caf\u00e9\u2028.png"]
    write_colmap_text(tmp_path / "sparse" / "0", names, orbit(3), POINTS[:3])
    write_images(tmp_path / "images", names)
    for path in (tmp_path / "sparse" / "0").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    scene = read_scene(tmp_path)
    assert sorted(view.image_path.name for view in scene.views) == sorted(names)
    assert len(scene.points) == 3


@pytest.mark.parametrize("folder", ["input", "rgb", "photos"])
def test_other_names_of_the_image_folder(tmp_path, folder):
    write_colmap(tmp_path, orbit(3))
    (tmp_path / "images").rename(tmp_path / folder)
    assert read_scene(tmp_path).views[0].image_path == tmp_path / folder / "0000.png"


def test_the_image_folder_may_be_named(tmp_path):
    write_colmap(tmp_path, orbit(3))
    (tmp_path / "images").rename(tmp_path / "shots")
    fails(tmp_path, "no folder `images`", "--images")
    for given in ("shots", str(tmp_path / "shots")):
        scene = read_scene(tmp_path, CaptureConfig(images=given))
        assert (scene.root, scene.views[0].image_path) == (tmp_path, tmp_path / "shots" / "0000.png")
    scene = read_scene(tmp_path / "sparse" / "0", CaptureConfig(images="shots"))
    assert (scene.root, len(scene.views)) == (tmp_path, 3)
    with pytest.raises(InputError, match="is no folder; --images names the folder"):
        read_scene(tmp_path, CaptureConfig(images="nothing"))


def test_listed_names_that_begin_with_the_image_folder(tmp_path):
    write_colmap(tmp_path, orbit(2), names=["images/a.png", "images/b.png"], images=False)
    write_images(tmp_path / "images", ["a.png", "b.png"])
    assert [view.name for view in read_scene(tmp_path).views] == ["a", "b"]


def test_suffixes_in_any_case_and_decomposed_letters(tmp_path):
    listed = ["a.jpg", "b.Png", "caf\u00e9 \u00fc/c.png", "d.jpeg"]
    on_disk = ["a.JPG", "b.pNG", "cafe\u0301 u\u0308/c.png", "d.JPG"]
    write_colmap(tmp_path, orbit(4), names=listed, images=False)
    write_images(tmp_path / "images", ["x.png"])
    picture = (tmp_path / "images" / "x.png").read_bytes()
    (tmp_path / "images" / "x.png").unlink()
    for name in on_disk:
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture)
    scene = read_scene(tmp_path)
    found = {view.image_path.relative_to(tmp_path / "images").as_posix() for view in scene.views}
    assert found == set(on_disk)


@pytest.mark.parametrize(("width", "height"), [(16, 11), (36, 24)])
def test_photos_of_another_size_rescale_the_cameras(tmp_path, caplog, width, height):
    names = write_colmap(tmp_path, orbit(3), images=False)
    write_images(tmp_path / "images", names, width=width, height=height)
    view = read_scene(tmp_path).views[1]
    assert list(view.images) == [1]
    sx, sy = width / WIDTH, height / HEIGHT
    fx, fy, cx, cy = PINHOLE[4]
    got = (view.camera.width, view.camera.height, view.camera.fx, view.camera.fy, view.camera.cx, view.camera.cy)
    assert got == pytest.approx((width, height, fx * sx, fy * sy, cx * sx, cy * sy))
    (line,) = messages(caplog)
    assert f"cameras are 24 x 16, but the photos are {width} x {height}: the cameras are rescaled by {sx:.4g}" in line


def test_photos_of_different_factors_are_left_to_the_loading(tmp_path, caplog):
    cameras = [PINHOLE, (2, 1, 48, 32, (60.0, 62.0, 25.0, 15.0))]
    write_colmap(tmp_path, orbit(2), cameras=cameras, images=False)
    content = images_bin(["0000.png"], orbit(2)[:1], 1)[8:] + images_bin(["0001.png"], orbit(2)[1:], 2)[8:]
    (tmp_path / "sparse" / "0" / "images.bin").write_bytes(struct.pack("<Q", 2) + content)
    write_images(tmp_path / "images", ["0000.png", "0001.png"], width=36, height=24)
    assert [view.camera.width for view in read_scene(tmp_path).views] == [24, 48]
    assert not caplog.records
