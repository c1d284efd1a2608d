"""Images of views in memory: read, shrunk by exact area averaging, with cameras in scene coordinates."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from omniseg.cameras import Camera, Cameras
from omniseg.data.depth_images import load_depth, warn_of_unit
from omniseg.data.formats.folders import size_fits
from omniseg.data.image_io import read_image, shrink
from omniseg.data.memory import allocate_host, fits_on
from omniseg.data.normalisation import Normalisation
from omniseg.data.scene import Scene, View
from omniseg.data.valid_pixels import ValidPixels, valid_mask
from omniseg.errors import InputError

_log = logging.getLogger("omniseg")

_LONGEST_SIDE = {"cpu": 400, "cuda": 1600}
"""Longest side of a photo that `default_downsample` aims at, in pixels, by the type of the device."""
_AHEAD = 2
"""Decoded images for each thread that may wait to be stored."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageSet:
    """Pixels of V views, one view after another, rows from the top.

    Pixels and depths are on the device of the cameras or on the host (see `to`).

    pixels: (n_pixels, 3) RGB or (n_pixels, 4) RGBA uint8; straight colour, not multiplied by alpha.
    offsets: (V + 1,) int64, pixels of view v are offsets[v] to offsets[v + 1].
    sizes: (V, 2) int64 width, height.
    cameras: in scene coordinates, with these image sizes.
    names: names of the views.
    depths: (n_pixels,) float16 distance along the ray of the pixel's centre, scene units, 0: unknown; None if no
        view has depth.
    valid: pixels that are trained on and measured; None: all.
    """

    pixels: Tensor
    offsets: Tensor
    sizes: Tensor
    cameras: Cameras
    names: tuple[str, ...]
    depths: Tensor | None
    valid: ValidPixels | None = None

    def __len__(self) -> int:
        return len(self.names)

    def image(self, view: int) -> Tensor:
        """Return the pixels (height, width, 3 or 4) uint8 of one view, without copying them."""
        width, height = self.sizes[view].tolist()
        return self.pixels[self.offsets[view] : self.offsets[view + 1]].view(height, width, -1)

    def depth(self, view: int) -> Tensor | None:
        """Return the depths (height, width) of one view, or None."""
        if self.depths is None:
            return None
        width, height = self.sizes[view].tolist()
        return self.depths[self.offsets[view] : self.offsets[view + 1]].view(height, width)

    @property
    def n_valid(self) -> int:
        """Number of pixels that are trained on and measured."""
        return len(self.pixels) if self.valid is None else self.valid.n

    def valid_pixels(self, ranks: Tensor) -> Tensor:
        """Return the numbers (n,) of the valid pixels at ranks (n,) int64 in [0, n_valid), on the cameras' device."""
        return ranks if self.valid is None else self.valid.pixels(ranks)

    def valid_mask(self, view: int) -> Tensor | None:
        """Return which pixels of one view are valid, (height, width) bool on the cameras' device; None: all."""
        if self.valid is None:
            return None
        width, height = self.sizes[view].tolist()
        return self.valid.mask(*self.offsets[view : view + 2].tolist()).view(height, width)

    @property
    def device(self) -> torch.device:
        """Device on which rays are made."""
        return self.cameras.c2w.device

    def to(self, device: torch.device | str, free: int | None = None) -> ImageSet:
        """Move the set to `device`; pixels and depths stay on the host where they would leave too little room.

        Args:
            device: to make rays on.
            free: unused bytes of its memory; by default the device is asked.
        """
        n_bytes = self.pixels.nbytes + (0 if self.depths is None else self.depths.nbytes)
        storage = device if fits_on(device, n_bytes, free) else self.pixels.device
        return replace(
            self,
            pixels=self.pixels.to(storage),
            offsets=self.offsets.to(device),
            sizes=self.sizes.to(device),
            cameras=self.cameras.to(device),
            depths=None if self.depths is None else self.depths.to(storage),
            valid=None if self.valid is None else self.valid.to(device),
        )


