import numpy as np
import pytest

from omniseg.data.formats import read_scene
from omniseg.errors import InputError
from scene_files import HEIGHT, WIDTH, real_capture, sideways, write_image, write_images, write_llff


def fails(root, *words):
    with pytest.raises(InputError) as error:
        read_scene(root)
    for word in words:
        assert word in str(error.value), str(error.value)


def test_reads_what_was_written(tmp_path):
    poses = sideways(4)
    write_llff(tmp_path, poses)
    scene = read_scene(tmp_path)
    assert (scene.format, scene.kind) == ("llff", "forward")
    assert [view.name for view in scene.views] == [f"image{i:03d}" for i in range(4)]
    np.testing.assert_allclose([view.c2w for view in scene.views], poses, atol=1e-12)
    camera = scene.views[0].camera
    assert (camera.width, camera.height, camera.fx, camera.cx) == (WIDTH, HEIGHT, 30.0, WIDTH / 2)
    assert scene.views[0].depth_range == (2.0, 8.0)


def test_smaller_images_alone(tmp_path):
    write_llff(tmp_path, sideways(2))
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    write_images(tmp_path / "images_2", ["a.png", "b.png"], width=12, height=8)
    views = read_scene(tmp_path).views
    assert [view.images for view in views] == [{2: tmp_path / "images_2" / name} for name in ("a.png", "b.png")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["truncated"]),
        (b"\xff\xd8\xff\xe0 a photo", ["not a plain numpy array"]),
        (np.zeros((3, 15)), ["(views, 17)", "(3, 15)"]),
        (np.zeros((0, 17)), ["no poses"]),
        (np.zeros((2, 17), complex), ["complex128"]),
        (np.full((2, 17), None), ["not a plain numpy array"]),  # pickled
        (np.zeros((2, 17)), ["row 0", "not a camera's"]),
    ],
)
def test_damaged_file(tmp_path, content, words):
    write_llff(tmp_path, sideways(2))
    path = tmp_path / "poses_bounds.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    fails(tmp_path, str(path), *words)


def test_truncated_anywhere(tmp_path):
    write_llff(tmp_path, sideways(2))
    path = tmp_path / "poses_bounds.npy"
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        fails(tmp_path, str(path))


def test_an_archive_instead_of_an_array(tmp_path):
    write_llff(tmp_path, sideways(2))
    with (tmp_path / "poses_bounds.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    fails(tmp_path, "poses_bounds.npy", "an archive")


def test_nan_pose(tmp_path):
    rows = write_llff(tmp_path, sideways(3))
    rows[1, 3] = np.nan
    np.save(tmp_path / "poses_bounds.npy", rows)
    fails(tmp_path, "poses_bounds.npy", "row 1 (image001)", "NaN")


def test_other_number_of_images(tmp_path):
    write_llff(tmp_path, sideways(3))
    write_image(tmp_path / "images" / "image003.png")
    fails(tmp_path, "images", "4 images", "3 poses")


def test_poses_without_images(tmp_path):
    write_llff(tmp_path, sideways(2))
    (tmp_path / "images").rename(tmp_path / "pictures")
    fails(tmp_path, "poses_bounds.npy", "2 poses", "no folder `images`")


def test_fern_without_colmap(tmp_path):
    fern = real_capture("fern")
    for name in ("poses_bounds.npy", "images_8"):
        (tmp_path / name).symlink_to(fern / name)
    scene = read_scene(tmp_path)
    assert (scene.format, scene.kind, len(scene.views)) == ("llff", "forward", 20)
    assert (scene.views[0].camera.width, list(scene.views[0].images)) == (4032, [8])
