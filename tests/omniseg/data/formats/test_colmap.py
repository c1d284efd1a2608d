import struct
from pathlib import Path

import numpy as np
import pytest

from omniseg.cameras import CameraModel
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
        (["x" * 5000, "y" * 5000], ["none exists"]),
    ],
)
def test_invalid_image_names(tmp_path, names, words):
    write_colmap(tmp_path, orbit(2))
    (tmp_path / "sparse" / "0" / "images.bin").write_bytes(images_bin(names, orbit(2)))
    (tmp_path / "images" / "0001.png").unlink()  # or both would be paired in sorted order
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
    fails(tmp_path, "none exists")


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
