"""Depth maps: each ray finds the small pixel that it passes, and a stranger's numbers are refused."""

import pytest
import torch

from omniseg.cameras import Camera, CameraModel, Cameras
from omniseg.data.depth_maps import DepthMaps


def maps_of(device="cpu", **changes) -> DepthMaps:
    """Return maps of two photos, 3 x 2 and none."""
    values = {
        "names": ("a", "b"),
        "distances": torch.tensor([1.0, 2, 3, 4, 5, 0]).half(),
        "sizes": torch.tensor([[3, 2], [0, 0]]),
        "intrinsics": torch.tensor([[2.0, 2.0, 1.5, 1.0], [1.0, 1.0, 1.0, 1.0]]),
    }
    return DepthMaps(**{**values, **changes}).to(device)


def test_a_ray_finds_its_small_pixel(device):
    maps = maps_of(device)
    at = torch.tensor([[0.5, 0.5], [2.5, 0.5], [0.1, 1.9], [2.5, 1.5], [-0.1, 0.5], [1.5, 2.1]], device=device)
    rays = torch.cat([(at - maps.intrinsics[0, 2:]) / maps.intrinsics[0, :2], at.new_ones(6, 1)], 1)
    rays = torch.nn.functional.normalize(rays, dim=1)
    assert maps.at(torch.zeros(6, dtype=torch.int64, device=device), rays).tolist() == [1, 3, 4, 0, 0, 0]
    assert not maps.at(torch.ones(6, dtype=torch.int64, device=device), rays).any(), "the second has no picture"
    assert not maps.at(torch.zeros(6, dtype=torch.int64, device=device), -rays).any(), "behind the camera"


@pytest.mark.parametrize("size", [(3, 2), (12, 8), (7, 5)])
def test_a_photo_of_any_size_shows_the_map(device, size: tuple[int, int]):
    maps = maps_of(device)
    camera = Camera(3, 2, 2.0, 2.0, 1.5, 1.0)
    cameras = Cameras.stack([camera] * 2, torch.eye(3, 4).expand(2, 3, 4)).to(device).resized(size[0])
    image = maps.image(cameras, 0)
    assert image.shape == (size[1], size[0])
    assert image[0, 0] == 1
    assert image[0, -1] == 3
    assert image[-1, 0] == 4
    assert image[-1, -1] == 0
    assert not maps.image(cameras, 1).any()


def test_a_fisheye_sees_beside_its_map(device):
    wide = Camera(30, 20, 8.0, 8.0, 15.0, 10.0, CameraModel.FISHEYE)
    cameras = Cameras.stack([wide] * 2, torch.eye(3, 4).expand(2, 3, 4)).to(device)
    image = maps_of(device).image(cameras, 0)
    assert image[10, 15] > 0
    assert not image[:, [0, -1]].any()


def test_no_photo_has_a_picture(device):
    empty = maps_of(device, distances=torch.zeros(0).half(), sizes=torch.zeros(2, 2, dtype=torch.int64))
    ahead = torch.tensor([[0.0, 0.0, 1.0]], device=device)
    assert empty.at(torch.zeros(1, dtype=torch.int64, device=device), ahead).tolist() == [0]


def test_gaps_are_filled_from_other_maps():
    first = maps_of(distances=torch.tensor([1.0, 0, 3, 0, 5, 0]).half())
    ones = torch.ones(2, 4)
    second = maps_of(distances=torch.arange(8.0, 16).half(), sizes=torch.tensor([[3, 2], [2, 1]]), intrinsics=2 * ones)
    filled = first.filled(second)
    assert filled.distances.tolist() == [1, 9, 3, 11, 5, 13, 14, 15]
    assert filled.sizes.tolist() == [[3, 2], [2, 1]]
    assert filled.intrinsics.tolist() == [first.intrinsics[0].tolist(), [2.0] * 4]
    assert second.filled(first).distances.tolist() == second.distances.tolist()
    with pytest.raises(ValueError, match="same photos"):
        first.filled(maps_of(names=("a", "c")))
    with pytest.raises(ValueError, match="6 and 8 pixels"):
        first.filled(maps_of(distances=torch.ones(8).half(), sizes=torch.tensor([[4, 2], [0, 0]])))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"names": ("a",)}, "for 1 photos"),
        ({"distances": torch.zeros(6)}, "expected"),
        ({"distances": torch.zeros(5).half()}, "as many pixels as there are distances"),
        ({"distances": torch.full((6,), -1.0).half()}, "distances: expected finite"),
        ({"distances": torch.full((6,), torch.inf).half()}, "distances: expected finite"),
        ({"sizes": torch.tensor([[-3, -2], [0, 0]])}, "sizes: expected"),
        ({"intrinsics": torch.tensor([[0.0, 2, 1, 1], [1, 1, 1, 1]])}, "focal lengths above 0"),
        ({"intrinsics": torch.tensor([[2.0, 2, 1, torch.nan], [1, 1, 1, 1]])}, "intrinsics: expected finite"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(changes: dict, words: str):
    with pytest.raises(ValueError, match=words):
        maps_of(**changes)
