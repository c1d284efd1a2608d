"""Videos and folders of pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from omniseg.errors import InputError
from omniseg.export.video import save_frames


def frames(n: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """A grey that grows brighter."""
    return [np.full((height, width, 3), 40 + 20 * k, np.uint8) for k in range(n)]


def read(path: Path) -> list[np.ndarray]:
    video, found = cv2.VideoCapture(str(path)), []
    while True:
        more, frame = video.read()
        if not more:
            return found
        found.append(frame)


def test_video_holds_the_frames(tmp_path: Path):
    path = tmp_path / "new" / "ähm b.mp4"
    save_frames(path, frames(7), [], rate=5)
    stored = read(path)
    assert [frame.shape for frame in stored] == [(32, 48, 3)] * 7
    assert [round(float(frame.mean())) for frame in stored] == pytest.approx([40 + 20 * k for k in range(7)], abs=4)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("height", "width", "stored"), [(33, 47, (32, 46)), (1, 1, (2, 2)), (2, 3, (2, 2))])
def test_odd_sizes(tmp_path: Path, height: int, width: int, stored: tuple[int, int]):
    save_frames(tmp_path / "a.mp4", frames(2, height, width), [], rate=30)
    assert [frame.shape[:2] for frame in read(tmp_path / "a.mp4")] == [stored] * 2


def test_folder_of_pictures(tmp_path: Path):
    save_frames(tmp_path / "out", frames(3), ["a", "deep/b", "c"], rate=1)
    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("*.png"))
    assert found == ["a.png", "c.png", "deep/b.png"]
    assert cv2.imread(str(tmp_path / "out/deep/b.png")).mean() == 60


def test_a_folder_that_cannot_be_written_is_noticed_before_the_first_picture(tmp_path: Path):
    (tmp_path / "file").write_text("mine")

    def never():
        pytest.fail("a picture was rendered")
        yield

    for out in (tmp_path / "file", tmp_path / "file" / "a.mp4"):
        with pytest.raises(InputError, match="cannot be written"):
            save_frames(out, never(), ["a"], rate=1)


def test_a_failing_source_leaves_the_old_video(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def interrupted():
        yield from frames(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_frames(path, interrupted(), [], rate=30)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


class Writer:
    """Stands in for OpenCV's, which says nothing when the disk is full."""

    fourcc = staticmethod(cv2.VideoWriter.fourcc)
    opens = True

    def open(self, *args) -> bool:
        return self.opens

    def write(self, frame) -> None:
        pass

    def release(self) -> None:
        pass


def test_a_video_that_was_not_stored_is_noticed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("omniseg.export.video.cv2.VideoWriter", Writer)
    with pytest.raises(InputError, match=r"a\.mp4: cannot be written \(0 of 3 pictures"):
        save_frames(tmp_path / "a.mp4", frames(3), [], rate=30)
    assert not list(tmp_path.iterdir())


def test_opencv_without_video(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("omniseg.export.video.cv2.VideoWriter", Writer)
    monkeypatch.setattr(Writer, "opens", False)
    with pytest.raises(InputError, match="give --out a folder"):
        save_frames(tmp_path / "a.mp4", frames(1), [], rate=30)
    assert not list(tmp_path.iterdir())
