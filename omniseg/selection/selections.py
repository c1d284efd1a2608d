"""Named selections, which hold in every view, and the file that replays them.

    {"format": 1, "features": FINGERPRINT, "active": 0, "selections": [
        {"name": ..., "colour": [r, g, b], "threshold": ..., "spatial_weight": ...,
         "clicks": [{"accept": true, "position": [x, y, z], "feature": [...]}, ...]}, ...]}

Positions are scene coordinates. The fingerprint is that of the feature field that was clicked in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniseg.errors import InputError
from omniseg.files import write_atomic
from omniseg.rendering.view import RenderedView
from omniseg.selection.query import Click, score

SELECTIONS = "selections.json"
"""What commands call the file that they write."""

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


@dataclass(frozen=True)
class Selection:
    """What belongs to some clicks.

    Attributes:
        name: for people and files.
        colour: red, green, blue in [0, 255].
        clicks: accepted and rejected points.
        threshold: of the score, in [0, 1].
        spatial_weight: how fast the score falls with the distance from a click, 1 / scene unit; 0: it does not.
    """

    name: str
    colour: tuple[int, int, int]
    clicks: tuple[Click, ...] = ()
    threshold: float = 0.9
    spatial_weight: float = 0.0

    def score(self, features: Tensor, positions: Tensor) -> Tensor:
        """Score (n,) of points with unit features (n, dim) at positions (n, 3), scene coordinates."""
        return score(features, positions, self.clicks, self.spatial_weight)

    def select(self, features: Tensor, positions: Tensor) -> Tensor:
        """(n,) bool, which of these points are selected; none without an accepted click."""
        found = self.score(features, positions)
        return (found >= self.threshold) & (found > 0)

    def mask(self, frame: RenderedView) -> Tensor:
        """(height * width,) bool, which pixels of a frame are selected."""
        return self.select(frame.features, frame.positions) & frame.solid


@dataclass(frozen=True)
class Selections:
    """All selections of a session, at least one, and which of them clicks go to."""

    every: tuple[Selection, ...]
    active: int = 0

    @property
    def current(self) -> Selection:
        """The active one."""
        return self.every[self.active]

    @staticmethod
    def label(masks: Sequence[Tensor]) -> Tensor:
        """Which selection (n,) uint8 a point is in, from 1, by their masks (n,) bool; of several, the last; 0: none."""
        labels = torch.zeros_like(masks[0], dtype=torch.uint8)
        for number, mask in enumerate(masks, 1):
            labels[mask] = number
        return labels


def fresh(existing: Sequence[Selection], name: str | None = None) -> Selection:
    """An empty selection with a colour, and unless given a name, that none of the existing ones has."""
    taken = {selection.name for selection in existing}
    number = len(existing) + 1
    while name is None or name in taken:
        name, number = f"selection {number}", number + 1
    used = [selection.colour for selection in existing]
    colour = min(_COLOURS, key=lambda colour: (used.count(colour), _COLOURS.index(colour)))
    return Selection(name, colour)


def save_selections(path: Path, selections: Selections, fingerprint: str) -> None:
    """Write a selection file, atomically.

    Raises:
        InputError: it cannot be written.
    """
    content = {
        "format": _FORMAT,
        "features": fingerprint,
        "active": selections.active,
        "selections": [asdict(selection) for selection in selections.every],
    }
    write_atomic(path, lambda temporary: temporary.write_text(json.dumps(content, indent=1) + "\n"))


def load_selections(path: Path, fingerprint: str, dim: int) -> Selections:
    """Read what `save_selections` wrote; it replays the same result bit for bit.

    Args:
        path: of the file.
        fingerprint: of the feature field that it must belong to.
        dim: channels of that field.
    Raises:
        InputError: the file is missing, no selection file, damaged, or of another feature field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file that a session saved") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a selection file (no JSON); give a file that a session saved") from error
    try:
        if content["format"] != _FORMAT:
            raise ValueError(f"format: expected {_FORMAT}, got {content['format']!r}")
        of = str(content["features"])
        found = tuple(_selection(entry, dim if of == fingerprint else None) for entry in content["selections"])
        active = content["active"]
        if not found or type(active) is not int or not 0 <= active < len(found):
            raise ValueError("active: expected one of the selections")
        if len({selection.name for selection in found}) < len(found):
            raise ValueError("selections: expected a name of its own for each")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: is not a selection file of this version ({error}); save it again") from error
    if of != fingerprint:
        raise InputError(
            f"{path}: was made with another feature field, to which its clicks mean nothing here; "
            "give the run it was made with, or click again"
        )
    return Selections(found, active)


def _selection(entry: Any, dim: int | None) -> Selection:
    red, green, blue = (int(channel) for channel in entry["colour"])
    if not all(0 <= channel <= 255 for channel in (red, green, blue)):
        raise ValueError("colour: expected three numbers in [0, 255]")
    threshold, weight = float(entry["threshold"]), float(entry["spatial_weight"])
    if not (0 <= threshold <= 1 and 0 <= weight < math.inf):
        raise ValueError("threshold, spatial_weight: expected one in [0, 1] and one of at least 0")
    clicks = tuple(_click(click, dim) for click in entry["clicks"])
    if not isinstance(entry["name"], str) or not entry["name"].strip():
        raise ValueError("name: expected a text")
    return Selection(entry["name"], (red, green, blue), clicks, threshold, weight)


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