def default_downsample(scene: Scene, device: torch.device | str) -> float:
    """Return the whole factor that shrinks the longest side to about 400 pixels on a CPU, 1600 on a GPU.

    It is never so small that the images on disk are smaller.
    """
    longest = max(max(view.camera.width, view.camera.height) for view in scene.views)
    factor = round(longest / _LONGEST_SIDE["cpu" if torch.device(device).type == "cpu" else "cuda"])
    return float(max(1, factor, *(min(view.images) for view in scene.views)))


def view_cameras(views: Sequence[View], normalisation: Normalisation, downsample: float | None = None) -> Cameras:
    """Return the cameras that `load_images` returns for these views, without reading a pixel.

    Raises:
        InputError: no image is large enough for `downsample`.
    """
    c2w = normalisation.c2w(np.stack([view.c2w for view in views]))
    return Cameras.stack([_job(view, downsample).camera for view in views], c2w)


def load_images(
    views: Sequence[View], normalisation: Normalisation, downsample: float | None = None, *, progress: bool = True
) -> ImageSet:
    """Read the images of `views`, shrunk by `downsample` from the cameras' full resolution.

    If one image has alpha, all have; it is 255 where the file has none. 16 bit becomes 8, grey becomes RGB. EXIF
    orientation is ignored, as calibration does. Depth images are resized by nearest neighbour.

    Args:
        views: at least one.
        normalisation: from input to scene coordinates.
        downsample: at least 1; None takes the largest images on disk.
        progress: show a progress bar after two seconds.
    Raises:
        ValueError: there are no views, or `downsample` is below 1.
        InputError: a file is missing, does not open or disagrees in size with its camera, no image is large enough
            for `downsample`, or memory and disk are too small.
    """
    if not views:
        raise ValueError("views: expected at least one")
    if downsample is not None and not downsample >= 1:
        raise ValueError(f"downsample: expected at least 1, got {downsample}")
    jobs = [_job(view, downsample) for view in views]
    cameras = [job.camera for job in jobs]
    counts = [camera.width * camera.height for camera in cameras]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    stored = allocate_host(4 * int(offsets[-1]))
    pixels = stored[: 3 * offsets[-1]].reshape(-1, 3)  # until the first image with alpha
    depths = allocate_host(2 * int(offsets[-1])).view(np.float16) if any(view.depth_path for view in views) else None
    n_threads = min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(n_threads)

    def load(job: _Job) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        return *_load_pixels(job), load_depth(job.view, job.camera, normalisation.scale)

    try:
        results = _in_order(pool, load, jobs, _AHEAD * n_threads)
        bar = tqdm(results, total=len(jobs), desc="images", unit="img", delay=2, leave=False, disable=not progress)
        masks = []
        for (image, mask, depth), start, stop in zip(bar, offsets, offsets[1:]):
            masks.append(mask)
            if image.shape[2] == 4 and pixels.shape[1] == 3:
                pixels = _with_alpha(stored, offsets[:-1], start)
            pixels[start:stop, : image.shape[2]] = image.reshape(-1, image.shape[2])
            pixels[start:stop, image.shape[2] :] = 255
            if depths is not None:
                depths[start:stop] = 0 if depth is None else depth
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    c2w = normalisation.c2w(np.stack([view.c2w for view in views]))
    if depths is not None:
        warn_of_unit(views, depths, offsets, c2w[:, :, 3])
    return ImageSet(
        pixels=torch.from_numpy(pixels),
        offsets=torch.from_numpy(offsets),
        sizes=torch.tensor([[camera.width, camera.height] for camera in cameras]),
        cameras=Cameras.stack(cameras, c2w),
        names=tuple(view.name for view in views),
        depths=None if depths is None else torch.from_numpy(depths),
        valid=_valid(views, masks, offsets),
    )


