"""Mask hierarchies of views in memory, and random pixels that are in masks."""

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
from omniseg.data.formats.sidecars import unmatched_hierarchy
from omniseg.data.image_io import same_aspect
from omniseg.data.memory import fits_on
from omniseg.data.rays import PixelRays
from omniseg.data.scene import Scene, View
from omniseg.data.valid_pixels import valid_mask
from omniseg.errors import InputError
from omniseg.masks.hierarchy import MaskHierarchy, load_hierarchy

_PLAIN_BYTES = 1 << 30
"""Largest size of all correlations; those beyond it are compressed. A view may have thousands of patches, and one byte
for each pair of them."""

_log = logging.getLogger("omniseg")


@dataclass(frozen=True)
class ViewPatches:
    """The pixels of one view that are in some mask, sorted by patch, as a run-length coded permutation.

    Sort the pixels that are in some mask by their patch, those of one patch by their number in the image. The place of
    a pixel in this order is its rank: the pixels of each patch have consecutive ranks, so that a random rank is a
    random pixel, and its patch follows from the rank. Six pixels, of which pixel 2 (patch 0) is in no mask:

        pixel             0  1  2  3  4  5
        patch of it       2  2  0  1  1  2        three runs: 0 to 1, 3 to 4, and 5

        rank              0  1  2  3  4
        pixel at rank     3  4  0  1  5           first patch 1, then patch 2: its two runs
        ends                 2     4  5           rank 3 is in the second run, since 2 <= 3 < 4
        shifts               3    -2  1           pixel = rank + shift of the run: 3 - 2 = 1
        starts            [0, 0, 2]               patches 0 (no ranks), 1 and 2

    A run takes 8 bytes, and is tens of pixels long in photos; the plain permutation and an image of ids would take
    6 bytes a pixel.

    ends: (n_runs,) int32 number of ranks up to the end of each run (inclusive sum of the runs' lengths).
    shifts: (n_runs,) int32 pixel number minus rank in each run.
    starts: (n_patches,) int64 first rank of each patch.
    shared: (n_patches, n_patches) uint8 number of masks that two patches share; or the same, compressed.
    """

    ends: Tensor
    shifts: Tensor
    starts: Tensor
    shared: Tensor | bytes

    @classmethod
    def from_hierarchy(cls, hierarchy: MaskHierarchy) -> ViewPatches:
        """Sort the pixels of a mask hierarchy by patch; the tensors are on the host."""
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
        """Size of all tensors."""
        return sum(each.nbytes for each in vars(self).values() if isinstance(each, Tensor))

    @property
    def correlation(self) -> Tensor:
        """Number of masks that two patches share, (n_patches, n_patches) uint8."""
        if isinstance(self.shared, Tensor):
            return self.shared
        n, plain = len(self.starts), bytearray(zlib.decompress(self.shared))
        return torch.frombuffer(plain, dtype=torch.uint8).view(n, n).to(self.starts.device)

    def compressed(self) -> ViewPatches:
        """Return the same with a compressed correlation, which takes about a fifth of the bytes."""
        return replace(self, shared=zlib.compress(self.correlation.cpu().numpy().tobytes(), 1))

    def to(self, device: torch.device | str) -> ViewPatches:
        """Return the patches on `device`."""
        return replace(self, **{name: each.to(device) for name, each in vars(self).items() if isinstance(each, Tensor)})

    def pixels(self, ranks: Tensor) -> Tensor:
        """Return the pixels (n,) int64, numbered row by row from the top left, at ranks (n,) int64."""
        run = torch.searchsorted(self.ends, ranks.to(torch.int32), right=True)
        return ranks + self.shifts[run]

    def patches(self, ranks: Tensor) -> Tensor:
        """Return the patches (n,) int64 of the pixels at ranks (n,) int64."""
        return torch.searchsorted(self.starts, ranks, right=True) - 1


@dataclass(frozen=True)
class PatchSet:
    """Patches of V views, on the device of the cameras or on the host (see `to`).

    views: patches of each view.
    cameras: in scene coordinates, with the image sizes that the patches have.
    names: names of the views.
    """

    views: tuple[ViewPatches, ...]
    cameras: Cameras
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def device(self) -> torch.device:
        """Device on which pixels are drawn and rays are made."""
        return self.cameras.c2w.device

    @cached_property
    def offsets(self) -> Tensor:
        """Offsets (V + 1,) int64: pixels of view v are offsets[v] to offsets[v + 1] among those of all views."""
        counts = self.cameras.size.prod(1)
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    def to(self, device: torch.device | str, free: int | None = None) -> PatchSet:
        """Move the set to `device`; the patches stay on the host where they would leave too little room.

        Args:
            device: to draw pixels on.
            free: unused bytes of its memory; by default the device is asked.
        """
        views = self.views
        if fits_on(device, sum(view.n_bytes for view in views), free):
            views = tuple(view.to(device) for view in views)
        return replace(self, views=views, cameras=self.cameras.to(device))


