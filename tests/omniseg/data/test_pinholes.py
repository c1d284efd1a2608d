import pytest
import torch

from analytic_scene import poses_around
from omniseg.cameras import Camera, CameraModel, Cameras
from omniseg.config import NeighbourConfig
from omniseg.data import neighbours
from omniseg.data.images import ImageSet
from omniseg.data.neighbours import choose_neighbours, with_those_that_chose
from omniseg.data.pinholes import Pinholes

LENSES = {
    "pinhole": Camera(80, 60, 70.0, 70.0, 43.0, 28.0),
    "flat pixels": Camera(80, 60, 70.0, 90.0, 40.0, 30.0),
    "distorted": Camera(80, 60, 70.0, 72.0, 41.0, 29.0, CameraModel.PERSPECTIVE, (-0.25, 0.05, 1e-3, 0, 0, 0, 0, 0)),
    "fisheye": Camera(80, 60, 30.0, 30.0, 40.0, 30.0, CameraModel.FISHEYE),
    "fov": Camera(80, 60, 60.0, 60.0, 40.0, 30.0, CameraModel.FOV, (0.9, 0, 0, 0, 0, 0, 0, 0)),
}


def image_set(camera, n=2, channels=3):
    """Return photos whose grey value rises with the world direction of each pixel along x."""
    cameras = Cameras.stack([camera] * n, poses_around(n))
    pixels = []
    for v in range(n):
        _, d = cameras.image_rays(v)
        pixels.append((127 + 120 * d[:, :1]).round().byte().expand(-1, channels))
    count = camera.width * camera.height
    offsets = torch.arange(n + 1) * count
    return ImageSet(torch.cat(pixels), offsets, cameras.size, cameras, tuple(map(str, range(n))), None)


@pytest.mark.parametrize("lens", LENSES)
def test_pictures_and_photos_show_the_same_directions(lens):
    images = image_set(LENSES[lens])
    pinholes = Pinholes.from_images(images, [0, 1], 40, progress=False)
    assert pinholes.photos == (0, 1)
    assert pinholes.views.sizes.amax(1).tolist() == [40, 40]
    # The values of a picture are those of its rays, away from where the photo ends.
    shown = pinholes.shown
    assert shown.float().mean() > 0.7
    error = (pinholes.grey - (127 + 120 * pinholes.directions[:, 0]) / 255).abs()
    assert error[shown].quantile(0.95) < 0.01
    # A photo's pixel is looked up in the pixel of the picture that contains its direction.
    axes = [pinholes.depth_maps(pinholes.directions[:, k] + 2, images.names) for k in range(3)]  # + 2: above 0
    every = [torch.cat([maps.image(images.cameras, v).flatten() for v in range(2)]) for maps in axes]
    found = torch.stack(every, 1)
    found = torch.where(found > 0, found - 2, 0)
    right = torch.cat([images.cameras.image_rays(v)[1] for v in range(2)])
    known = found.norm(dim=1) > 0.5
    assert known.float().mean() > (0.4 if lens == "fisheye" else 0.98)  # a fisheye looks farther aside than 63 degrees
    spacing = 1.0 / pinholes.views.intrinsics[0, 0]
    assert (found[known] - right[known]).norm(dim=1).max() < 0.75 * spacing


def test_a_small_photo_keeps_its_size():
    images = image_set(LENSES["pinhole"])
    pinholes = Pinholes.from_images(images, [0, 1], 200, progress=False)
    assert pinholes.views.sizes.tolist() == [[80, 60]] * 2
    values = torch.arange(2.0 * 80 * 60) % 2048  # exact in half precision
    maps = pinholes.depth_maps(values, images.names)
    assert torch.equal(maps.image(images.cameras, 1).flatten(), values[80 * 60 :])
    assert torch.allclose(pinholes.views.intrinsics, images.cameras.intrinsics)


def test_alpha_is_over_white():
    images = image_set(LENSES["pinhole"], channels=4)
    clear = images.pixels.clone()
    clear[:, 3] = 0
    clear[: 80 * 60, 3] = 255
    pinholes = Pinholes.from_images(
        ImageSet(clear, images.offsets, images.sizes, images.cameras, images.names, None), [0, 1], 40, progress=False
    )
    first, second = pinholes.grey.view(2, -1)
    assert (second == 1).all()
    assert (first < 1).all()
    assert pinholes.shown.view(2, -1).float().mean(1).tolist() == [1, 0]


@pytest.mark.parametrize("candidates", [48, 4])
def test_neighbours_are_views_beside(candidates):
    images = image_set(LENSES["pinhole"], n=24)
    pinholes = Pinholes.from_images(images, list(range(24)), 40, progress=False)
    far = torch.full((pinholes.views.n_pixels,), 3.0)
    found = choose_neighbours(pinholes, far, 3, NeighbourConfig(candidates=candidates))
    assert found.shape == (24, 3)
    for v, row in enumerate(found.tolist()):
        steps = [min((u - v) % 24, (v - u) % 24) for u in row if u >= 0]
        assert len(set(row)) == 3
        assert 0 not in steps
        assert max(steps) <= 4, "60 degrees aside"


def test_a_photo_that_shares_nothing_has_no_neighbours():
    images = image_set(LENSES["pinhole"], n=1)
    pinholes = Pinholes.from_images(images, [0], 40, progress=False)
    far = torch.full((pinholes.views.n_pixels,), 3.0)
    assert choose_neighbours(pinholes, far, 2, NeighbourConfig()).tolist() == [[-1, -1]]


def test_those_that_chose_a_view_are_added():
    chosen = torch.tensor([[1, -1], [2, 0], [1, 3], [-1, -1]])
    assert with_those_that_chose(chosen).tolist() == [[1, -1], [0, 2], [1, 3], [2, -1]]
    assert with_those_that_chose(torch.full((2, 3), -1)).shape == (2, 0)


def test_a_neighbour_that_sees_something_else_comes_first(monkeypatch):
    gains = torch.tensor([[0.0, 0, 0, 0], [0.9, 0.9, 0.9, 0.0], [0.8, 0.8, 0.8, 0.0], [0.0, 0, 0.3, 0.8]])
    monkeypatch.setattr(neighbours, "_gains", lambda *_: gains.clone())
    pinholes = Pinholes.from_images(image_set(LENSES["pinhole"], n=4), [0, 1, 2, 3], 40, progress=False)
    far = torch.full((pinholes.views.n_pixels,), 3.0)
    # View 1 first; then 2 counts exp(-.9) * .8 on three points, .98 in all, and 3 counts .8 + exp(-.9) * .3, .92.
    assert choose_neighbours(pinholes, far, 3, NeighbourConfig())[0].tolist() == [1, 2, 3]
    gains[3, 3] = 0.9
    assert choose_neighbours(pinholes, far, 3, NeighbourConfig())[0].tolist() == [1, 3, 2]
