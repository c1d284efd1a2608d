"""Which photos are meant, what they are called, and where their hierarchies belong."""

import shutil
from pathlib import Path

import pytest

from omniseg.data.formats import read_scene
from omniseg.errors import InputError
from omniseg.masks.photos import Photos, find_photos
from scene_files import frames, orbit, write_colmap, write_image, write_images, write_json, write_llff, write_transforms
from tiny_scene import write_ball


def names(found: Photos) -> list[str]:
    return [photo.name for photo in found.photos]


def test_any_folder_of_photos(tmp_path: Path):
    write_images(tmp_path / "shots", ["b.png", "a.1.jpg", "deep/c.png", "deep/c.jpg"])
    (tmp_path / "shots/notes.txt").write_text("no photo")
    found = find_photos(tmp_path / "shots")
    assert found.root == tmp_path
    assert names(found) == ["a.1", "b", "deep/c.jpg", "deep/c.png"]
    assert [photo.path.name for photo in found.photos] == ["a.1.jpg", "b.png", "c.jpg", "c.png"]


def test_the_root_is_beside_a_relative_folder_and_beside_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_image(tmp_path / "disk/a.png")
    (tmp_path / "capture").mkdir()
    (tmp_path / "capture/images").symlink_to(tmp_path / "disk")
    assert find_photos(tmp_path / "capture/images").root == tmp_path / "capture"
    monkeypatch.chdir(tmp_path / "disk")
    assert find_photos(Path(".")).root == tmp_path


def test_a_capture_without_poses(tmp_path: Path):
    write_images(tmp_path / "capture/images", ["a.png", "b.png"])
    found = find_photos(tmp_path / "capture")
    assert (found.root, names(found)) == (tmp_path / "capture", ["a", "b"])
    write_image(tmp_path / "capture/c.png")
    assert names(find_photos(tmp_path / "capture")) == ["c", "images/a", "images/b"]


@pytest.mark.parametrize("folder", ["input", "rgb", "photos", "images_4"])
def test_other_folders_of_a_capture_without_poses(tmp_path: Path, folder: str):
    write_images(tmp_path / "capture" / folder, ["a.png", "b.png"])
    found = find_photos(tmp_path / "capture")
    assert (found.root, names(found)) == (tmp_path / "capture", ["a", "b"])


def colmap(root: Path) -> None:
    write_colmap(root, orbit(4), names=["a.png", "deep/b.png", "c.jpg", "d.x.png"])
    write_images(root / "images_2", ["a.png", "deep/b.png"], width=12, height=8)
    write_image(root / "images/c.png")  # no view, but a name like one


def replica(root: Path) -> None:
    poses = orbit(3)
    write_images(root / "results/rgb", ["rgb_0.png", "rgb_1.png", "rgb_2.png"])
    write_images(root / "results/depth", ["depth_0.png", "depth_1.png", "depth_2.png"])
    content = {
        "aabb": [[-1, -1, -1], [1, 1, 1]],
        "fl_x": 20,
        "frames": frames([f"results/rgb/rgb_{i}.png" for i in range(3)], poses),
    }
    write_json(root / "transforms_train.json", content)


def transforms(root: Path) -> None:
    write_transforms(root, orbit(4))


def llff(root: Path) -> None:
    write_llff(root, orbit(4))


WRITERS = {"colmap": colmap, "replica": replica, "transforms": transforms, "synthetic": write_ball, "llff": llff}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_folder_of_a_capture(tmp_path: Path, kind: str):
    WRITERS[kind](tmp_path)
    found = find_photos(tmp_path)
    views = read_scene(tmp_path).views
    assert found.root == tmp_path
    assert [(photo.name, photo.path) for photo in found.photos] == [(view.name, view.image_path) for view in views]


@pytest.mark.parametrize("kind", WRITERS)
def test_the_images_of_a_capture_have_the_names_of_its_views(tmp_path: Path, kind: str):
    WRITERS[kind](tmp_path)
    by_name = {view.name: view for view in read_scene(tmp_path).views}
    folders = {"replica": ["results/rgb", "results"], "synthetic": ["train", "test"], "colmap": ["images", "images_2"]}
    seen = set()
    for folder in folders.get(kind, ["images"]):
        found = find_photos(tmp_path / folder)
        assert found.root == tmp_path
        assert all(photo.path in by_name[photo.name].images.values() for photo in found.photos)
        assert all(photo.path.is_relative_to(tmp_path / folder) for photo in found.photos)
        seen.update(names(found))
    assert seen == set(by_name)


def test_images_that_no_view_uses_are_left_out_and_counted(tmp_path: Path):
    colmap(tmp_path)
    assert find_photos(tmp_path / "images").left_out == 1
    assert find_photos(tmp_path).left_out == 0


def test_other_photos_in_a_capture_and_photos_in_a_damaged_one(tmp_path: Path):
    colmap(tmp_path)
    write_images(tmp_path / "other", ["x.png"])
    assert names(find_photos(tmp_path / "other")) == ["x"]
    (tmp_path / "sparse/0/images.bin").write_bytes(b"no model")
    assert names(find_photos(tmp_path / "images")) == ["a", "c.jpg", "c.png", "d.x", "deep/b"]
    with pytest.raises(InputError, match=r"images\.bin"):
        find_photos(tmp_path)


def test_a_json_file_is_a_capture(tmp_path: Path):
    transforms(tmp_path)
    assert names(find_photos(tmp_path / "transforms.json")) == names(find_photos(tmp_path))


def test_nothing_there(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere: does not exist"):
        find_photos(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no photos"):
        find_photos(tmp_path / "empty")
    write_image(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: is a file"):
        find_photos(tmp_path / "a.png")
    transforms(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone/images")
    with pytest.raises(InputError, match="none exists"):
        find_photos(tmp_path / "gone")
