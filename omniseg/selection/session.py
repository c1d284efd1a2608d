"""One session of clicking: all the logic behind the window, the web page, the command line and the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from omniseg.cameras import Cameras
from omniseg.rendering.view import RenderedView, render_view
from omniseg.run_folder import Model
from omniseg.selection.prompts import along, fill_box, grid_points, seen_at
from omniseg.selection.query import Click, Plateau, main_plateau, plateaus
from omniseg.selection.selections import Selection, Selections, fresh, load_selections, save_selections

Mode = Literal["single", "multi"]

_SCRIBBLE_CLICKS = 16
_HIDDEN = 0.03
"""A click is hidden behind what is this much nearer, relative to its distance."""
_MOST_UNDONE = 256


class Refusal(str):
    """Why an edit could not be done, in words; nothing was changed."""

    __slots__ = ()


@dataclass(frozen=True)
class Mark:
    """Where a click of the active selection is in the current frame, in its pixels."""

    x: float
    y: float
    accept: bool


class SegmentationSession:
    """Clicks become selections in 3D, which hold in every view.

    An edit returns in words what it did, for a person to read; a `Refusal` where it cannot be done, and then nothing
    has changed. Pixels are those of the current frame, as docs/conventions.md has them: x right, y down, the centre of
    the first one at (0.5, 0.5).

    Args:
        model: with a feature field.
        fingerprint: of that field (`checkpoint.fingerprint`), for selection files.
    Raises:
        ValueError: the model has no feature field.
    """

    def __init__(self, model: Model, fingerprint: str) -> None:
        if model.features is None:
            raise ValueError("model: expected one with a feature field")
        self.model, self.fingerprint = model, fingerprint
        self.renderer = model.renderer
        self.mode: Mode = "single"
        self.frame: RenderedView | None = None
        self._edited = Selections((fresh(()),))
        self._undo: list[Selections] = []
        self._redo: list[Selections] = []
        self._sliding: str | None = None
        self._scored: tuple[RenderedView, Selection, Tensor] | None = None

    # What is seen

    def look(self, cameras: Cameras, view: int = 0) -> RenderedView:
        """Render one of these cameras in full and work in it from now on."""
        self.frame = render_view(self.renderer, cameras, view)
        return self.frame

    def show(self, frame: RenderedView) -> None:
        """Work in this frame, rendered elsewhere, from now on."""
        self.frame = frame

    @property
    def selections(self) -> Selections:
        """All selections as they are now."""
        return self._edited

    @property
    def current(self) -> Selection:
        """The active selection."""
        return self._edited.current

    def score(self) -> Tensor:
        """Score (height * width,) in [0, 1] of the active selection in the current frame; 0 where nothing is."""
        frame, selection = self._frame(), self.current
        if self._scored is None or self._scored[0] is not frame or not _scores_alike(self._scored[1], selection):
            found = torch.where(frame.solid, selection.score(frame.features, frame.positions), 0.0)
            self._scored = frame, selection, found
        return self._scored[2]

    def mask(self) -> Tensor:
        """(height * width,) bool, what the active selection selects in the current frame."""
        found = self.score()
        return (found >= self.current.threshold) & (found > 0)

    def labels(self) -> Tensor:
        """Which selection (height * width,) uint8 each pixel of the current frame is in, from 1; 0: none."""
        frame = self._frame()
        masks = [
            self.mask() if number == self._edited.active else selection.mask(frame)
            for number, selection in enumerate(self._edited.every)
        ]
        return self._edited.label(masks)

    def marks(self) -> list[Mark]:
        """The clicks of the active selection that the current frame shows."""
        frame, clicks = self._frame(), self.current.clicks
        if not clicks:
            return []
        positions = frame.positions.new_tensor([click.position for click in clicks])
        xy, _, inside = frame.cameras.project(positions)
        found, seen, solid = [], frame.rendering.distance, frame.solid
        for (x, y), visible, position, click in zip(xy[0].tolist(), inside[0].tolist(), positions, clicks):
            if not visible:
                continue
            pixel = min(int(y), frame.height - 1) * frame.width + min(int(x), frame.width - 1)
            distance = float((position - frame.cameras.c2w[0, :, 3]).norm())
            if not solid[pixel] or distance <= float(seen[pixel]) * (1 + _HIDDEN):
                found.append(Mark(x, y, click.accept))
        return found

    # Edits

    def click(self, x: float, y: float, accept: bool = True) -> str:
        """Accept or reject what is seen at a point of the frame.

        An accepted click in single mode takes the place of the clicks before it. The first one of a selection sets
        the threshold, see `main_plateau`.
        """
        clicks = self._hits([(x, y)], accept)
        if isinstance(clicks, Refusal):
            return clicks
        return self._add(clicks, replaces=self.mode == "single" and accept)

    def scribble(self, points: Sequence[tuple[float, float]], accept: bool = True) -> str:
        """Accept or reject what lies along a stroke through these points (x, y) of the frame."""
        clicks = self._hits(along(points, _SCRIBBLE_CLICKS), accept)
        if isinstance(clicks, Refusal):
            return clicks
        return self._add(clicks, replaces=self.mode == "single" and accept)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> str:
        """Select what fills a box of the frame and stays inside it, by the best of a grid of clicks in it."""
        frame = self._frame()
        (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
        x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(frame.width)), min(y1, float(frame.height))
        if x1 - x0 < 2 or y1 - y0 < 2:
            return Refusal("the box lies outside the picture or is smaller than 2 x 2 pixels")
        clicks = self._hits(grid_points(x0, y0, x1, y1), True)
        if isinstance(clicks, Refusal):
            return clicks
        click, threshold = fill_box(frame, clicks, (x0, y0, x1, y1), self.current.spatial_weight)
        kept = () if self.mode == "single" else self.current.clicks
        self._edit(replace(self.current, clicks=(*kept, click), threshold=threshold))
        return self._told()

    def set_threshold(self, threshold: float) -> str:
        """Set the threshold, in [0, 1]; a slider's many values are one step to undo."""
        self._edit(replace(self.current, threshold=min(max(threshold, 0.0), 1.0)), sliding="threshold")
        return self._told()

    def set_spatial_weight(self, weight: float) -> str:
        """Set how fast the score falls with the distance, 1 / scene unit, at least 0."""
        self._edit(replace(self.current, spatial_weight=max(weight, 0.0)), sliding="spatial_weight")
        return self._told()

    def levels(self) -> tuple[Plateau, ...]:
        """The plateaus of the active selection in the current frame, from part to group."""
        return plateaus(self.score()[self._frame().solid]) if self.current.clicks else ()

    def step_level(self, by: int) -> str:
        """Go to the next larger (+1) or smaller (-1) plateau, or several on."""
        found = self.levels()
        if not found:
            return Refusal("nothing to step through: click on something in this view first")
        count = int(self.mask().sum())
        larger = [plateau for plateau in found if plateau.count > 1.1 * count]
        smaller = [plateau for plateau in found if plateau.count < count / 1.1][::-1]
        ahead = larger if by > 0 else smaller
        if not ahead:
            return Refusal(f"this is the {'largest' if by > 0 else 'smallest'} level here")
        return self._at(found, ahead[min(abs(by), len(ahead)) - 1])

    def set_level(self, level: int) -> str:
        """Go to a plateau by its number, 0 the smallest; beyond the last one, the last."""
        found = self.levels()
        if not found:
            return Refusal("nothing to step through: click on something in this view first")
        return self._at(found, found[min(max(level, 0), len(found) - 1)])

    def new_selection(self, name: str | None = None) -> str:
        """Begin another selection, which clicks go to from now on."""
        every = self._edited.every
        added = fresh(every, name)
        self._commit(Selections((*every, added), len(every)))
        return f"new: {added.name}"

    def activate(self, number: int) -> str:
        """Let clicks go to another selection, by its place in the list."""
        if not 0 <= number < len(self._edited.every):
            return Refusal(f"there is no selection {number + 1}")
        self._commit(replace(self._edited, active=number))
        return self._told()

    def rename(self, name: str) -> str:
        """Give the active selection another name."""
        name = name.strip()
        if not name or any(selection.name == name for selection in self._edited.every):
            return Refusal(f"the name {name!r} is empty or taken")
        self._edit(replace(self.current, name=name))
        return f"renamed to {name}"

    def remove(self) -> str:
        """Remove the active selection; the last one becomes empty."""
        gone = self._edited.active
        kept = (*self._edited.every[:gone], *self._edited.every[gone + 1 :]) or (fresh(()),)
        name = self.current.name
        self._commit(Selections(kept, min(gone, len(kept) - 1)))
        return f"removed {name}"

    def clear(self) -> str:
        """Take all clicks of the active selection away."""
        self._edit(replace(self.current, clicks=()))
        return f"cleared {self.current.name}"

    def undo(self) -> str:
        """Take the last edit back."""
        if not self._undo:
            return Refusal("nothing to undo")
        self._redo.append(self._edited)
        self._edited, self._sliding = self._undo.pop(), None
        return f"undone; {self._told()}"

    def redo(self) -> str:
        """Do again what was undone last."""
        if not self._redo:
            return Refusal("nothing to redo")
        self._undo.append(self._edited)
        self._edited, self._sliding = self._redo.pop(), None
        return f"done again; {self._told()}"

    def save(self, path: Path) -> str:
        """Write all selections to a file.

        Raises:
            InputError: it cannot be written.
        """
        save_selections(path, self._edited, self.fingerprint)
        return f"saved {path}"

    def load(self, path: Path) -> str:
        """Take all selections from a file; an edit like any other, which can be undone.

        Raises:
            InputError: no selection file of this feature field; the selections stay as they are.
        """
        self._commit(load_selections(path, self.fingerprint, self.model.config.features.dim))
        return f"{len(self._edited.every)} selections from {path}"

    # Inside

    def _frame(self) -> RenderedView:
        if self.frame is None:
            raise RuntimeError("look() at something first")
        return self.frame

    def _hits(self, points: Sequence[tuple[float, float]], accept: bool) -> tuple[Click, ...] | Refusal:
        """What is seen at points of the frame; in words, that it is nothing."""
        frame = self._frame()
        inside = [(x, y) for x, y in points if 0 <= x < frame.width and 0 <= y < frame.height]
        if not inside:
            return Refusal("outside the picture: nothing was clicked")
        clicks = seen_at(self.renderer, frame.cameras, inside, accept)
        return clicks or Refusal("nothing is there: click on something solid")

    def _add(self, clicks: tuple[Click, ...], replaces: bool) -> str:
        before = self.current.clicks
        self._edit(replace(self.current, clicks=clicks if replaces else (*before, *clicks)))
        if not any(click.accept for click in self.current.clicks):
            return "taken away; click on something to select, too"
        if not before and (likely := main_plateau(self.levels())):
            self._edited = self._with(replace(self.current, threshold=likely.threshold))
        return self._told()

    def _at(self, found: Sequence[Plateau], plateau: Plateau) -> str:
        self._edit(replace(self.current, threshold=plateau.threshold))
        return f"level {found.index(plateau) + 1} of {len(found)}: {self._told()}"

    def _told(self) -> str:
        selection = self.current
        if self.frame is None or not selection.clicks:
            return f"{selection.name}: {len(selection.clicks)} clicks"
        return f"{selection.name}: {int(self.mask().sum())} pixels at threshold {selection.threshold:.3f}"

    def _with(self, selection: Selection) -> Selections:
        every = list(self._edited.every)
        every[self._edited.active] = selection
        return replace(self._edited, every=tuple(every))

    def _edit(self, selection: Selection, sliding: str | None = None) -> None:
        self._commit(self._with(selection), sliding)

    def _commit(self, edited: Selections, sliding: str | None = None) -> None:
        """Make an edit that can be undone; one that continues the slide of a slider joins the edit before."""
        if sliding is None or sliding != self._sliding:
            self._undo = [*self._undo[-_MOST_UNDONE:], self._edited]
        self._edited, self._sliding, self._redo = edited, sliding, []


def _scores_alike(a: Selection, b: Selection) -> bool:
    return a.clicks is b.clicks and a.spatial_weight == b.spatial_weight
