"""Masks of views: which are used, what is drawn of them."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omniseg.cameras import Camera
from omniseg.data.hierarchy import MaskHierarchy
from omniseg.data.patches import PatchSampler, PatchSet, load_patches
from omniseg.data.scene import View
from omniseg.errors import InputError
from tiny_scene import SIDE, ball_cameras, ball_hierarchy, ball_labels, ball_patches

CAMERA = Camera(SIDE, SIDE, 40.0, 40.0, SIDE / 2, SIDE / 2)


def view(name: str, path: Path | None) -> View:
    return View(name, {1: Path(f"{name}.png")}, CAMERA, np.eye(3, 4), hierarchy_path=path)


@pytest.fixture
def views(tmp_path: Path) -> list[View]:
    """Two views with masks, one without a file."""
    made = [ball_hierarchy(labels) for labels in ball_labels(2)]
    for number, hierarchy in enumerate(made):
        hierarchy.save(tmp_path / f"{number}.npz")
    return [view("a", tmp_path / "0.npz"), view("b", None), view("c", tmp_path / "1.npz")]


def test_views_without_a_file_are_counted(views, caplog):
    with caplog.at_level(logging.WARNING, "omniseg"):
        patches = load_patches(views, ball_cameras(3))
    assert "masks of 2 of 3 views" in caplog.text
    assert "1 without a file, 0 without a mask" in caplog.text
    assert patches is not None
    assert patches.names == ("a", "c")
    assert patches.offsets.tolist() == [0, SIDE**2, 2 * SIDE**2]
    assert patches.cameras.c2w.equal(ball_cameras(3)[[0, 2]].c2w)


def test_no_file_at_all():
    assert load_patches([view("a", None)], ball_cameras(1)) is None


def test_all_pixels_in_no_mask(views, tmp_path: Path, caplog):
    nothing = MaskHierarchy(np.zeros((SIDE, SIDE), np.int16), np.zeros((1, 1), np.uint8))
    nothing.save(tmp_path / "0.npz")
    patches = load_patches(views, ball_cameras(3))
    assert patches is not None
    assert patches.names == ("c",)
    assert "1 without a file, 1 without a mask" in caplog.text
    with pytest.raises(InputError, match="no pixel is in any mask"):
        load_patches(views[:1], ball_cameras(1))


def test_masks_of_another_size(views, tmp_path: Path):
    large = ball_hierarchy(ball_labels(1)[0]).resized(5 * SIDE, 5 * SIDE)
    large.save(tmp_path / "0.npz")
    patches = load_patches(views, ball_cameras(3))
    assert patches is not None
    again = load_patches([views[0]], ball_cameras(1))
    assert again is not None
    assert (again.indices.view(SIDE, SIDE)[8:16, 8:16] > 0).all()
    large.resized(2 * SIDE, SIDE).save(tmp_path / "0.npz")
    with pytest.raises(InputError, match=rf"0\.npz: is of a {2 * SIDE} x {SIDE} picture, which does not fit"):
        load_patches(views, ball_cameras(3))


def test_drawn_pixels_are_in_masks(device):
    patches = ball_patches(3).to(device)
    sampler = PatchSampler(patches, torch.Generator(device).manual_seed(0))
    seen = set()
    for _ in range(12):
        batch = sampler.sample(200)
        seen.add(batch.view)
        begin = int(patches.offsets[batch.view])
        assert batch.patches.equal(patches.indices[begin + batch.pixels].long())
        assert (batch.correlation.diagonal()[batch.patches] > 0).all()
        assert batch.pixels.unique().numel() > 60
        rays_o, rays_d = sampler.rays(batch.view, batch.pixels)
        every_o, every_d = patches.cameras.image_rays(batch.view)
        assert rays_o.equal(every_o[batch.pixels])
        assert torch.allclose(rays_d, every_d[batch.pixels], atol=1e-6)
    assert seen == {0, 1, 2}


def test_every_pixel_in_a_mask_is_drawn_alike(device):
    indices = torch.ones(100, dtype=torch.int16)
    indices[:10], indices[90:] = 2, 0  # 10 pixels of one, 70 of another, 20 in no mask
    indices[10:20] = 0
    correlation = torch.diag(torch.tensor([0, 1, 1])).to(torch.uint8)
    camera = replace(ball_cameras(1), size=torch.tensor([[10, 10]]))
    patches = PatchSet(indices, torch.tensor([0, 100]), (correlation,), camera, ("a",)).to(device)
    batch = PatchSampler(patches, torch.Generator(device).manual_seed(0)).sample(8000)
    assert float((batch.patches == 2).float().mean()) == pytest.approx(10 / 80, abs=0.02)
    small = batch.pixels[batch.patches == 2]
    assert small.unique().tolist() == list(range(10))
