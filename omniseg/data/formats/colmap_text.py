"""Reader of COLMAP's cameras.txt, images.txt and points3D.txt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from omniseg.cameras import Camera
from omniseg.data.formats.colmap_model import MODELS, ColmapImage, ColmapPoints, colmap_camera, colmap_images
from omniseg.errors import InputError


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Return the numbered lines of a text file, with blank lines, without comments."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file; write COLMAP's model again") from error
    return ((i, line.strip()) for i, line in enumerate(lines, 1) if not line.lstrip().startswith("#"))


def _bad_line(path: Path, number: int, expected: str) -> InputError:
    return InputError(f"{path}: line {number} is not `{expected}`; write COLMAP's model again")


def read_cameras(path: Path) -> dict[int, Camera]:
    """Read cameras.txt, or raise `InputError`."""
    cameras = {}
    for number, line in _lines(path):
        if not line:
            continue
        words = line.split()
        names = dict(MODELS).get(words[1], "").split() if len(words) > 1 else []
        try:
            camera_id, width, height = int(words[0]), int(words[2]), int(words[3])
            params = [float(word) for word in words[4:]]
        except (ValueError, IndexError) as error:
            raise _bad_line(path, number, "ID MODEL WIDTH HEIGHT PARAMETERS") from error
        if names and len(params) != len(names):
            raise _bad_line(path, number, f"ID {words[1]} WIDTH HEIGHT {' '.join(names)}")
        values = dict(zip(names, params))
        cameras[camera_id] = colmap_camera(words[1], width, height, values, f"{path}: camera {camera_id}")
    return cameras


def read_images(path: Path) -> tuple[ColmapImage, ...]:
    """Read images.txt, or raise `InputError`."""
    names, ids, poses, points = [], [], [], []
    lines = _lines(path)
    for number, line in lines:
        if not line:
            continue
        words = line.split(maxsplit=9)
        try:
            int(words[0])
            poses.append([float(word) for word in words[1:8]])
            ids.append(int(words[8]))
            names.append(words[9])
        except (ValueError, IndexError) as error:
            raise _bad_line(path, number, "ID QW QX QY QZ TX TY TZ CAMERA_ID NAME") from error
        number, observed = next(lines, (number, ""))  # not skipped even if it is blank: the image sees no points
        words = observed.split()
        try:
            seen = np.array(words[2::3], np.int64)
        except (ValueError, OverflowError) as error:
            raise _bad_line(path, number, "X Y POINT3D_ID, repeated") from error
        if len(words) % 3:
            raise _bad_line(path, number, "X Y POINT3D_ID, repeated")
        points.append(seen[seen >= 0])  # -1: of no point
    return colmap_images(path, names, ids, poses, points)


def read_points(path: Path) -> ColmapPoints:
    """Read points3D.txt, skipping the tracks, or raise `InputError`."""
    ids, xyz, error, track = [], [], [], []
    for number, line in _lines(path):
        if not line:
            continue
        words = line.split()
        if len(words) < 8 or len(words) % 2:
            raise _bad_line(path, number, "ID X Y Z R G B ERROR TRACK")
        try:
            ids.append(int(words[0]))
            xyz.append([float(word) for word in words[1:4]])
            error.append(float(words[7]))
        except ValueError as failure:
            raise _bad_line(path, number, "ID X Y Z R G B ERROR TRACK") from failure
        track.append(len(words) // 2 - 4)
    return ColmapPoints(
        np.array(ids, np.int64), np.array(xyz).reshape(-1, 3), np.array(error), np.array(track, np.int64)
    )
