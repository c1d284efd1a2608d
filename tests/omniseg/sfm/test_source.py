import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from corner_photos import HEIGHT, WIDTH, arc, photo, write_photos, write_video
from omniseg.data.image_io import read_image
from omniseg.errors import InputError
from omniseg.sfm.source import find_source, prepare_images

ORIENTATION, EXIF_IFD, MODEL, FOCAL_LENGTH, FOCAL_35MM = 0x0112, 0x8769, 0x0110, 0x920A, 0xA405


def write_jpeg(path: Path, pixels: np.ndarray, *, orientation: int = 1, focal_35mm: int = 26, model="P1") -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[MODEL] = orientation, model
    details = exif.get_ifd(EXIF_IFD)
    details[FOCAL_LENGTH], details[FOCAL_35MM] = 4.2, focal_35mm
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, quality=95)


# Finding


def test_photos_are_found_in_natural_order_also_below_a_folder_images(tmp_path):
    write_photos(tmp_path / "a" / "images", arc(11))
    for path in (tmp_path / "a", tmp_path / "a" / "images"):
        source = find_source(path)
        assert source.files == tuple(f"IMG_{k}.jpg" for k in range(11))
        assert source.default_folder == tmp_path / "a"


def test_a_capture_is_called_like_the_video_or_the_folder(tmp_path):
    assert find_source(write_photos(tmp_path / "desk", arc(3))).default_folder == Path("scenes/desk")
    assert find_source(write_video(tmp_path / "walk.mp4", arc(3))).default_folder == Path("scenes/walk")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "holds no photos"),
        (lambda path: write_photos(path, arc(2)), "holds 2 photos; poses need at least 3"),
        (lambda path: path.write_text("x"), "is no video"),
    ],
)
def test_what_holds_no_photos_is_refused(tmp_path, make, said):
    make(tmp_path / "x")
    with pytest.raises(InputError, match=said):
        find_source(tmp_path / "x")


def test_heic_names_the_way_out_where_it_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    folder = write_photos(tmp_path / "photos", arc(2))
    (folder / "IMG_2.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(InputError, match=r"IMG_2\.HEIC: HEIC is not read; convert it to JPEG, or pip install"):
        prepare_images(find_source(folder), tmp_path / "out", None, progress=False)


# Photos


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_and_keep_their_focal_length(tmp_path, orientation):
    upright = photo(arc(3)[1])
    stored = {  # how a camera that is held so stores what it sees
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1),
        6: np.rot90(upright), 7: np.rot90(upright, 2).swapaxes(0, 1), 8: np.rot90(upright, 3),
    }[orientation]  # fmt: skip
    for k in range(3):
        write_jpeg(tmp_path / "photos" / f"{k}.jpg", np.ascontiguousarray(stored), orientation=orientation)
    images = prepare_images(find_source(tmp_path / "photos"), tmp_path / "out", None, progress=False)
    got = read_image(tmp_path / "out" / "1.jpg")
    assert got.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(got.astype(int) - upright).mean() < 4
    exif = Image.open(tmp_path / "out" / "1.jpg").getexif()
    assert exif.get(ORIENTATION, 1) == 1
    assert exif.get_ifd(EXIF_IFD)[FOCAL_35MM] == 26
    assert images.groups == ((0, 1, 2),)
    assert images.sideways == 0


def test_photos_that_are_used_where_they_lie_are_left_as_they_are(tmp_path):
    folder = tmp_path / "images"
    for k in range(3):
        write_jpeg(folder / f"{k}.jpg", photo(arc(3)[k]), orientation=6 if k else 1)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    images = prepare_images(find_source(folder), folder, None, progress=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert images.sideways == 2


def test_photos_of_one_camera_and_zoom_share_their_parameters(tmp_path):
    pixels = photo(arc(3)[0])
    for k in range(6):
        write_jpeg(tmp_path / f"{k}.jpg", pixels, focal_35mm=52 if k == 2 else 26, model="P2" if k == 4 else "P1")
    write_jpeg(tmp_path / "5.jpg", np.ascontiguousarray(pixels.swapaxes(0, 1)))
    images = prepare_images(find_source(tmp_path), tmp_path / "out", None, progress=False)
    assert images.groups == ((0, 1, 3), (2,), (4,), (5,))


def test_names_that_a_list_of_pairs_cannot_hold_are_changed(tmp_path):
    write_photos(tmp_path / "photos", arc(3))
    (tmp_path / "photos" / "IMG_1.jpg").rename(tmp_path / "photos" / "WhatsApp image (1).jpg")
    images = prepare_images(find_source(tmp_path / "photos"), tmp_path / "out", None, progress=False)
    assert images.names == ("IMG_0.jpg", "IMG_2.jpg", "WhatsApp_image_(1).jpg")
    assert all((tmp_path / "out" / name).is_file() for name in images.names)
    shutil.copy(tmp_path / "photos" / "IMG_0.jpg", tmp_path / "photos" / "WhatsApp_image_(1).jpg")
    with pytest.raises(InputError, match="would be stored as"):
        prepare_images(find_source(tmp_path / "photos"), tmp_path / "out2", None, progress=False)


def test_a_damaged_photo_is_named(tmp_path):
    folder = write_photos(tmp_path / "photos", arc(3))
    (folder / "IMG_1.jpg").write_bytes(b"no jpeg")
    with pytest.raises(InputError, match=r"IMG_1\.jpg: does not open as an image"):
        prepare_images(find_source(folder), tmp_path / "out", None, progress=False)


def test_the_sharpest_photos_are_taken(tmp_path):
    folder = write_photos(tmp_path / "photos", arc(6))
    for k in (0, 3, 5):
        path = str(folder / f"IMG_{k}.jpg")
        cv2.imwrite(path, cv2.blur(cv2.imread(path), (9, 9)))
    images = prepare_images(find_source(folder), tmp_path / "out", 3, progress=False)
    assert images.names == ("IMG_1.jpg", "IMG_2.jpg", "IMG_4.jpg")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(images.names)
    assert images.groups == ((0, 1, 2),)


# Video


def test_the_sharpest_frames_of_a_video_are_taken(tmp_path):
    video = write_video(tmp_path / "walk.mp4", arc(24), blur=4)  # frames 2, 6, 10... are sharp
    images = prepare_images(find_source(video), tmp_path / "out", 6, progress=False)
    assert images.names == tuple(f"{k:02d}.jpg" for k in range(2, 24, 4))
    assert read_image(tmp_path / "out" / "06.jpg").shape == (HEIGHT, WIDTH, 3)
    assert min(images.sharpness) > 0.5 * max(images.sharpness)


def test_a_short_video_gives_all_its_frames(tmp_path):
    images = prepare_images(find_source(write_video(tmp_path / "a.mp4", arc(5))), tmp_path / "out", 50, progress=False)
    assert len(images.names) == 5


def test_a_damaged_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(InputError, match="does not open as a video"):
        prepare_images(find_source(tmp_path / "a.mp4"), tmp_path / "out", 5, progress=False)
