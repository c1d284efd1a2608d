"""The controller of a viewer: mouse, keys and buttons in, pictures and messages out. No window library here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from omniseg.api.run import Run
from omniseg.errors import InputError, NothingThere, Refused
from omniseg.rendering.view import RenderedView
from omniseg.run_folder import SEGMENTS
from omniseg.selection.segment_selection import select_segment
from omniseg.selection.selections import Selections
from omniseg.selection.session import Edit, SegmentationSession
from omniseg.selection.survey import feature_colours
from omniseg.viewer.downloads import Download
from omniseg.viewer.gestures import (
    BoxGesture,
    Button,
    ClickGesture,
    DragGesture,
    Gesture,
    Gestures,
    StrokeGesture,
    Tool,
)
from omniseg.viewer.live_view import LiveView, SegmentLayer
from omniseg.viewer.run_files import RunFiles

TOOL_HELP: dict[Tool, str] = {
    "click": "click on something to select it",
    "box": "drag a box around something to select it",
    "stroke": "drag a stroke over something to select it",
}
"""Message about each tool."""


@dataclass(frozen=True)
class Message:
    """A sentence for the person at the window; `is_refusal` where nothing was done."""

    text: str
    is_refusal: bool = False


@dataclass
class ExitGuard:
    """Keeps selections from being lost: a close that would lose some is refused once.

    Attributes:
        saved: selections as they are on disk.
        refused_for: selections for which a close was refused last.
    """

    saved: Selections
    refused_for: Selections | None = None

    def check(self, selections: Selections) -> None:
        """Check that the window can be closed.

        Raises:
            Refused: these selections have clicks, are not saved, and this is the first time that they are refused.
        """
        if selections in (self.saved, self.refused_for) or not has_clicks(selections):
            return
        self.refused_for = selections
        raise Refused("selections are not saved (Ctrl+S): press Escape again to close without them")


class Controller:
    """Joins the session, the live view and the mouse.

    A window passes mouse events to `press`, `move` and `release`, runs keys and buttons (omniseg/viewer/actions.py) by
    `act`, calls `update` again and again, and shows `picture` and `message`.

    Attributes:
        session: all segmentation happens there.
        live: the camera and its picture.
        gestures: state of the mouse.
        files: of the run folder.
        exit_guard: refuses to lose selections.
        tool: what a drag of the mouse draws.
        click_selects: if False, clicks, boxes and strokes are refused.
        show_help: whether the help is open.
        should_close: whether the window is to be closed.
        pending: action to do as soon as the picture is sharp.
        downloads: files that a browser is to be given.
        progress: whether actions that take seconds show progress bars.
        message: answer to the last gesture, key or button.
    """

    def __init__(self, session: SegmentationSession, live: LiveView, folder: Path, *, progress: bool = True) -> None:
        self.session, self.live, self.files = session, live, RunFiles(folder)
        self.progress = progress
        self.gestures = Gestures()
        self.exit_guard = ExitGuard(saved=session.selections)
        self.tool: Tool = "click"
        self.click_selects = True
        self.show_help = self.should_close = False
        self.pending: Action | None = None
        self.downloads: list[Download] = []
        self.message = Message(TOOL_HELP["click"])

    @classmethod
    def from_run(
        cls,
        run: Run,
        *,
        render_width: int | None = None,
        budget: float = 0.03,
        first: float | None = None,
        progress: bool = True,
    ) -> Controller:
        """Return the controller of a trained run, with its automatic segments if it has some.

        Args:
            run: with features.
            render_width, budget, first: see `LiveView`.
            progress: show progress bars.
        Raises:
            InputError: the model has no features, or a file of the run folder cannot be read.
        """
        session = run.session()
        colours = feature_colours(run.model, progress=progress)
        views = run.model.viewpoints
        live = LiveView(session, colours, views, render_width=render_width, budget=budget, first=first)
        if (run.path / SEGMENTS).exists():
            live.set_tree(run.segment_tree(progress=progress))
        return cls(session, live, run.path, progress=progress)

    def beside(self, *, shares_session: bool) -> Controller:
        """Return a controller of the same run for another person, who has a camera of their own.

        Args:
            shares_session: whether both work on the same selections, with one undo for both. Each of them must then
                call `take_turn` before anything else.
        """
        session, live = self.session, self.live
        if not shares_session:
            session = SegmentationSession(session.model, session.fingerprint)
        options = {"render_width": live.render_width, "budget": live.budget, "first": live.first}
        other = LiveView(session, live.colours, live.viewpoints, **options)
        if live.segments is not None:
            other.segments = SegmentLayer(live.segments.tree, live.segments.level)
        return Controller(session, other, self.files.folder, progress=self.progress)

    def take_turn(self) -> None:
        """Make the session look at this person's view, where several share a session."""
        self.live.take_turn()

    def update(self) -> bool:
        """Render a little; do a pending action once the picture is sharp. Returns whether there is more to render."""
        more = self.live.render()
        if self.pending is not None and not more:
            action, self.pending = self.pending, None
            self.act(action)
        return more

    def picture(self) -> np.ndarray:
        """Return the picture to show, (height, width, 3) uint8; the same array for as long as nothing changes."""
        return self.live.picture(self.gestures.sketch)

    def level(self) -> tuple[int, int]:
        """Return the level of the active selection in the picture, the nearest one, and the number of levels."""
        found = self.session.levels()
        threshold = self.session.current.threshold
        nearest = min(range(len(found)), key=lambda level: abs(found[level].threshold - threshold), default=0)
        return nearest, len(found)

    def act(self, action: Action) -> None:
        """Do an action and set `message` to what it returns, or to why it is refused."""
        try:
            self.message = Message(str(action(self)))
        except InputError as error:
            self.message = Message(str(error), is_refusal=True)

    # The mouse: x right, y down from the upper left corner of the picture, pixels

    def press(self, button: Button, x: float, y: float, reject: bool = False) -> None:
        """Put a button down, or only close the help if it is open; `reject`: shift or control is held."""
        if self.show_help:
            self.show_help = False
            return
        if not self.gestures.is_active:
            self.live.focus()  # a drag turns around what it finds in the middle
        tool = self.tool if self.click_selects else "click"
        self.gestures.press(button, x, y, self.live.pane_at(x, y), tool=tool, reject=reject)

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.perform(self.gestures.move(x, y))

    def release(self, x: float, y: float) -> None:
        """Let the button go."""
        self.perform(self.gestures.release(x, y))

    def perform(self, gesture: Gesture | None) -> None:
        """Move the camera by a drag; select by a click, a box or a stroke."""
        if isinstance(gesture, DragGesture):
            self.live.drag(gesture)
        elif gesture is not None:
            self.act(lambda controller: controller._select(gesture))

    def _select(self, gesture: ClickGesture | BoxGesture | StrokeGesture) -> Edit:
        view, session = self.session.view, self.session
        if view is None:
            raise Refused("the first picture is not there yet: wait a moment")
        if not self.click_selects:
            raise Refused("clicks are switched off: tick 'click selects'")

        def pixel(point: tuple[float, float]) -> tuple[float, float]:
            return point[0] * view.width, point[1] * view.height

        if isinstance(gesture, ClickGesture):
            layer = self.live.segments if self.live.shown == "segments" else None
            if layer is not None and gesture.accept:
                return self._take_segment(layer, view, *pixel(gesture.point))
            return session.click(*pixel(gesture.point), accept=gesture.accept)
        if isinstance(gesture, BoxGesture):
            return session.box(*pixel(gesture.start), *pixel(gesture.end))
        return session.scribble([pixel(point) for point in gesture.points], accept=gesture.accept)

    def _take_segment(self, layer: SegmentLayer, view: RenderedView, x: float, y: float) -> Edit:
        """Select the automatic segment at a pixel; a selection that has clicks stays, and a new one begins."""
        inside = 0 <= x < view.width and 0 <= y < view.height
        number = int(layer.ids(view)[int(y), int(x)]) if inside else 0
        if not number:
            raise NothingThere("no segment is there; click on one")
        session = self.session
        if session.current.clicks:
            session.new_selection()
        found, iou = select_segment(layer.cut(), number, session.current)
        edit = session.replace(found)
        return replace(edit, action=f"segment {number} of level {layer.level}, {iou:.0%} alike")


Action: TypeAlias = Callable[[Controller], str | Edit]
"""Something that a key or a button does: returns the message, or raises InputError if it cannot be done."""


def has_clicks(selections: Selections) -> bool:
    """Return whether any of the selections has clicks, accepted or rejected."""
    return any(selection.clicks for selection in selections.all)
