"""Keys and buttons of a viewer: labels, actions, and the help."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from omniseg.viewer import actions
from omniseg.viewer.controller import Action
from omniseg.viewer.live_view import LiveView

FLY_SPEED = 0.6
"""Speed of flight, scene units per second."""
MAX_SPATIAL_WEIGHT = 10.0
"""Right end of the slider of the spatial weight, 1 / scene unit."""
ZOOM_SPEED = 8.0
"""Speed of zooming by keys, steps per second."""
_FLY = {
    "w": (1, 0, 0),
    "s": (-1, 0, 0),
    "d": (0, 1, 0),
    "a": (0, -1, 0),
    "e": (0, 0, 1),
    "q": (0, 0, -1),
}
_ZOOM = {"i": 1, "o": -1}
HELD_KEYS = frozenset((*_FLY, *_ZOOM))
"""Keys that move the camera while they are down."""


def hold(live: LiveView, keys: Set[str], seconds: float) -> None:
    """Move the camera by those of `HELD_KEYS` that were down for so many seconds."""
    for key in keys & _FLY.keys():
        forward, right, up = (FLY_SPEED * seconds * direction for direction in _FLY[key])
        live.camera = live.camera.fly(forward, right, up)
    if steps := sum(_ZOOM[key] for key in keys & _ZOOM.keys()):
        live.focus()
        live.camera = live.camera.zoom(ZOOM_SPEED * seconds * steps)


@dataclass(frozen=True)
class Control:
    """An action with a button and a key.

    Attributes:
        label: text of the button, with the key.
        key: in lower case; with Control "ctrl+" comes first.
        action: for `Controller.act`.
    """

    label: str
    key: str
    action: Action


EDITS = (
    Control("undo  U", "u", lambda controller: controller.session.undo()),
    Control("redo  Y", "y", lambda controller: controller.session.redo()),
    Control("larger  Up", "up", lambda controller: controller.session.step_level(1)),
    Control("smaller  Down", "down", lambda controller: controller.session.step_level(-1)),
    Control("clear clicks  C", "c", lambda controller: controller.session.clear()),
    Control("new selection  N", "n", lambda controller: controller.session.new_selection()),
    Control("next  Tab", "tab", actions.next_selection),
    Control("remove  Backspace", "backspace", lambda controller: controller.session.remove()),
)
"""Buttons that edit the selections."""
FILES = (
    Control("save  Ctrl+S", "ctrl+s", actions.save),
    Control("load  Ctrl+L", "ctrl+l", actions.load),
    Control("export  X", "x", actions.export),
    Control("screenshot  P", "p", actions.screenshot),
    Control("segment all  G", "g", actions.segment_all),
    Control("previous photo  Left", "left", lambda controller: actions.step_photo(controller, -1)),
    Control("next photo  Right", "right", lambda controller: actions.step_photo(controller, 1)),
    Control("help  H", "h", actions.toggle_help),
    Control("close  Escape", "escape", actions.close),
)
"""Buttons of views and files."""
MULTI = Control("multi-click  M", "m", actions.toggle_multi)
BOX = Control("box  B", "b", lambda controller: actions.toggle_tool(controller, "box"))
STROKE = Control("stroke  T", "t", lambda controller: actions.toggle_tool(controller, "stroke"))
MASK = Control("show mask  F", "f", actions.toggle_mask)
NEXT_PICTURE = Control("next picture  Space", " ", actions.show_next)

KEYS = {control.key: control.action for control in (*EDITS, *FILES, MULTI, BOX, STROKE, MASK, NEXT_PICTURE)}
KEYS |= {"ctrl+z": KEYS["u"], "ctrl+y": KEYS["y"]}
"""Action of each key that acts once."""

HELP = """\
left click              select what is there
  with Shift or Ctrl    take it away
right click             take it away
left drag               turn around the middle of the picture
middle or Shift drag    move sideways
right drag, I, O        zoom in and out
W A S D, Q E            fly; down and up
Left, Right             previous, next photo's viewpoint

Up, Down                larger, smaller: part - object - group
U or Ctrl+Z             undo
Y or Ctrl+Y             redo
C                       clear the clicks of this selection
N, Tab, Backspace       new, next, remove selection
M                       multi-click: add to earlier clicks
B                       box: drag it around something
T                       stroke: drag it over something
  Shift or right drag   take that away

Space                   next kind of picture
F                       show the mask, or the score as heat
G                       segment everything; slow at first
Ctrl+S, Ctrl+L          save, load RUN/selections.json
X                       masks and cut-outs to RUN/exports
P                       picture to RUN/screenshots
H, Escape               this help, close the window"""
"""Text of the help."""
