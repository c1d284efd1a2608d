"""Somebody's masks: pictures and JSON, good and bad."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from omniseg.errors import InputError
from omniseg.masks.segmenters.folder import FolderSegmenter

WIDTH, HEIGHT = 12, 8
PHOTO = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
LEFT, TOP = np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
LEFT[:, :5], TOP[:3] = True, True


def code(mask: np.ndarray) -> dict:
    flat = np.concatenate([[False], mask.T.reshape(-1)])
    at = np.flatnonzero(np.diff(flat)).tolist()
    return {"size": list(mask.shape), "counts": np.diff([0, *at, mask.size]).tolist()}


def annotation(mask: np.ndarray) -> dict:
    return {"segmentation": code(mask), "area": int(mask.sum()), "predicted_iou": 0.9, "bbox": [0, 0, 1, 1]}


def write_picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def check(folder: Path, name: str = "a") -> None:
    segmenter = FolderSegmenter(folder)
    assert segmenter.knows(name)
    got = segmenter.segment(PHOTO, name)
    np.testing.assert_array_equal(got.mask(0), LEFT)
    np.testing.assert_array_equal(got.mask(1), TOP)
    assert len(got) == 2


def test_json_of_the_mask_generator_and_of_sa_1b(tmp_path: Path):
    masks = [annotation(LEFT), annotation(TOP)]
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.json").write_text(json.dumps(masks))
    (tmp_path / "deep/b.1.json").write_text(json.dumps({"image": {"file_name": "b.jpg"}, "annotations": masks}))
    check(tmp_path)
    check(tmp_path, "deep/b.1")
    assert not FolderSegmenter(tmp_path).knows("deep/b")


@pytest.mark.parametrize("kind", ["0 and 255", "0 and 1", "soft edges", "colour", "alpha", "16 bit"])
def test_pictures(tmp_path: Path, kind: str):
    for name, mask in (("0", LEFT), ("1", TOP)):
        pixels = mask.astype(np.uint8) * 255
        match kind:
            case "0 and 1":
                pixels = mask.astype(np.uint8)
            case "soft edges":
                pixels = np.where(mask, 250, 100).astype(np.uint8)
            case "colour":
                pixels = np.stack([pixels * 0, pixels, pixels * 0], axis=2)
            case "alpha":
                pixels = np.dstack([pixels, pixels, pixels, np.full_like(pixels, 255)])
            case "16 bit":
                pixels = pixels.astype(np.uint16) * 257
        write_picture(tmp_path / "a" / f"{name}.png", pixels)
    (tmp_path / "a/metadata.csv").write_text("what segment-anything's script writes beside them")
    (tmp_path / "a/._0.png").write_bytes(b"what a Mac leaves behind")
    check(tmp_path)


def test_an_empty_mask_and_no_mask(tmp_path: Path):
    write_picture(tmp_path / "a/0.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (tmp_path / "b.json").write_text("[]")
    assert FolderSegmenter(tmp_path).segment(PHOTO, "a").areas.tolist() == [0]
    none = FolderSegmenter(tmp_path).segment(PHOTO, "b")
    assert (len(none), none.width, none.height) == (0, WIDTH, HEIGHT)


@pytest.mark.parametrize("size", [(24, 16), (6, 4), (3, 2), (1200, 801)])
def test_masks_of_another_size_keep_it(tmp_path: Path, size: tuple[int, int]):
    mask = cv2.resize(LEFT.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    write_picture(tmp_path / "a/0.png", mask)
    got = FolderSegmenter(tmp_path).segment(PHOTO, "a")
    assert (got.width, got.height) == size
    np.testing.assert_array_equal(got.mask(0), mask != 0)


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as raised:
        FolderSegmenter(folder).segment(PHOTO, "a")
    for word in words:
        assert word in str(raised.value)


def test_masks_of_another_aspect_are_refused(tmp_path: Path):
    write_picture(tmp_path / "a/0.png", LEFT.T.astype(np.uint8))
    refused(tmp_path, str(tmp_path / "a"), "8 x 12", "12 x 8")
    write_picture(tmp_path / "a/0.png", np.ones((100, 150), np.uint8))
    FolderSegmenter(tmp_path).segment(PHOTO, "a")
    write_picture(tmp_path / "a/0.png", np.ones((114, 150), np.uint8))
    refused(tmp_path, "150 x 114", "aspect")


def test_masks_of_different_sizes_are_refused(tmp_path: Path):
    write_picture(tmp_path / "a/0.png", LEFT.astype(np.uint8))
    write_picture(tmp_path / "a/1.png", np.ones((16, 24), np.uint8))
    refused(tmp_path, "different sizes", "12 x 8", "24 x 16")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("not valid JSON",)),
        (b"\xff\xfe", ("not valid JSON",)),
        (b"[" * 100_000, ("not valid JSON",)),
        (b"3", ("list of masks", "annotations")),
        (b'{"image": 1}', ("list of masks", "annotations")),
        (b"[1]", ("mask 0", "segmentation")),
        (b'[{"area": 3}]', ("mask 0", "segmentation")),
        (json.dumps([annotation(LEFT), {"segmentation": {"size": [8, 12], "counts": [1]}}]).encode(), ("mask 1", "96")),
    ],
)
def test_damaged_json_is_named(tmp_path: Path, content: bytes, words: tuple[str, ...]):
    (tmp_path / "a.json").write_bytes(content)
    refused(tmp_path, str(tmp_path / "a.json"), *words)


def test_missing_files_and_files_that_are_no_pictures_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="nowhere: is not a folder"):
        FolderSegmenter(tmp_path / "nowhere")
    assert not FolderSegmenter(tmp_path).knows("a")
    refused(tmp_path, "a.json", "a/*.png")
    (tmp_path / "a").mkdir()
    assert not FolderSegmenter(tmp_path).knows("a")
    (tmp_path / "a/0.png").write_bytes(b"no picture")
    refused(tmp_path, "0.png", "does not open")


IDS = np.kron(np.array([[0, 7, 7], [300, 7, 0]]), np.ones((4, 4), int))
"""8 x 12 pixels."""


@pytest.mark.parametrize("place", ["a.png", "a/ids.png"])
def test_pictures_of_ids_are_one_mask_an_id(tmp_path: Path, place: str):
    write_picture(tmp_path / place, IDS.astype(np.uint16))
    assert FolderSegmenter(tmp_path).knows("a")
    got = FolderSegmenter(tmp_path).segment(PHOTO, "a")
    assert len(got) == 2
    np.testing.assert_array_equal(got.mask(0), IDS == 7)
    np.testing.assert_array_equal(got.mask(1), IDS == 300)


def test_levels_of_ids_and_masks_side_by_side(tmp_path: Path):
    write_picture(tmp_path / "a/part.png", IDS.astype(np.uint16))
    write_picture(tmp_path / "a/thing.png", LEFT * np.uint8(255))
    got = FolderSegmenter(tmp_path).segment(PHOTO, "a")
    assert len(got) == 3
    np.testing.assert_array_equal(got.mask(2), LEFT)


def test_pictures_that_are_no_masks_are_refused(tmp_path: Path):
    rng = np.random.default_rng(0)
    write_picture(tmp_path / "a.png", rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    refused(tmp_path, "a.png", "neither a mask", "nor a grey picture of ids")
    write_picture(tmp_path / "a.png", rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8))
    refused(tmp_path, "a.png", "neither a mask", "nor a grey picture of ids")


def coco(**changes: object) -> dict:
    """Return COCO's JSON of two photos; masks of the first are a rectangle, columns 2 to 5, rows 1 to 3, and LEFT."""
    images = [
        {"id": 5, "file_name": "shots/a.jpg", "width": WIDTH, "height": HEIGHT},
        {"id": 6, "file_name": "shots/b.jpg", "width": WIDTH, "height": HEIGHT},
    ]
    annotations = [
        {"id": 1, "image_id": 5, "category_id": 1, "iscrowd": 0, "segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]]},
        {"id": 2, "image_id": 5, "category_id": 1, "iscrowd": 1, "segmentation": code(LEFT)},
    ]
    return {"images": images, "annotations": annotations, "categories": [], **changes}


RECTANGLE = np.zeros((HEIGHT, WIDTH), bool)
RECTANGLE[1:4, 2:6] = True


@pytest.mark.parametrize("given", ["folder", "among others", "file"])
def test_coco_for_all_photos(tmp_path: Path, given: str):
    path = tmp_path / ("instances_default.json" if given == "among others" else "export.json")
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(coco()).encode())
    if given == "among others":
        (tmp_path / "c.json").write_text(json.dumps([annotation(TOP)]))
    segmenter = FolderSegmenter(path if given == "file" else tmp_path)
    for name in ("a", "shots/a"):
        got = segmenter.segment(PHOTO, name)
        assert len(got) == 2
        np.testing.assert_array_equal(got.mask(0), RECTANGLE)
        np.testing.assert_array_equal(got.mask(1), LEFT)
    assert len(segmenter.segment(PHOTO, "b")) == 0  # listed, without masks
    assert [segmenter.knows(name) for name in ("a", "b", "d")] == [True, True, False]


