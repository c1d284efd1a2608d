"""The keys of a workbench, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from omniseg.selection.session import Edit
from omniseg.viewer.controller import Workbench


@dataclass(frozen=True)
class Control:
    """Something that a key and a button do.

    Attributes:
        label: of the button, its key included.
        key: lower case, "ctrl+" before it where that is held.
        do: answers in words.
    """

    label: str
    key: str
    do: Callable[[Workbench], str | Edit]


EDITS = (
    Control("undo  U", "u", lambda bench: bench.session.undo()),
    Control("redo  Y", "y", lambda bench: bench.session.redo()),
    Control("larger  Up", "up", lambda bench: bench.session.step_level(1)),
    Control("smaller  Down", "down", lambda bench: bench.session.step_level(-1)),
    Control("clear edit  C", "c", lambda bench: bench.session.clear()),
    Control("new  N", "n", lambda bench: bench.session.new_selection()),
    Control("next  Tab", "tab", Workbench.next_selection),
    Control("remove  BackSpace", "backspace", lambda bench: bench.session.remove()),
)
FILES = (
    Control("save  Ctrl+S", "ctrl+s", Workbench.save),
    Control("load  Ctrl+L", "ctrl+l", Workbench.load),
    Control("export  X", "x", Workbench.export),
    Control("screenshot  P", "p", Workbench.screenshot),
    Control("segment all  G", "g", Workbench.segment_all),
    Control("photo before  Left", "left", lambda bench: bench.step_photo(-1)),
    Control("photo after  Right", "right", lambda bench: bench.step_photo(1)),
    Control("help  H", "h", Workbench.toggle_help),
    Control("leave  Escape", "escape", Workbench.leave),
)
MULTI = Control("multi-click  M", "m", Workbench.toggle_multi)
BOX = Control("box  B", "b", lambda bench: bench.use("box"))
STROKE = Control("stroke  T", "t", lambda bench: bench.use("stroke"))
BINARY = Control("binary mask  F", "f", Workbench.toggle_binary)
NEXT_PICTURE = Control("next picture  Space", " ", Workbench.next_shown)

KEYS = {control.key: control.do for control in (*EDITS, *FILES, MULTI, BOX, STROKE, BINARY, NEXT_PICTURE)}
KEYS |= {"ctrl+z": KEYS["u"], "ctrl+y": KEYS["y"]}
"""What each key does."""

HELP = """\
left click            select what is there
  shift, ctrl, right  take it away instead
left drag             turn the scene
middle or shift drag  move sideways
right drag, I, O      nearer, farther (Taichi's windows
                      hear nothing of a mouse wheel)
W A S D Q E           fly: ahead left back right down up
Left, Right           to the photo before, after

Up, Down              larger, smaller: part - object - group
U or Ctrl+Z           undo
Y or Ctrl+Y           redo
C                     clear this selection
N, Tab, BackSpace     new, next, remove selection
M                     multi-click: add to the clicks before
B                     box: drag it around something
T                     stroke: drag it over something;
  shift or right      take away instead

Space                 next picture
F                     mask of the selections, or heat
G                     find segments of everything, once
Ctrl+S, Ctrl+L        save, load RUN/selections.json
X                     masks, cut-outs to RUN/exports
P                     picture to RUN/screenshots
H, Escape             this help, leave"""
