import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from tqdm import tqdm

from omniseg.data import image_io as image_io_module
from omniseg.data import images as images_module
from omniseg.data.formats import read_scene
from omniseg.data.image_io import ImageHeader, image_header, read_image, shrink
from omniseg.data.images import default_downsample, load_images
from omniseg.data.memory import allocate_host
from omniseg.data.normalisation import Normalisation, place
from omniseg.errors import InputError
from scene_files import (
    HEIGHT,
    IDENTITY,
    WIDTH,
    orbit,
    real_capture,
    write_colmap,
    write_image,
    write_images,
    write_transforms,
)

HERE = IDENTITY


@pytest.fixture
def scene(tmp_path):
    write_transforms(tmp_path, orbit(3), w=WIDTH, h=HEIGHT)
    return read_scene(tmp_path)


def area(pixels: np.ndarray, k: int) -> np.ndarray:
    """Mean over k x k blocks."""
    height, width = pixels.shape[0] // k, pixels.shape[1] // k
    return pixels[: height * k, : width * k].reshape(height, k, width, k, -1).astype(float).mean((1, 3))


def fails(call, *words):
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert message.count("\n") <= 1
    for word in words:
        assert word in message, message


def test_pixels_and_cameras(scene, tmp_path):
    images = load_images(scene.views, HERE)
    assert images.pixels.dtype == torch.uint8
    assert images.pixels.shape == (3 * WIDTH * HEIGHT, 3)
    assert images.offsets.tolist() == [0, 384, 768, 1152]
    assert images.names == ("0000", "0001", "0002")
    assert images.depths is None
    for i in range(3):
        want = write_image(tmp_path / "again.png", seed=i)
        assert torch.equal(images.image(i), torch.from_numpy(want))
    np.testing.assert_allclose(images.cameras.c2w, orbit(3), atol=1e-6)
    assert images.cameras.intrinsics[0].tolist() == [30.0, 30.0, 12.0, 8.0]


