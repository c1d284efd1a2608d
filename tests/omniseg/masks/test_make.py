"""From photos to files: what is written, in which order, what is skipped, and who does what."""

import errno
import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from command_line import content
from omniseg.data.formats.sidecars import Sidecars
from omniseg.data.image_io import read_image
from omniseg.distributed import Process
from omniseg.errors import InputError
from omniseg.masks import make as driver
from omniseg.masks.hierarchy import MaskHierarchy, build_hierarchy, load_hierarchy
from omniseg.masks.make import make_hierarchies, pictures, plan
from omniseg.masks.photos import Photo, find_photos
from omniseg.masks.run_length import MaskStack
from scene_files import HEIGHT, WIDTH, write_image, write_images

ALONE = Process()


class Halves:
    """Two nested masks: all of the photo, and its left half."""

    def __init__(self, unknown: Sequence[str] = (), bad: Sequence[str] = ()) -> None:
        self.unknown, self.bad = unknown, bad
        self.seen: dict[str, np.ndarray] = {}

    def knows(self, name: str) -> bool:
        return name not in self.unknown

    def segment(self, image: np.ndarray, name: str) -> MaskStack:
        if name in self.bad:
            raise InputError(f"{name}: has a bad mask")
        self.seen[name] = image
        height, width = image.shape[:2]
        left = np.zeros((height, width), bool)
        left[:, : width // 2] = True
        return MaskStack.from_masks([np.ones_like(left), left], width, height)


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Photo, ...]:
    write_images(tmp_path / "images", ["a.1.png", "b.png", "deep/c.jpg", "deep/d.png", "e.png"])
    return find_photos(tmp_path / "images").photos


def make(photos: Sequence[Photo], segmenter: Halves, out: Path, process: Process = ALONE, overwrite: bool = False):
    todo = plan(photos, segmenter, out, process, overwrite=overwrite)
    make_hierarchies(todo, segmenter, process)
    return todo


def test_writes_where_readers_look(photos, tmp_path: Path):
    make(photos, Halves(), tmp_path)
    names = ["a.1", "b", "deep/c", "deep/d", "e"]
    assert [photo.name for photo in photos] == names
    for name in names:
        path = Sidecars(tmp_path).hierarchy((name,))
        assert path is not None
        hierarchy = load_hierarchy(path)
        assert hierarchy.indices.shape == (HEIGHT, WIDTH)
        assert len(np.unique(hierarchy.indices)) == 2
        assert hierarchy.correlation.max() == 2
        for folder in ("masks", "patches"):
            assert read_image(tmp_path / folder / f"{name}.png").shape == (HEIGHT, WIDTH, 3)
    assert len(content(tmp_path)) == 5 + 3 * 5


def test_goes_on_where_it_was_interrupted(photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writes = itertools.count()

    def interrupt(*_: object) -> None:
        if next(writes) == 1:  # after the pictures of the second photo
            raise KeyboardInterrupt

    save = MaskHierarchy.save
    monkeypatch.setattr(MaskHierarchy, "save", lambda self, path: (interrupt(), save(self, path)))
    with pytest.raises(KeyboardInterrupt):
        make(photos, Halves(), tmp_path)
    monkeypatch.undo()
    done = sorted(path.name for path in (tmp_path / "sam").rglob("*") if path.is_file())
    assert done == ["a.1.npz"]
    assert (tmp_path / "masks/b.png").exists()
    segmenter = Halves()
    before = (tmp_path / "sam/a.1.npz").stat().st_mtime_ns
    todo = make(photos, segmenter, tmp_path)
    assert (todo.finished, len(todo.todo)) == (1, 4)
    assert set(segmenter.seen) == {"b", "deep/c", "deep/d", "e"}
    assert (tmp_path / "sam/a.1.npz").stat().st_mtime_ns == before
    assert make(photos, Halves(), tmp_path).finished == 5


def test_a_damaged_hierarchy_is_made_again_and_all_with_overwrite(photos, tmp_path: Path):
    make(photos, Halves(), tmp_path)
    path = tmp_path / "sam/deep/d.npz"
    path.write_bytes(path.read_bytes()[:-50])
    segmenter = Halves()
    assert make(photos, segmenter, tmp_path).finished == 4
    assert set(segmenter.seen) == {"deep/d"}
    load_hierarchy(path)
    segmenter = Halves()
    assert make(photos, segmenter, tmp_path, overwrite=True).finished == 0
    assert len(segmenter.seen) == 5


def test_photos_that_cannot_be_done_stop_no_other(
    photos, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    photos[1].path.write_bytes(b"no photo")
    segmenter = Halves(bad=["e"])
    with pytest.raises(InputError, match=r"2 of 5 photos could not be done.*: b\.png, e\.png") as raised:
        make(photos, segmenter, tmp_path)
    assert "\n" not in str(raised.value)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert warnings[0].startswith(f"skipped: {photos[1].path}: does not open")
    assert warnings[1] == "skipped: e: has a bad mask"
    printed = capsys.readouterr()
    assert "skipped" not in printed.err + printed.out
    assert sorted(path.stem for path in (tmp_path / "sam").rglob("*.npz")) == ["a.1", "c", "d"]
    write_image(photos[1].path)
    assert make(photos, Halves(), tmp_path).finished == 3


def test_a_full_disk_stops_everything(photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise InputError("cannot be written (No space left on device)")

    monkeypatch.setattr(driver, "save_image", full)
    segmenter = Halves()
    with pytest.raises(InputError, match="No space left"):
        make(photos, segmenter, tmp_path)
    assert len(segmenter.seen) == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        make(photos, Halves(), tmp_path / "file")


def test_a_folder_that_cannot_be_written_is_noticed_before_the_first_photo(photos, tmp_path: Path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "sam").mkdir()
    monkeypatch.setattr("omniseg.files.tempfile.mkstemp", refuse)
    segmenter = Halves()
    with pytest.raises(InputError, match="sam: cannot be written"):
        make(photos, segmenter, tmp_path)
    assert not segmenter.seen


def test_the_progress_bar_can_be_turned_off(photos, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for progress in (True, False):
        todo = plan(photos, Halves(), tmp_path, ALONE, overwrite=True)
        make_hierarchies(todo, Halves(), ALONE, progress=progress)
        assert ("photos" in capsys.readouterr().err) == progress


def test_photos_without_masks_are_counted_in_one_line(photos, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    segmenter = Halves(unknown=["b", "e"])
    make(photos, segmenter, tmp_path)
    assert set(segmenter.seen) == {"a.1", "deep/c", "deep/d"}
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "skipped 2 of 5 photos without masks (first: b)"
    ]
    with pytest.raises(InputError, match=r"no masks for any of the 5 photos; looked for a\.1\.json"):
        make(photos, Halves(unknown=[photo.name for photo in photos]), tmp_path)


def test_photos_in_which_nothing_was_found_are_counted(photos, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    class Blind(Halves):
        def segment(self, image: np.ndarray, name: str) -> MaskStack:
            return MaskStack(image.shape[1], image.shape[0], ())

    make(photos[:2], Blind(), tmp_path)
    assert "no mask was found in 2 photos (first: a.1)" in caplog.text
    assert not load_hierarchy(tmp_path / "sam/b.npz").labelled.any()


def test_processes_share_out_all_photos_whatever_is_finished_meanwhile(photos, tmp_path: Path):
    processes = [Process(rank, rank, 3) for rank in range(3)]
    seen = []
    for process in processes:  # one after the other, so that the later ones see what the earlier ones finished
        segmenter = Halves()
        make(photos, segmenter, tmp_path, process)
        seen.append(set(segmenter.seen))
    assert [len(names) for names in seen] == [2, 2, 1]
    assert set().union(*seen) == {photo.name for photo in photos}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"RANK": "x"}, "expected numbers"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "less than"),
        ({"RANK": "1"}, "less than"),
    ],
)
def test_the_process_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, values: dict, words: str):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert Process.from_environment() == Process(0, 0, 1)
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert Process.from_environment() == Process(5, 1, 8)
    monkeypatch.delenv("WORLD_SIZE")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=words):
        Process.from_environment()


