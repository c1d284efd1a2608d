"""Gestures of the mouse: a click, a drag, a box or a stroke, from presses, moves and releases.

The mouse is given in pixels of the window's picture: x right, y down from its upper left corner. Points of a gesture
are fractions (x, y) of the pane in which it began, so that they hold at any size of the rendered view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from omniseg.viewer.panes import Pane

Button = Literal["left", "middle", "right"]
Tool = Literal["click", "box", "stroke"]
Point: TypeAlias = tuple[float, float]

CLICK_TOLERANCE = 4.0
"""Pixels that the mouse may move between press and release of a click, along x and along y."""


@dataclass(frozen=True)
class ClickGesture:
    """A click on a point of the pane; `accept` is False where it takes away."""

    point: Point
    accept: bool


@dataclass(frozen=True)
class DragGesture:
    """A move of the mouse that moves the camera.

    Attributes:
        kind: the move of the camera.
        dx, dy: pixels since the last one.
        pane: the one in which the drag began.
    """

    kind: Literal["orbit", "pan", "zoom"]
    dx: float
    dy: float
    pane: Pane


@dataclass(frozen=True)
class BoxGesture:
    """A box from one corner to the opposite one."""

    start: Point
    end: Point


@dataclass(frozen=True)
class StrokeGesture:
    """A stroke through at least two points; `accept` is False where it takes away."""

    points: tuple[Point, ...]
    accept: bool


Gesture: TypeAlias = ClickGesture | DragGesture | BoxGesture | StrokeGesture


@dataclass
class _Press:
    """A button that is down, and the way of the mouse since."""

    button: Button
    tool: Tool
    accept: bool
    pane: Pane
    start: Point
    last: Point
    has_moved: bool = False
    points: list[Point] = field(default_factory=list)

    @property
    def drag_kind(self) -> Literal["orbit", "pan", "zoom"]:
        if self.button == "right":
            return "zoom"
        return "orbit" if self.accept else "pan"


class Gestures:
    """The state of the mouse between press and release.

    A drag is reported move by move, everything else on release. While a button is down, others are ignored.
    """

    def __init__(self) -> None:
        self._press: _Press | None = None

    @property
    def is_active(self) -> bool:
        """True while a button is down."""
        return self._press is not None

    @property
    def sketch(self) -> BoxGesture | StrokeGesture | None:
        """The box or stroke that is being drawn."""
        press = self._press
        if press is None or not press.points:
            return None
        if press.tool == "box":
            return BoxGesture(press.points[0], press.points[-1])
        return StrokeGesture(tuple(press.points), press.accept)

    def press(
        self, button: Button, x: float, y: float, pane: Pane, *, tool: Tool = "click", reject: bool = False
    ) -> None:
        """Put a button down.

        Args:
            button: of the mouse.
            x, y: mouse, pixels.
            pane: the one under the mouse.
            tool: "box": a drag of the left button draws a box; "stroke": one of the left or right button draws a
                stroke. All other drags move the camera.
            reject: make the left button take away, or pan in a drag; the right one always takes away.
        """
        if self.is_active:
            return
        accept = button == "left" and not reject
        if (tool == "box" and not accept) or button == "middle":
            tool = "click"
        self._press = _Press(button, tool, accept, pane, (x, y), (x, y))

    def move(self, x: float, y: float) -> DragGesture | None:
        """Move the mouse, button down or not. Returns how a drag goes on."""
        press = self._press
        if press is None or (x, y) == press.last:
            return None
        if not press.has_moved and max(abs(x - press.start[0]), abs(y - press.start[1])) <= CLICK_TOLERANCE:
            return None
        (last_x, last_y), press.last = press.last, (x, y)
        is_first, press.has_moved = not press.has_moved, True
        if press.tool == "click":
            return DragGesture(press.drag_kind, x - last_x, y - last_y, press.pane)
        if is_first:
            press.points.append(press.pane.fractions(last_x, last_y))
        press.points.append(press.pane.fractions(x, y))
        return None

    def release(self, x: float, y: float) -> Gesture | None:
        """Let the button go. Returns the gesture that ends here: a click, a box, a stroke, or a drag's last move."""
        drag = self.move(x, y)
        sketch, press, self._press = self.sketch, self._press, None
        if press is None or press.has_moved:
            return sketch or drag
        return None if press.button == "middle" else ClickGesture(press.pane.fractions(*press.start), press.accept)
