"""A window to click in: selects things of a trained run in 3D, at every level, and saves what was selected."""

from __future__ import annotations

import os
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

# PyTorch's threads would spin, waiting for work, on the cores that the kernels and the window draw with.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import cv2
import numpy as np
import taichi as ti
import tyro
from taichi.ui.utils import get_field_info

from omniseg import devices
from omniseg.commands import common
from omniseg.devices import Device
from omniseg.errors import InputError
from omniseg.run_folder import fingerprint, load_model
from omniseg.selection.session import SegmentationSession
from omniseg.selection.survey import feature_colours
from omniseg.selection.tree_building import SEGMENTS, segment_everything
from omniseg.viewer.controller import HELD_KEYS, SHOWN, Button, Refusal, Workbench
from omniseg.viewer.display import check_desktop
from omniseg.viewer.keymap import BINARY, BOX, EDITS, FILES, HELP, KEYS, MULTI, STROKE, Control
from omniseg.viewer.panels import Panels

_INSTEAD = "python apps/segment.py does the same without one"
_CPU_FINEST = 640
_COLUMN, _TITLE, _WIDGET, _TEXT, _MARGIN, _LETTER = 336, 20, 23, 17, 8, 7
"""Pixels: width of the controls; height of a title, a widget, a line of text; margin of a tile; width of a letter."""
_DARK = (24, 26, 30)
_PLAIN, _GOOD, _BAD = (0.93, 0.93, 0.93), (0.55, 0.9, 0.6), (1.0, 0.65, 0.35)
_FARTHEST_WEIGHT = 10.0
_IDLE, _AWAKE = 0.02, 0.5
_BUTTONS: dict[str, Button] = {"LMB": "left", "MMB": "middle", "RMB": "right"}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Open a window on a trained run: click on something to select it in 3D. H shows all controls."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training with features."""
    width: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 1280
    """Of the window."""
    height: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 800
    """Of the window."""
    finest: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Render at most this many pixels in a row; 640 on a CPU unless given."""
    device: Device = "auto"
    """Where to compute; auto is a GPU where there is one."""


def main() -> None:
    """Parse the command line and show the window until it is closed."""
    arguments = tyro.cli(Arguments)
    for name, least in (("width", 640), ("height", 600), ("finest", 16)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise InputError(f"--{name}: expected at least {least}, got {value}")
    check_desktop(_INSTEAD)
    device, run = devices.start(arguments.device), arguments.run.resolve()
    model = load_model(run, device)
    session = SegmentationSession(model, fingerprint(run))
    tree = segment_everything(run, model) if (run / SEGMENTS).exists() else None
    finest = arguments.finest or (_CPU_FINEST if device.type == "cpu" else 1 << 14)
    panels = Panels(session, feature_colours(model))
    bench = Workbench(session, panels, model.viewpoints, run, finest=finest, tree=tree)
    with _elsewhere():
        window = _open(arguments.width, arguments.height)
        try:
            Screen(window, bench).loop()
        finally:
            window.destroy()


def _open(width: int, height: int) -> ti.ui.Window:
    try:
        return ti.ui.Window("OmniSeg3D", (width, height), vsync=True)
    except Exception as error:  # Taichi has no class for what drivers come up with
        raise InputError(f"no window can be opened here ({error}); {_INSTEAD}") from error


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Work in a folder of our own: the library of the controls leaves an imgui.ini where it runs."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


@dataclass(frozen=True)
class _Tile:
    """A titled group of controls, pixels from the upper left corner of the window."""

    title: str
    x: int
    y: int
    width: int
    height: int

    def inner(self, x: float, y: float) -> bool:
        """Whether a point is among the controls, not where a tile is moved or resized by."""
        right, lower = self.x + self.width - _MARGIN, self.y + self.height - 2 * _MARGIN
        return self.x + _MARGIN <= x < right and self.y + _TITLE <= y < lower


class Screen:
    """Brings the mouse and the keys of a window to a workbench, and its pictures and controls to the window."""

    def __init__(self, window: ti.ui.Window, bench: Workbench) -> None:
        self.window, self.bench = window, bench
        self._canvas, self._gui = window.get_canvas(), window.get_gui()
        self._down: set[str] = set()
        self._held: set[str] = set()
        self._image = np.zeros((1, 1), np.uint32)
        self._tiles: list[_Tile] = []
        self._born: tuple[int, int] = window.get_window_shape()
        self._laid_out, self._layout = self._born, 0
        self._tile_moves, self._types = False, False

    def loop(self) -> None:
        """Until the window is closed."""
        before = awake = time.perf_counter()
        cursor = (0.0, 0.0)
        while self.window.running and not self.bench.leaves:
            now = time.perf_counter()
            self.bench.size = self._shape[0] - _COLUMN, self._shape[1]
            position = self.window.get_cursor_pos()
            busy = [self._events(), self._hold(now - before), position != cursor, self.bench.work()]
            before, cursor, awake = now, position, now if any(busy) else awake
            self._draw_picture()
            self._draw_controls()
            self.window.show()
            for path in self.bench.written:
                print(f"wrote {path}", flush=True)
            self.bench.written.clear()
            if now - awake > _AWAKE:  # nobody does anything: the processor is for others
                time.sleep(_IDLE)

    # Mouse and keys

    @property
    def _shape(self) -> tuple[int, int]:
        width, height = self.window.get_window_shape()
        return max(width, _COLUMN + 1), max(height, 1)

    def _events(self) -> bool:
        (x, y), (width, height) = self.window.get_cursor_pos(), self._shape
        x, y = x * width, (1 - y) * height  # the cursor is measured from the lower left corner
        events = [event.key for event in self.window.get_events()]
        for key in events:
            # Whether a key went down or up an event does not say, only their order.
            if key in self._down:
                self._down.remove(key)
                self._up(key, x, y)
            else:
                self._down.add(key)
                self._press(key, x, y)
        for key in [key for key in self._down if not self.window.is_pressed(key)]:
            self._down.remove(key)
            self._up(key, x, y)
        self.bench.move(x - _COLUMN, y)
        return bool(events)

    def _press(self, key: str, x: float, y: float) -> None:
        control, shift = "Control" in self._down, "Shift" in self._down
        if key in _BUTTONS:
            self._types = control and x < _COLUMN  # there, it makes a text field of a slider
            if x >= _COLUMN:
                self.bench.press(_BUTTONS[key], x - _COLUMN, y, control or shift)
            else:
                self._tile_moves = not any(tile.inner(x, y) for tile in self._tiles)
        elif self._types:
            self._types = key not in ("Return", "Tab", "Escape")
        elif key in HELD_KEYS and not control:
            self._held.add(key)
        elif do := KEYS.get(("ctrl+" if control else "") + key.lower()):
            self.bench.act(do)

    def _up(self, key: str, x: float, y: float) -> None:
        self._held.discard(key)
        if key not in _BUTTONS:
            return
        self.bench.release(x - _COLUMN, y)
        if self._tile_moves:  # tiles by other names are where they belong
            self._layout, self._tile_moves = self._layout + 1, False

    def _hold(self, seconds: float) -> bool:
        self.bench.hold(self._held, min(seconds, 0.2))
        return bool(self._held)

    # Picture and controls

    def _draw_picture(self) -> None:
        picture, changed = self.bench.picture()
        width, height = self._shape
        if changed or self._image.shape != (width, height):
            image = np.full((height, width, 3), _DARK, np.uint8)
            if picture.shape == (height, width - _COLUMN, 3):
                image[:, _COLUMN:] = picture
            # Column by column from the lower left corner, packed. `Canvas.set_image` would pack it too, but anew for
            # every time it is shown, 60 ms on a CPU.
            turned = cv2.cvtColor(cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE), cv2.COLOR_RGB2RGBA)
            self._image = turned.view(np.uint32)[..., 0]
        self._canvas.canvas.set_image(get_field_info(self._image))

    def _draw_controls(self) -> None:
        bench, half = self.bench, _COLUMN // 2
        self._tiles = []
        if self._shape != self._laid_out:
            self._laid_out, self._layout = self._shape, self._layout + 1
        y = self._draw_message(0)
        kinds = 6 * _WIDGET
        self._draw_kinds(0, y, half, kinds)
        y = self._draw_tools(half, y, half, kinds)
        y = self._draw_sliders(y)
        self._draw_buttons("edit", EDITS, 0, y, half)
        y = self._draw_buttons("view and files", FILES, half, y, half)
        self._draw_selections(y)
        if bench.helps:
            lines = HELP.splitlines()
            width = max(map(len, lines)) * _LETTER + 3 * _MARGIN
            with self._tile("help", _COLUMN + 24, 24, width, len(lines) * _TEXT):
                for line in lines:
                    self._gui.text(line, color=_PLAIN)

    @contextmanager
    def _tile(self, title: str, x: int, y: int, width: int, content: int) -> Iterator[_Tile]:
        """A tile with room for content so many pixels high."""
        tile = _Tile(title, x, y, width, min(_TITLE + content + 2 * _MARGIN, max(self._shape[1] - y, _TITLE)))
        self._tiles.append(tile)
        name = f"{title}###{title}{self._layout}"  # the part after ### says which one it is
        across, down = self._born  # of the size with which the window opened, whatever it is by now
        parts = x / across, y / down, width / across, tile.height / down
        with self._gui.sub_window(name, *parts):
            yield tile

    def _draw_message(self, y: int) -> int:
        message = self.bench.message
        colour = _BAD if isinstance(message, Refusal) else _GOOD
        with self._tile("OmniSeg3D", 0, y, _COLUMN, 4 * _TEXT) as tile:
            for line in textwrap.wrap(message, (_COLUMN - 2 * _MARGIN) // _LETTER)[:4]:
                self._gui.text(line, color=colour)
        return y + tile.height

    def _draw_kinds(self, x: int, y: int, width: int, content: int) -> None:
        with self._tile("picture  Space", x, y, width, content):
            for shown in SHOWN:
                if self._gui.checkbox(shown, self.bench.shown == shown) and self.bench.shown != shown:
                    self.bench.act(lambda bench, shown=shown: bench.show(shown))

    def _draw_tools(self, x: int, y: int, width: int, content: int) -> int:
        bench = self.bench
        with self._tile("mouse", x, y, width, content) as tile:
            bench.selects = self._gui.checkbox("click selects", bench.selects)
            for control, ticked in (
                (MULTI, bench.session.mode == "multi"),
                (BOX, bench.tool == "box"),
                (STROKE, bench.tool == "stroke"),
                (BINARY, bench.binary),
            ):
                if self._gui.checkbox(control.label, ticked) != ticked:
                    bench.act(control.do)
        return y + tile.height

    def _draw_sliders(self, y: int) -> int:
        bench, current = self.bench, self.bench.session.current
        with self._tile("thresholds", 0, y, _COLUMN, (2 + (bench.tree is not None)) * _WIDGET) as tile:
            threshold = self._gui.slider_float("ScoreThres", current.threshold, 0.0, 1.0)
            if abs(threshold - current.threshold) > 1e-6:  # it comes back as float32
                bench.act(lambda bench: bench.session.set_threshold(threshold))
            weight = self._gui.slider_float("XYZThres", current.spatial_weight, 0.0, _FARTHEST_WEIGHT)
            if abs(weight - current.spatial_weight) > 1e-6 * _FARTHEST_WEIGHT:
                bench.act(lambda bench: bench.session.set_spatial_weight(weight))
            if bench.tree is not None:
                level = self._gui.slider_int("segments", bench.segment_level, 0, bench.tree.config.levels - 1)
                if level != bench.segment_level:
                    bench.act(lambda bench: bench.set_segment_level(level))
        return y + tile.height

    def _draw_buttons(self, title: str, controls: Sequence[Control], x: int, y: int, width: int) -> int:
        with self._tile(title, x, y, width, len(controls) * _WIDGET) as tile:
            for control in controls:
                if self._gui.button(control.label):
                    self.bench.act(control.do)
        return y + tile.height

    def _draw_selections(self, y: int) -> None:
        selections = self.bench.session.selections
        with self._tile("selections", 0, y, _COLUMN, self._shape[1]):
            for number, selection in enumerate(selections.all):
                red, green, blue = (channel / 255 for channel in selection.colour)
                ticked = number == selections.active
                if self._gui.checkbox(f"{selection.name}##{number}", ticked) and not ticked:
                    self.bench.act(lambda bench, number=number: bench.session.activate(number))
                clicks = len(selection.clicks)
                self._gui.text(f"    {clicks} click{'s' * (clicks != 1)}", color=(red, green, blue))
