from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from helpers import TOLERANCE
from omniseg.data import images as images_module
from omniseg.data import rays as rays_module
from omniseg.data.depth_maps import DepthMaps
from omniseg.data.formats import read_scene
from omniseg.data.images import load_images
from omniseg.data.rays import RaySampler
from scene_files import HEIGHT, IDENTITY, WIDTH, orbit, write_colmap, write_image, write_transforms


@pytest.fixture
def images(tmp_path, device):
    """Three views of two lenses and two sizes, one with alpha, one with depth."""
    write_transforms(tmp_path, orbit(3))
    scene = read_scene(tmp_path)
    write_image(tmp_path / "images" / "0001.png", 12, 10, channels=4)
    camera = replace(scene.views[1].camera, width=12, height=10, fx=20.0, distortion=(0.1,) + (0.0,) * 7)
    cv2.imwrite(str(tmp_path / "z.png"), np.full((HEIGHT, WIDTH), 3000, np.uint16))
    views = [
        scene.views[0],
        replace(scene.views[1], camera=camera),
        replace(scene.views[2], depth_path=tmp_path / "z.png", depth_unit=1e-3),
    ]
    return load_images(views, IDENTITY).to(device)


def make_sampler(images, seed=0):
    return RaySampler(images, torch.Generator().manual_seed(seed))


@pytest.fixture(params=["table", "no table"])
def sampler(request, images, monkeypatch):
    if request.param == "no table":
        monkeypatch.setattr(rays_module, "_TABLE_PIXELS", 0)
    sampler = make_sampler(images)
    assert (sampler._rays._table is None) == (request.param == "no table")
    return sampler


def test_every_ray_belongs_to_its_pixel(sampler, images):
    batch = sampler.sample(3000)
    reached = images.cameras.project(batch.rays_o + 2 * batch.rays_d)
    xy = reached.xy[batch.views, torch.arange(3000, device=batch.views.device)]
    pixel = xy.floor().long()
    assert_close(xy - pixel, torch.full_like(xy, 0.5), rtol=0, atol=1e-3)  # centres, to float32 pixels
    seen = set()
    for i in range(0, 3000, 7):
        view, (x, y) = int(batch.views[i]), pixel[i].tolist()
        stored = images.image(view)[y, x].float() / 255
        assert_close(batch.rgb[i], stored[:3])
        assert_close(batch.alpha[i], stored[3])
        assert_close(batch.depth[i], images.depth(view)[y, x].float())
        seen.add(view)
    assert seen == {0, 1, 2}
    assert_close(batch.rays_d.norm(dim=1), torch.ones(3000, device=xy.device), **TOLERANCE[torch.float32])


def test_uniform_over_pixels(images):
    batch = make_sampler(images).sample(60_000)
    share = torch.bincount(batch.views.cpu(), minlength=3) / 60_000
    counts = images.offsets.diff().cpu()
    assert_close(share, counts / counts.sum(), rtol=0, atol=0.01)  # five standard deviations


def test_the_first_and_last_pixels_are_drawn(images):
    batch = make_sampler(images).sample(60_000)
    first = images.cameras.image_rays(0)[1][0]
    last = images.cameras.image_rays(2)[1][-1]
    for view, direction in ((0, first), (2, last)):
        mine = batch.rays_d[batch.views == view]
        assert ((mine - direction).abs().amax(1) < 1e-5).any()


def test_depth_is_measured_along_the_ray(images):
    batch = make_sampler(images).sample(500)
    known = batch.depth > 0
    assert torch.equal(known, batch.views == 2)
    forward = images.cameras.c2w[2, :, 2]
    z = batch.depth[known] * (batch.rays_d[known] @ forward)
    assert_close(z, torch.full_like(z, 3.0), rtol=1e-3, atol=0)  # float16


@pytest.mark.parametrize("table", [2**24, 0])
def test_depth_maps_give_each_ray_the_depth_of_its_pixel(images, monkeypatch, table: int):
    monkeypatch.setattr(rays_module, "_TABLE_PIXELS", table)
    sizes = torch.tensor([[4, 3], [0, 0], [6, 5]])
    intrinsics = torch.tensor([[8.0, 8.0, 2.0, 1.5], [1.0] * 4, [12.0, 12.0, 3.0, 2.5]])
    maps = DepthMaps(images.names, torch.arange(1.0, 43.0).half(), sizes, intrinsics).to(images.device)
    batch = RaySampler(images, torch.Generator().manual_seed(0), maps).sample(500)
    xy = images.cameras.project(batch.rays_o + 2 * batch.rays_d).xy
    whole = [maps.image(images.cameras, v) for v in range(3)]
    assert [len(image.unique()) > 5 for image in whole] == [True, False, True]
    for i, v in enumerate(batch.views.tolist()):
        x, y = xy[v, i].floor().long().tolist()
        assert batch.depth[i] == whole[v][y, x]


def test_one_seed_one_sequence(images):
    first, second, other = make_sampler(images), make_sampler(images), make_sampler(images, seed=1)
    for _ in range(3):
        a, b, c = (sampler.sample(50) for sampler in (first, second, other))
        assert torch.equal(a.rays_d, b.rays_d)
        assert not torch.equal(a.rays_d, c.rays_d)


def test_refined_poses_get_a_gradient(images):
    c2w = images.cameras.c2w.clone().requires_grad_()
    batch = make_sampler(images).sample(200, replace(images.cameras, c2w=c2w))
    (batch.rays_o.sum() + batch.rays_d[:, 0].sum()).backward()
    used = torch.bincount(batch.views.cpu(), minlength=3).to(c2w)
    assert_close(c2w.grad[:, :, 3], used[:, None].expand(-1, 3))
    assert (c2w.grad[:, 0, :3].abs().sum(1) > 0).all()
    assert images.cameras.c2w.grad is None


def test_images_without_alpha_and_depth(tmp_path):
    write_colmap(tmp_path, orbit(2))
    images = load_images(read_scene(tmp_path).views, IDENTITY)
    batch = make_sampler(images).sample(10)
    assert batch.depth is None
    assert batch.alpha.tolist() == [1.0] * 10


def test_no_rays(sampler):
    batch = sampler.sample(0)
    assert batch.rays_o.shape == batch.rgb.shape == (0, 3)


def test_bad_arguments(images):
    with pytest.raises(ValueError, match="n: expected"):
        make_sampler(images).sample(-1)
    with pytest.raises(ValueError, match="cameras: expected 3, got 2"):
        make_sampler(images).sample(5, images.cameras[:2])


def test_pixels_stay_bytes(images):
    assert images.pixels.dtype == torch.uint8
    assert images_module.ImageSet.__dataclass_params__.frozen
