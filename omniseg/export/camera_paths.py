"""Camera paths to look at a scene along: around it, in a spiral before it, or from a file."""

from pathlib import Path

import numpy as np

from omniseg.cameras import Camera, Cameras
from omniseg.cameras.poses import axes_crossing, look_at, upright_rotation
from omniseg.data.formats.transforms import read_path
from omniseg.data.normalisation import Normalisation
from omniseg.errors import InputError
from omniseg.run_folder import Model

_WIDE_GAP = np.deg2rad(90.0)
"""An orbit does not cross a gap between the cameras that is wider, radians."""
_PARALLEL = 1e-4
"""Optical axes whose crossing is less certain count as parallel (`axes_crossing`)."""


def check(frames: int, width: int | None) -> None:
    """Check the options `--frames` and `--width` of a command before it takes its time.

    Raises:
        InputError: one is below 1.
    """
    for name, value in (("frames", frames), ("width", width)):
        if value is not None and value < 1:
            raise InputError(f"--{name}: expected at least 1, got {value}")


def cameras_along(model: Model, path: str, frames: int, width: int | None) -> tuple[list[str], Cameras]:
    """The cameras that the option `--path` of a command asks for, and a name for the picture of each.

    Args:
        model: trained.
        path: "views", all photos; "test", those held out; "orbit"; "spiral"; or a JSON file of cameras.
        frames: number of cameras of an orbit or a spiral.
        width: of the pictures, pixels; None: as they are.
    Raises:
        InputError: none of these, a damaged file, or a run that held out no view.
    """
    views = model.viewpoints
    if path in ("views", "test"):
        chosen = [v for v, held_out in enumerate(views.held_out) if held_out or path == "views"]
        if not chosen:
            raise InputError("--path test: this run held out no view; --path views renders all")
        names, cameras = [views.names[v] for v in chosen], views.cameras[chosen]
    else:
        if path == "orbit":
            cameras = orbit(views.cameras, frames)
        elif path == "spiral":
            cameras = spiral(views.cameras, frames)
        else:
            file = Path(path)
            if not file.is_file():
                raise InputError(f"--path {file}: neither orbit, spiral, views or test nor a file of cameras")
            cameras = from_file(file, model.normalisation).to(views.cameras.c2w.device)
        names = [f"{number:04d}" for number in range(len(cameras))]
    return names, cameras if width is None else cameras.resized(width)


def orbit(cameras: Cameras, frames: int) -> Cameras:
    """Circle around the middle of the scene, as far out and as high as the given cameras are.

    Where the cameras leave a gap of more than 90 degrees, the path swings to and fro on their side of it.

    Args:
        cameras: views of the scene, scene coordinates (z up, the subject at the origin).
        frames: number of cameras of the path.
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
    """Two turns around the mean of the given cameras, within their spread, always facing the subject.

    Args:
        cameras: views of the scene, scene coordinates.
        frames: number of cameras of the path.
    """
    c2w = cameras.c2w.double().cpu().numpy()
    centre = c2w[:, :, 3].mean(0)
    subject = _subject(cameras)
    axes = upright_rotation(subject - centre)
    spread = np.quantile(np.abs((c2w[:, :, 3] - centre) @ axes), 0.8, axis=0)
    turn = np.linspace(0, 4 * np.pi, frames, endpoint=False)
    offsets = np.stack([np.cos(turn), np.sin(turn), 0.5 * np.sin(turn / 2)], axis=1) * spread
    return _looking_at(centre + offsets @ axes.T, subject, cameras)


def from_file(path: Path, normalisation: Normalisation) -> Cameras:
    """Cameras of a JSON file like `transforms.json`, in input coordinates; its images need not exist.

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
    """Undistorted cameras at these positions, with the image size and focal length of the first of `like`."""
    c2w = np.stack([look_at(position, subject) for position in positions])
    width, height = like.size[0].tolist()
    fx, fy = like.intrinsics[0, :2].tolist()
    camera = Camera(width=width, height=height, fx=fx, fy=fy, cx=width / 2, cy=height / 2)
    return Cameras.stack([camera] * len(positions), c2w).to(like.c2w.device)
