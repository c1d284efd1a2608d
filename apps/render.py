"""Render a trained run along a path of cameras, as a video or as pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from omniseg import cli, paths
from omniseg.cameras import Cameras
from omniseg.checkpoint import Model, load_model
from omniseg.errors import InputError
from omniseg.evaluation import feature_colours
from omniseg.pictures import depth_picture, to_uint8
from omniseg.video import save_frames


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
    show: Literal["rgb", "depth", "features"] = "rgb"
    """What to show; features in their three main directions as colours."""
    frames: int = 120
    """Pictures along an orbit or a spiral."""
    rate: int = 30
    """Pictures a second of the video."""
    width: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Width of the pictures; that of the training photos unless given."""
    background: Literal["black", "white"] = "white"
    """Behind what is transparent."""
    device: cli.Device = "auto"
    """Where to compute; auto is a GPU where there is one."""


def main() -> None:
    """Parse the command line and render."""
    arguments = tyro.cli(Arguments)
    for name in ("frames", "rate", "width"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name}: expected at least 1, got {value}")
    if arguments.out.suffix not in ("", ".mp4"):
        raise InputError(f"--out {arguments.out}: expected a file that ends in .mp4, or a folder")
    model = load_model(arguments.run, cli.start(arguments.device))
    if arguments.show == "features" and model.features is None:
        raise InputError(f"--show features: {arguments.run} has none; add them with: train.py --stage features")
    names, cameras = _cameras(model, arguments)
    if arguments.out.suffix and len({tuple(size) for size in cameras.size.tolist()}) > 1:
        raise InputError("--out: these cameras have several sizes, a video only one; give a folder for PNG files")
    frames = _frames(model, cameras, arguments)
    save_frames(arguments.out, tqdm(frames, total=len(cameras), desc="rendering", unit="frame"), names, arguments.rate)
    print(f"{len(cameras)} pictures in {arguments.out}")


def _cameras(model: Model, arguments: Arguments) -> tuple[list[str], Cameras]:
    views = model.viewpoints
    if arguments.path in ("views", "test"):
        chosen = [v for v, held_out in enumerate(views.held_out) if held_out or arguments.path == "views"]
        if not chosen:
            raise InputError(f"--path test: {arguments.run} held out no view; --path views renders all")
        names, cameras = [views.names[v] for v in chosen], views.cameras[chosen]
    else:
        if arguments.path == "orbit":
            cameras = paths.orbit(views.cameras, arguments.frames)
        elif arguments.path == "spiral":
            cameras = paths.spiral(views.cameras, arguments.frames)
        else:
            file = Path(arguments.path)
            if not file.is_file():
                raise InputError(f"--path {file}: neither orbit, spiral, views or test nor a file of cameras")
            cameras = paths.from_file(file, model.normalisation).to(views.cameras.c2w.device)
        names = [f"{number:04d}" for number in range(len(cameras))]
    return names, cameras if arguments.width is None else cameras.resized(arguments.width)


def _frames(model: Model, cameras: Cameras, arguments: Arguments) -> Iterator[np.ndarray]:
    renderer, features = model.renderer, arguments.show == "features"
    colours = feature_colours(model) if features else None
    background = 1.0 if arguments.background == "white" else 0.0
    for view in range(len(cameras)):
        width, height = cameras.size[view].tolist()
        rendering = renderer.render_view(cameras, view, colour=arguments.show == "rgb", features=features)
        if colours is not None and rendering.features is not None:
            yield colours.picture(rendering.features, rendering.opacity, width)
        elif arguments.show == "depth":
            yield depth_picture(rendering, width)
        else:
            yield to_uint8(rendering.over(background).view(height, width, 3))


if __name__ == "__main__":
    cli.run(main)
