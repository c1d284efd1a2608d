"""One image file at a time: its header, its pixels, shrinking them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from omniseg.errors import InputError
from omniseg.files import write_atomic


@dataclass(frozen=True)
class ImageHeader:
    """Size of an image file in pixels, and whether it stores an alpha channel."""

    width: int
    height: int
    alpha: bool


def image_header(path: Path) -> ImageHeader:
    """Read the size of an image without its pixels (PNG and JPEG; others are decoded).

    Raises:
        InputError: the file does not open as an image.
    """
    try:
        with path.open("rb") as file:
            start = file.read(26)
            if start[:8] == b"\x89PNG\r\n\x1a\n" and len(start) == 26:
                width, height, _, colour = struct.unpack(">IIBB", start[16:26])
                return ImageHeader(width, height, colour in (4, 6))
            if start[:2] == b"\xff\xd8" and (size := _jpeg_size(file)):
                return ImageHeader(*size, False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    pixels = read_image(path)
    return ImageHeader(pixels.shape[1], pixels.shape[0], pixels.shape[2] == 4)


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height from the frame header of a JPEG; None where there is none."""
    file.seek(2)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        marker, length = head[1], int.from_bytes(head[2:], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = file.read(5)
            if len(frame) < 5:
                return None
            height, width = struct.unpack(">HH", frame[1:])
            return (width, height) if width and height else None
        if length < 2:
            return None
        file.seek(length - 2, 1)
    return None


def read_image(path: Path) -> np.ndarray:
    """Read an image file as (height, width, 3 or 4) uint8 RGB or RGBA.

    Raises:
        InputError: the file is missing, truncated, or no image of 8 or 16 bit.
    """
    data = read_bytes(path)
    image = None if _cut_short(data) else decode(data)
    if image is None:
        raise InputError(f"{path}: does not open as an image (truncated or another format); copy or export it again")
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"{path}: has {image.dtype} pixels; convert it to 8 or 16 bit")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _cut_short(data: bytes) -> bool:
    """Whether the end of a JPEG or PNG is missing, which decodes to a picture that is grey from there on."""
    if data[:2] == b"\xff\xd8":
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")  # end marker after the last scan
    return data[:4] == b"\x89PNG" and b"IEND" not in data


def shrink(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Shrink (h, w, 3 or 4) uint8 by area averaging; straight colours are averaged by their alpha."""
    if image.shape[:2] == (height, width):
        return image
    if image.shape[2] == 3:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    alpha = image[..., 3:].astype(np.float32)
    premultiplied = np.concatenate([image[..., :3] * alpha, alpha], axis=2)
    mean = cv2.resize(premultiplied, (width, height), interpolation=cv2.INTER_AREA)
    mean[..., :3] /= np.maximum(mean[..., 3:], 1e-6)
    return np.rint(mean).clip(0, 255).astype(np.uint8)


def same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether pictures of these sizes (in the same order of sides) are the same one, up to rounding."""
    (a, b), (c, d) = size, other
    return abs(a * d - b * c) <= 1.5 * max(a + c, b + d)


def nearest(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Bring (h, w, ...) to another size by taking the pixel under each new pixel's centre."""
    rows = (np.arange(height) + 0.5) * image.shape[0] // height
    columns = (np.arange(width) + 0.5) * image.shape[1] // width
    return image[np.ix_(rows.astype(int), columns.astype(int))]


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, or raise `InputError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def decode(data: bytes) -> np.ndarray | None:
    """Return the pixels of an image file as they are stored (BGR), or None where it does not open."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        return None


def save_image(path: Path, image: np.ndarray) -> None:
    """Write an image, atomically; the suffix says the format.

    Args:
        path: of the file.
        image: (height, width, 3 or 4) uint8 RGB or RGBA, or (height, width) uint8 or uint16 grey.

    Raises:
        InputError: the file cannot be written.
    """
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError(f"path: no image format is called {path.suffix!r}")
    write_atomic(path, lambda temporary: temporary.write_bytes(data.tobytes()))
