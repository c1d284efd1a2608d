"""The window of a viewer, by Taichi's GGUI; no other file of the viewer knows Taichi."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import taichi as ti
from taichi.ui.utils import get_field_info

from omniseg.errors import InputError
from omniseg.viewer import actions
from omniseg.viewer.controller import Controller
from omniseg.viewer.display import WITHOUT_WINDOW
from omniseg.viewer.gestures import Button
from omniseg.viewer.keymap import (
    BOX,
    EDITS,
    FILES,
    HELD_KEYS,
    HELP,
    KEYS,
    MASK,
    MAX_SPATIAL_WEIGHT,
    MULTI,
    STROKE,
    Control,
    hold,
)
from omniseg.viewer.panels import SHOWN

MAX_HOLD_SECONDS = 0.2
"""Limit of the time for which a held key moves the camera between two pictures, so that it does not leap."""
AWAKE_SECONDS, IDLE_SECONDS = 0.5, 0.02
"""Time without input or rendering after which the window pauses between pictures, and that pause."""

_COLUMN = 336
"""Width of the controls, left of the picture, pixels."""
_TITLE, _WIDGET, _TEXT = 20, 23, 17
"""Heights of a tile's title, a widget and a line of text, pixels."""
_MARGIN, _LETTER = 8, 7
"""Margin of a tile and width of a letter, pixels."""
_DARK = (24, 26, 30)
_WHITE, _GREEN, _ORANGE = (0.93, 0.93, 0.93), (0.55, 0.9, 0.6), (1.0, 0.65, 0.35)
_BUTTONS: dict[str, Button] = {"LMB": "left", "MMB": "middle", "RMB": "right"}


def show_window(
    controller: Controller, width: int, height: int, on_written: Callable[[Path], None] | None = None
) -> None:
    """Open a window on a controller and return when it is closed. It leaves an imgui.ini in the working folder.

    Args:
        controller: what the window shows.
        width, height: of the window, pixels.
        on_written: called with the path of each file or folder that the window has written.
    Raises:
        InputError: no window can be opened.
    """
    try:
        window = ti.ui.Window("OmniSeg3D", (width, height), vsync=True)
    except Exception as error:  # Taichi raises whatever the driver comes up with
        raise InputError(f"no window can be opened here ({error}); {WITHOUT_WINDOW}") from error
    try:
        Screen(window, controller, on_written).loop()
    finally:
        window.destroy()


@dataclass(frozen=True)
class _Tile:
    """A titled group of controls, pixels from the upper left corner of the window."""

    title: str
    x: int
    y: int
    width: int
    height: int

    def is_inside(self, x: float, y: float) -> bool:
        """Return whether a point is among the controls, and not on a part that moves or resizes the tile."""
        right, lower = self.x + self.width - _MARGIN, self.y + self.height - 2 * _MARGIN
        return self.x + _MARGIN <= x < right and self.y + _TITLE <= y < lower


