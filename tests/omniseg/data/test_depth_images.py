from dataclasses import replace

import cv2
import numpy as np
import pytest

from omniseg.data.depth_images import load_depth
from omniseg.data.formats import read_scene
from omniseg.data.images import load_images
from omniseg.data.normalisation import place
from omniseg.errors import InputError
from scene_files import HEIGHT, WIDTH, orbit, write_image, write_transforms


@pytest.fixture
def scene(tmp_path):
    write_transforms(tmp_path, orbit(3), w=WIDTH, h=HEIGHT)  # 4.1 units around the origin
    return read_scene(tmp_path)


def with_depth(scene, path, unit):
    return [replace(view, depth_path=path, depth_unit=unit) for view in scene.views]


@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_colour_pictures_are_no_depth(scene, tmp_path, suffix):
    path = tmp_path / f"z.{suffix}"
    pixels = write_image(path.with_suffix(".png"))
    np.save(tmp_path / "z.npy", pixels)
    with pytest.raises(InputError, match=r"z\.\w+: is a colour picture, not depth"):
        load_depth(replace(scene.views[0], depth_path=path), scene.views[0].camera, 1.0)


@pytest.mark.parametrize("channels", [3, 4])
def test_grey_that_is_stored_as_colour_is_depth(scene, tmp_path, channels):
    z = np.full((HEIGHT, WIDTH, channels), 200, np.uint8)
    z[..., 3:] = 255
    cv2.imwrite(str(tmp_path / "z.png"), z)
    view = replace(scene.views[0], depth_path=tmp_path / "z.png", depth_unit=0.02)
    depth = load_depth(view, view.camera, 1.0)
    assert depth.min() == pytest.approx(4, rel=0.01)  # near the axis, in the middle of the picture


@pytest.mark.parametrize(
    ("stored", "unit", "words"),
    [
        (np.full((HEIGHT, WIDTH), 4100, np.uint16), 1e-3, None),
        (np.full((HEIGHT, WIDTH), 4100, np.uint16), 1.0, "1000 times farther than what the cameras look at"),
        (np.full((HEIGHT, WIDTH), 200, np.uint8), 1e-3, "10 times nearer"),  # 8 bit, 255 is 5 units
        (np.full((HEIGHT, WIDTH), 4.1, np.float32), 1e-3, "1000 times nearer"),  # metres, read as millimetres
        (np.full((HEIGHT, WIDTH), 4.1, np.float32), 1.0, None),
    ],
)
def test_a_unit_that_contradicts_the_cameras(scene, tmp_path, caplog, stored, unit, words):
    path = tmp_path / "z.npy"
    np.save(path, stored)
    load_images(with_depth(scene, path, unit), place(scene).normalisation)
    if words is None:
        assert not caplog.records
        return
    (record,) = caplog.records
    assert words in record.getMessage()
    factor = float(record.getMessage().split("about ")[1].split()[0])
    right = unit * factor if "nearer" in words else unit / factor
    assert f"set `depth_unit_scale_factor` to {right:g} (now {unit:g})" in record.getMessage()


def test_views_without_known_depth_say_nothing(scene, tmp_path, caplog):
    np.save(tmp_path / "z.npy", np.zeros((HEIGHT, WIDTH), np.uint16))
    load_images(with_depth(scene, tmp_path / "z.npy", 1.0), place(scene).normalisation)
    assert not caplog.records