def _valid(views: Sequence[View], masks: Sequence[np.ndarray | None], offsets: np.ndarray) -> ValidPixels | None:
    """Return the valid pixels of views, and log their share; None: all pixels are valid."""
    if all(mask is None or mask.all() for mask in masks):
        return None
    valid = ValidPixels.from_masks(masks, offsets)
    if not valid.n:
        raise InputError(f"{views[0].ignore_path or views[0].image_path}: no pixel is left, here or in another view")
    left_out = 100 * (1 - valid.n / int(offsets[-1]))
    _log.info("masks leave out %.0f %% of the pixels of %d views", left_out, sum(mask is not None for mask in masks))
    return valid


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item], ahead: int
) -> Iterator[Result]:
    """Yield results as Executor.map does, but with at most `ahead` of them in memory."""
    begun: deque[Future[Result]] = deque()
    for item in items:
        begun.append(pool.submit(function, item))
        if len(begun) > ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _with_alpha(stored: np.ndarray, starts: np.ndarray, n_pixels: int) -> np.ndarray:
    """Widen the stored pixels from 3 channels to 4, opaque, in place: a copy would double the memory.

    Args:
        stored: (4 * n,) bytes, of which the first 3 * `n_pixels` hold pixels.
        starts: (V,) first pixel of each view.
        n_pixels: pixels that are stored so far, those of whole views.
    Returns:
        (n, 4), a view into `stored`.
    """
    opaque, wide = stored[: len(stored) // 4 * 3].reshape(-1, 3), stored.reshape(-1, 4)
    stop = n_pixels
    for start in starts[starts < n_pixels][::-1]:  # the last view first, so that none overwrites one that has not moved
        wide[start:stop, :3] = opaque[start:stop].copy()
        wide[start:stop, 3] = 255
        stop = start
    return wide


@dataclass(frozen=True)
class _Job:
    """An image to load: its file, the file's factor, and the camera at the size that it is shrunk to."""

    view: View
    path: Path
    factor: int
    camera: Camera


def _job(view: View, downsample: float | None) -> _Job:
    factors = sorted(view.images)
    factor = factors[0] if downsample is None else max((f for f in factors if f <= downsample), default=None)
    if factor is None:
        exist = ", ".join(str(f) for f in factors)
        raise InputError(
            f"{view.image_path}: no image is large enough for --downsample {downsample:g}; "
            f"ask for {factors[0]} or more (on disk: {exist})"
        )
    by = factor if downsample is None else downsample
    camera = view.camera
    width, height = max(1, round(camera.width / by)), max(1, round(camera.height / by))
    return _Job(view, view.images[factor], factor, camera.resized(width, height))


def _load_pixels(job: _Job) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the photo at the camera's size, and which of its pixels are valid (None: all)."""
    image = read_image(job.path)
    height, width = image.shape[:2]
    camera = job.view.camera
    if not size_fits(camera, job.factor, width, height):
        turned = " (turned by 90 degrees: undo that, or calibrate again)" if _turned(camera, width, height) else ""
        expected = f"{camera.width} x {camera.height}"
        if job.factor > 1:
            expected += f" shrunk by {job.factor}"
        raise InputError(f"{job.path}: is {width} x {height}, but its camera is {expected}{turned}")
    mask = valid_mask(job.view, job.camera.width, job.camera.height, image)
    if image.shape[2] == 4 and (job.view.ignore_transparent or image[..., 3].min() == 255):
        image = np.ascontiguousarray(image[..., :3])
    if width < job.camera.width or height < job.camera.height:  # the file's size is rounded down, ours to nearest
        return cv2.resize(image, (job.camera.width, job.camera.height), interpolation=cv2.INTER_LINEAR), mask
    return shrink(image, job.camera.width, job.camera.height), mask


def _turned(camera: Camera, width: int, height: int) -> bool:
    return camera.width != camera.height and width * camera.width == height * camera.height
