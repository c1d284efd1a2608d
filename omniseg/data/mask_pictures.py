"""Pictures of masks made by any tool: black and white, or ids; everything else is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL.PngImagePlugin import PngImageFile

from omniseg.data.image_io import decode, read_bytes
from omniseg.errors import InputError

_SOFT = 0.25
"""Largest share of pixels between black and white, along soft edges, in a black and white picture."""
_EXTREMES = 0.1
"""Distance from black, and from white, up to which a grey level counts as it after lossy compression."""
_FULL = 0.9
"""Smallest white of a picture with soft edges, as a part of the largest number of its kind."""
_PLAIN = 0.3
"""Largest share of the pixels between black and white that are as the one below and the one to the right, which
distinguishes soft edges from regions of ids."""
_PNG = b"\x89PNG"
_SMOOTH = 0.7
"""Smallest share of neighbours in a row that are equal in a picture of ids; photos have far fewer."""


def read_mask_picture(path: Path) -> np.ndarray:
    """Read a picture of one mask, or of ids.

    Returns:
        (height, width) bool, True inside, for a black and white picture, with soft edges or without; (height, width)
        int64, 0: none, for a grey picture or a palette of ids.
    Raises:
        InputError: the file does not open, or is neither.
    """
    data = read_bytes(path)
    pixels = decode(data)
    if pixels is None or pixels.dtype.kind not in "ui" or 0 in pixels.shape:
        raise InputError(f"{path}: does not open as a mask; export it again as PNG, black outside, white inside")
    grey = _grey(pixels)
    mask = None if grey is None else _black_and_white(grey, lossy=data[:4] != _PNG)
    if mask is not None:
        return mask
    ids = _palette(data) if grey is None else grey.astype(np.int64)
    if ids is None or (ids[:, 1:] == ids[:, :-1]).mean() < _SMOOTH:
        raise InputError(
            f"{path}: is neither a mask, black outside and white inside, nor a grey picture of ids, 0 for none; "
            "export it again as one of these"
        )
    return ids


def read_black_and_white(path: Path) -> np.ndarray:
    """Read a black and white picture as (height, width) bool, True where it is white.

    Raises:
        InputError: the file does not open, or is not black and white.
    """
    mask = read_mask_picture(path)
    if mask.dtype != np.bool_:
        raise InputError(
            f"{path}: is not black and white, as a mask of pixels to leave out is: black there, white elsewhere; "
            "export it again, or move it away if it is something else"
        )
    return mask


def _grey(pixels: np.ndarray) -> np.ndarray | None:
    """Return the channel that all channels but an alpha channel are equal to, or one colour on black; else None."""
    if pixels.ndim == 2:
        return pixels
    colours = pixels[..., :3]
    brightness = colours.max(2)
    one = colours[np.unravel_index(brightness.argmax(), brightness.shape)]
    if (colours == colours[..., :1]).all() or (colours == np.where(brightness[..., None] > 0, one, 0)).all():
        return brightness
    return None


def _black_and_white(grey: np.ndarray, lossy: bool) -> np.ndarray | None:
    """Return where a grey picture is white; None if it is not black and white."""
    white = int(grey.max())
    margin = _EXTREMES * white if lossy else 0.0
    between = (grey > margin) & (grey < white - margin)
    if between.any():
        plain = (grey[:-1, :-1] == grey[:-1, 1:]) & (grey[:-1, :-1] == grey[1:, :-1])
        regions = plain[between[:-1, :-1]]
        full = white >= _FULL * np.iinfo(grey.dtype).max
        if full and (grey[between] == grey.min()).all():  # two levels, of which neither is black
            return grey == white
        if not full or between.mean() > _SOFT or (regions.size and regions.mean() > _PLAIN):
            return None
    return grey > white / 2


def _palette(data: bytes) -> np.ndarray | None:
    """Return the indices of a PNG with a palette, which tools write ids into; None for any other file."""
    try:
        image = PngImageFile(io.BytesIO(data))
        return np.asarray(image).astype(np.int64) if image.mode == "P" else None
    except (OSError, ValueError, SyntaxError):
        return None
