"""Mask hierarchy of an image: patches of pixels that are in the same masks, and how many masks two patches share.

    patch        all pixels that are in exactly the same masks
    correlation  number of masks that contain both of two patches; on the diagonal, that contain the patch

The more masks two patches share, the nearer they are in the hierarchy of part, object and group. The file
format `sam/NAME.npz` is that of OmniSeg3D (arXiv 2311.11666).
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omniseg.data.image_io import nearest
from omniseg.errors import InputError
from omniseg.files import write_atomic
from omniseg.masks.run_length import MaskStack

MOST_PATCHES = 8192
"""Largest number of patches of an image; pixels of the smallest ones beyond it count as being in no mask."""

COVERED = 0.9
"""Part of a mask that a larger mask must cover more of than this to take all of it."""

_MOST_SHARED = 255
"""Largest value of `correlation`, which is uint8."""
_LARGEST_MATRIX = 2**15
"""Most patches in a file that is read: ids are int16."""
_KEY_SEED = 20231119
"""Seed of the masks' random keys; the result does not depend on it."""


@dataclass(frozen=True)
class MaskHierarchy:
    """Patches of an image and their relations.

    indices: (height, width) int16 patch of each pixel.
    correlation: (n_patches, n_patches) uint8 number of masks that contain both patches, at most 255. Patch 0 is
        "in no mask" exactly when correlation[0, 0] is 0.
    """

    indices: np.ndarray
    correlation: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """Pixels that are in some mask, (height, width) bool."""
        return self.correlation.diagonal()[self.indices] > 0

    def resized(self, width: int, height: int) -> MaskHierarchy:
        """Return the hierarchy of the same picture at another size, by nearest neighbour."""
        if self.indices.shape == (height, width):
            return self
        return MaskHierarchy(np.ascontiguousarray(nearest(self.indices, width, height)), self.correlation)

    def within(self, valid: np.ndarray | None) -> MaskHierarchy:
        """Return the hierarchy with no pixel in a mask but the `valid` ones, (height, width) bool; None: unchanged."""
        if valid is None:
            return self
        seen = np.zeros(len(self.correlation), np.bool_)
        seen[self.indices[valid]] = True
        masks = self._with_patches(seen)
        return MaskHierarchy(np.where(valid, masks.indices, 0).astype(np.int16), masks.correlation)

    def without_slivers(self) -> MaskHierarchy:
        """Return the hierarchy without the patches that are nowhere three pixels wide; their pixels are in no mask.

        Such patches are left where the borders of two masks do not quite agree.
        """
        ids = np.pad(self.indices, 1, constant_values=-1)
        middle = self.indices
        core = (middle == ids[:-2, 1:-1]) & (middle == ids[2:, 1:-1])
        core &= (middle == ids[1:-1, :-2]) & (middle == ids[1:-1, 2:])
        wide = np.zeros(len(self.correlation), np.bool_)
        wide[middle[core]] = True
        return self._with_patches(wide)

    def _with_patches(self, chosen: np.ndarray) -> MaskHierarchy:
        """Return the hierarchy of the `chosen` patches, (n_patches,) bool, that are in masks, numbered from 1."""
        kept = np.flatnonzero(chosen & (self.correlation.diagonal() > 0))[: _LARGEST_MATRIX - 1]
        number = np.zeros(len(chosen), np.int16)
        number[kept] = np.arange(1, len(kept) + 1)
        correlation = np.zeros((len(kept) + 1, len(kept) + 1), np.uint8)
        correlation[1:, 1:] = self.correlation[np.ix_(kept, kept)]
        return MaskHierarchy(number[self.indices], correlation)

    def save(self, path: Path) -> None:
        """Write `NAME.npz`, atomically.

        Raises:
            InputError: the file cannot be written.
        """
        write_atomic(
            path,
            lambda temporary: np.savez_compressed(temporary, indices=self.indices, correlation=self.correlation),
        )


def absorb_covered(stack: MaskStack) -> MaskStack:
    """Sort masks by area and let one that covers more than 90 % of a smaller one (`COVERED`) take all of it.

    After this, masks that nearly contain each other really do. Empty masks and duplicates are dropped.
    """
    patches = _Patches.from_stack(stack)
    order = np.argsort(stack.areas, kind="stable")
    inside = patches.inside[:, order].copy()
    for m in range(inside.shape[1] - 1):
        rows = inside[:, m]
        areas = patches.areas[rows]
        shared = areas @ inside[rows, m + 1 :]
        taken = np.flatnonzero(shared > COVERED * areas.sum()) + m + 1
        inside[np.ix_(np.flatnonzero(rows), taken)] = True
    inside = inside[:, inside.any(0)]
    first = np.sort(np.unique(inside, axis=1, return_index=True)[1]) if inside.shape[1] else np.arange(0)
    return patches.stack(inside[:, first])


def build_hierarchy(stack: MaskStack) -> MaskHierarchy:
    """Compute patches and correlation of masks as they are; call `absorb_covered` first on a segmenter's masks.

    Id 0 is always "in no mask", even if there is no such pixel; the others are sorted by falling area. Time and
    memory grow with the runs of the masks and with the pixels, never with masks times pixels.
    """
    patches = _Patches.from_stack(stack)
    labelled = np.flatnonzero(patches.inside.any(1))
    kept = labelled[np.argsort(-patches.areas[labelled], kind="stable")][: MOST_PATCHES - 1]
    ids = np.zeros(len(patches.areas), np.int16)
    ids[kept] = np.arange(1, len(kept) + 1)
    members = np.zeros((len(kept) + 1, len(stack)), np.float32)
    members[1:] = patches.inside[kept]
    shared = np.minimum(members @ members.T, _MOST_SHARED).astype(np.uint8)
    return MaskHierarchy(patches.image(ids), shared)


