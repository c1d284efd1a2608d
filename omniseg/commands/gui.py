"""Open a window on a trained run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omniseg.api.run import load
from omniseg.commands import common
from omniseg.devices import Device
from omniseg.errors import InputError
from omniseg.viewer.controller import Controller
from omniseg.viewer.display import check_display
from omniseg.viewer.window import show_window

_CPU_RENDER_WIDTH = 640
"""Default of --render-width on a CPU, pixels."""
_MIN_SIZES = {"width": 640, "height": 600, "render_width": 16}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Open a window on a trained run. Click on something to select it in 3D; H shows all keys."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training with features."""
    width: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 1280
    """Width of the window."""
    height: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 800
    """Height of the window."""
    render_width: Annotated[int | None, common.optional("PIXELS", "640 on a CPU, no limit on a GPU")] = None
    """Render at most this many pixels in a row."""
    device: Device = "auto"
    """Device to compute on; auto: a GPU if there is one."""


def main() -> None:
    """Parse the command line and show the window until it is closed."""
    arguments = common.parse(Arguments)
    for name, smallest in _MIN_SIZES.items():
        value = getattr(arguments, name)
        if value is not None and value < smallest:
            raise InputError(f"--{name.replace('_', '-')}: expected at least {smallest}, got {value}")
    check_display()
    run = load(arguments.run.resolve(), arguments.device)
    render_width = arguments.render_width or (_CPU_RENDER_WIDTH if run.device.type == "cpu" else None)
    controller = Controller.from_run(run, render_width=render_width)
    with _temporary_working_folder():
        show_window(controller, arguments.width, arguments.height, _say_written)


def _say_written(path: Path) -> None:
    print(f"wrote {path}", flush=True)


@contextmanager
def _temporary_working_folder() -> Iterator[None]:
    """Change to a temporary folder: ImGui leaves its imgui.ini in the working folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
