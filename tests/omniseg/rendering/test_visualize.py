"""Tensors made visible."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from omniseg.data.drawing import contact_sheet, mark_selection
from omniseg.data.image_io import save_image
from omniseg.errors import InputError
from omniseg.rendering.renderer import Rendering
from omniseg.rendering.visualize import FeatureColours, depth_picture, to_uint8


def test_to_uint8_rounds_and_clips():
    image = torch.tensor([[[-0.5, 0.0, 0.5], [0.998, 1.0, 7.0]]])
    assert to_uint8(image).tolist() == [[[0, 0, 128], [254, 255, 255]]]


def rendering(depth: list[float], opacity: list[float]) -> Rendering:
    o = torch.tensor(opacity)
    return Rendering(torch.zeros(len(depth), 3), o, torch.tensor(depth) * o)


def test_depth_picture_near_is_red_far_is_blue():
    out = depth_picture(rendering([1.0, 2.0, 3.0, 4.0, 5.0, 9.0], [1.0, 1, 0.8, 1, 1, 0.2]), 3)
    assert out.shape == (2, 3, 3)
    near, far = out[0, 0].astype(int), out[1, 1].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert not out[1, 2].any(), "nothing is black"


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_depth_picture_of_nothing_and_of_a_wall(opacity: float):
    out = depth_picture(rendering([2.0] * 6, [opacity] * 6), 2)
    assert out.shape == (3, 2, 3)
    assert bool(out.any()) == (opacity > 0)


def test_contact_sheet_fills_narrow_rows_with_white():
    wide, narrow = np.zeros((2, 5, 3), np.uint8), np.full((3, 2, 3), 7, np.uint8)
    sheet = contact_sheet([[wide, wide], [narrow]])
    assert sheet.shape == (5, 10, 3)
    assert (sheet[2:, :2] == 7).all()
    assert (sheet[2:, 2:] == 255).all()


@pytest.mark.parametrize("channels", [3, 4])
def test_image_survives(tmp_path: Path, channels: int):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    path = tmp_path / "ähm" / "a b.png"
    save_image(path, image)
    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    back = cv2.cvtColor(stored, cv2.COLOR_BGRA2RGBA if channels == 4 else cv2.COLOR_BGR2RGB)
    assert (back == image).all()


def test_unknown_format_and_bad_folder(tmp_path: Path):
    image = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises((ValueError, cv2.error)):
        save_image(tmp_path / "a.nonsense", image)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_image(tmp_path / "file" / "a.png", image)


def test_feature_colours_follow_the_features(device):
    features = torch.nn.functional.one_hot(torch.arange(6, device=device) % 3, 4).float()
    colours = FeatureColours(features.repeat(20, 1))
    solid = torch.ones(6, dtype=torch.bool, device=device)
    solid[5] = False
    picture = colours.picture(features * 7, solid, 3)
    assert picture.shape == (2, 3, 3)
    assert (picture[0, :2] == picture[1, :2]).all(), "the same feature, whatever its length, has the same colour"
    assert len({tuple(pixel) for pixel in picture[0].tolist()}) == 3
    assert picture.max() == 255
    assert (picture[1, 2] == 0).all(), "nothing is there"
    again = colours.picture(features.flip(0), solid, 3)
    assert (again[1, 1] == picture[0, 1]).all(), "and in every picture"


@pytest.mark.parametrize("shape", [(1, 5), (9, 1), (9, 2)])
def test_feature_colours_of_few(device, shape):
    features = torch.nn.functional.normalize(torch.rand(shape, device=device), dim=1)
    picture = FeatureColours(features).picture(features, torch.ones(len(features), dtype=torch.bool, device=device), 1)
    assert picture.shape == (len(features), 1, 3)


def test_a_selection_is_marked_by_its_truth():
    photo = np.full((60, 40, 3), 200, np.uint8)
    selected, truth = np.zeros((60, 40), bool), np.zeros((60, 40), bool)
    selected[:, :20], truth[:, 10:30] = True, True
    picture = mark_selection(photo, selected, truth, None)
    wrong, right, missed, other = (picture[0, column].astype(int) for column in (5, 15, 25, 35))
    assert [pixel.argmax() for pixel in (wrong, right, missed)] == [0, 1, 2]
    assert (other == 100).all()
    clicked = mark_selection(photo, selected, truth, (30, 15))
    assert (clicked != picture).any(2).sum() > 8
    assert not (clicked[:20] != picture[:20]).any(), "around the click, row before column"
