"""Make the mask hierarchies of photos on disk, in the layout of OmniSeg3D (arXiv 2311.11666).

sam/NAME.npz      the hierarchy, written last: a photo is finished when this file opens
masks/NAME.png    all masks over the darkened photo, small ones on top of large ones
patches/NAME.png  the patches of the hierarchy, one colour each, over the darkened photo
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from omniseg.data.image_io import read_image, save_image, shrink
from omniseg.distributed import Process
from omniseg.errors import InputError
from omniseg.files import require_writable
from omniseg.masks.hierarchy import MaskHierarchy, absorb_covered, build_hierarchy, load_hierarchy
from omniseg.masks.photos import HIERARCHIES, MASKS, PATCHES, Photo
from omniseg.masks.run_length import MaskStack
from omniseg.masks.segmenters import Segmenter

_log = logging.getLogger("omniseg")

_PHOTO_SHARE = 0.35
"""Brightness of the photo below the colours of masks and patches."""


@dataclass(frozen=True)
class Plan:
    """Photos that this process segments.

    out: folder to write `sam`, `masks` and `patches` into.
    todo: photos to segment.
    finished: number of this process's photos that have their hierarchy already.
    """

    out: Path
    todo: tuple[Photo, ...]
    finished: int


def plan(
    photos: Sequence[Photo], segmenter: Segmenter, out: Path, process: Process, *, overwrite: bool = False
) -> Plan:
    """Choose the photos that this process segments: rank, rank + world_size, ... of those that have masks.

    Photos with a hierarchy count as finished. One warning counts the photos without masks.

    Args:
        photos: of the capture.
        segmenter: knows which photos have masks.
        out: folder to write into.
        process: this one of several processes.
        overwrite: segment finished photos again, and replace pictures that others have made.
    Raises:
        InputError: no photo has masks, or pictures that others have made would be overwritten.
    """
    known = [photo for photo in photos if segmenter.knows(photo.name)]
    if not known:
        raise InputError(
            f"there are no masks for any of the {len(photos)} photos; looked for {photos[0].name}.json, "
            f"{photos[0].name}.png and {photos[0].name}/*.png in the folder of --masks, and for COCO's JSON"
        )
    if len(known) < len(photos) and not process.rank:
        first = next(photo for photo in photos if photo not in known)
        _log.warning(
            "skipped %d of %d photos without masks (first: %s)", len(photos) - len(known), len(photos), first.name
        )
    if not overwrite:
        _refuse_foreign_pictures(known, out)
    # Divided before finished ones are left out: other processes finish photos meanwhile.
    mine = known[process.rank :: process.world_size]
    todo = tuple(photo for photo in mine if overwrite or not _finished(_path(out, HIERARCHIES, photo)))
    return Plan(out, todo, len(mine) - len(todo))


def make_hierarchies(
    plan: Plan, segmenter: Segmenter, process: Process, *, downsample: float = 1.0, progress: bool = True
) -> None:
    """Segment the photos of a plan and write hierarchies and pictures; a photo that fails stops no other.

    A warning names each photo that fails.

    Args:
        plan: from `plan`.
        segmenter: source of the masks.
        process: this one of several processes.
        downsample: factor by which photos are shrunk first, at least 1.
        progress: show a progress bar, in the first process.
    Raises:
        InputError: a photo failed, or nothing can be written.
    """
    failed, empty = [], []
    if plan.todo:
        require_writable(plan.out / HIERARCHIES)
    bar = tqdm(plan.todo, desc="photos", unit="img", disable=not progress or process.rank > 0)
    for photo in bar:
        try:
            image = _read(photo.path, downsample)
            stack = absorb_covered(segmenter.segment(image, photo.name))
        except InputError as error:
            failed.append(photo)
            bar.clear()  # so that the warning does not end up in the same line
            _log.warning("skipped: %s", error)
            continue
        if not len(stack):
            empty.append(photo)
        hierarchy = build_hierarchy(stack)
        masks, patches = pictures(image, stack, hierarchy)
        save_image(_path(plan.out, MASKS, photo), masks)
        save_image(_path(plan.out, PATCHES, photo), patches)
        hierarchy.save(_path(plan.out, HIERARCHIES, photo))
    if empty:
        _log.warning("no mask was found in %d photos (first: %s)", len(empty), empty[0].name)
    if failed:
        names = ", ".join(photo.path.name for photo in failed[:5]) + (", ..." if len(failed) > 5 else "")
        raise InputError(
            f"{len(failed)} of {len(plan.todo)} photos could not be done, see above: {names}; "
            "mend or remove them and start again: finished ones are kept"
        )


def pictures(image: np.ndarray, stack: MaskStack, hierarchy: MaskHierarchy) -> tuple[np.ndarray, np.ndarray]:
    """Paint the masks, and the patches, in colours over the darkened photo, in the masks' size.

    Args:
        image: (height, width, 3) uint8, of the masks' aspect.
        stack: the masks.
        hierarchy: made of them.
    Returns:
        Two images (height, width, 3) uint8.
    """
    photo = shrink(image, stack.width, stack.height)
    n = len(hierarchy.correlation)
    colours = np.random.default_rng(0).integers(64, 256, (max(n, len(stack) + 1), 3)).astype(np.float32)
    patches = np.where(hierarchy.labelled, hierarchy.indices + 1, 0)
    return _painted(photo, _smallest_mask(stack) + 1, colours), _painted(photo, patches, colours)


def _smallest_mask(stack: MaskStack) -> np.ndarray:
    """Return the smallest mask at each pixel, as its rank by area, the largest mask 0; -1: in no mask."""
    n_pixels = stack.width * stack.height
    starts = np.unique(np.concatenate([np.zeros(1, np.int64), *stack.borders]))
    starts = starts[starts < n_pixels]
    # There are far fewer runs between borders than pixels.
    smallest = np.full(len(starts), -1, np.int64)
    for rank, k in enumerate(np.argsort(-stack.areas, kind="stable")):
        at = np.searchsorted(starts, stack.borders[k])
        for first, last in zip(at[::2], at[1::2]):
            smallest[first:last] = rank
    return np.repeat(smallest, np.diff(starts, append=n_pixels)).reshape(stack.height, stack.width)


def _painted(photo: np.ndarray, ids: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return the darkened photo with colour k - 1 where the id is k, and no colour where it is 0."""
    table = np.concatenate([np.zeros((1, 3)), colours * (1 - _PHOTO_SHARE)]).astype(np.uint8)
    return (photo * np.float32(_PHOTO_SHARE)).astype(np.uint8) + table[ids]


def _path(out: Path, folder: str, photo: Photo) -> Path:
    # Not with_suffix: the name may hold dots.
    return out / folder / f"{photo.name}{'.npz' if folder == HIERARCHIES else '.png'}"


def _finished(path: Path) -> bool:
    try:
        load_hierarchy(path)
    except InputError:
        return False
    return True


def _refuse_foreign_pictures(photos: Sequence[Photo], out: Path) -> None:
    """Raise if pictures would be overwritten that we have not made: ours are never without a folder `sam`."""
    if (out / HIERARCHIES).is_dir():
        return
    for path in (_path(out, folder, photo) for folder in (MASKS, PATCHES) for photo in photos):
        if path.exists():
            raise InputError(f"{path}: would be overwritten; write elsewhere with --out, or allow it with --overwrite")


def _read(path: Path, downsample: float) -> np.ndarray:
    """Read a photo as (height, width, 3) uint8, shrunk; transparent pixels are blended with white."""
    image = read_image(path)
    height, width = image.shape[:2]
    image = shrink(image, max(1, round(width / downsample)), max(1, round(height / downsample)))
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
