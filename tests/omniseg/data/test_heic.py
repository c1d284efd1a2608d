"""HEIC photos, as phones take them: read where pillow-heif is installed, else named for what they are."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from omniseg.data.formats import read_scene
from omniseg.data.image_io import image_header, read_image
from omniseg.data.images import load_images
from omniseg.errors import InputError
from scene_files import HEIGHT, IDENTITY, WIDTH, orbit, write_colmap


def smooth(channels: int = 3) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(40, 200, (3, 4, channels), dtype=np.uint8)
    return cv2.resize(coarse, (8 * WIDTH, 8 * HEIGHT), interpolation=cv2.INTER_CUBIC)


def test_without_pillow_heif_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    for read in (image_header, read_image):
        with pytest.raises(InputError, match=r"IMG_1.HEIC: is HEIC, which is not read; convert .* pillow-heif"):
            read(path)


def test_photos_alone_are_photos_without_poses(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(InputError, match="photos without poses"):
        read_scene(tmp_path)


class TestWithPillowHeif:
    @pytest.fixture(autouse=True)
    def heif(self):
        return pytest.importorskip("pillow_heif", reason="writes HEIC files: pip install 'omniseg3d[heic]'")

    @pytest.mark.parametrize("channels", [3, 4])
    def test_pixels(self, tmp_path, heif, channels):
        pixels = smooth(channels)
        heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "a.heic", quality=95)
        header = image_header(tmp_path / "a.heic")
        assert (header.width, header.height, header.alpha) == (8 * WIDTH, 8 * HEIGHT, channels == 4)
        read = read_image(tmp_path / "a.heic")
        assert (read.shape, read.dtype) == (pixels.shape, np.uint8)
        assert np.abs(read.astype(int) - pixels).mean() < 3

    def test_a_damaged_file(self, tmp_path, heif):
        heif.from_pillow(Image.fromarray(smooth())).save(tmp_path / "a.heic")
        (tmp_path / "a.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:200])
        with pytest.raises(InputError, match="does not open as a HEIC photo"):
            read_image(tmp_path / "a.heic")

    def test_a_capture_of_them(self, tmp_path, heif):
        names = [f"IMG_{i}.heic" for i in range(2)]
        camera = (1, 1, 8 * WIDTH, 8 * HEIGHT, (240.0, 240.0, 96.0, 64.0))
        write_colmap(tmp_path, orbit(2), names=names, cameras=[camera], images=False)
        (tmp_path / "images").mkdir()
        for name in names:
            heif.from_pillow(Image.fromarray(smooth())).save(tmp_path / "images" / name.replace("heic", "HEIC"))
        images = load_images(read_scene(tmp_path).views, IDENTITY)
        assert images.names == ("IMG_0", "IMG_1")
        assert np.abs(images.image(1).numpy().astype(int) - smooth()).mean() < 6
