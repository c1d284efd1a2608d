"""Mask hierarchies of views, and random pixels that lie in masks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from omniseg.cameras import Cameras
from omniseg.data.hierarchy import load_hierarchy
from omniseg.data.pixels import same_aspect
from omniseg.data.rays import PixelRays
from omniseg.data.scene import View
from omniseg.errors import InputError

_log = logging.getLogger("omniseg")


@dataclass(frozen=True)
class PatchSet:
    """Patches of V views, one after another, rows from the top.

    indices: (n_pixels,) int16 patch of each pixel, numbered within its view.
    offsets: (V + 1,) int64, pixels of view v are offsets[v] to offsets[v + 1].
    correlations: for each view (n_patches, n_patches) uint8, masks that two patches share.
    cameras: scene coordinates, of these image sizes.
    names: names of the views.
    """

    indices: Tensor
    offsets: Tensor
    correlations: tuple[Tensor, ...]
    cameras: Cameras
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str) -> PatchSet:
        """Return the set on `device`."""
        return replace(
            self,
            indices=self.indices.to(device),
            offsets=self.offsets.to(device),
            correlations=tuple(correlation.to(device) for correlation in self.correlations),
            cameras=self.cameras.to(device),
        )


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
    indices, correlations, kept, empty = [], [], [], 0
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
        indices.append(hierarchy.indices.reshape(-1))
        correlations.append(torch.from_numpy(hierarchy.correlation))
    if not kept:
        raise InputError(f"{views[found[0]].hierarchy_path}: no pixel is in any mask, nor in the other views")
    if len(kept) < len(views):
        why = f"{len(views) - len(found)} without a file, {empty} without a mask"
        _log.warning("masks of %d of %d views; the others count for colour only (%s)", len(kept), len(views), why)
    return PatchSet(
        indices=torch.from_numpy(np.concatenate(indices)),
        offsets=torch.tensor([0, *np.cumsum([len(ids) for ids in indices]).tolist()]),
        correlations=tuple(correlations),
        cameras=cameras[kept],
        names=tuple(views[v].name for v in kept),
    )


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
    """Draws a view, then some of its pixels that are in some mask, every one alike, with replacement."""

    def __init__(self, patches: PatchSet, generator: torch.Generator) -> None:
        self.patches, self.generator = patches, generator
        self._rays = PixelRays(patches.cameras, patches.offsets)
        self._views = [_Lots.of(patches, view) for view in range(len(patches))]

    def sample(self, n: int) -> PatchBatch:
        """Draw `n` pixels of one view."""
        device = self.generator.device
        view = int(torch.randint(len(self.patches), (1,), generator=self.generator, device=device))
        lots = self._views[view]
        drawn = torch.multinomial(lots.chances, n, replacement=True, generator=self.generator)
        within = torch.rand(n, generator=self.generator, device=device).double() * lots.areas[drawn]
        pixels = lots.pixels[lots.starts[drawn] + within.long()].long()
        return PatchBatch(view, pixels, drawn, self.patches.correlations[view])

    def rays(self, view: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Origins and unit directions (n, 3), scene coordinates, of pixels (n,) of a view."""
        begin = self.patches.offsets[view]
        return self._rays.of(begin + pixels, torch.full_like(pixels, view), self.patches.cameras)


@dataclass(frozen=True)
class _Lots:
    """What is drawn of one view: pixels (n,) int32 sorted by patch; where those of each patch start, how many they
    are, and the patch's chance."""

    pixels: Tensor
    starts: Tensor
    areas: Tensor
    chances: Tensor

    @classmethod
    def of(cls, patches: PatchSet, view: int) -> _Lots:
        begin, end = patches.offsets[view : view + 2].tolist()
        correlation = patches.correlations[view]
        ids, pixels = patches.indices[begin:end].sort(stable=True)
        areas = torch.bincount(ids.long(), minlength=len(correlation))
        chances = torch.where(correlation.diagonal() > 0, areas.double(), 0.0)
        return cls(pixels.to(torch.int32), areas.cumsum(0) - areas, areas, chances)