@pytest.mark.parametrize("k", [2, 4])
def test_shrinks_by_exact_area_averaging(scene, k):
    full, small = load_images(scene.views, HERE), load_images(scene.views, HERE, k)
    assert small.sizes.tolist() == [[WIDTH // k, HEIGHT // k]] * 3
    assert small.cameras.intrinsics[1].tolist() == pytest.approx([30 / k, 30 / k, 12 / k, 8 / k])
    want = area(full.image(1).numpy(), k)
    assert np.abs(small.image(1).numpy() - want).max() <= 0.5 + 1e-6


def test_shrinks_by_a_fraction(scene):
    images = load_images(scene.views, HERE, 1.5)
    assert images.sizes[0].tolist() == [16, 11]
    assert images.cameras.intrinsics[0].tolist() == pytest.approx([20.0, 30 * 11 / 16, 8.0, 5.5])


def test_smaller_folders_are_used(tmp_path):
    names = write_colmap(tmp_path, orbit(2))
    write_images(tmp_path / "images_2", names, width=12, height=8)
    scene = read_scene(tmp_path)
    half = load_images(scene.views, HERE, 2)
    assert torch.equal(half.image(1), torch.from_numpy(read_image(tmp_path / "images_2" / names[1])))
    quarter = load_images(scene.views, HERE, 4)
    assert np.abs(quarter.image(1).numpy() - area(half.image(1).numpy(), 2)).max() <= 0.5 + 1e-6
    three_quarters = load_images(scene.views, HERE, 4 / 3)
    assert three_quarters.sizes[0].tolist() == [18, 12]


def test_no_larger_than_on_disk(tmp_path):
    names = write_colmap(tmp_path, orbit(2), images=False)
    write_images(tmp_path / "images_4", names, width=6, height=4)
    scene = read_scene(tmp_path)
    fails(lambda: load_images(scene.views, HERE, 2), "--downsample 2", "images_4", "4 or more")
    assert load_images(scene.views, HERE).sizes[0].tolist() == [6, 4]
    assert default_downsample(scene, "cuda") == 4


def test_default_downsample(scene):
    def of(width, device):
        camera = replace(scene.views[0].camera, width=width, height=width // 2)
        return default_downsample(replace(scene, views=(replace(scene.views[0], camera=camera),)), device)

    assert [of(width, "cpu") for width in (24, 400, 800, 1920, 4032)] == [1, 1, 2, 5, 10]
    assert [of(width, "cuda") for width in (800, 1600, 4032)] == [1, 1, 3]


def test_alpha_is_kept_straight(tmp_path):
    pixels = np.zeros((2, 4, 4), np.uint8)
    pixels[0, 0] = [200, 100, 50, 255]  # one opaque pixel of four in the first block, black where transparent
    pixels[:, 2:] = [10, 20, 30, 128]
    assert shrink(pixels, 2, 1)[0].tolist() == [[200, 100, 50, 64], [10, 20, 30, 128]]
    assert shrink(np.zeros((2, 2, 4), np.uint8), 1, 1).tolist() == [[[0, 0, 0, 0]]]


def test_images_with_and_without_alpha(scene, tmp_path):
    want = write_image(tmp_path / "images" / "0001.png", channels=4, seed=9)
    images = load_images(scene.views, HERE)
    assert images.pixels.shape[1] == 4
    assert torch.equal(images.image(1), torch.from_numpy(want))
    assert (images.image(0)[..., 3] == 255).all()
    assert (images.image(2)[..., 3] == 255).all()


def test_alpha_comes_late_and_nothing_is_copied(tmp_path, monkeypatch):
    """The images before it are spread in place, whatever their sizes."""
    names = [f"{i:04d}.png" for i in range(5)]
    write_colmap(tmp_path, orbit(5), names=names)
    views = list(read_scene(tmp_path).views)
    small = replace(views[1].camera, width=9, height=5)
    views[1] = replace(views[1], camera=small)
    want = [write_image(tmp_path / "images" / name, channels=3, seed=i) for i, name in enumerate(names)]
    want[1] = write_image(tmp_path / "images" / names[1], 9, 5, seed=9)
    want[3] = write_image(tmp_path / "images" / names[3], channels=4, seed=7)
    stores = []
    monkeypatch.setattr(images_module, "allocate_host", lambda n: stores.append(np.full(n, 7, np.uint8)) or stores[-1])
    images = load_images(views, HERE)
    assert images.pixels.data_ptr() == stores[0].ctypes.data
    for v, pixels in enumerate(want):
        assert torch.equal(images.image(v)[..., : pixels.shape[2]], torch.from_numpy(pixels)), v
        assert v == 3 or (images.image(v)[..., 3] == 255).all()


def test_spreading_for_alpha_takes_the_memory_of_one_image():
    n, each = 40, 1000
    stored = np.zeros(4 * n * each, np.uint8)
    tracemalloc.start()
    images_module._with_alpha(stored, np.arange(n) * each, n * each)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * each + 20_000


def test_images_in_a_file_are_those_in_memory(scene, tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "z.png"), np.full((HEIGHT, WIDTH), 3000, np.uint16))
    views = [scene.views[0], replace(scene.views[1], depth_path=tmp_path / "z.png", depth_unit=1e-3)]
    in_memory = load_images(views, HERE)
    monkeypatch.setattr(images_module, "allocate_host", lambda n: allocate_host(n, free=0))
    paged = load_images(views, HERE)
    assert torch.equal(paged.pixels, in_memory.pixels)
    assert torch.equal(paged.depths, in_memory.depths)
    assert (paged.depth(0) == 0).all()


def test_no_more_images_are_begun_than_can_be_stored():
    begun, stored = [], []
    with ThreadPoolExecutor(2) as pool:
        for result in images_module._in_order(pool, lambda item: begun.append(item) or item, range(20), 3):
            assert len(begun) <= len(stored) + 4
            stored.append(result)
    assert stored == list(range(20))


def test_alpha_that_hides_nothing_is_dropped(scene, tmp_path):
    for i in range(3):
        path = tmp_path / "images" / f"{i:04d}.png"
        opaque = np.concatenate([read_image(path), np.full((HEIGHT, WIDTH, 1), 255, np.uint8)], axis=2)
        cv2.imwrite(str(path), cv2.cvtColor(opaque, cv2.COLOR_RGBA2BGRA))
    assert load_images(scene.views, HERE).pixels.shape[1] == 3


def test_grey_and_16_bit(tmp_path):
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    assert (read_image(tmp_path / "grey.png") == grey[..., None]).all()
    deep = np.array([[[0, 257, 65535], [128, 129, 32768]]], np.uint16)  # BGR
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert read_image(tmp_path / "deep.png").tolist() == [[[255, 1, 0], [128, 1, 0]]]


def test_exif_orientation_is_ignored(tmp_path):
    write_image(tmp_path / "a.jpg", 24, 16)
    jpeg = (tmp_path / "a.jpg").read_bytes()
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff  # orientation 6: turn by 90 degrees
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "b.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    assert cv2.imread(str(tmp_path / "b.jpg")).shape[:2] == (24, 16)  # what others would see
    np.testing.assert_array_equal(read_image(tmp_path / "b.jpg"), read_image(tmp_path / "a.jpg"))
    assert image_header(tmp_path / "b.jpg") == ImageHeader(24, 16, alpha=False)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp"])
def test_header(tmp_path, name):
    write_image(tmp_path / name, 30, 20)
    header = image_header(tmp_path / name)
    assert (header.width, header.height, header.alpha) == (30, 20, False)


def test_header_knows_alpha(tmp_path):
    write_image(tmp_path / "a.png", channels=4)
    assert image_header(tmp_path / "a.png").alpha


def test_header_of_a_huge_image_decodes_nothing_and_warns_of_nothing(tmp_path, monkeypatch):
    """Pillow would warn from 90 megapixels on and refuse 180; a phone takes 200."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 30_000, 8, 6, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    monkeypatch.setattr(image_io_module, "decode", lambda data: pytest.fail("decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_header(tmp_path / "a.png") == ImageHeader(40_000, 30_000, alpha=True)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_header_of_a_damaged_image(tmp_path, name):
    write_image(tmp_path / name, 30, 20)
    content = (tmp_path / name).read_bytes()
    for n in range(30):
        (tmp_path / name).write_bytes(content[:n])
        fails(lambda: image_header(tmp_path / name), name, "does not open")
    (tmp_path / name).unlink()
    fails(lambda: image_header(tmp_path / name), name, "cannot be read")


def test_header_of_a_cmyk_photo(tmp_path):
    Image.new("CMYK", (30, 20)).save(tmp_path / "a.jpg")
    assert image_header(tmp_path / "a.jpg") == ImageHeader(30, 20, alpha=False)
    assert read_image(tmp_path / "a.jpg").shape == (20, 30, 3)


@pytest.mark.parametrize("name", ["0001.png", "0001.jpg"])
def test_images_that_do_not_open(tmp_path, name):
    write_colmap(tmp_path, orbit(2), names=["0000.png", name])
    scene = read_scene(tmp_path)
    path = tmp_path / "images" / name
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:30], b"", b"not an image at all", content[:-8]):
        path.write_bytes(damaged)
        fails(lambda: load_images(scene.views, HERE), str(path), "does not open")
    path.unlink()
    fails(lambda: load_images(scene.views, HERE), str(path), "cannot be read")


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_images_cut_short_do_not_open_where_opencv_would_guess_the_rest(tmp_path, monkeypatch, name):
    write_image(tmp_path / name)
    monkeypatch.setattr(image_io_module, "decode", lambda data: np.zeros((HEIGHT, WIDTH, 3), np.uint8))  # OpenCV 4
    content = (tmp_path / name).read_bytes()
    read_image(tmp_path / name)
    (tmp_path / name).write_bytes(content + b"appended by a phone")
    read_image(tmp_path / name)
    (tmp_path / name).write_bytes(content[:-8])
    fails(lambda: read_image(tmp_path / name), name, "does not open")


@pytest.mark.parametrize(
    ("width", "height", "words"),
    [
        (30, 20, ["30 x 20", "24 x 16"]),
        (16, 24, ["16 x 24", "24 x 16", "turned by 90 degrees"]),
        (24, 12, ["24 x 12", "24 x 16"]),
        (12, 8, ["12 x 8", "24 x 16"]),
    ],
)
def test_sizes_that_disagree(scene, tmp_path, width, height, words):
    path = tmp_path / "images" / "0001.png"
    write_image(path, width, height)
    fails(lambda: load_images(scene.views, HERE), str(path), *words)


@pytest.mark.parametrize("k", [1, 2])
def test_depth_becomes_distance_along_the_ray(scene, tmp_path, k):
    z = np.random.default_rng(0).integers(1000, 60000, (HEIGHT, WIDTH)).astype(np.uint16)
    z[3, 4] = 0
    cv2.imwrite(str(tmp_path / "z.png"), z)
    view = replace(scene.views[1], depth_path=tmp_path / "z.png", depth_unit=1e-4)
    here = Normalisation(0.5, np.eye(3), np.zeros(3))
    images = load_images([scene.views[0], view], here, k)
    assert images.depth(0).max() == 0  # unknown
    depth = images.depth(1).double().numpy()
    # What a ray of that length reaches is the stored depth in front of the camera.
    _, rays_d = images.cameras.image_rays(1)
    forward = images.cameras.c2w[1, :, 2]
    reached = depth * (rays_d @ forward).double().numpy().reshape(depth.shape) / 0.5
    nearest = z[k // 2 :: k, k // 2 :: k] * 1e-4
    assert_close(reached, nearest, rtol=1e-3, atol=0)  # float16


def test_depth_of_another_size_and_as_numbers(scene, tmp_path):
    z = np.full((2 * HEIGHT, 2 * WIDTH), 2.0, np.float32)
    z[:, :WIDTH] = np.nan
    np.save(tmp_path / "z.npy", z)
    view = replace(scene.views[0], depth_path=tmp_path / "z.npy", depth_unit=1.0)
    depth = load_images([view], HERE).depth(0)
    assert (depth[:, : WIDTH // 2] == 0).all()
    assert (depth[:, WIDTH // 2 :] >= 2).all()


@pytest.mark.parametrize("content", [b"", b"\xff\xd8 half a photo", None])
def test_depths_that_do_not_open(scene, tmp_path, content):
    path = tmp_path / "z.png"
    if content is None:
        cv2.imwrite(str(path), np.ones((HEIGHT, HEIGHT), np.uint16))
    else:
        path.write_bytes(content)
    fails(lambda: load_images([replace(scene.views[0], depth_path=path)], HERE), str(path))
    fails(lambda: load_images([replace(scene.views[0], depth_path=tmp_path / "none.png")], HERE), "none.png")


def test_pickled_depths_are_not_opened(scene, tmp_path):
    np.save(tmp_path / "z.npy", np.full((2, 2), None), allow_pickle=True)
    fails(lambda: load_images([replace(scene.views[0], depth_path=tmp_path / "z.npy")], HERE), "z.npy")


def test_cameras_are_in_scene_coordinates(scene):
    placement = place(scene)
    images = load_images(scene.views, placement.normalisation)
    want = placement.normalisation.c2w(orbit(3))
    assert_close(images.cameras.c2w, torch.from_numpy(want).float())


def test_to_device(scene, device):
    images = load_images(scene.views, HERE).to(device)
    assert images.pixels.device.type == images.cameras.c2w.device.type == device.type


@pytest.mark.parametrize("progress", [True, False])
def test_the_progress_bar_can_be_turned_off(scene, capsys, monkeypatch, progress):
    monkeypatch.setattr(images_module, "tqdm", lambda *args, delay, **kwargs: tqdm(*args, **kwargs))  # at once
    load_images(scene.views, HERE, progress=progress)
    assert ("images" in capsys.readouterr().err) == progress


def test_bad_arguments(scene):
    with pytest.raises(ValueError, match="views"):
        load_images([], HERE)
    with pytest.raises(ValueError, match="downsample"):
        load_images(scene.views, HERE, 0.5)


def test_fern_at_half_the_size_on_disk():
    scene = read_scene(real_capture("fern"))
    images = load_images(scene.views[:2], HERE, 16)
    assert images.sizes.tolist() == [[252, 189]] * 2
