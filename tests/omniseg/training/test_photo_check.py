"""Poses of a capture, judged by the depth that its photos show."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from analytic_scene import photo_set
from omniseg.config import Config, MarchingConfig
from omniseg.training.photo_check import check_photos, save_depth_picture

CONFIG = Config(marching=MarchingConfig(near=0.2, box=(4.0, 4.0, 4.0), cascades=3))


@pytest.fixture(scope="module")
def photos(device):
    return photo_set()[0]


def with_poses(images, c2w):
    return replace(images, cameras=replace(images.cameras, c2w=c2w))


def test_right_poses_get_no_warning(photos):
    found = check_photos(photos, CONFIG, progress=False)
    assert found.warning == ""
    assert str(found).startswith(f"depth from the photos: {100 * found.depth.coverage:.0f} % of pixels in ")
    assert found.depth.coverage > 0.3


def test_other_camera_axes_are_named(photos):
    c2w = photos.cameras.c2w.clone()
    c2w[:, :, 1:3] = -c2w[:, :, 1:3]
    warning = check_photos(with_poses(photos, c2w), CONFIG, progress=False).warning
    assert "with the other camera axes it would be" in warning
    assert 'set "camera_axes" to "opencv"' in warning


@pytest.mark.parametrize("wrong", ["shuffled", "turned"])
def test_wrong_poses_get_a_warning_with_their_causes(photos, wrong: str):
    c2w = photos.cameras.c2w
    if wrong == "shuffled":
        c2w = c2w[torch.randperm(len(c2w), generator=torch.Generator().manual_seed(0))]
    else:
        turns = [cv2.Rodrigues(np.deg2rad(5.0) * np.random.default_rng(v).normal(size=3))[0] for v in range(len(c2w))]
        c2w = torch.cat([torch.from_numpy(np.stack(turns)).float() @ c2w[:, :, :3], c2w[:, :, 3:]], dim=2)
    found = check_photos(with_poses(photos, c2w), CONFIG, progress=False)
    assert "may end in fog: check the camera axes" in found.warning
    assert "order of photos and poses" in found.warning


def test_two_photos_are_not_judged():
    found = check_photos(photo_set(n=2)[0], CONFIG, progress=False)
    assert "it takes at least three photos" in found.warning
    assert found.depth.coverage == 0


def test_photos_without_texture_are_not_judged():
    found = check_photos(photo_set(plain=True)[0], CONFIG, progress=False)
    assert "only 0 % of pixels show texture" in found.warning
    assert "axes" not in found.warning
    assert found.depth.texture == found.depth.coverage == 0


def test_the_picture_shows_photos_above_their_depth(photos, tmp_path: Path):
    depth = check_photos(photos, CONFIG, progress=False).depth
    save_depth_picture(tmp_path / "depth.png", photos, depth)
    width, height = photos.sizes[0].tolist()
    picture = cv2.imread(str(tmp_path / "depth.png"))
    assert picture.shape == (2 * height, 4 * width, 3)
    assert np.array_equal(picture[:height, :width, ::-1], photos.image(0).numpy())
    known = depth.maps.image(photos.cameras, 0) > 0
    shown = picture[height:, :width].any(2)
    assert (shown == known.numpy()).mean() > 0.99
