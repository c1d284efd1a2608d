"""Depth images of views: read as distances along rays, and the check that their unit fits the cameras."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from omniseg.cameras import Camera, Cameras, pixel_centres
from omniseg.data.depth_maps import FARTHEST
from omniseg.data.image_io import decode, nearest, read_bytes, same_aspect
from omniseg.data.scene import View
from omniseg.errors import InputError

_WRONG_UNIT = 10.0
"""Factor between the median distance of depth images and that of what the cameras look at, beyond which the unit is
wrong. What the cameras look at is at the origin and has a size of 1 in scene coordinates."""
_SAMPLED = 4096
"""Most pixels of a view that are looked at."""

_log = logging.getLogger("omniseg")


def load_depth(view: View, camera: Camera, scale: float) -> np.ndarray | None:
    """Read the z-depth image of a view as flat distances along the rays of a camera's pixels, 0: unknown.

    Args:
        view: names the file and its unit.
        camera: of the view, at the size that is wanted; resized by nearest neighbour.
        scale: scene units per input unit.
    Returns:
        (n_pixels,) float16, scene units; None where the view has no depth.
    Raises:
        InputError: the file is damaged, is a colour picture, or has another aspect ratio.
    """
    path = view.depth_path
    if path is None:
        return None
    stored = _one_channel(_stored(path), path)
    if not same_aspect(stored.shape, (camera.height, camera.width)):
        size = " x ".join(str(n) for n in stored.shape[::-1])
        raise InputError(f"{path}: is {size}, which does not fit its camera of {camera.width} x {camera.height}")
    z = nearest(stored, camera.width, camera.height).astype(np.float32).reshape(-1)
    z = np.where(np.isfinite(z) & (z > 0), z, 0) * (view.depth_unit * scale)
    cosine = _cosines(camera)
    return np.where(cosine > 1e-3, z / np.maximum(cosine, 1e-3), 0).clip(0, FARTHEST).astype(np.float16)


def _stored(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        try:
            stored = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: is not a readable numpy array ({error})") from error
    else:
        stored = decode(read_bytes(path))
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "uif" or stored.ndim not in (2, 3):
        raise InputError(f"{path}: does not open as a depth image (16-bit PNG, or .npy); export it again")
    return stored


def _one_channel(stored: np.ndarray, path: Path) -> np.ndarray:
    """Return the channel that all channels but an alpha channel are equal to."""
    if stored.ndim == 2:
        return stored
    channels = stored[..., :3] if stored.shape[2] != 2 else stored[..., :1]
    if channels.shape[2] and (channels == channels[..., :1]).all():
        return channels[..., 0]
    raise InputError(
        f"{path}: is a colour picture, not depth; export distances as a 16-bit grey PNG or .npy, or leave depth out"
    )


@lru_cache(2)
def _cosines(camera: Camera) -> np.ndarray:
    """Return the cosine of the angle between each pixel's ray and the optical axis, flat float32.

    Cached, since most views share a camera.
    """
    alone = Cameras.stack([camera], np.eye(3, 4)[None])
    centres = pixel_centres(camera.width, camera.height)
    return alone.directions(torch.zeros(len(centres), dtype=torch.int64), centres)[:, 2].numpy().copy()


def warn_of_unit(views: Sequence[View], depths: np.ndarray, offsets: np.ndarray, positions: np.ndarray) -> None:
    """Log a warning that names the factor if the unit of depth images contradicts the cameras.

    Args:
        views: V views.
        depths: (n_pixels,) of all views, scene units, 0: unknown.
        offsets: (V + 1,) pixels of view v are offsets[v] to offsets[v + 1].
        positions: (V, 3) of the cameras, scene coordinates.
    """
    medians, expected = [], []
    for v, view in enumerate(views):
        distances = depths[offsets[v] : offsets[v + 1]]
        distances = distances[:: max(1, len(distances) // _SAMPLED)]
        if view.depth_path is not None and (distances > 0).any():
            medians.append(float(np.median(distances[distances > 0])))
            expected.append(max(float(np.linalg.norm(positions[v])), 1.0))
    if not medians:
        return
    ratio = float(np.median(medians)) / float(np.median(expected))
    if 1 / _WRONG_UNIT <= ratio <= _WRONG_UNIT:
        return
    view = next(view for view in views if view.depth_path is not None)
    power = 10.0 ** round(math.log10(ratio))
    _log.warning(
        "%s: depth images are about %g times %s than what the cameras look at; if that is wrong, set "
        "`depth_unit_scale_factor` to %g (now %g)",
        view.depth_path, max(power, 1 / power), "farther" if ratio > 1 else "nearer", view.depth_unit / power,
        view.depth_unit,
    )  # fmt: skip
