"""Masks of the sample scenes with the errors of a segmenter: other masks in every view, at another granularity.

SAM knows no labels: a mask is a part here, an object there, half of one or two at once, and its border is a pixel off.
Errors made from the true labels of one view at severity s:

    missing       a mask is left out, with probability 0.25 s
    granularity   all parts of an object, or the mask of a group, are left out, with probability 0.3 s
    over          the two halves of a mask are added, with probability 0.15 s
    under         a mask is merged with a neighbour of up to three times its area, with probability 0.08 s
    border        a smooth random motion of about 0.5 s pixels bends all masks, another of 0.3 s pixels each mask
"""

from collections.abc import Mapping

import cv2
import numpy as np

from omniseg.masks.run_length import MaskStack

DEFAULT_SEVERITY = 1.0
"""Amount of errors that resembles a segmenter."""
_MISSING, _COARSE, _SPLIT, _MERGED = 0.25, 0.3, 0.15, 0.08
_LARGEST_MERGED = 3.0
"""Largest area of a merged neighbour, relative to the area of the mask."""
_FEWEST_PIXELS = 12
"""Smallest mask that is kept, in pixels."""
_BEND, _BEND_EACH = 0.5, 0.3
_BEND_LENGTH = 12
"""Distance in pixels over which the bending changes."""


def sam_like_masks(labels: Mapping[str, np.ndarray], severity: float, random: np.random.Generator) -> MaskStack:
    """Make the masks of one view.

    Args:
        labels: level -> (height, width) integer ids, 0 = nothing; from fine to coarse.
        severity: amount of errors, 0 (the true masks of every level) to 3; 1 is like a segmenter.
        random: draws the errors.
    """
    fine = next(iter(labels.values()))
    height, width = fine.shape
    masks = []
    for level, ids in labels.items():
        owner = _granularity_ids(labels, level)
        lost = [] if owner is None else [k for k in np.unique(owner) if random.random() < _COARSE * severity]
        for label in np.unique(ids[ids > 0]):
            mask = ids == label
            left_out = owner is not None and owner[mask][0] in lost
            if not left_out and random.random() >= _MISSING * severity:
                masks.append(mask)
    if severity:
        masks = [_merge(mask, fine, severity, random) for mask in masks]
        masks += [half for mask in masks if random.random() < _SPLIT * severity for half in _halves(mask, random)]
        shared = _motion(fine.shape, _BEND * severity, random)
        masks = [_bend(mask, shared + _motion(fine.shape, _BEND_EACH * severity, random)) for mask in masks]
        masks = [mask for mask in masks if mask.sum() >= _FEWEST_PIXELS]
    return MaskStack.from_masks(masks, width, height)


def _granularity_ids(labels: Mapping[str, np.ndarray], level: str) -> np.ndarray | None:
    """Return ids of the masks of a level that are left out together: by object for parts, by group for groups.

    None for levels between, of which each mask is left out alone.
    """
    levels = list(labels)
    at = levels.index(level)
    return labels[levels[1]] if at == 0 and len(levels) > 1 else labels[level] if at == len(levels) - 1 else None


def _merge(mask: np.ndarray, ids: np.ndarray, severity: float, random: np.random.Generator) -> np.ndarray:
    """Merge the mask at random with a neighbour that is not much larger: two books, but not a cup and a wall."""
    if random.random() >= _MERGED * severity:
        return mask
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~mask & (ids > 0)
    neighbours = [n for n in np.unique(ids[rim]) if (ids == n).sum() <= _LARGEST_MERGED * mask.sum()]
    return mask | (ids == random.choice(neighbours)) if neighbours else mask


def _halves(mask: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Split the mask by a random line through its middle."""
    rows, columns = np.nonzero(mask)
    angle = random.uniform(0, np.pi)
    y, x = np.indices(mask.shape)
    side = (x - columns.mean()) * np.cos(angle) + (y - rows.mean()) * np.sin(angle) > 0
    return [mask & side, mask & ~side]


def _motion(shape: tuple[int, int], pixels: float, random: np.random.Generator) -> np.ndarray:
    """Return a smooth random motion (2, height, width), x before y, of about this many pixels."""
    height, width = shape
    coarse = random.normal(0, pixels, (2, height // _BEND_LENGTH + 2, width // _BEND_LENGTH + 2)).astype(np.float32)
    return np.stack([cv2.resize(axis, (width, height), interpolation=cv2.INTER_CUBIC) for axis in coarse])


def _bend(mask: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Return the mask moved by a motion (2, height, width) in pixels."""
    y, x = np.indices(mask.shape, dtype=np.float32)
    return cv2.remap(mask.astype(np.uint8), x + motion[0], y + motion[1], cv2.INTER_NEAREST) > 0
