"""Camera paths to render along: around the scene, in a spiral in front of it, or from a file."""

from pathlib import Path

import numpy as np

from omniseg.cameras import Camera, Cameras
from omniseg.cameras.poses import axes_crossing, look_at, upright_rotation
from omniseg.data.formats.transforms import read_path
from omniseg.data.normalisation import Normalisation
from omniseg.errors import BadArgument
from omniseg.run_folder import Model

_WIDE_GAP = np.deg2rad(90.0)
"""Widest gap between the cameras, in radians of azimuth, that an orbit crosses."""
_PARALLEL = 1e-4
"""Certainty (`axes_crossing`) below which optical axes count as parallel."""
_SPREAD = 0.8
"""Quantile of the cameras' distances from their middle, along each axis, that a spiral reaches."""


def cameras_along(model: Model, path: str, frames: int, width: int | None) -> tuple[list[str], Cameras]:
    """Return the cameras for the option `--path` of a command, and a name for the picture of each.

    Args:
        model: trained model, with the viewpoints of its photos.
        path: "views": all photos; "test": the held-out ones; "orbit"; "spiral"; or a JSON file of cameras.
        frames: number of cameras on an orbit or a spiral.
        width: width of the pictures in pixels; None: that of the cameras.
    Returns:
        Names and cameras, as many of each.
    Raises:
        InputError: `path` is none of these, the file is damaged, the run held out no view, or a number is below 1.
    """
    for name, value in (("frames", frames), ("width", width)):
        if value is not None and value < 1:
            raise BadArgument(name, f"expected at least 1, got {value}")
    views = model.viewpoints
    if path in ("views", "test"):
        chosen = [v for v, held_out in enumerate(views.held_out) if held_out or path == "views"]
        if not chosen:
            raise BadArgument("path", "this run held out no view; views renders all", "test")
        names, cameras = [views.names[v] for v in chosen], views.cameras[chosen]
    else:
        if path == "orbit":
            cameras = orbit(views.cameras, frames)
        elif path == "spiral":
            cameras = spiral(views.cameras, frames)
        else:
            file = Path(path)
            if not file.is_file():
                raise BadArgument("path", "neither orbit, spiral, views or test nor a file of cameras", file)
            cameras = from_file(file, model.normalisation).to(views.cameras.c2w.device)
        names = [f"{number:04d}" for number in range(len(cameras))]
    return names, cameras if width is None else cameras.resized(width)


def orbit(cameras: Cameras, frames: int) -> Cameras:
    """Return cameras on a circle around the scene, at the median distance and height of the given cameras.

    If the given cameras leave a gap of more than 90 degrees, the path swings back and forth outside the gap.

    Args:
        cameras: views of the scene, scene coordinates (z up, the subject near the origin).
        frames: number of cameras on the path.
    """
    positions = cameras.c2w[:, :, 3].double().cpu().numpy()
    angles = np.sort(np.arctan2(positions[:, 1], positions[:, 0]))
    gaps = np.diff(angles, append=angles[0] + 2 * np.pi)
    widest = int(gaps.argmax())
    turn = np.linspace(0, 2 * np.pi, frames, endpoint=False)
    if gaps[widest] > _WIDE_GAP:
        first, length = angles[(widest + 1) % len(angles)], 2 * np.pi - gaps[widest]
        azimuth = first + length * (0.5 - 0.5 * np.cos(turn))
    else:
        azimuth = turn
    radius = np.median(np.linalg.norm(positions[:, :2], axis=1))
    height = np.median(positions[:, 2])
    path = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), np.full(frames, height)], axis=1)
    return _looking_at(path, _subject(cameras), cameras)


def spiral(cameras: Cameras, frames: int) -> Cameras:
    """Return cameras on two turns around the mean position of the given ones, within their spread.

    All look at the subject.

    Args:
        cameras: views of the scene, scene coordinates.
        frames: number of cameras on the path.
    """
    c2w = cameras.c2w.double().cpu().numpy()
    centre = c2w[:, :, 3].mean(0)
    subject = _subject(cameras)
    axes = upright_rotation(subject - centre)
    spread = np.quantile(np.abs((c2w[:, :, 3] - centre) @ axes), _SPREAD, axis=0)
    turn = np.linspace(0, 4 * np.pi, frames, endpoint=False)
    offsets = np.stack([np.cos(turn), np.sin(turn), 0.5 * np.sin(turn / 2)], axis=1) * spread
    return _looking_at(centre + offsets @ axes.T, subject, cameras)


def from_file(path: Path, normalisation: Normalisation) -> Cameras:
    """Read the cameras of a JSON file like `transforms.json`, in input coordinates; its images need not exist.

    Args:
        path: the file.
        normalisation: from input to scene coordinates.
    Returns:
        Cameras in scene coordinates.
    Raises:
        InputError: the file is missing or holds no cameras.
    """
    cameras, c2w = read_path(path)
    return Cameras.stack(cameras, normalisation.c2w(c2w))


def _subject(cameras: Cameras) -> np.ndarray:
    """Return the point that the optical axes come closest to if it lies before the cameras, else the origin."""
    c2w = cameras.c2w.double().cpu().numpy()
    point, certainty = axes_crossing(c2w)
    if certainty < _PARALLEL:
        return np.zeros(3)
    ahead = ((point - c2w[:, :, 3]) * c2w[:, :, 2]).sum(1)
    return point if np.median(ahead) > 0 else np.zeros(3)


def _looking_at(positions: np.ndarray, subject: np.ndarray, like: Cameras) -> Cameras:
    """Return ideal cameras at `positions` that look at `subject`, with the size and focal length of `like`'s first."""
    c2w = np.stack([look_at(position, subject) for position in positions])
    width, height = like.size[0].tolist()
    fx, fy = like.intrinsics[0, :2].tolist()
    camera = Camera(width=width, height=height, fx=fx, fy=fy, cx=width / 2, cy=height / 2)
    return Cameras.stack([camera] * len(positions), c2w).to(like.c2w.device)
