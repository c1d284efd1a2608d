"""Image files one at a time: read the size, read or save the pixels, change the size of an image in memory."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from omniseg.errors import InputError
from omniseg.files import write_atomic

# Pillow's readers themselves, not Image.open: that warns of, or refuses, photos of more than 90 megapixels, although
# only their header is read.
_HEADER_READERS = (PngImageFile, JpegImageFile, WebPImageFile, BmpImageFile, TiffImageFile)
_ALPHA_MODES = ("RGBA", "LA")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of HEIF files with photos as phones take them, bytes 8 to 12."""


@dataclass(frozen=True)
class ImageHeader:
    """Size of an image file in pixels, and whether it stores an alpha channel."""

    width: int
    height: int
    alpha: bool


def image_header(path: Path) -> ImageHeader:
    """Read the size of an image file without decoding its pixels; EXIF orientation is ignored.

    Raises:
        InputError: the file cannot be read or does not open as an image.
    """
    try:
        with path.open("rb") as file:
            if _is_heif(file.read(12)):
                image = _open_heif(path.read_bytes(), path)
                return ImageHeader(image.width, image.height, image.mode in _ALPHA_MODES)
            for reader in _HEADER_READERS:
                file.seek(0)
                try:
                    image = reader(file)
                except Exception:  # another format, or anything that damage does to a parser
                    continue
                return ImageHeader(*image.size, image.mode in _ALPHA_MODES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    pixels = read_image(path)  # a variant that Pillow does not know, or the message for a damaged file
    return ImageHeader(pixels.shape[1], pixels.shape[0], pixels.shape[2] == 4)


def read_image(path: Path) -> np.ndarray:
    """Read an image file as (height, width, 3 or 4) uint8 RGB or RGBA; EXIF orientation is ignored.

    Raises:
        InputError: the file is missing, truncated, or no image of 8 or 16 bit.
    """
    data = read_bytes(path)
    if _is_heif(data):
        image = _open_heif(data, path)
        return np.asarray(image.convert("RGBA" if image.mode in _ALPHA_MODES else "RGB"))
    image = None if _is_cut_short(data) else decode(data)
    if image is None:
        raise InputError(f"{path}: does not open as an image (truncated or another format); copy or export it again")
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"{path}: has {image.dtype} pixels; convert it to 8 or 16 bit")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


def _open_heif(data: bytes, path: Path) -> Any:
    """Open a HEIC photo with pillow-heif, as it is shown: its turn is part of its pixels, not of EXIF.

    Raises:
        InputError: the file is damaged, or pillow-heif is not installed.
    """
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise InputError(
            f"{path}: is HEIC, which is not read; convert it to JPEG, or install what reads it: pip install pillow-heif"
        ) from error
    try:
        return heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True).to_pillow()
    except (OSError, ValueError, EOFError, SyntaxError, RuntimeError) as error:
        raise InputError(f"{path}: does not open as a HEIC photo ({error}); copy or export it again") from error


def _is_cut_short(data: bytes) -> bool:
    """Tell whether the end of a JPEG or PNG is missing; OpenCV may decode the missing part as grey.

    Pillow would have to decode the image a second time to tell, and accepts a PNG without its end.
    """
    if data[:2] == b"\xff\xd8":
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")  # no end marker after the last scan
    return data[:4] == b"\x89PNG" and b"IEND" not in data


def shrink(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Shrink (h, w, 3 or 4) uint8 by area averaging; straight colours are weighted by their alpha."""
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
    """Tell whether images of these two sizes (both width, height or both height, width) have one aspect ratio.

    Both sizes may be off by rounding, 1.5 pixels.
    """
    (a, b), (c, d) = size, other
    return abs(a * d - b * c) <= 1.5 * max(a + c, b + d)


def nearest(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (h, w, ...) by taking the pixel under the centre of each new pixel."""
    if image.shape[:2] == (height, width):
        return image
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
    """Write an image file, atomically; the suffix chooses the format.

    Args:
        path: of the file.
        image: (height, width, 3 or 4) uint8 RGB or RGBA, or (height, width) uint8 or uint16 grey.
    Raises:
        ValueError: OpenCV knows no format of this suffix.
        InputError: the file cannot be written.
    """
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError(f"path: no image format is called {path.suffix!r}")
    write_atomic(path, lambda temporary: temporary.write_bytes(data.tobytes()))