def load_patches(views: Sequence[View], cameras: Cameras, progress: bool = True) -> PatchSet | None:
    """Read the mask hierarchies of views, without slivers. A warning counts the views that have none.

    Args:
        views: of the capture.
        cameras: of these views, with the image size that is trained on; hierarchies are resized to it by nearest
            neighbour.
        progress: show a progress bar after two seconds.
    Returns:
        The views with a pixel in some mask; None if no view has a hierarchy file.
    Raises:
        InputError: a file is damaged or has another aspect than its view, or no pixel of any view is in a mask.
    """
    found = [v for v, view in enumerate(views) if view.hierarchy_path is not None]
    if not found:
        return None
    patches, kept, n_bytes, empty = [], [], 0, 0
    for v in tqdm(found, desc="masks", unit="img", delay=2, leave=False, disable=not progress):
        path = views[v].hierarchy_path
        assert path is not None
        hierarchy = load_hierarchy(path)
        width, height = cameras.size[v].tolist()
        h, w = hierarchy.indices.shape
        if not same_aspect((h, w), (height, width)):
            raise InputError(
                f"{path}: is {w} x {h}, which does not fit the photo of {width} x {height}; "
                "make it again with: omniseg run_sam"
            )
        hierarchy = hierarchy.resized(width, height).within(valid_mask(views[v], width, height)).without_slivers()
        if not hierarchy.labelled.any():
            empty += 1
            continue
        kept.append(v)
        n_bytes += hierarchy.correlation.nbytes
        found_here = ViewPatches.from_hierarchy(hierarchy)
        patches.append(found_here if n_bytes <= _PLAIN_BYTES else found_here.compressed())
    if not kept:
        raise InputError(f"{views[found[0]].hierarchy_path}: no pixel is in any mask, here or in another view")
    if len(kept) < len(views):
        why = f"{len(views) - len(found)} without a file, {empty} without a mask"
        _log.warning("masks of %d of %d views; the others are used for colour only (%s)", len(kept), len(views), why)
    return PatchSet(tuple(patches), cameras[kept], tuple(views[v].name for v in kept))


def refuse_unmatched_masks(scene: Scene) -> None:
    """Raise InputError if the capture holds mask hierarchies, but none that belongs to any of its views."""
    stray = None if any(view.hierarchy_path for view in scene.views) else unmatched_hierarchy(scene.root)
    if stray is not None:
        raise InputError(
            f"{stray}: is a mask hierarchy, but neither it nor another one is named as a view is "
            f"(such as {scene.views[0].name}.npz); name them so, or make them again with: omniseg run_sam"
        )


@dataclass(frozen=True)
class PatchBatch:
    """Random pixels of one view that are in some mask.

    view: index in the `PatchSet`.
    pixels: (n,) int64, numbered row by row from the top left.
    patches: (n,) int64 patch of each pixel.
    correlation: (n_patches, n_patches) uint8 number of masks that two patches of the view share.
    """

    view: int
    pixels: Tensor
    patches: Tensor
    correlation: Tensor


class PatchSampler:
    """Sampler that draws uniformly, with replacement, from the pixels of a view that are in some mask."""

    def __init__(self, patches: PatchSet, generator: torch.Generator) -> None:
        self.patches, self.generator = patches, generator
        self._offsets = patches.offsets
        self._rays = PixelRays(patches.cameras, self._offsets)

    def sample(self, view: int, n: int) -> PatchBatch:
        """Draw `n` pixels of a view."""
        device = self.generator.device
        patches = self.patches.views[view].to(device)
        random = torch.rand(n, generator=self.generator, device=device, dtype=torch.float64)
        ranks = (random * patches.ends[-1]).long()
        return PatchBatch(view, patches.pixels(ranks), patches.patches(ranks), patches.correlation)

    def rays(self, view: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the origins and unit directions (n, 3), scene coordinates, of pixels (n,) of a view."""
        return self._rays.at(self._offsets[view] + pixels, torch.full_like(pixels, view), self.patches.cameras)
