"""Mask hierarchies of views, and random pixels that lie in masks."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from omniseg.cameras import Cameras
from omniseg.data.image_io import same_aspect
from omniseg.data.memory import fits_on
from omniseg.data.rays import PixelRays
from omniseg.data.scene import View
from omniseg.errors import InputError
from omniseg.masks.hierarchy import MaskHierarchy, load_hierarchy

_PLAIN_BYTES = 1 << 30
"""Correlations beyond are kept compressed: a view may have thousands of patches, and as many million relations."""

_log = logging.getLogger("omniseg")


@dataclass(frozen=True)
class ViewPatches:
    """The pixels of one view that are in some mask, as runs of neighbours of one patch, row after row.

    Line these pixels up patch by patch, those of a patch in their order in the image. A run takes 8 bytes, and
    is tens of pixels long in photos: such a line, written out, and an image of ids take 6 bytes a pixel.

    ends: (n_runs,) int32, for each run, how many pixels of the line there are up to its last.
    shifts: (n_runs,) int32, what to add to a place in the line to get to the pixel.
    starts: (n_patches,) int64 place in the line where each patch begins.
    shared: (n_patches, n_patches) uint8, masks that two patches share; or the same, compressed.
    """

    ends: Tensor
    shifts: Tensor
    starts: Tensor
    shared: Tensor | bytes

    @classmethod
    def from_hierarchy(cls, hierarchy: MaskHierarchy) -> ViewPatches:
        """Of a mask hierarchy, on the host."""
        ids = hierarchy.indices.reshape(-1)
        begins = np.concatenate([[0], np.flatnonzero(ids[1:] != ids[:-1]) + 1])
        lengths, patches = np.diff(begins, append=len(ids)), ids[begins]
        order = np.argsort(patches, kind="stable")
        order = order[(hierarchy.correlation.diagonal() > 0)[patches[order]]]
        ends = np.cumsum(lengths[order])
        areas = np.bincount(patches[order], lengths[order], len(hierarchy.correlation)).astype(np.int64)
        return cls(
            ends=torch.from_numpy(ends.astype(np.int32)),
            shifts=torch.from_numpy((begins[order] + lengths[order] - ends).astype(np.int32)),
            starts=torch.from_numpy(areas.cumsum() - areas),
            shared=torch.from_numpy(hierarchy.correlation),
        )

    @property
    def n_bytes(self) -> int:
        """Of all tensors."""
        return sum(each.nbytes for each in vars(self).values() if isinstance(each, Tensor))

    @property
    def correlation(self) -> Tensor:
        """(n_patches, n_patches) uint8, masks that two patches share."""
        if isinstance(self.shared, Tensor):
            return self.shared
        n, plain = len(self.starts), bytearray(zlib.decompress(self.shared))
        return torch.frombuffer(plain, dtype=torch.uint8).view(n, n).to(self.starts.device)

    def compressed(self) -> ViewPatches:
        """The same, with the correlation in about a fifth of its bytes."""
        return replace(self, shared=zlib.compress(self.correlation.cpu().numpy().tobytes(), 1))

    def to(self, device: torch.device | str) -> ViewPatches:
        """Return the patches on `device`."""
        return replace(self, **{name: each.to(device) for name, each in vars(self).items() if isinstance(each, Tensor)})

    def pixels(self, places: Tensor) -> Tensor:
        """Pixels (n,) int64, row by row from the top left, at these places in the line."""
        run = torch.searchsorted(self.ends, places.to(torch.int32), right=True)
        return places + self.shifts[run]


@dataclass(frozen=True)
class PatchSet:
    """Patches of V views. They may lie on another device than the cameras, see `to`.

    views: the patches of each.
    cameras: scene coordinates, of the image sizes that the patches have.
    names: names of the views.
    """

    views: tuple[ViewPatches, ...]
    cameras: Cameras
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def device(self) -> torch.device:
        """Where pixels are drawn and rays are made."""
        return self.cameras.c2w.device

    @cached_property
    def offsets(self) -> Tensor:
        """(V + 1,) int64, pixels of view v are offsets[v] to offsets[v + 1] in a row of all."""
        counts = self.cameras.size.prod(1)
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    def to(self, device: torch.device | str, free: int | None = None) -> PatchSet:
        """Return the set for work on `device`: all of it lies there, but patches only if they leave room.

        Args:
            device: where pixels are drawn.
            free: bytes of its memory that nothing uses; asked from the device unless given.
        """
        views = self.views
        if fits_on(device, sum(view.n_bytes for view in views), free):
            views = tuple(view.to(device) for view in views)
        return replace(self, views=views, cameras=self.cameras.to(device))


def load_patches(views: Sequence[View], cameras: Cameras) -> PatchSet | None:
    """Read the mask hierarchies of views, without slivers; one line of the log counts the views that have none.

    Args:
        views: of the capture.
        cameras: of these views, of the image size that is trained on; hierarchies are brought to it by nearest
            neighbour.
    Returns:
        The views with a pixel in some mask; None where no view has a hierarchy file.
    Raises:
        InputError: a file is damaged or is of a picture of another shape, or no pixel of any is in a mask.
    """
    found = [v for v, view in enumerate(views) if view.hierarchy_path is not None]
    if not found:
        return None
    patches, kept, n_bytes, empty = [], [], 0, 0
    for v in tqdm(found, desc="masks", unit="img", delay=2, leave=False):
        path = views[v].hierarchy_path
        assert path is not None
        hierarchy = load_hierarchy(path)
        width, height = cameras.size[v].tolist()
        h, w = hierarchy.indices.shape
        if not same_aspect((h, w), (height, width)):
            raise InputError(f"{path}: is of a {w} x {h} picture, which does not fit the photo of {width} x {height}")
        hierarchy = hierarchy.resized(width, height).without_slivers()
        if not hierarchy.labelled.any():
            empty += 1
            continue
        kept.append(v)
        n_bytes += hierarchy.correlation.nbytes
        found_here = ViewPatches.from_hierarchy(hierarchy)
        patches.append(found_here if n_bytes <= _PLAIN_BYTES else found_here.compressed())
    if not kept:
        raise InputError(f"{views[found[0]].hierarchy_path}: no pixel is in any mask, nor in the other views")
    if len(kept) < len(views):
        why = f"{len(views) - len(found)} without a file, {empty} without a mask"
        _log.warning("masks of %d of %d views; the others count for colour only (%s)", len(kept), len(views), why)
    return PatchSet(tuple(patches), cameras[kept], tuple(views[v].name for v in kept))


@dataclass(frozen=True)
class PatchBatch:
    """Pixels of one view that are in some mask.

    view: index in the `PatchSet`.
    pixels: (n,) int64, row by row from the top left.
    patches: (n,) int64 patch of each pixel.
    correlation: (n_patches, n_patches) uint8 of the view.
    """

    view: int
    pixels: Tensor
    patches: Tensor
    correlation: Tensor


class PatchSampler:
    """Draws pixels of a view that are in some mask, every one alike, with replacement."""

    def __init__(self, patches: PatchSet, generator: torch.Generator) -> None:
        self.patches, self.generator = patches, generator
        self._offsets = patches.offsets
        self._rays = PixelRays(patches.cameras, self._offsets)

    def sample(self, view: int, n: int) -> PatchBatch:
        """Draw `n` pixels of a view."""
        device = self.generator.device
        patches = self.patches.views[view].to(device)
        random = torch.rand(n, generator=self.generator, device=device, dtype=torch.float64)
        place = (random * patches.ends[-1]).long()
        drawn = torch.searchsorted(patches.starts, place, right=True) - 1
        return PatchBatch(view, patches.pixels(place), drawn, patches.correlation)

    def rays(self, view: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Origins and unit directions (n, 3), scene coordinates, of pixels (n,) of a view."""
        return self._rays.at(self._offsets[view] + pixels, torch.full_like(pixels, view), self.patches.cameras)
