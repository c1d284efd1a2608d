"""Pixels that masks or alpha leave out are neither trained on nor measured."""

import itertools
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from omniseg.config import CaptureConfig
from omniseg.data.formats import read_scene
from omniseg.data.images import load_images
from omniseg.data.pinholes import Pinholes
from omniseg.data.rays import RaySampler
from omniseg.data.valid_pixels import ValidPixels, valid_mask
from omniseg.errors import InputError
from omniseg.evaluation.image_metrics import psnr, ssim
from omniseg.evaluation.views import check_sizes
from omniseg.masks.hierarchy import MaskHierarchy
from scene_files import HEIGHT, IDENTITY, WIDTH, orbit, write_colmap, write_image, write_json, write_transforms


def random_mask(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return cv2.resize(np.random.default_rng(seed).random((3, 4)), (width, height)) > 0.4


def write_mask(path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), mask * np.uint8(255))


def write_masked(root, n: int = 3) -> list[np.ndarray]:
    """Write a capture of nerfstudio whose views but the last have masks; returns the masks."""
    names = write_transforms(root, orbit(n), w=WIDTH, h=HEIGHT)
    content = json.loads((root / "transforms.json").read_text())
    masks = [random_mask(i) for i in range(n - 1)]
    for i, mask in enumerate(masks):
        write_mask(root / "masks" / f"{i}.png", mask)
        content["frames"][i]["mask_path"] = f"masks/{i}.png"
    assert len(names) == n
    write_json(root / "transforms.json", content)
    return [*masks, np.ones((HEIGHT, WIDTH), bool)]


def test_ranks_are_the_valid_pixels_in_order():
    masks = [random_mask(0), None, np.zeros((HEIGHT, WIDTH), bool), random_mask(3), np.array([[False, True]])]
    counts = [HEIGHT * WIDTH] * 4 + [2]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    flat = np.concatenate([np.ones(n, bool) if m is None else m.reshape(-1) for m, n in zip(masks, counts)])
    valid = ValidPixels.from_masks(masks, offsets)
    assert valid.n == flat.sum()
    assert torch.equal(valid.pixels(torch.arange(valid.n)), torch.from_numpy(np.flatnonzero(flat)))
    for start, stop in itertools.pairwise(offsets):
        assert torch.equal(valid.mask(int(start), int(stop)), torch.from_numpy(flat[start:stop]))
    nothing = ValidPixels.from_masks(masks[2:3], offsets[:2])
    assert nothing.n == 0
    assert not nothing.mask(0, HEIGHT * WIDTH).any()


def test_rays_are_drawn_from_valid_pixels_alone(tmp_path, caplog):
    caplog.set_level("INFO", "omniseg")
    masks = write_masked(tmp_path)
    images = load_images(read_scene(tmp_path).views, IDENTITY)
    flat = torch.from_numpy(np.stack(masks))
    assert torch.equal(torch.stack([images.valid_mask(v) for v in range(3)]), flat)
    sampler = RaySampler(images, torch.Generator().manual_seed(0))
    batch = sampler.sample(20_000)
    xy, _, inside = images.cameras.project(batch.rays_o + batch.rays_d)
    at = xy[batch.views, torch.arange(20_000)].floor().long()
    drawn = torch.zeros(3, HEIGHT, WIDTH)
    drawn[batch.views, at[:, 1], at[:, 0]] = 1
    assert inside[batch.views, torch.arange(20_000)].all()
    assert torch.equal(drawn.bool(), flat)  # nothing else, and all of them
    share = 100 * (1 - flat.float().mean())
    assert f"masks leave out {share:.0f} % of the pixels of 2 views" in caplog.text


def test_captures_without_masks_are_as_before(tmp_path):
    write_transforms(tmp_path, orbit(2))
    images = load_images(read_scene(tmp_path).views, IDENTITY)
    assert (images.valid, images.n_valid, images.valid_mask(0)) == (None, 2 * WIDTH * HEIGHT, None)