def test_polygons_beside_run_lengths_in_the_file_of_a_photo(tmp_path: Path):
    two = [[0, 0, 2, 0, 2, 2, 0, 2], [4, 4, 6, 4, 6, 6, 4, 6]]
    (tmp_path / "a.json").write_text(json.dumps([annotation(TOP), {"segmentation": two}]))
    got = FolderSegmenter(tmp_path).segment(PHOTO, "a")
    np.testing.assert_array_equal(got.mask(0), TOP)
    want = np.zeros((HEIGHT, WIDTH), bool)
    want[:2, :2] = want[4:6, 4:6] = True
    np.testing.assert_array_equal(got.mask(1), want)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": [], "annotations": 3}, ["is not COCO's JSON"]),
        (coco(images=[{"id": 5}]), ["lacks a key of COCO", "file_name"]),
        (coco(annotations=[{"segmentation": []}]), ["lacks a key of COCO", "image_id"]),
        (coco(annotations=[{"image_id": 5, "segmentation": [[1, 2, 3]]}]), ["shots/a: mask 0", "polygons"]),
        (coco(annotations=[{"image_id": 5, "segmentation": [["x"] * 6]}]), ["shots/a: mask 0", "polygons"]),
        (coco(annotations=[{"image_id": 5}]), ["shots/a: mask 0", "polygons"]),
    ],
)
def test_damaged_coco_is_named(tmp_path: Path, content: dict, words: list[str]):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    refused(path, str(path), *words)
    two = coco(images=[{"id": i, "file_name": f"{i}/a.jpg", "width": WIDTH, "height": HEIGHT} for i in range(2)])
    path.write_text(json.dumps(two))
    assert not FolderSegmenter(path).knows("a")  # which of the two?
    assert FolderSegmenter(path).knows("1/a")
