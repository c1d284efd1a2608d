"""Named selections, which hold in every view, and the file that stores them.

    {"format": 1, "features": FINGERPRINT, "active": 0, "selections": [
        {"name": ..., "colour": [r, g, b], "threshold": ..., "spatial_weight": ...,
         "min_piece": ..., "clicks": [{"accept": true, "position": [x, y, z], "feature": [...]}, ...]}, ...]}

Positions are scene coordinates; a file without "min_piece" means 0. FINGERPRINT is that of the feature field that was
clicked in.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from omniseg.errors import InputError
from omniseg.files import write_atomic
from omniseg.rendering.view import RenderedView
from omniseg.selection.mask_pieces import clean_mask
from omniseg.selection.query import Click, score

_FORMAT = 1
_COLOURS = (
    (255, 99, 71),
    (64, 156, 255),
    (80, 200, 90),
    (255, 196, 0),
    (186, 104, 240),
    (0, 200, 200),
    (255, 120, 190),
    (160, 120, 80),
)


@dataclass(frozen=True, repr=False)
class Selection:
    """Clicks and the threshold of their score. It selects in every view, and points and faces as well.

    Attributes:
        name: shown to people and used for files.
        colour: red, green, blue in [0, 255].
        clicks: accepted and rejected points.
        threshold: points that score at least this are selected, in [0, 1].
        spatial_weight: rate at which the score falls with the distance from a click, 1 / scene unit; 0: not at all.
        min_piece: its masks lose pieces and holes smaller than this share of the largest piece; 0: they keep them.
    """

    name: str
    colour: tuple[int, int, int]
    clicks: tuple[Click, ...] = ()
    threshold: float = 0.9
    spatial_weight: float = 0.0
    min_piece: float = 0.0

    def __repr__(self) -> str:
        rejected = sum(not click.accept for click in self.clicks)
        count = f"{len(self.clicks)} click{'s' * (len(self.clicks) != 1)}" + f", {rejected} rejected" * bool(rejected)
        weight = f", spatial weight {self.spatial_weight:g}" if self.spatial_weight else ""
        return f"Selection({self.name!r}: {count}, threshold {self.threshold:.3f}{weight})"

    @property
    def is_empty(self) -> bool:
        """True without an accepted click: nothing is selected then."""
        return not any(click.accept for click in self.clicks)

    def score(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return the score (n,) in [0, 1] of points with unit features (n, dim) at scene coordinates (n, 3)."""
        return score(features, positions, self.clicks, self.spatial_weight)

    def select(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return which points are selected, (n,) bool; arguments as for `score`."""
        return self.above(self.score(features, positions))

    def above(self, scores: Tensor) -> Tensor:
        """Return which scores select, bool."""
        return (scores >= self.threshold) & (scores > 0)

    def mask(self, view: RenderedView) -> np.ndarray:
        """Return which pixels of a view are selected, (height, width) bool."""
        selected = self.select(view.unit_features, view.positions) & view.solid
        return self.clean(selected.view(view.height, view.width).cpu().numpy(), view)

    def clean(self, mask: np.ndarray, view: RenderedView) -> np.ndarray:
        """Return a mask (height, width) bool of a view without small pieces and holes; clicked pieces stay."""
        accepted = [click.position for click in self.clicks if click.accept]
        if self.min_piece <= 0 or not accepted:
            return mask
        xy, _, inside = view.cameras.project(view.positions.new_tensor(accepted))
        kept = [
            (min(int(y), view.height - 1), min(int(x), view.width - 1))
            for (x, y), shown in zip(xy[0].tolist(), inside[0].tolist())
            if shown
        ]
        return clean_mask(mask, self.min_piece, kept)


@dataclass(frozen=True)
class Selections:
    """All selections of a session, at least one; clicks go to the active one.

    Attributes:
        all: the selections.
        active: index of the active one.
    """

    all: tuple[Selection, ...]
    active: int = 0

    @property
    def current(self) -> Selection:
        """The active selection."""
        return self.all[self.active]

    def replace_current(self, selection: Selection) -> Selections:
        """Return these selections with another one in the place of the active one."""
        return replace(self, all=(*self.all[: self.active], selection, *self.all[self.active + 1 :]))


def labels_from_masks(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the number uint8, from 1, of the last mask (bool, all of one shape) that holds each pixel; 0: none."""
    labels = np.zeros(masks[0].shape, np.uint8)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    return labels


def empty_selection(existing: Sequence[Selection], name: str | None = None) -> Selection:
    """Return a selection without clicks, in the least used colour; it gets a new name where `name` is None or taken."""
    taken = {selection.name for selection in existing}
    number = len(existing) + 1
    while name is None or name in taken:
        name, number = f"selection {number}", number + 1
    used = [selection.colour for selection in existing]
    colour = min(_COLOURS, key=lambda colour: (used.count(colour), _COLOURS.index(colour)))
    return Selection(name, colour)


def made_distinct(selections: Sequence[Selection]) -> tuple[Selection, ...]:
    """Return selections of which each has a name and a colour of its own; the first of equal ones keeps them."""
    found: list[Selection] = []
    for selection in selections:
        taken = {other.name for other in found}
        name, number = selection.name, 1
        while name in taken:
            number += 1
            name = f"{re.sub(r' [0-9]+$', '', selection.name)} {number}"
        repeated = any(other.colour == selection.colour for other in found)
        colour = empty_selection(found).colour if repeated else selection.colour
        found.append(replace(selection, name=name, colour=colour))
    return tuple(found)


def save_selections(path: Path, selections: Selections, fingerprint: str) -> None:
    """Write a selection file, atomically.

    Raises:
        InputError: it cannot be written.
    """
    content = {
        "format": _FORMAT,
        "features": fingerprint,
        "active": selections.active,
        "selections": [asdict(selection) for selection in selections.all],
    }
    write_atomic(path, lambda temporary: temporary.write_text(json.dumps(content, indent=1) + "\n"))


def load_selections(path: Path, fingerprint: str, dim: int) -> Selections:
    """Read a selection file; it selects the same as when it was saved, bit for bit.

    Args:
        path: the file.
        fingerprint: identifies the feature field that the file must belong to.
        dim: number of channels of that field.
    Raises:
        InputError: the file is missing, damaged, not a selection file, or of another feature field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file that a session saved") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a selection file (not JSON); give a file that a session saved") from error
    try:
        if content["format"] != _FORMAT:
            raise ValueError(f"format: expected {_FORMAT}, got {content['format']!r}")
        made_with = str(content["features"])
        found = tuple(_selection(entry, dim if made_with == fingerprint else None) for entry in content["selections"])
        active = content["active"]
        if not found or type(active) is not int or not 0 <= active < len(found):
            raise ValueError("active: expected the index of a selection")
        if len({selection.name for selection in found}) < len(found):
            raise ValueError("selections: expected different names")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: is not a selection file of this version ({error}); save it again") from error
    if made_with != fingerprint:
        raise InputError(
            f"{path}: was made with another feature field, so its clicks mean nothing here; "
            "give the run it was made with, or click again"
        )
    return Selections(found, active)


def _selection(entry: Any, dim: int | None) -> Selection:
    red, green, blue = (int(channel) for channel in entry["colour"])
    if not all(0 <= channel <= 255 for channel in (red, green, blue)):
        raise ValueError("colour: expected three numbers in [0, 255]")
    threshold, weight = float(entry["threshold"]), float(entry["spatial_weight"])
    if not (0 <= threshold <= 1 and 0 <= weight < math.inf):
        raise ValueError("threshold, spatial_weight: expected a number in [0, 1] and one of at least 0")
    min_piece = float(entry.get("min_piece", 0.0))
    if not 0 <= min_piece < 1:
        raise ValueError("min_piece: expected a number in [0, 1)")
    clicks = tuple(_click(click, dim) for click in entry["clicks"])
    if not isinstance(entry["name"], str) or not entry["name"].strip():
        raise ValueError("name: expected text")
    return Selection(entry["name"], (red, green, blue), clicks, threshold, weight, min_piece)


def _click(entry: Any, dim: int | None) -> Click:
    if type(entry["accept"]) is not bool:
        raise ValueError("accept: expected true or false")
    x, y, z = (float(value) for value in entry["position"])
    feature = tuple(float(value) for value in entry["feature"])
    if dim is not None and len(feature) != dim:
        raise ValueError(f"feature: expected {dim} numbers, got {len(feature)}")
    if not all(map(math.isfinite, (x, y, z, *feature))):
        raise ValueError("position, feature: expected finite numbers")
    return Click(entry["accept"], (x, y, z), feature)