@dataclass(frozen=True)
class _Patches:
    """Classes of pixels that are in the same masks, on runs that no mask divides.

    starts, lengths: (n_runs,) first pixel and number of pixels; together the runs cover the image.
    classes: (n_runs,) class of each run.
    areas: (n_classes,) pixels of each class.
    inside: (n_classes, n_masks) bool, the masks that contain each class.
    """

    width: int
    height: int
    starts: np.ndarray
    lengths: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    inside: np.ndarray

    @classmethod
    def from_stack(cls, stack: MaskStack) -> _Patches:
        """Group pixels by a 64-bit key: the exclusive or of random keys of the masks that a pixel is in."""
        n_pixels = stack.width * stack.height
        at = np.concatenate([np.zeros(1, np.int64), *stack.borders])
        starts, place = np.unique(at[at < n_pixels], return_inverse=True)
        lengths = np.diff(starts, append=n_pixels)
        random = np.random.default_rng(_KEY_SEED)
        areas = stack.areas
        while True:  # runs once, unless two classes of pixels get the same key: a chance of 1 in 10^10
            keys = random.integers(1, 2**64, len(stack), np.uint64, endpoint=False)
            flips = np.repeat(keys, [len(b) for b in stack.borders])[np.concatenate([*stack.borders, []]) < n_pixels]
            changes = np.zeros(len(starts), np.uint64)
            np.bitwise_xor.at(changes, place[1:], flips)
            key = np.bitwise_xor.accumulate(changes)
            _, first, classes = np.unique(key, return_index=True, return_inverse=True)
            sizes = np.bincount(classes, lengths, len(first)).astype(np.int64)
            inside = stack.contain(starts[first])
            if np.array_equal(sizes @ inside, areas):
                return cls(stack.width, stack.height, starts, lengths, classes, sizes, inside)

    def image(self, ids: np.ndarray) -> np.ndarray:
        """Return the image (height, width) of a value for each class."""
        return np.repeat(ids[self.classes], self.lengths).reshape(self.height, self.width)

    def stack(self, inside: np.ndarray) -> MaskStack:
        """Return the masks that are made of these classes, (n_classes, n_masks) bool."""
        n_pixels, borders = self.width * self.height, []
        for member in inside.T:
            on = np.concatenate([[False], member[self.classes], [False]])
            at = np.append(self.starts, n_pixels)
            borders.append(at[on[1:] != on[:-1]])
        return MaskStack(self.width, self.height, tuple(borders))


def load_hierarchy(path: Path) -> MaskHierarchy:
    """Read `sam/NAME.npz`, our own or OmniSeg3D's.

    Raises:
        InputError: the file is missing or damaged, lacks `indices` or `correlation`, holds pickled objects (which are
            never opened), or ids and matrix do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("correlation", "indices") if name in file.files}
    except FileNotFoundError as error:
        raise InputError(f"{path}: does not exist") from error
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        pickled = "allow_pickle" in str(error)
        reason = "holds pickled objects, which are never opened" if pickled else "is damaged or not an npz file"
        raise InputError(f"{path}: {reason}; delete it and make it again with: omniseg run_sam") from error
    missing = [name for name in ("correlation", "indices") if name not in arrays]
    if missing:
        raise InputError(
            f"{path}: has no {' and no '.join(missing)}; delete it and make it again with: omniseg run_sam"
        )
    indices, correlation = _whole_numbers(arrays["indices"]), _whole_numbers(arrays["correlation"])
    problem = _problem(indices, correlation)
    if problem:
        raise InputError(f"{path}: {problem}; save it as docs/data.md says, or make it again with: omniseg run_sam")
    return MaskHierarchy(indices.astype(np.int16), correlation.clip(0, _MOST_SHARED).astype(np.uint8))


def _whole_numbers(array: np.ndarray) -> np.ndarray:
    """Return an array of floats as integers where all of them are whole, as some programs save ids; else the array."""
    if array.dtype.kind != "f" or not np.isfinite(array).all() or not (array == np.rint(array)).all():
        return array
    return array.astype(np.int64)


def _problem(indices: np.ndarray, correlation: np.ndarray) -> str | None:
    """Describe the first thing that does not fit; None: all fits."""
    if indices.ndim != 2 or indices.dtype.kind not in "iu" or indices.size == 0:
        return f"indices: expected an image of whole numbers, got shape {indices.shape} of {indices.dtype}"
    n = len(correlation) if correlation.ndim == 2 else 0
    if not n or correlation.shape != (n, n) or correlation.dtype.kind not in "iu" or n > _LARGEST_MATRIX:
        return f"correlation: expected a square matrix of whole numbers, got {correlation.shape} of {correlation.dtype}"
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= n:
        return f"indices run from {low} to {high}, but correlation has {n} patches"
    if not np.array_equal(correlation, correlation.T):
        return "correlation is not symmetric"
    return None