def test_a_shrunk_pixel_is_valid_where_all_of_its_pixels_are(tmp_path):
    masks = write_masked(tmp_path)
    views = read_scene(tmp_path).views
    images = load_images(views, IDENTITY, 2)
    want = masks[0].reshape(HEIGHT // 2, 2, WIDTH // 2, 2).all((1, 3))
    np.testing.assert_array_equal(images.valid_mask(0).numpy(), want)
    larger = valid_mask(views[0], 2 * WIDTH, 2 * HEIGHT)
    np.testing.assert_array_equal(larger, np.kron(masks[0], np.ones((2, 2))) > 0)


@pytest.mark.parametrize("form", ["{}.png.png", "{}.png"])
def test_masks_beside_colmap(tmp_path, form):
    write_colmap(tmp_path, orbit(2))
    for i in range(2):
        write_mask(tmp_path / "masks" / form.format(f"{i:04d}"), random_mask(i))
    images = load_images(read_scene(tmp_path).views, IDENTITY)
    np.testing.assert_array_equal(images.valid_mask(1).numpy(), random_mask(1))
    (tmp_path / "masks" / form.format("0001")).unlink()
    with pytest.raises(InputError, match=r"masks: 1 of 2 photos have no mask there \(first: 0001.png\)"):
        read_scene(tmp_path)


def test_pictures_of_mask_hierarchies_are_no_masks(tmp_path):
    write_colmap(tmp_path, orbit(2))
    write_image(tmp_path / "masks" / "0000.png")
    write_image(tmp_path / "patches" / "0000.png")
    assert load_images(read_scene(tmp_path).views, IDENTITY).valid is None
    (tmp_path / "patches" / "0000.png").unlink()
    (tmp_path / "patches").rmdir()
    write_image(tmp_path / "masks" / "0001.png")
    with pytest.raises(InputError, match=r"masks/000\d.png: is neither a mask"):
        load_images(read_scene(tmp_path).views, IDENTITY)


@pytest.mark.parametrize("alpha", ["transparent", "left-out"])
def test_alpha_may_leave_pixels_out(tmp_path, alpha):
    write_transforms(tmp_path, orbit(2))
    pixels = write_image(tmp_path / "images" / "0000.png", channels=4)
    views = read_scene(tmp_path, CaptureConfig(alpha=alpha)).views
    images = load_images(views, IDENTITY)
    opaque = pixels[..., 3] >= 128
    assert 0.1 < opaque.mean() < 0.9
    if alpha == "transparent":
        assert images.pixels.shape[1] == 4
        assert images.valid is None
        return
    assert images.pixels.shape[1] == 3
    np.testing.assert_array_equal(images.image(0).numpy(), pixels[..., :3])
    np.testing.assert_array_equal(images.valid_mask(0).numpy(), opaque)
    assert images.valid_mask(1).all()
    np.testing.assert_array_equal(valid_mask(views[0], WIDTH, HEIGHT), opaque)  # from the file
    assert valid_mask(views[1], WIDTH, HEIGHT) is None


def test_a_split_capture_whose_alpha_leaves_out_has_surroundings(tmp_path):
    names = [f"train/{i}.png" for i in range(3)]
    for i, name in enumerate(names):
        write_image(tmp_path / name, channels=4, seed=i)
    frames = json.loads(write_frames(tmp_path, names).read_text())
    write_json(tmp_path / "transforms_train.json", frames)
    (tmp_path / "transforms.json").unlink()
    assert read_scene(tmp_path).kind == "synthetic"
    assert read_scene(tmp_path, CaptureConfig(alpha="left-out")).kind != "synthetic"


def write_frames(root, names):
    write_transforms(root, orbit(len(names)))
    content = json.loads((root / "transforms.json").read_text())
    for frame, name in zip(content["frames"], names):
        frame["file_path"] = name
    return write_json(root / "transforms.json", content)


def test_masks_that_do_not_fit(tmp_path):
    write_masked(tmp_path)
    view = read_scene(tmp_path).views[0]
    write_mask(tmp_path / "square.png", np.ones((HEIGHT, HEIGHT), bool))
    with pytest.raises(InputError, match=r"square.png: is 16 x 16, which does not fit its photo of 24 x 16"):
        load_images([replace(view, ignore_path=tmp_path / "square.png")], IDENTITY)
    write_mask(tmp_path / "black.png", np.zeros((HEIGHT, WIDTH), bool))
    with pytest.raises(InputError, match=r"black.png: no pixel is left"):
        load_images([replace(view, ignore_path=tmp_path / "black.png")], IDENTITY)
    images = load_images([replace(view, ignore_path=tmp_path / "black.png"), replace(view, name="b")], IDENTITY)
    with pytest.raises(InputError, match="held-out view 0000: its mask leaves out every pixel"):
        check_sizes(images)


def test_left_out_pixels_are_not_measured():
    rng = np.random.default_rng(0)
    photo = torch.from_numpy(rng.random((32, 40, 3))).float()
    picture = (photo + 0.05 * torch.from_numpy(rng.normal(size=photo.shape)).float()).clamp(0, 1)
    valid = torch.from_numpy(random_mask(5, 32, 40))
    spoilt = torch.where(valid[..., None], picture, 1 - photo)
    clean = torch.where(valid[..., None], picture, photo)
    assert psnr(spoilt, photo) < 10 < psnr(spoilt, photo, valid)
    assert psnr(spoilt, photo, valid) == pytest.approx(
        float(-10 * ((picture - photo)[valid] ** 2).mean().log10()), abs=1e-4
    )
    assert ssim(spoilt, photo, valid) == ssim(clean, photo, valid)
    everything = torch.ones_like(valid)
    assert ssim(picture, photo, everything) == pytest.approx(ssim(picture, photo), abs=1e-9)


def test_depth_from_photos_does_not_see_left_out_pixels(tmp_path):
    masks = write_masked(tmp_path)
    images = load_images(read_scene(tmp_path).views, IDENTITY)
    pictures = Pinholes.from_images(images, [0, 2], WIDTH, progress=False)
    shown = pictures.shown.view(2, HEIGHT, WIDTH).numpy()
    np.testing.assert_array_equal(shown, np.stack([masks[0], masks[2]]))


def test_left_out_pixels_are_in_no_mask_of_the_hierarchy():
    indices = np.repeat(np.array([[0, 1, 2, 3]], np.int16), 3, axis=0)
    shared = np.diag([2, 1, 1, 1]).astype(np.uint8)  # patch 0 is in masks, too
    shared[0, 1] = shared[1, 0] = 1
    valid = np.array([[True, True, False, False], [True, False, False, True], [True, True, False, False]])
    within = MaskHierarchy(indices, shared).within(valid)
    assert_close(within.labelled, valid)
    assert within.indices.tolist() == [[1, 2, 0, 0], [1, 0, 0, 3], [1, 2, 0, 0]]
    assert within.correlation.tolist() == [[0, 0, 0, 0], [0, 2, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert MaskHierarchy(indices, shared).within(None).indices is indices
