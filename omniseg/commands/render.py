"""Render a trained run along a path of cameras, as a video or as pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from omniseg.api.run import load
from omniseg.commands import common
from omniseg.devices import Device
from omniseg.errors import InputError
from omniseg.export.pictures import Show


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Render a trained run: the views of its photos, a path around it, or the cameras in a file."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE.mp4|DIR")]
    """An MP4 video, or a folder for PNG pictures."""
    path: Annotated[str, tyro.conf.arg(metavar="orbit|spiral|views|test|FILE")] = "orbit"
    """orbit: around the scene; spiral: in front of it; views: all photos; test: the held-out ones; or a JSON file
    like transforms.json, which needs no images."""
    show: Show = "rgb"
    """Content of the pictures. features: their three main directions as colours; segments: segments of the whole scene,
    one colour each; photo-depth: with --path views, the depth that the training estimated from the photos."""
    level: Annotated[float | None, common.optional("LEVEL", "the run's default, usually 3")] = None
    """Level of the segments, 0 is the finest; values between two levels too."""
    frames: int = 120
    """Number of pictures along an orbit or a spiral."""
    rate: int = 30
    """Frames per second of the video."""
    width: Annotated[int | None, common.optional("PIXELS", "that of the training photos")] = None
    """Width of the pictures."""
    background: Literal["black", "white"] = "white"
    """Background behind transparent pixels."""
    device: Device = "auto"
    """Device to compute on; auto: a GPU if there is one."""


def main() -> None:
    """Parse the command line and render."""
    arguments = common.parse(Arguments)
    if arguments.level is not None and arguments.show != "segments":
        raise InputError("--level: is a level of --show segments; give both")
    run = load(arguments.run, arguments.device)
    count = run.render(
        arguments.out,
        arguments.path,
        show=arguments.show,
        level=arguments.level,
        frames=arguments.frames,
        width=arguments.width,
        rate=arguments.rate,
        background=1.0 if arguments.background == "white" else 0.0,
    )
    print(f"{count} pictures in {arguments.out}")
