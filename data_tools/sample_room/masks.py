"""Masks of the sample room as bad as a segmenter's: every view sees other ones, at another granularity.

SAM knows no labels: a mask is a part here, an object there, half of one or two at once, its border a pixel off.
From the true labels of one view, at severity s:

    missing       each mask is not found, by chance 0.25 s
    granularity   an object loses all its parts, or a group its mask, by chance 0.3 s
    over          a mask comes in two halves besides, by chance 0.15 s
    under         a mask is merged with a neighbour of up to three times its area, by chance 0.08 s
    border        the view is bent by a smooth random motion of about 0.5 s pixels, each mask by 0.3 s besides
"""

from collections.abc import Mapping

import cv2
import numpy as np

from omniseg.masks.run_length import MaskStack

DEFAULT_SEVERITY = 1.0
_MISSING, _COARSE, _SPLIT, _MERGED = 0.25, 0.3, 0.15, 0.08
_LARGEST_MERGED = 3.0
"""Area of a neighbour that a mask may be merged with, in areas of the mask."""
_FEWEST_PIXELS = 12
_BEND, _BEND_EACH = 0.5, 0.3
_BEND_LENGTH = 12
"""Pixels over which the bending of a border changes."""


def sam_like_masks(labels: Mapping[str, np.ndarray], severity: float, random: np.random.Generator) -> MaskStack:
    """Masks of one view.

    Args:
        labels: level -> (height, width) integer ids, 0 = nothing; from fine to coarse.
        severity: 0, the true masks of every level, up to 3; 1 is as bad as a segmenter is.
        random: draws what goes wrong.
    """
    fine = next(iter(labels.values()))
    height, width = fine.shape
    masks = []
    for level, ids in labels.items():
        keeper = _keeper(labels, level)
        lost = [] if keeper is None else [k for k in np.unique(keeper) if random.random() < _COARSE * severity]
        for label in np.unique(ids[ids > 0]):
            mask = ids == label
            undivided = keeper is not None and keeper[mask][0] in lost
            if not undivided and random.random() >= _MISSING * severity:
                masks.append(mask)
    if severity:
        masks = [_merge(mask, fine, severity, random) for mask in masks]
        masks += [half for mask in masks if random.random() < _SPLIT * severity for half in _halves(mask, random)]
        shared = _motion(fine.shape, _BEND * severity, random)
        masks = [_bend(mask, shared + _motion(fine.shape, _BEND_EACH * severity, random)) for mask in masks]
        masks = [mask for mask in masks if mask.sum() >= _FEWEST_PIXELS]
    return MaskStack.from_masks(masks, width, height)


def _keeper(labels: Mapping[str, np.ndarray], level: str) -> np.ndarray | None:
    """Ids of what a segmenter finds or loses as one: all parts of an object; a group; every object for itself."""
    levels = list(labels)
    at = levels.index(level)
    return labels[levels[1]] if at == 0 and len(levels) > 1 else labels[level] if at == len(levels) - 1 else None


def _merge(mask: np.ndarray, ids: np.ndarray, severity: float, random: np.random.Generator) -> np.ndarray:
    """The mask, by chance together with a neighbour that is not much larger: not a cup with a wall, but two books."""
    if random.random() >= _MERGED * severity:
        return mask
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~mask & (ids > 0)
    neighbours = [n for n in np.unique(ids[rim]) if (ids == n).sum() <= _LARGEST_MERGED * mask.sum()]
    return mask | (ids == random.choice(neighbours)) if neighbours else mask


def _halves(mask: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Both sides of a random line through the middle of the mask."""
    rows, columns = np.nonzero(mask)
    angle = random.uniform(0, np.pi)
    y, x = np.indices(mask.shape)
    side = (x - columns.mean()) * np.cos(angle) + (y - rows.mean()) * np.sin(angle) > 0
    return [mask & side, mask & ~side]


def _motion(shape: tuple[int, int], pixels: float, random: np.random.Generator) -> np.ndarray:
    """A smooth random motion (2, height, width), x before y, of about so many pixels."""
    height, width = shape
    coarse = random.normal(0, pixels, (2, height // _BEND_LENGTH + 2, width // _BEND_LENGTH + 2)).astype(np.float32)
    return np.stack([cv2.resize(axis, (width, height), interpolation=cv2.INTER_CUBIC) for axis in coarse])


def _bend(mask: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """The mask moved by a motion (2, height, width), pixels."""
    y, x = np.indices(mask.shape, dtype=np.float32)
    return cv2.remap(mask.astype(np.uint8), x + motion[0], y + motion[1], cv2.INTER_NEAREST) > 0
