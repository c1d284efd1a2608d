"""One session of clicking: all the logic behind windows, commands, Python and the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from omniseg.cameras import Cameras
from omniseg.errors import NothingThere, Refused
from omniseg.rendering.view import RenderedView, render_view
from omniseg.run_folder import Model
from omniseg.selection.prompts import clicks_at, fit_box, points_along, points_in_box
from omniseg.selection.query import Click, Plateau, main_plateau, plateaus
from omniseg.selection.selections import (
    Selection,
    Selections,
    empty_selection,
    labels_from_masks,
    load_selections,
    save_selections,
)

Mode = Literal["single", "multi"]
"""Effect of an accepted click on the clicks before it: "single" replaces them, "multi" adds to them."""

_MOST_UNDONE = 256


@dataclass(frozen=True)
class Edit:
    """Result of an edit; as text, one sentence for a person.

    Attributes:
        selection: the active selection after the edit.
        n_pixels: number of pixels of the current view that it selects; None before a view is shown.
        level, n_levels: the chosen level, from 0, and the number of levels; None where no level was chosen.
        action: the deed, where the selection alone does not show it, such as "undone".
    """

    selection: Selection
    n_pixels: int | None
    level: int | None = None
    n_levels: int | None = None
    action: str = ""

    def __str__(self) -> str:
        selection = self.selection
        if not selection.clicks:
            message = f"{selection.name}: no clicks"
        elif selection.is_empty:
            message = f"{selection.name}: only rejected clicks, nothing is selected; click on something to select"
        elif self.n_pixels is None:
            message = f"{selection.name}: {len(selection.clicks)} click{'s' * (len(selection.clicks) != 1)}"
        else:
            message = f"{selection.name}: {self.n_pixels} pixels at threshold {selection.threshold:.3f}"
        if self.level is not None and self.n_levels is not None:
            message += f", level {self.level} of 0 to {self.n_levels - 1}"
        return f"{self.action}; {message}" if self.action else message


@dataclass(frozen=True)
class Mark:
    """A click of the active selection that the current view shows, at x, y in its pixels."""

    x: float
    y: float
    accept: bool


class SegmentationSession:
    """Turns clicks into selections in 3D, which hold in every view.

    An edit returns an `Edit`. One that cannot be done raises `Refused` or `NothingThere` and changes nothing. Points
    are in pixels of the current view, as in docs/conventions.md: x right, y down, the centre of the first pixel at
    (0.5, 0.5). Levels are numbered from 0, the smallest selection.

    Args:
        model: with a feature field; the session follows its `config.levels` and `config.prompts`.
        fingerprint: identifies the feature field in selection files (`run_folder.fingerprint`).
    Attributes:
        mode: "single": an accepted click replaces the clicks before it; "multi": it adds to them.
        view: the current view; None before the first one.
    Raises:
        ValueError: the model has no feature field.
    """

    def __init__(self, model: Model, fingerprint: str) -> None:
        if model.features is None:
            raise ValueError("model: expected one with a feature field")
        self.model, self.fingerprint = model, fingerprint
        self.renderer = model.renderer
        self.mode: Mode = "single"
        self.view: RenderedView | None = None
        self._selections = Selections((self._empty(()),))
        self._undo: list[Selections] = []
        self._redo: list[Selections] = []
        self._sliding: str | None = None
        self._scored: tuple[RenderedView, Selection, Tensor] | None = None

    def __repr__(self) -> str:
        return f"SegmentationSession({self.view}, {len(self.selections.all)} selections, current: {self.current})"

    # The current view

    def look(self, cameras: Cameras, view: int = 0, *, name: str = "") -> RenderedView:
        """Render one of these cameras and make it the current view."""
        self.view = render_view(self.renderer, cameras, view, name=name)
        return self.view

    def show(self, view: RenderedView) -> None:
        """Make a view that was rendered elsewhere the current one."""
        self.view = view

    @property
    def selections(self) -> Selections:
        """All selections."""
        return self._selections

    @property
    def current(self) -> Selection:
        """The active selection."""
        return self._selections.current

    def score(self) -> np.ndarray:
        """Return the score (height, width) float32 in [0, 1] of the active selection; 0 where nothing is seen."""
        view = self._current_view()
        return self._scores().clone().view(view.height, view.width).cpu().numpy()

    def mask(self) -> np.ndarray:
        """Return which pixels of the current view the active selection selects, (height, width) bool."""
        view = self._current_view()
        return self.current.clean(self._selected().view(view.height, view.width).cpu().numpy(), view)

    def labels(self) -> np.ndarray:
        """Return the number uint8, from 1, of the selection that each pixel (height, width) is in; 0: none.

        A pixel in several selections gets the number of the last one.
        """
        view = self._current_view()
        masks = [
            self.mask() if number == self._selections.active else selection.mask(view)
            for number, selection in enumerate(self._selections.all)
        ]
        return labels_from_masks(masks)

    def marks(self) -> list[Mark]:
        """Return the clicks of the active selection that the current view shows."""
        view, clicks = self._current_view(), self.current.clicks
        if not clicks:
            return []
        margin = self.model.config.prompts.hidden_margin
        positions = view.positions.new_tensor([click.position for click in clicks])
        xy, _, inside = view.cameras.project(positions)
        found, seen = [], view.rendering.distance
        for (x, y), visible, position, click in zip(xy[0].tolist(), inside[0].tolist(), positions, clicks):
            if not visible:
                continue
            pixel = min(int(y), view.height - 1) * view.width + min(int(x), view.width - 1)
            distance = float((position - view.cameras.c2w[0, :, 3]).norm())
            if not view.solid[pixel] or distance <= float(seen[pixel]) * (1 + margin):
                found.append(Mark(x, y, click.accept))
        return found

    # Clicks

    def click(self, x: float, y: float, accept: bool = True) -> Edit:
        """Accept or reject what is seen at a point.

        In single mode an accepted click replaces the clicks before it. The first click of a selection also chooses
        its level, see `query.main_plateau`.

        Raises:
            Refused: the point lies outside the view.
            NothingThere: nothing solid is seen there.
        """
        return self._add(self._hits([(x, y)], accept), replaces=self.mode == "single" and accept)

    def scribble(self, points: Sequence[tuple[float, float]], accept: bool = True) -> Edit:
        """Accept or reject what lies along a stroke through these points (x, y).

        Raises:
            Refused: the stroke lies outside the view.
            NothingThere: nothing solid is seen along it.
        """
        clicks = self._hits(points_along(points, self.model.config.prompts), accept)
        return self._add(clicks, replaces=self.mode == "single" and accept)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> Edit:
        """Select what fills a box and stays inside it, with the best of a grid of clicks in the box.

        Raises:
            Refused: the box lies outside the view or is smaller than 2 x 2 pixels.
            NothingThere: nothing solid is seen in it.
        """
        view, config = self._current_view(), self.model.config.prompts
        (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
        x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(view.width)), min(y1, float(view.height))
        if x1 - x0 < 2 or y1 - y0 < 2:
            raise Refused("the box lies outside the picture or is smaller than 2 x 2 pixels; draw a larger one")
        box = x0, y0, x1, y1
        clicks = self._hits(points_in_box(box, config.box_grid), True)
        click, threshold = fit_box(view, clicks, box, self.current.spatial_weight, config)
        kept = () if self.mode == "single" else self.current.clicks
        self._change(replace(self.current, clicks=(*kept, click), threshold=threshold))
        return self._result()

    def replace(self, selection: Selection) -> Edit:
        """Replace the active selection by another one, such as a segment of everything."""
        self._change(selection)
        return self._result()

    def clear(self) -> Edit:
        """Remove all clicks of the active selection."""
        self._change(replace(self.current, clicks=()))
        return self._result("cleared")

    # Threshold and level

    def set_threshold(self, threshold: float) -> Edit:
        """Set the threshold, clipped to [0, 1]. Undo takes all values of one slide of a slider back at once."""
        self._change(replace(self.current, threshold=min(max(threshold, 0.0), 1.0)), sliding="threshold")
        return self._result()

    def set_spatial_weight(self, weight: float) -> Edit:
        """Set how fast the score falls with the distance from a click, 1 / scene unit, at least 0."""
        self._change(replace(self.current, spatial_weight=max(weight, 0.0)), sliding="spatial_weight")
        return self._result()

    def levels(self) -> tuple[Plateau, ...]:
        """Return the levels of the active selection in the current view, from part to group."""
        if not self.current.clicks:
            return ()
        return plateaus(self._scores()[self._current_view().solid], self.model.config.levels)

    def step_level(self, by: int) -> Edit:
        """Go to the next larger (+1) or smaller (-1) level, or several further.

        Raises:
            Refused: there is no further level.
        """
        found = self._levels()
        count, factor = int(self._selected().sum()), self.model.config.levels.min_step
        larger = [plateau for plateau in found if plateau.count > factor * count]
        smaller = [plateau for plateau in found if plateau.count < count / factor][::-1]
        ahead = larger if by > 0 else smaller
        if not ahead:
            raise Refused(f"this is the {'largest' if by > 0 else 'smallest'} level here")
        return self._choose(found, ahead[min(abs(by), len(ahead)) - 1])

    def set_level(self, level: int) -> Edit:
        """Go to a level by its number, from 0, the smallest; a number beyond the last level means the last.

        Raises:
            Refused: there are no levels.
        """
        found = self._levels()
        return self._choose(found, found[min(max(level, 0), len(found) - 1)])

    # Several selections

    def new_selection(self, name: str | None = None) -> Edit:
        """Add an empty selection and make it the active one; it gets a new name where `name` is None or taken."""
        before = self._selections.all
        self._commit(Selections((*before, self._empty(before, name)), len(before)))
        return self._result("new selection")

    def activate(self, number: int) -> Edit:
        """Make another selection the active one, by its index.

        Raises:
            Refused: there is no such selection.
        """
        if not 0 <= number < len(self._selections.all):
            raise Refused(f"there is no selection {number + 1}, only {len(self._selections.all)}")
        self._commit(replace(self._selections, active=number))
        return self._result()

    def rename(self, name: str) -> Edit:
        """Give the active selection another name.

        Raises:
            Refused: the name is empty or taken.
        """
        name = name.strip()
        if not name or any(selection.name == name for selection in self._selections.all):
            raise Refused(f"the name {name!r} is empty or taken; choose another one")
        self._change(replace(self.current, name=name))
        return self._result("renamed")

    def remove(self) -> Edit:
        """Remove the active selection; the last one is replaced by an empty one."""
        removed, before = self._selections.active, self._selections.all
        kept = (*before[:removed], *before[removed + 1 :]) or (self._empty(()),)
        name = self.current.name
        self._commit(Selections(kept, min(removed, len(kept) - 1)))
        return self._result(f"removed {name}")

    # History and files

    def undo(self) -> Edit:
        """Take the last edit back.

        Raises:
            Refused: there is none.
        """
        if not self._undo:
            raise Refused("nothing to undo")
        self._redo.append(self._selections)
        self._selections, self._sliding = self._undo.pop(), None
        return self._result("undone")

    def redo(self) -> Edit:
        """Repeat the edit that was taken back last.

        Raises:
            Refused: there is none.
        """
        if not self._redo:
            raise Refused("nothing to redo")
        self._undo.append(self._selections)
        self._selections, self._sliding = self._redo.pop(), None
        return self._result("redone")

    def save(self, path: str | Path) -> None:
        """Write all selections to a file.

        Raises:
            InputError: it cannot be written.
        """
        save_selections(Path(path), self._selections, self.fingerprint)

    def load(self, path: str | Path) -> Edit:
        """Replace all selections by those of a file, which can be undone.

        Raises:
            InputError: it is not a selection file of this feature field; the selections stay as they are.
        """
        self._commit(load_selections(Path(path), self.fingerprint, self.model.config.features.dim))
        count = len(self._selections.all)
        return self._result(f"loaded {count} selection{'s' * (count != 1)} from {path}")

    # Private

    def _empty(self, existing: Sequence[Selection], name: str | None = None) -> Selection:
        """Return a new selection without clicks, with the configured treatment of small pieces."""
        return replace(empty_selection(existing, name), min_piece=self.model.config.masks.min_piece)

    def _current_view(self) -> RenderedView:
        if self.view is None:
            raise RuntimeError("the session has no view yet: call look() or show() first")
        return self.view

    def _scores(self) -> Tensor:
        """Return the score (pixels,) of the active selection, computed once for each view and each set of clicks."""
        view, selection = self._current_view(), self.current
        if self._scored is None or self._scored[0] is not view or not _score_alike(self._scored[1], selection):
            found = torch.where(view.solid, selection.score(view.unit_features, view.positions), 0.0)
            self._scored = view, selection, found
        return self._scored[2]

    def _selected(self) -> Tensor:
        """Return which pixels (pixels,) score enough for the active selection, small pieces included."""
        return self.current.above(self._scores())

    def _hits(self, points: Sequence[tuple[float, float]], accept: bool) -> tuple[Click, ...]:
        """Return clicks on what is seen at points of the view, at least one."""
        view = self._current_view()
        inside = [(x, y) for x, y in points if 0 <= x < view.width and 0 <= y < view.height]
        if not inside:
            raise Refused(f"outside the picture, which is {view.width} x {view.height} pixels")
        clicks = clicks_at(self.renderer, view, inside, accept)
        if not clicks:
            raise NothingThere("nothing is there; click on something solid")
        return clicks

    def _add(self, clicks: tuple[Click, ...], replaces: bool) -> Edit:
        before = self.current.clicks
        self._change(replace(self.current, clicks=clicks if replaces else (*before, *clicks)))
        if before or self.current.is_empty:
            return self._result()
        found = self.levels()
        likely = main_plateau(found, self.model.config.levels)
        if likely is None:
            return self._result()
        self._selections = self._selections.replace_current(replace(self.current, threshold=likely.threshold))
        return replace(self._result(), level=found.index(likely), n_levels=len(found))

    def _levels(self) -> tuple[Plateau, ...]:
        """Return the levels, at least one."""
        found = self.levels()
        if not found:
            raise Refused("there are no levels here; click on something in this view first")
        return found

    def _choose(self, found: Sequence[Plateau], plateau: Plateau) -> Edit:
        self._change(replace(self.current, threshold=plateau.threshold))
        return replace(self._result(), level=found.index(plateau), n_levels=len(found))

    def _result(self, action: str = "") -> Edit:
        """Describe the selections as they are after an edit."""
        if self.view is None:
            return Edit(self.current, None, action=action)
        count = 0 if self.current.is_empty else int(self.mask().sum())
        return Edit(self.current, count, action=action)

    def _change(self, selection: Selection, sliding: str | None = None) -> None:
        self._commit(self._selections.replace_current(selection), sliding)

    def _commit(self, selections: Selections, sliding: str | None = None) -> None:
        """Make an edit that can be undone; one that continues the slide of a slider joins the edit before it."""
        if sliding is None or sliding != self._sliding:
            self._undo = [*self._undo[-_MOST_UNDONE:], self._selections]
        self._selections, self._sliding, self._redo = selections, sliding, []


def _score_alike(a: Selection, b: Selection) -> bool:
    return a.clicks is b.clicks and a.spatial_weight == b.spatial_weight
