"""Masks of views: which are used, what is drawn of them."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tqdm import tqdm

from omniseg.cameras import Camera
from omniseg.data.scene import View
from omniseg.errors import InputError
from omniseg.masks import patches as patches_module
from omniseg.masks.hierarchy import MaskHierarchy
from omniseg.masks.patches import PatchSampler, PatchSet, ViewPatches, load_patches
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
    view_patches = again.views[0]
    covered = torch.zeros(SIDE * SIDE, dtype=torch.bool)
    covered[view_patches.pixels(torch.arange(int(view_patches.ends[-1])))] = True
    assert covered.view(SIDE, SIDE)[8:16, 8:16].all()
    large.resized(2 * SIDE, SIDE).save(tmp_path / "0.npz")
    with pytest.raises(InputError, match=rf"0\.npz: is {2 * SIDE} x {SIDE}, which does not fit"):
        load_patches(views, ball_cameras(3))


def test_drawn_pixels_are_in_masks(device):
    patches = ball_patches(3).to(device)
    ids = [torch.from_numpy(ball_hierarchy(labels).indices).reshape(-1).to(device) for labels in ball_labels(3)]
    sampler = PatchSampler(patches, torch.Generator(device).manual_seed(0))
    for view in range(3):
        batch = sampler.sample(view, 200)
        assert batch.view == view
        assert batch.patches.equal(ids[batch.view][batch.pixels].long())
        assert (batch.correlation.diagonal()[batch.patches] > 0).all()
        assert batch.pixels.unique().numel() > 60
        rays_o, rays_d = sampler.rays(batch.view, batch.pixels)
        every_o, every_d = patches.cameras.image_rays(batch.view)
        assert rays_o.equal(every_o[batch.pixels])
        assert torch.allclose(rays_d, every_d[batch.pixels], atol=1e-6)


def test_every_pixel_in_a_mask_is_drawn_alike(device):
    indices = np.ones(100, np.int16)
    indices[:10], indices[90:] = 2, 0  # 10 pixels of one, 70 of another, 20 in no mask
    indices[10:20] = 0
    hierarchy = MaskHierarchy(indices.reshape(10, 10), np.diag([0, 1, 1]).astype(np.uint8))
    camera = replace(ball_cameras(1), size=torch.tensor([[10, 10]]))
    patches = PatchSet((ViewPatches.from_hierarchy(hierarchy),), camera, ("a",)).to(device)
    batch = PatchSampler(patches, torch.Generator(device).manual_seed(0)).sample(0, 8000)
    assert float((batch.patches == 2).float().mean()) == pytest.approx(10 / 80, abs=0.02)
    small = batch.pixels[batch.patches == 2]
    assert small.unique().tolist() == list(range(10))


@pytest.mark.parametrize("progress", [True, False])
def test_the_progress_bar_can_be_turned_off(views, capsys, monkeypatch, progress):
    monkeypatch.setattr(patches_module, "tqdm", lambda *args, delay, **kwargs: tqdm(*args, **kwargs))  # at once
    load_patches(views, ball_cameras(3), progress=progress)
    assert ("masks" in capsys.readouterr().err) == progress


def test_the_six_pixels_of_the_docstring():
    hierarchy = MaskHierarchy(np.array([[2, 2, 0, 1, 1, 2]], np.int16), np.diag([0, 1, 1]).astype(np.uint8))
    patches, ranks = ViewPatches.from_hierarchy(hierarchy), torch.arange(5)
    assert patches.ends.tolist() == [2, 4, 5]
    assert patches.shifts.tolist() == [3, -2, 1]
    assert patches.starts.tolist() == [0, 0, 2]
    assert patches.pixels(ranks).tolist() == [3, 4, 0, 1, 5]
    assert patches.patches(ranks).tolist() == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("in_a_mask", [0.0, 0.3, 1.0])
def test_runs_hold_every_pixel_of_every_patch(in_a_mask):
    """Compare the runs with the plain permutation, on ids in random order."""
    random = np.random.default_rng(0)
    indices = random.integers(0, 7, (5, 11)).astype(np.int16)
    indices[2:] = indices[2:, :1]  # runs that go on in the next row
    correlation = np.diag((np.arange(8) < 8 * in_a_mask)[::-1]).astype(np.uint8)  # patch 7 has no pixel
    patches = ViewPatches.from_hierarchy(MaskHierarchy(indices, correlation))
    ids = indices.reshape(-1)
    line = np.concatenate([np.flatnonzero(ids == k) for k in range(8) if correlation[k, k]] or [np.arange(0)])
    assert patches.pixels(torch.arange(len(line))).tolist() == line.tolist()
    areas = [int((ids == k).sum()) * int(correlation[k, k]) for k in range(8)]
    assert patches.starts.tolist() == [sum(areas[:k]) for k in range(8)]
    assert len(patches.ends) <= len(line)


def test_correlations_beyond_a_bound_are_compressed(views, monkeypatch):
    plain = load_patches(views, ball_cameras(3))
    assert plain is not None
    monkeypatch.setattr(patches_module, "_PLAIN_BYTES", plain.views[0].correlation.numel())
    packed = load_patches(views, ball_cameras(3))
    assert packed is not None
    assert [type(view.shared) for view in packed.views] == [torch.Tensor, bytes]
    assert packed.views[1].n_bytes == plain.views[1].n_bytes - plain.views[1].correlation.numel()
    for one, other in zip(plain.views, packed.views):
        assert one.correlation.equal(other.correlation)
    batches = [PatchSampler(each, torch.Generator().manual_seed(5)).sample(1, 50) for each in (plain, packed)]
    assert batches[0].correlation.equal(batches[1].correlation)
