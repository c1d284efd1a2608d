import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analytic_scene import PINHOLE, photo_set, poses_around
from omniseg.cameras import Camera, CameraModel
from omniseg.config import PhotoDepthConfig
from omniseg.data.photo_depth import photo_depth

BOX = (4.0, 4.0, 4.0)
LENSES = {
    "pinhole": PINHOLE,
    "distorted": Camera(
        160, 120, 150.0, 155.0, 83.0, 58.0, CameraModel.PERSPECTIVE, (-0.2, 0.05, 1e-3, -1e-3, 0.0, 0.0, 0.0, 0.0)
    ),
    "fisheye": Camera(
        160, 120, 110.0, 110.0, 80.0, 60.0, CameraModel.FISHEYE, (0.02, -5e-3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    ),
    "fov": Camera(160, 120, 130.0, 130.0, 80.0, 60.0, CameraModel.FOV, (0.9,) + (0.0,) * 7),
}


@pytest.fixture(scope="module")
def photos(device):
    return photo_set()


def distances(found, images):
    """Return the distance that was found for each pixel of the photos."""
    return torch.cat([found.maps.image(images.cameras, v).flatten() for v in range(len(images))])


def assert_right(found, images, truth, *, coverage):
    there = distances(found, images)
    known = there > 0
    error = (there[known] / truth[known] - 1).abs()
    assert found.coverage > coverage
    assert error.median() < 0.012
    assert (error < 0.1).float().mean() > 0.93


@pytest.mark.parametrize("lens", LENSES)
def test_finds_the_distances_through_every_lens(lens, device):
    images, truth = photo_set(LENSES[lens])
    # A picture's pixel is as wide as those of the pinhole in the middle, where wide lenses crowd more into the photo.
    config = PhotoDepthConfig(longest=80 if LENSES[lens].model == CameraModel.PERSPECTIVE else 120)
    found = photo_depth(images, 0.3, BOX, config, progress=False)
    assert_right(found, images, truth, coverage=0.45)
    assert found.coverage == pytest.approx(float((distances(found, images) > 0).float().mean()), abs=0.05)
    assert found.maps.names == images.names
    assert 0.5 * truth.min() < found.near < truth.min()
    assert found.seconds > 0


def test_photos_of_several_sizes(device):
    images, truth = photo_set(sizes=[(160, 120), (60, 45), (100, 75)])
    assert_right(photo_depth(images, 0.3, BOX, progress=False), images, truth, coverage=0.4)


def test_transparent_pixels_have_no_depth_and_do_not_count(device):
    images, truth = photo_set(alpha=True)
    found = photo_depth(images, 0.3, BOX, progress=False)
    assert_right(found, images, truth, coverage=0.4)
    opaque = images.pixels[:, 3] == 255
    assert 0.3 < opaque.float().mean() < 0.9
    there = distances(found, images)
    assert (there[~opaque] > 0).float().mean() < 0.05
    assert found.coverage == pytest.approx(float((there[opaque] > 0).float().mean()), abs=0.05)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_photos(n, device):
    images, truth = photo_set(n=n)
    found = photo_depth(images, 0.3, BOX, progress=False)
    assert len(distances(found, images)) == len(truth)
    assert found.near >= 0.3
    if n < 3:
        assert not distances(found, images).any()
        assert found.coverage == found.look_coverage == 0


def test_photos_without_texture_have_no_depth(device):
    found = photo_depth(photo_set(plain=True)[0], 0.3, BOX, progress=False)
    assert found.coverage == 0
    assert found.near == 0.3


def rotated(c2w, degrees=3.0):
    """Turn each camera by some degrees about a random axis of its own."""
    axes = torch.nn.functional.normalize(torch.randn(len(c2w), 3), dim=1) * math.radians(degrees)
    cross = torch.zeros(len(c2w), 3, 3)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        cross[:, i, j], cross[:, j, i] = -axes[:, k], axes[:, k]
    return torch.cat([c2w[:, :, :3] @ torch.linalg.matrix_exp(cross), c2w[:, :, 3:]], 2)


def shuffled(c2w):
    """Give each photo the pose of another one."""
    return c2w[torch.randperm(len(c2w))]


def opengl_as_opencv(c2w):
    """Leave poses with y up and z backward as they are."""
    return torch.cat([c2w[:, :, :1], -c2w[:, :, 1:3], c2w[:, :, 3:]], 2)


@pytest.mark.parametrize("spoil", [rotated, shuffled, opengl_as_opencv])
def test_wrong_poses_leave_little(spoil, photos):
    images, _ = photos
    right = photo_depth(images, 0.3, BOX, progress=False)
    wrong = replace(images, cameras=replace(images.cameras, c2w=spoil(images.cameras.c2w)))
    found = photo_depth(wrong, 0.3, BOX, progress=False)
    assert found.coverage < 0.25 * right.coverage
    assert found.look_coverage < 0.25 * right.look_coverage


def test_budget_shrinks_pictures_and_then_leaves_photos_out(photos):
    images, truth = photos
    fewer = photo_depth(images, 0.3, BOX, PhotoDepthConfig(budget=4_000_000), progress=False)
    swept = [bool(fewer.maps.image(images.cameras, v).any()) for v in range(len(images))]
    assert 2 < sum(swept) < len(images)
    assert_right(fewer, images, truth, coverage=0.2)


def test_same_result_each_time(photos):
    images, _ = photos
    first, second = (photo_depth(images, 0.3, BOX, progress=False) for _ in range(2))
    assert torch.equal(first.maps.distances, second.maps.distances)


def test_quiet(photos, capfd):
    photo_depth(photos[0], 0.3, BOX, progress=False)
    assert capfd.readouterr() == ("", "")


def test_refuses(photos):
    with pytest.raises(ValueError, match="near: expected above 0, got 0"):
        photo_depth(photos[0], 0.0, BOX)
    with pytest.raises(ValueError, match="planes: expected 2 to 4096, got 1"):
        PhotoDepthConfig(planes=1)
    with pytest.raises(ValueError, match="shortest: expected 8 to 80, got 100"):
        PhotoDepthConfig(shortest=100)


def test_numpy_poses_are_right_handed():
    rotation = poses_around(5)[:, :, :3]
    assert np.linalg.det(rotation) == pytest.approx(np.ones(5))
