"""A session in the hands of a person: mouse, keys and buttons in, pictures and words out; no window library here.

Positions are pixels of the picture that is shown: x right, y down from its upper left corner.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from omniseg.data.image_io import save_image
from omniseg.errors import InputError
from omniseg.export.masks import write_selections
from omniseg.rendering.view import ProgressiveFrames, RenderedView
from omniseg.rendering.visualize import to_uint8
from omniseg.run_folder import Viewpoints
from omniseg.selection.segment_tree import Segments, SegmentTree
from omniseg.selection.selections import SELECTIONS, Selections
from omniseg.selection.session import Edit, SegmentationSession
from omniseg.selection.tree_building import segment_everything
from omniseg.viewer.orbit_camera import Navigation
from omniseg.viewer.panels import Kind, Panels, Sketch

Shown = Literal[Kind, "all four"]
SHOWN: tuple[Shown, ...] = ("colour", "depth", "features", "score", "segments", "all four")
Button = Literal["left", "middle", "right"]
Tool = Literal["click", "box", "stroke"]

_STILL = 4.0
"""Pixels that the mouse may move between press and release of a click."""
_DRAG_STEPS, _HELD_STEPS, _SPEED = 20.0, 8.0, 0.6
"""Steps of zoom by a drag of one focal length and a second; flight, scene units a second."""
_HELD = {
    "w": (1, 0, 0),
    "s": (-1, 0, 0),
    "d": (0, 1, 0),
    "a": (0, -1, 0),
    "e": (0, 0, 1),
    "q": (0, 0, -1),
}
HELD_KEYS = frozenset((*_HELD, "i", "o"))
"""Keys that move the camera for as long as they are down: in flight, nearer and away."""


@dataclass
class _Gesture:
    """A mouse button held down over the picture, or over one of four."""

    button: Button
    modified: bool
    start: tuple[float, float]
    last: tuple[float, float]
    moved: bool = False
    drawn: list[tuple[float, float]] = field(default_factory=list)

    @property
    def accept(self) -> bool:
        return self.button == "left" and not self.modified


@dataclass(frozen=True)
class _Drawn:
    """All that a picture depends on."""

    frame: RenderedView
    selections: Selections
    others: tuple[object, ...]

    def same(self, other: _Drawn | None) -> bool:
        return (
            other is not None
            and self.frame is other.frame
            and self.selections is other.selections
            and self.others == other.others
        )


class Refusal(str):
    """Why an edit could not be done, in words; nothing was changed."""

    __slots__ = ()


class Workbench:
    """What a window shows of a session and can be told; every edit and key is answered in `message`.

    Args:
        session: that everything happens in.
        panels: of that session.
        viewpoints: of the photos, to stand at.
        folder: run folder, in which files are saved.
        finest: a picture has at most this many pixels in a row; a wider window shows it enlarged.
        tree: automatic segments, where there are any.
    """

    def __init__(
        self,
        session: SegmentationSession,
        panels: Panels,
        viewpoints: Viewpoints,
        folder: Path,
        *,
        finest: int = 4096,
        tree: SegmentTree | None = None,
    ) -> None:
        self.session, self.panels, self.viewpoints, self.folder = session, panels, viewpoints, folder
        self.finest, self.tree = finest, tree
        self.view, self.navigation = 0, Navigation.from_viewpoint(viewpoints.cameras)
        self.size: tuple[int, int] = 1, 1
        self.shown: Shown = "colour"
        self.tool: Tool = "click"
        self.selects, self.binary, self.helps, self.leaves = True, True, False, False
        self.segment_level = round(session.model.config.segment_tree.default_level)
        self.message = "click on something to select it"
        self.written: list[Path] = []
        self._frames = ProgressiveFrames(session.renderer, budget=0.03, coarsest=16)
        self._looked: tuple[Navigation, int, int] | None = None
        self._showed, self._exports = True, False
        self._gesture: _Gesture | None = None
        self._drawn: _Drawn | None = None
        self._picture = np.zeros((1, 1, 3), np.uint8)
        self._segments: tuple[RenderedView, int, np.ndarray] | None = None
        self._cut: tuple[int, Segments] | None = None
        self._saved = self._warned = session.selections

    # What is shown

    def work(self) -> bool:
        """Render a little. Returns whether there is more to do."""
        width = max(min(self.size[0], self.finest), 1)
        wanted = self.navigation, width, max(round(width * self.size[1] / self.size[0]), 1)
        # A camera in motion lets every look show something, however coarse, before it begins the next.
        if wanted != self._looked and self._showed:
            self._frames.look(self.navigation.cameras(*wanted[1:]))
            self._looked, self._showed = wanted, False
        frame = self._frames.advance()
        if frame is not None:
            self.session.show(frame)
            self._showed = True
        shown = self.session.view
        more = wanted != self._looked or not self._showed or shown is None or shown.width != width
        if self._exports and not more:
            self._exports = False
            self.act(Workbench._export)
        return more

    def picture(self) -> tuple[np.ndarray, bool]:
        """What to show (height, width, 3) uint8, and whether it has changed since the last call."""
        frame = self.session.view
        if frame is None:
            return self._picture, False
        others = self.size, self.shown, self.binary, self.sketch, self.segment_level
        drawn = _Drawn(frame, self.session.selections, others)
        if drawn.same(self._drawn):
            return self._picture, False
        self._drawn = drawn
        segments = self._automatic(frame) if self.shown in ("segments", "all four") else None
        if self.shown == "all four":
            made = self.panels.four(*self.size, binary=self.binary, sketch=self.sketch, segments=segments)
        else:
            made = self.panels.picture(
                self.shown, *self.size, binary=self.binary, sketch=self.sketch, segments=segments
            )
        self._picture = made
        return made, True

    @property
    def sketch(self) -> Sketch | None:
        """The box or stroke that is being drawn."""
        gesture = self._gesture
        if gesture is None or not gesture.drawn:
            return None
        return Sketch("box" if self.tool == "box" else "stroke", tuple(gesture.drawn), gesture.accept)

    # The mouse

    def press(self, button: Button, x: float, y: float, modified: bool = False) -> None:
        """A button goes down over the picture, with shift or control (`modified`) or without."""
        if self.helps:
            self.helps = False
        elif self._gesture is None:
            self._focus()
            self._gesture = _Gesture(button, modified, (x, y), (x, y))

    def move(self, x: float, y: float) -> None:
        """The mouse is here now."""
        gesture = self._gesture
        if gesture is None or (x, y) == gesture.last:
            return
        if not gesture.moved and max(abs(x - gesture.start[0]), abs(y - gesture.start[1])) <= _STILL:
            return
        if self._draws(gesture):
            gesture.drawn += [self._share(gesture, *at) for at in (gesture.last, (x, y))][gesture.moved :]
        else:
            self._drag(gesture, x - gesture.last[0], y - gesture.last[1])
        gesture.last, gesture.moved = (x, y), True

    def release(self, x: float, y: float) -> None:
        """The button goes up: the end of a drag, a box or a stroke, or a click."""
        self.move(x, y)
        gesture, self._gesture = self._gesture, None
        if gesture is None or gesture.button == "middle" or (gesture.moved and not gesture.drawn):
            return
        frame = self.session.view
        if frame is None:
            self.message = Refusal("the first picture is not there yet")
        elif not self.selects:
            self.message = Refusal("clicks are switched off: tick 'click selects'")
        else:
            shares = gesture.drawn or [self._share(gesture, *gesture.start)]
            points = [(u * frame.width, v * frame.height) for u, v in shares]
            if not gesture.drawn:
                self.act(lambda bench: bench.session.click(*points[0], accept=gesture.accept))
            elif self.tool == "box":
                self.act(lambda bench: bench.session.box(*points[0], *points[-1]))
            else:
                self.act(lambda bench: bench.session.scribble(points, accept=gesture.accept))

    # Keys and buttons

    def hold(self, keys: Set[str], seconds: float) -> None:
        """Some of HELD_KEYS were down for so long."""
        for key in keys & _HELD.keys():
            forward, right, up = (_SPEED * seconds * way for way in _HELD[key])
            self.navigation = self.navigation.fly(forward, right, up)
        if steps := ("i" in keys) - ("o" in keys):
            self._focus()
            self.navigation = self.navigation.zoom(_HELD_STEPS * seconds * steps)

    def act(self, do: Callable[[Workbench], str | Edit]) -> None:
        """Do one of the actions below, or anything else that answers in words."""
        try:
            answer = do(self)
            self.message = answer if isinstance(answer, str) else str(answer)
        except InputError as error:
            self.message = Refusal(error)

    def show(self, shown: Shown) -> str:
        """Show another kind of picture."""
        self.shown = shown
        if shown == "segments":
            return "the selections" if self.tree is None else f"automatic segments, level {self.segment_level}"
        return shown

    def next_shown(self) -> str:
        """Show the next kind of picture."""
        return self.show(SHOWN[(SHOWN.index(self.shown) + 1) % len(SHOWN)])

    def use(self, tool: Tool) -> str:
        """Take a tool in hand, or put it away."""
        self.tool = "click" if self.tool == tool else tool
        said: dict[Tool, str] = {
            "click": "click on something to select it",
            "box": "drag a box around something to select it",
            "stroke": "drag a stroke over something to select it",
        }
        return said[self.tool]

    def toggle_multi(self) -> str:
        """Let a click add to the clicks before it, or take their place."""
        self.session.mode = "single" if self.session.mode == "multi" else "multi"
        return "a click adds to the others" if self.session.mode == "multi" else "a click replaces the others"

    def toggle_binary(self) -> str:
        """Show what is selected, or how well everything fits."""
        self.binary = not self.binary
        return "mask: what is selected" if self.binary else "heat: how well everything fits the clicks"

    def toggle_help(self) -> str:
        """Show what mouse and keys do, or no longer."""
        self.helps = not self.helps
        return "click anywhere to go on" if self.helps else ""

    def next_selection(self) -> str:
        """Let clicks go to the next selection."""
        selections = self.session.selections
        return str(self.session.activate((selections.active + 1) % len(selections.all)))

    def step_photo(self, by: int) -> str:
        """Stand where the next (+1) or the previous (-1) photo was taken."""
        names = self.viewpoints.names
        self.view = (self.view + by) % len(names)
        self.navigation = Navigation.from_viewpoint(self.viewpoints.cameras, self.view)
        return f"photo {self.view + 1} of {len(names)}: {names[self.view]}"

    def segment_all(self) -> str:
        """Show the segments of everything; where the run has none yet, they are found first, which takes a while."""
        if self.tree is None:
            self.tree = segment_everything(self.folder, self.session.model)
        return self.show("segments")

    def set_segment_level(self, level: int) -> str:
        """Show the automatic segments of another level, from 0, the finest."""
        self.segment_level = level
        return f"automatic segments, level {level}"

    def save(self) -> str:
        """Write all selections to the run folder."""
        self.session.save(self.folder / SELECTIONS)
        self._saved = self.session.selections
        return self._short(f"saved {self.folder / SELECTIONS}", self.folder / SELECTIONS)

    def load(self) -> str:
        """Take all selections from the run folder."""
        said = str(self.session.load(self.folder / SELECTIONS))
        self._saved = self.session.selections
        return self._short(said)

    def screenshot(self) -> str:
        """Write the picture that is shown."""
        path = _numbered(self.folder / "screenshots", ".png")
        save_image(path, self.picture()[0])
        return self._short(f"saved {path}", path)

    def export(self) -> str:
        """Write masks and cut-outs of what is selected in this view, and the selections, when the picture is sharp."""
        if not any(selection.clicks for selection in self.session.selections.all):
            return Refusal("nothing is selected: click on something first")
        self._exports = True
        return "exports as soon as the picture is sharp"

    def leave(self) -> str:
        """Close the window; where selections would be lost, only when asked again."""
        unsaved = self.session.selections
        lost = unsaved is not self._saved and any(selection.clicks for selection in unsaved.all)
        self.leaves = not lost or unsaved is self._warned
        self._warned = unsaved
        return Refusal("selections are not saved (Ctrl+S): Escape again leaves without them")

    # Inside

    def _export(self) -> str:
        frame = self.session.view
        assert frame is not None
        out = _numbered(self.folder / "exports")
        picture = to_uint8(frame.rendering.straight_rgb.view(frame.height, frame.width, 3))
        write_selections(out, "view", picture, frame, self.session.selections)
        self.session.save(out / SELECTIONS)
        return self._short(f"exported masks, cut-outs and selections to {out}", out)

    def _short(self, said: str, written: Path | None = None) -> str:
        """A message with paths from the run folder on; the whole path of what was written is kept."""
        if written is not None:
            self.written.append(written)
        return said.replace(f"{self.folder.parent}/", "")

    def _draws(self, gesture: _Gesture) -> bool:
        if not self.selects:
            return False
        return (self.tool == "box" and gesture.accept) or (self.tool == "stroke" and gesture.button != "middle")

    def _drag(self, gesture: _Gesture, dx: float, dy: float) -> None:
        width, height = self._cell(*gesture.start)[2:]
        focal = float(self.navigation.cameras(width, height).intrinsics[0, 0])
        if gesture.button == "right":
            self.navigation = self.navigation.zoom(-_DRAG_STEPS * dy / focal)
        elif gesture.accept:
            self.navigation = self.navigation.orbit(dx / focal, dy / focal)
        else:
            self.navigation = self.navigation.pan(dx / focal, dy / focal)

    def _focus(self) -> None:
        """Turn around, and go nearer to, what is seen in the middle of the picture."""
        frame = self.session.view
        if frame is None or self._looked is None or self._looked[0] != self.navigation or not self._showed:
            return
        middle = (frame.height // 2) * frame.width + frame.width // 2
        if frame.solid[middle]:
            rendering = frame.rendering
            self.navigation = self.navigation.focused(float(rendering.depth[middle] / rendering.opacity[middle]))
            self._looked = self.navigation, *self._looked[1:]  # from there it looks the same

    def _cell(self, x: float, y: float) -> tuple[int, int, int, int]:
        """x, y, width and height of the picture, of four the one at this point."""
        width, height = self.size
        if self.shown != "all four":
            return 0, 0, width, height
        left, upper = (width + 1) // 2, (height + 1) // 2
        across = (0, left) if x < left else (left, width - left)
        down = (0, upper) if y < upper else (upper, height - upper)
        return across[0], down[0], across[1], down[1]

    def _share(self, gesture: _Gesture, x: float, y: float) -> tuple[float, float]:
        """Where a point is in the picture in which the gesture began, in shares of its width and height."""
        x0, y0, width, height = self._cell(*gesture.start)
        return min(max((x - x0) / width, 0.0), 1.0), min(max((y - y0) / height, 0.0), 1.0)

    def _automatic(self, frame: RenderedView) -> np.ndarray | None:
        if self.tree is None:
            return None
        if self._cut is None or self._cut[0] != self.segment_level:
            self._cut = self.segment_level, self.tree.cut(self.segment_level)
        if self._segments is None or self._segments[0] is not frame or self._segments[1] != self.segment_level:
            self._segments = frame, self.segment_level, self._cut[1].ids_in(frame)
        return self._segments[2]


def _numbered(folder: Path, suffix: str = "") -> Path:
    """A path in a folder, numbered 0000, 0001..., after all that are there."""
    taken = [int(path.stem) for path in folder.glob(f"[0-9][0-9][0-9][0-9]{suffix}")]
    return folder / f"{max(taken, default=-1) + 1:04d}{suffix}"