@pytest.mark.parametrize("folder", ["masks", "patches"])
def test_pictures_of_somebody_else_are_not_overwritten(photos, tmp_path: Path, folder: str):
    write_image(tmp_path / folder / "e.png", seed=7)
    before = content(tmp_path)
    with pytest.raises(InputError, match=r"e\.png: would be overwritten.*--out.*--overwrite"):
        make(photos, Halves(), tmp_path)
    assert content(tmp_path) == before
    make(photos, Halves(), tmp_path / "elsewhere")
    make(photos, Halves(), tmp_path, overwrite=True)


def test_the_segmenter_gets_rgb_on_white_shrunk(tmp_path: Path):
    """Eight bits, three channels, what is transparent on white, shrunk when asked."""
    write_image(tmp_path / "images/rgba.png", channels=4)
    write_image(tmp_path / "images/rgb.png")
    rgba = read_image(tmp_path / "images/rgba.png").astype(float)
    photos, segmenter = find_photos(tmp_path / "images").photos, Halves()
    make(photos, segmenter, tmp_path)
    want = rgba[..., :3] * rgba[..., 3:] / 255 + 255 - rgba[..., 3:]
    np.testing.assert_allclose(segmenter.seen["rgba"], want, atol=0.51)
    np.testing.assert_array_equal(segmenter.seen["rgb"], read_image(tmp_path / "images/rgb.png"))
    make_hierarchies(plan(photos, segmenter, tmp_path / "out", ALONE), segmenter, ALONE, downsample=2.5)
    assert {image.shape for image in segmenter.seen.values()} == {(round(HEIGHT / 2.5), round(WIDTH / 2.5), 3)}


def test_pictures_show_small_masks_on_large_ones_and_patches_over_the_darkened_photo():
    photo = np.full((8, 12, 3), 100, np.uint8)
    large, small, other = (np.zeros((8, 12), bool) for _ in range(3))
    large[:, :8], small[2:5, 2:5], other[3:, 6:10] = True, True, True
    stack = MaskStack.from_masks([small, large, other], 12, 8)
    hierarchy = build_hierarchy(stack)
    masks, patches = pictures(photo, stack, hierarchy)
    assert masks.shape == patches.shape == photo.shape
    for picture in (masks, patches):
        np.testing.assert_array_equal(picture[:, 10:], 35)  # no mask
        assert picture[:, :8].min() > 35
        assert len(np.unique(picture[small], axis=0)) == 1
    np.testing.assert_array_equal(masks[4, 7], masks[7, 9])  # `other` is smaller than `large`, and on top of it
    assert (patches[4, 7] != patches[7, 9]).any()
    assert (masks[0, 0] != masks[3, 3]).any()
    assert len(np.unique(patches.reshape(-1, 3), axis=0)) == len(hierarchy.correlation)
    again = pictures(photo, stack, hierarchy)
    np.testing.assert_array_equal(again[0], masks)
    half = pictures(np.full((16, 24, 3), 100, np.uint8), stack, hierarchy)
    np.testing.assert_array_equal(half[1], patches)
