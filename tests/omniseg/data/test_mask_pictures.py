import cv2
import numpy as np
import pytest
from PIL import Image

from omniseg.data.mask_pictures import read_black_and_white, read_mask_picture
from omniseg.errors import InputError
from scene_files import write_image

CIRCLE = cv2.circle(np.zeros((60, 80), np.uint8), (40, 30), 20, 1, -1).astype(bool)
IDS = np.kron(np.array([[0, 1, 2], [3, 1, 300]]), np.ones((10, 10), int))


def saved(path, pixels: np.ndarray):
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize("white", [1, 2, 255, 65535])
def test_black_and_white(tmp_path, white):
    pixels = (CIRCLE * white).astype(np.uint16 if white > 255 else np.uint8)
    np.testing.assert_array_equal(read_mask_picture(saved(tmp_path / "a.png", pixels)), CIRCLE)
    np.testing.assert_array_equal(read_black_and_white(tmp_path / "a.png"), CIRCLE)


def test_soft_edges_and_compression(tmp_path):
    soft = cv2.GaussianBlur(CIRCLE.astype(np.uint8) * 255, (3, 3), 0)
    assert len(np.unique(soft)) > 4
    np.testing.assert_array_equal(read_mask_picture(saved(tmp_path / "a.png", soft)), soft > 127)
    assert cv2.imwrite(str(tmp_path / "a.jpg"), CIRCLE * np.uint8(255))
    assert (read_mask_picture(tmp_path / "a.jpg") == CIRCLE).mean() > 0.99


def test_black_and_white_as_colours_palette_and_bits(tmp_path):
    saved(tmp_path / "rgba.png", np.dstack([CIRCLE * np.uint8(255)] * 3 + [np.full(CIRCLE.shape, 255, np.uint8)]))
    Image.fromarray(CIRCLE).save(tmp_path / "bits.png")
    palette = Image.fromarray((~CIRCLE).astype(np.uint8), "P")
    palette.putpalette([255, 255, 255, 0, 0, 0])  # index 1 is black
    palette.save(tmp_path / "palette.png")
    for name in ("rgba", "bits", "palette"):
        np.testing.assert_array_equal(read_mask_picture(tmp_path / f"{name}.png"), CIRCLE, name)


@pytest.mark.parametrize("constant", [0, 255])
def test_all_black_and_all_white(tmp_path, constant):
    mask = read_mask_picture(saved(tmp_path / "a.png", np.full((4, 6), constant, np.uint8)))
    assert mask.dtype == bool
    assert (mask == bool(constant)).all()


def test_ids(tmp_path):
    ids = read_mask_picture(saved(tmp_path / "a.png", IDS.astype(np.uint16)))
    np.testing.assert_array_equal(ids, IDS)
    few = read_mask_picture(saved(tmp_path / "few.png", np.where(IDS == 300, 10, 3 * IDS).astype(np.uint8)))
    np.testing.assert_array_equal(few, np.where(IDS == 300, 10, 3 * IDS))  # the largest are near one another
    border = np.zeros((60, 80), np.uint8)  # of an object with the id 7, which covers little
    border[20:30, 20:32], border[21:29, 21:31] = 255, 7
    np.testing.assert_array_equal(read_mask_picture(saved(tmp_path / "voc.png", border)), border)
    with pytest.raises(InputError, match=r"a.png: is not black and white, as a mask of pixels to leave out is"):
        read_black_and_white(tmp_path / "a.png")


def test_ids_as_a_palette(tmp_path):
    image = Image.fromarray(np.where(IDS == 300, 200, IDS).astype(np.uint8), "P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask_picture(tmp_path / "a.png"), np.where(IDS == 300, 200, IDS))


def test_photos_and_colours_are_refused(tmp_path):
    colours = write_image(tmp_path / "colours.png", 64, 48)
    rng = np.random.default_rng(0)
    saved(tmp_path / "grey.png", cv2.add(colours[..., 0], rng.integers(0, 20, (48, 64), dtype=np.uint8)))
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG no more")
    for name in ("colours", "grey"):
        with pytest.raises(InputError, match=rf"{name}.png: is neither a mask, .* nor a grey picture of ids"):
            read_mask_picture(tmp_path / f"{name}.png")
    with pytest.raises(InputError, match="does not open as a mask"):
        read_mask_picture(tmp_path / "damaged.png")
