"""Pictures in a row, as a video or as a folder of PNG files."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from omniseg.errors import InputError
from omniseg.files import write_atomic
from omniseg.pictures import save_image


def save_frames(out: Path, frames: Iterable[np.ndarray], names: Iterable[str], rate: int) -> None:
    """Write pictures as they come.

    Args:
        out: a file NAME.mp4, or a folder for PNG files.
        frames: RGB (height, width, 3) uint8, all of one size for a video.
        names: of the PNG files, without suffix.
        rate: pictures a second of the video.
    Raises:
        InputError: the file or folder cannot be written.
    """
    if out.suffix:
        write_atomic(out, lambda temporary: _write_video(temporary, frames, rate))
        return
    for name, frame in zip(names, frames):
        save_image(out / f"{name}.png", frame)


def _write_video(path: Path, frames: Iterable[np.ndarray], rate: int) -> None:
    writer = None
    for frame in frames:
        height, width = (side // 2 * 2 for side in frame.shape[:2])  # MPEG-4 stores pairs of rows and columns
        if writer is None:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
            if not writer.isOpened():
                raise InputError(f"{path.name}: this OpenCV cannot write MP4; give --out a folder for PNG files")
        writer.write(cv2.cvtColor(frame[:height, :width], cv2.COLOR_RGB2BGR))
    if writer is not None:
        writer.release()
