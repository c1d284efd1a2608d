"""Points that are known to be visible give the depth of the small pixel that they are in."""

import pytest
import torch

from analytic_scene import photo_set
from omniseg.cameras import Camera, CameraModel
from omniseg.data.point_depth import point_depth

LENSES = {
    "pinhole": Camera(160, 120, 150.0, 150.0, 80.0, 60.0),
    "distorted": Camera(
        160, 120, 150.0, 155.0, 83.0, 58.0, CameraModel.PERSPECTIVE, (-0.2, 0.05, 1e-3, -1e-3, 0.0, 0.0, 0.0, 0.0)
    ),
}


def surface(images, truth, view: int, every: int) -> torch.Tensor:
    """Return the points of every n-th pixel of a photo."""
    start, stop = images.offsets[view : view + 2].tolist()
    rays_o, rays_d = images.cameras.image_rays(view)
    return (rays_o + truth[start:stop, None] * rays_d)[::every]


@pytest.mark.parametrize("lens", LENSES)
def test_distances_are_those_of_the_points(lens: str):
    images, truth = photo_set(LENSES[lens], n=3)
    maps = point_depth(images, [surface(images, truth, 0, 37), None, surface(images, truth, 2, 501).double()], 80)
    assert maps.names == images.names
    assert maps.sizes.amax(1).tolist() == [80, 80, 80]
    for view, least in ((0, 0.08), (2, 0.006)):
        found = maps.image(images.cameras, view).flatten()
        known = found > 0
        assert float(known.float().mean()) >= least
        there = truth[images.offsets[view] : images.offsets[view + 1]]
        # A pixel of a picture is two wide: those along an edge have the distance of one side.
        assert ((found[known] / there[known] - 1).abs() < 0.02).float().mean() > 0.9
    assert not maps.image(images.cameras, 1).any()


def test_the_nearest_point_counts_and_those_behind_the_camera_or_beside_the_photo_do_not():
    images, _ = photo_set(n=1)
    eye, ahead, right = images.cameras.c2w[0, :, 3], images.cameras.c2w[0, :, 2], images.cameras.c2w[0, :, 0]
    points = torch.stack([eye + 3 * ahead, eye + 2 * ahead, eye + 4 * ahead, eye - ahead, eye + ahead + 5 * right])
    maps = point_depth(images, [points], 80)
    assert maps.distances[maps.distances > 0].tolist() == [2.0]


def test_one_entry_for_each_photo():
    with pytest.raises(ValueError, match="each of 2 photos, got 1"):
        point_depth(photo_set(n=2)[0], [None], 80)
