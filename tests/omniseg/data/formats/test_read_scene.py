from dataclasses import replace

import numpy as np
import pytest

from omniseg.config import CaptureConfig
from omniseg.data.formats import READERS, read_scene
from omniseg.errors import InputError
from scene_files import orbit, sideways, write_colmap, write_image, write_llff, write_transforms


def fails(root, *words):
    with pytest.raises(InputError) as error:
        read_scene(root)
    message = str(error.value)
    assert message.count("\n") <= 1
    for word in (str(root), *words):
        assert word in message, message


def test_colmap_wins_unless_the_json_is_named(tmp_path):
    write_llff(tmp_path, sideways(3))
    write_transforms(tmp_path, orbit(4))
    write_colmap(tmp_path, orbit(5))
    for i in range(3):  # LLFF wants its images alone
        (tmp_path / "images" / f"image{i:03d}.png").unlink()
    found = read_scene(tmp_path)
    assert (found.format, len(found.views)) == ("colmap", 5)
    assert repr(found) == f"Scene({str(tmp_path)!r}, colmap, {found.kind}, 5 views)"
    points = np.zeros((7, 3))
    assert repr(replace(found, points=points)) == f"Scene({str(tmp_path)!r}, colmap, {found.kind}, 5 views, 7 points)"
    scene = read_scene(tmp_path / "transforms.json")
    assert (scene.format, len(scene.views), scene.root) == ("transforms", 4, tmp_path)


def test_a_path_may_be_a_string(tmp_path):
    write_transforms(tmp_path, orbit(2))
    assert read_scene(str(tmp_path)).root == tmp_path


def test_missing_folder(tmp_path):
    fails(tmp_path / "nowhere", "does not exist")


def test_empty_folder(tmp_path):
    fails(tmp_path, "folder is empty", *(reader.LOOKED_FOR for reader in READERS.values()))


def test_photos_alone(tmp_path):
    write_image(tmp_path / "images" / "a.png")
    fails(tmp_path, "photos without poses", "sparse/0/cameras.bin", "transforms.json", "poses_bounds.npy")
    fails(tmp_path / "images", "photos without poses")


def test_a_file_that_is_no_folder(tmp_path):
    write_image(tmp_path / "a.png")
    fails(tmp_path / "a.png", "is a file", "folder of a capture")


def test_another_json_file(tmp_path):
    (tmp_path / "package.json").write_text("{}")
    fails(tmp_path / "package.json", "no frames")


def test_a_reader_is_one_line_of_the_registry(tmp_path, monkeypatch):
    class Reader:
        LOOKED_FOR = "a marker"

        @staticmethod
        def detect(root):
            return (root / "marker").exists()

        @staticmethod
        def read(root, capture):
            return "read", capture.images

    monkeypatch.setitem(READERS, "mine", Reader)
    fails(tmp_path, "a marker")
    (tmp_path / "marker").touch()
    assert read_scene(tmp_path, CaptureConfig(images="photos")) == ("read", "photos")
