"""Write a sequence of pictures as a video or as a folder of PNG files."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from omniseg.data.image_io import save_image
from omniseg.errors import InputError
from omniseg.files import require_writable, write_atomic


def save_frames(out: Path, frames: Iterable[np.ndarray], names: Iterable[str], rate: int) -> None:
    """Write pictures one by one, as `frames` yields them.

    Args:
        out: a file NAME.mp4, or a folder for PNG files; checked before the first picture is taken.
        frames: RGB (height, width, 3) uint8, at least one; for a video all of one size.
        names: names of the PNG files, without suffix.
        rate: pictures per second of the video.
    Raises:
        InputError: the file or folder cannot be written.
    """
    if out.suffix:
        write_atomic(out, lambda temporary: _write_video(temporary, frames, rate))
        return
    require_writable(out)
    for name, frame in zip(names, frames):
        save_image(out / f"{name}.png", frame)


def _write_video(path: Path, frames: Iterable[np.ndarray], rate: int) -> None:
    path.write_bytes(bytes(4096))  # fails on a full disk, which OpenCV does not report
    writer, n_frames = cv2.VideoWriter(), 0
    for frame in frames:
        height, width = (max(side // 2 * 2, 2) for side in frame.shape[:2])  # MPEG-4 needs even sides
        if not n_frames and not writer.open(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height)):
            path.write_bytes(bytes(4096))  # fails if the reason is a full disk, not the size
            raise InputError(
                f"this OpenCV cannot write an MP4 of {width} x {height}; give --out a folder for PNG files"
            )
        even = cv2.copyMakeBorder(frame, 0, height, 0, width, cv2.BORDER_REPLICATE)[:height, :width]
        writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))
        n_frames += 1
    writer.release()
    reader = cv2.VideoCapture(str(path))
    stored = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    reader.release()
    if stored != n_frames:
        raise OSError(f"{max(stored, 0)} of {n_frames} pictures fit; is the disk full?")
