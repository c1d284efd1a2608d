"""Render a trained run along a path of cameras, as a video or as pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from omniseg.cameras import Cameras
from omniseg.commands import common
from omniseg.data.drawing import distinct_colours, paint_ids
from omniseg.errors import InputError
from omniseg.evaluation.views import feature_colours
from omniseg.export import camera_paths as paths
from omniseg.export.video import save_frames
from omniseg.rendering.view import render_view
from omniseg.rendering.visualize import depth_picture, to_uint8
from omniseg.run_folder import Model, load_model
from omniseg.selection.segment_tree import check_level
from omniseg.selection.tree_building import segment_everything


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Render a trained run: its photos' views, a path around it, or the cameras of a file."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE.mp4|DIR")]
    """An MP4 video, or a folder for PNG pictures."""
    path: Annotated[str, tyro.conf.arg(metavar="orbit|spiral|views|test|FILE")] = "orbit"
    """orbit: around the scene; spiral: before it; views: all photos; test: the held-out ones; or a JSON file
    like transforms.json, which needs no images."""
    show: Literal["rgb", "depth", "features", "segments"] = "rgb"
    """What to show; features in their three main directions as colours; segments of everything, one colour each."""
    level: float | None = None
    """Of the segments: 0 is the finest, 6 the coarsest; between whole levels, too."""
    frames: int = 120
    """Pictures along an orbit or a spiral."""
    rate: int = 30
    """Pictures a second of the video."""
    width: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Width of the pictures; that of the training photos unless given."""
    background: Literal["black", "white"] = "white"
    """Behind what is transparent."""
    device: common.Device = "auto"
    """Where to compute; auto is a GPU where there is one."""


def main() -> None:
    """Parse the command line and render."""
    arguments = tyro.cli(Arguments)
    paths.check(arguments.frames, arguments.width)
    if arguments.rate < 1:
        raise InputError(f"--rate: expected at least 1, got {arguments.rate}")
    if arguments.out.suffix not in ("", ".mp4"):
        raise InputError(f"--out {arguments.out}: expected a file that ends in .mp4, or a folder")
    model = load_model(arguments.run, common.start(arguments.device))
    if arguments.level is not None:
        check_level(arguments.level, model.config.segment_tree, "--level")
    if arguments.show in ("features", "segments") and model.features is None:
        raise InputError(
            f"--show {arguments.show}: {arguments.run} has no features; add them with: train.py --stage features"
        )
    names, cameras = paths.cameras_along(model, arguments.path, arguments.frames, arguments.width)
    if arguments.out.suffix and len({tuple(size) for size in cameras.size.tolist()}) > 1:
        raise InputError("--out: these cameras have several sizes, a video only one; give a folder for PNG files")
    frames = _frames(model, cameras, arguments)
    save_frames(arguments.out, tqdm(frames, total=len(cameras), desc="rendering", unit="frame"), names, arguments.rate)
    print(f"{len(cameras)} pictures in {arguments.out}")


def _frames(model: Model, cameras: Cameras, arguments: Arguments) -> Iterator[np.ndarray]:
    renderer, show = model.renderer, arguments.show
    colours = feature_colours(model) if show == "features" else None
    level = model.config.segment_tree.default_level if arguments.level is None else arguments.level
    segments = segment_everything(arguments.run, model).cut(level) if show == "segments" else None
    palette = distinct_colours(len(segments) if segments else 0)
    background = 1.0 if arguments.background == "white" else 0.0
    for view in range(len(cameras)):
        width, height = cameras.size[view].tolist()
        if segments is not None:
            frame = render_view(renderer, cameras, view)
            picture = to_uint8(frame.rendering.over(background).view(height, width, 3))
            yield paint_ids(picture, segments.ids_in(frame), palette)
            continue
        rendering = renderer.render_image(cameras, view, colour=show == "rgb", features=colours is not None)
        if colours is not None and rendering.features is not None:
            yield colours.picture(rendering.features, rendering.solid, width)
        elif show == "depth":
            yield depth_picture(rendering, width)
        else:
            yield to_uint8(rendering.over(background).view(height, width, 3))