class Screen:
    """Passes mouse and keys of a window to a controller, and shows its picture, message and controls."""

    def __init__(
        self, window: ti.ui.Window, controller: Controller, on_written: Callable[[Path], None] | None = None
    ) -> None:
        self.window, self.controller, self.on_written = window, controller, on_written
        self._canvas, self._gui = window.get_canvas(), window.get_gui()
        self._down: set[str] = set()
        self._held: set[str] = set()
        self._picture: np.ndarray | None = None
        self._image = np.zeros((1, 1), np.uint32)
        self._tiles: list[_Tile] = []
        self._first_shape: tuple[int, int] = window.get_window_shape()
        self._layout: tuple[object, ...] = ()
        self._layout_number = 0
        self._tile_may_move, self._is_typing = False, False

    def loop(self) -> None:
        """Show pictures until the window is closed."""
        controller = self.controller
        before = last_busy = time.perf_counter()
        cursor = (0.0, 0.0)
        while self.window.running and not controller.should_close:
            now = time.perf_counter()
            controller.live.size = self._shape[0] - _COLUMN, self._shape[1]
            position = self.window.get_cursor_pos()
            busy = [self._handle_events(), self._hold(now - before), position != cursor, controller.update()]
            before, cursor, last_busy = now, position, now if any(busy) else last_busy
            self._draw_picture()
            self._draw_controls()
            self.window.show()
            for path in controller.files.take_written():
                if self.on_written is not None:
                    self.on_written(path)
            if now - last_busy > AWAKE_SECONDS:  # leave the CPU to others
                time.sleep(IDLE_SECONDS)

    # Mouse and keys

    @property
    def _shape(self) -> tuple[int, int]:
        width, height = self.window.get_window_shape()
        return max(width, _COLUMN + 1), max(height, 1)

    def _handle_events(self) -> bool:
        (x, y), (width, height) = self.window.get_cursor_pos(), self._shape
        x, y = x * width, (1 - y) * height  # the cursor is measured from the lower left corner
        keys = [event.key for event in self.window.get_events()]
        for key in keys:
            # An event does not tell a press from a release; the two alternate.
            if key in self._down:
                self._down.remove(key)
                self._release(key, x, y)
            else:
                self._down.add(key)
                self._press(key, x, y)
        for key in [key for key in self._down if not self.window.is_pressed(key)]:
            self._down.remove(key)
            self._release(key, x, y)
        self.controller.move(x - _COLUMN, y)
        return bool(keys)

    def _press(self, key: str, x: float, y: float) -> None:
        control, shift = "Control" in self._down, "Shift" in self._down
        if key in _BUTTONS:
            self._is_typing = control and x < _COLUMN  # Ctrl+click turns a slider into a text field
            if x >= _COLUMN:
                self.controller.press(_BUTTONS[key], x - _COLUMN, y, reject=control or shift)
            else:
                self._tile_may_move = not any(tile.is_inside(x, y) for tile in self._tiles)
        elif self._is_typing:
            self._is_typing = key not in ("Return", "Tab", "Escape")
        elif key in HELD_KEYS and not control:
            self._held.add(key)
        elif action := KEYS.get(("ctrl+" if control else "") + key.lower()):
            self.controller.act(action)

    def _release(self, key: str, x: float, y: float) -> None:
        self._held.discard(key)
        if key not in _BUTTONS:
            return
        self.controller.release(x - _COLUMN, y)
        if self._tile_may_move:  # put it back
            self._layout_number, self._tile_may_move = self._layout_number + 1, False

    def _hold(self, seconds: float) -> bool:
        hold(self.controller.live, self._held, min(seconds, MAX_HOLD_SECONDS))
        return bool(self._held)

    # Picture and controls

    def _draw_picture(self) -> None:
        picture = self.controller.picture()
        width, height = self._shape
        if picture is not self._picture or self._image.shape != (width, height):
            self._picture = picture
            image = np.full((height, width, 3), _DARK, np.uint8)
            if picture.shape == (height, width - _COLUMN, 3):
                image[:, _COLUMN:] = picture
            # Packed, column by column from the lower left corner, as `Canvas.set_image` packs it, but that does so for
            # every time the image is shown, 60 ms on a CPU.
            turned = cv2.cvtColor(cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE), cv2.COLOR_RGB2RGBA)
            self._image = turned.view(np.uint32)[..., 0]
        self._canvas.canvas.set_image(get_field_info(self._image))

    def _draw_controls(self) -> None:
        half = _COLUMN // 2
        self._tiles = []
        layout = self._shape, self.controller.live.segments is None
        if layout != self._layout:  # tiles keep their place and size until they get new names
            self._layout, self._layout_number = layout, self._layout_number + 1
        y = self._draw_message(0)
        height = len(SHOWN) * _WIDGET
        self._draw_kinds(0, y, half, height)
        y = self._draw_tools(half, y, half, height)
        y = self._draw_sliders(y)
        height = max(len(EDITS), len(FILES)) * _WIDGET
        self._draw_buttons("edit", EDITS, 0, y, half, height)
        y = self._draw_buttons("view and files", FILES, half, y, half, height)
        self._draw_selections(y)
        if self.controller.show_help:
            lines = HELP.splitlines()
            width = max(map(len, lines)) * _LETTER + 3 * _MARGIN
            x = max(min(_COLUMN + 24, self._shape[0] - width), 0)
            with self._tile("help", x, 24, width, len(lines) * _TEXT):
                for line in lines:
                    self._gui.text(line, color=_WHITE)

    @contextmanager
    def _tile(self, title: str, x: int, y: int, width: int, content: int) -> Iterator[_Tile]:
        """Draw a tile around what is drawn inside, which takes `content` pixels of height."""
        tile = _Tile(title, x, y, width, min(_TITLE + content + 2 * _MARGIN, max(self._shape[1] - y, _TITLE)))
        self._tiles.append(tile)
        name = f"{title}###{title}{self._layout_number}"  # the part after ### is the tile's identity
        across, down = self._first_shape  # GGUI measures tiles by the size with which the window opened
        with self._gui.sub_window(name, x / across, y / down, width / across, tile.height / down):
            yield tile

    def _draw_message(self, y: int) -> int:
        message = self.controller.message
        colour = _ORANGE if message.is_refusal else _GREEN
        with self._tile("OmniSeg3D", 0, y, _COLUMN, 4 * _TEXT) as tile:
            for line in textwrap.wrap(message.text, (_COLUMN - 2 * _MARGIN) // _LETTER)[:4]:
                self._gui.text(line, color=colour)
        return y + tile.height

    def _draw_kinds(self, x: int, y: int, width: int, content: int) -> None:
        current = self.controller.live.shown
        with self._tile("picture  Space", x, y, width, content):
            for shown in SHOWN:
                if self._gui.checkbox(shown, current == shown) and current != shown:
                    self.controller.act(lambda controller, shown=shown: actions.show(controller, shown))

    def _draw_tools(self, x: int, y: int, width: int, content: int) -> int:
        controller = self.controller
        with self._tile("tools", x, y, width, content) as tile:
            controller.click_selects = self._gui.checkbox("click selects", controller.click_selects)
            for control, is_on in (
                (MULTI, controller.session.mode == "multi"),
                (BOX, controller.tool == "box"),
                (STROKE, controller.tool == "stroke"),
                (MASK, controller.live.show_mask),
            ):
                if self._gui.checkbox(control.label, is_on) != is_on:
                    controller.act(control.action)
        return y + tile.height

    def _draw_sliders(self, y: int) -> int:
        controller, segments = self.controller, self.controller.live.segments
        current = controller.session.current
        with self._tile("sliders", 0, y, _COLUMN, (2 + (segments is not None)) * _WIDGET) as tile:
            threshold = self._gui.slider_float("threshold", current.threshold, 0.0, 1.0)
            if abs(threshold - current.threshold) > 1e-6:  # the slider returns float32
                controller.act(lambda controller: controller.session.set_threshold(threshold))
            weight = self._gui.slider_float("spatial weight", current.spatial_weight, 0.0, MAX_SPATIAL_WEIGHT)
            if abs(weight - current.spatial_weight) > 1e-6 * MAX_SPATIAL_WEIGHT:
                controller.act(lambda controller: controller.session.set_spatial_weight(weight))
            if segments is not None:
                level = self._gui.slider_int("segment level", segments.level, 0, segments.tree.config.levels - 1)
                if level != segments.level:
                    controller.act(lambda controller: actions.set_segment_level(controller, level))
        return y + tile.height

    def _draw_buttons(self, title: str, controls: Sequence[Control], x: int, y: int, width: int, content: int) -> int:
        with self._tile(title, x, y, width, content) as tile:
            for control in controls:
                if self._gui.button(control.label):
                    self.controller.act(control.action)
        return y + tile.height

    def _draw_selections(self, y: int) -> None:
        selections = self.controller.session.selections
        with self._tile("selections", 0, y, _COLUMN, self._shape[1]):
            for number, selection in enumerate(selections.all):
                red, green, blue = (channel / 255 for channel in selection.colour)
                is_active = number == selections.active
                if self._gui.checkbox(f"{selection.name}##{number}", is_active) and not is_active:
                    self.controller.act(lambda controller, number=number: controller.session.activate(number))
                clicks = len(selection.clicks)
                self._gui.text(f"    {clicks} click{'s' * (clicks != 1)}", color=(red, green, blue))
