"""Reader of COLMAP's cameras.bin, images.bin and points3D.bin with strict bounds.

Every count is checked against the length of the file before anything is allocated, and every byte must be
accounted for: a truncated or foreign file ends in an error, and neither hangs nor passes.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from omniseg.cameras import Camera
from omniseg.data.formats.colmap_model import (
    MODELS,
    NEWER_MODELS,
    ColmapImage,
    ColmapPoints,
    colmap_camera,
    colmap_images,
)
from omniseg.data.image_io import read_bytes
from omniseg.errors import InputError

_POINT = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8")])
_OBSERVATION = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])
_POINT_BYTES = _POINT.itemsize
"""Size of a point in points3D.bin, without its track."""


class _Reader:
    """Sequence of the numbers in a binary file that refuses to be read past its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = read_bytes(path)
        self.at = 0

    def fail(self, what: str) -> InputError:
        return InputError(f"{self.path}: {what}; copy the file again or repeat the reconstruction")

    def take(self, layout: str) -> tuple:
        layout = "<" + layout
        end = self.at + struct.calcsize(layout)
        if end > len(self.data):
            raise self.fail(f"is truncated (ends at byte {len(self.data)} inside a record) or not a COLMAP file")
        values = struct.unpack_from(layout, self.data, self.at)
        self.at = end
        return values

    def count(self, smallest: int) -> int:
        """Read a number of records of at least `smallest` bytes each, and check that they fit into the file."""
        (n,) = self.take("Q")
        if n * smallest > len(self.data) - self.at:
            raise self.fail(f"is truncated or not a COLMAP file (announces {n} records, has no room for them)")
        return n

    def text(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise self.fail("is truncated inside an image name")
        try:
            name = self.data[self.at : end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.fail("holds an image name that is not text") from error
        self.at = end + 1
        return name

    def finish(self) -> None:
        if self.at != len(self.data):
            raise self.fail(f"has {len(self.data) - self.at} bytes too many, so it is not a COLMAP file")


def read_cameras(path: Path) -> dict[int, Camera]:
    """Read cameras.bin, or raise `InputError`."""
    file = _Reader(path)
    cameras = {}
    for _ in range(file.count(24 + 2 * 8)):
        camera_id, model_id, width, height = file.take("IiQQ")
        if not 0 <= model_id < len(MODELS):
            newer = model_id - len(MODELS)
            if 0 <= newer < len(NEWER_MODELS):
                colmap_camera(NEWER_MODELS[newer], width, height, {}, str(path))
            raise file.fail(f"camera model {model_id} does not exist, so it is damaged or not a COLMAP file")
        model, names = MODELS[model_id]
        values = dict(zip(names.split(), file.take(f"{len(names.split())}d")))
        cameras[camera_id] = colmap_camera(model, width, height, values, f"{path}: camera {camera_id}")
    file.finish()
    return cameras


def read_images(path: Path) -> tuple[ColmapImage, ...]:
    """Read images.bin, or raise `InputError`."""
    file = _Reader(path)
    names, ids, poses, points = [], [], [], []
    for _ in range(file.count(4 + 56 + 4 + 1 + 8)):
        _, *pose, camera_id = file.take("I7dI")
        names.append(file.text())
        ids.append(camera_id)
        poses.append(pose)
        observed = file.count(24)
        observations = np.frombuffer(file.data, _OBSERVATION, observed, file.at)["point"]
        points.append(observations[observations >= 0])  # -1: of no point
        file.at += 24 * observed
    file.finish()
    return colmap_images(path, names, ids, poses, points)


def read_points(path: Path) -> ColmapPoints:
    """Read points3D.bin, skipping the tracks, or raise `InputError`."""
    file = _Reader(path)
    n, data, end = file.count(_POINT_BYTES + 8), file.data, len(file.data)
    starts, track = np.empty(n, np.int64), np.empty(n, np.int64)
    length_at, at = struct.Struct("<Q").unpack_from, file.at
    for i in range(n):  # a loop, since each record begins where the track before it ends
        if at + _POINT_BYTES + 8 > end:
            raise file.fail(f"is truncated (point {i} of {n})")
        starts[i] = at
        (length,) = length_at(data, at + _POINT_BYTES)
        if length > end:
            raise file.fail(f"is truncated or damaged (track of {length} images at point {i} of {n})")
        track[i] = length
        at += _POINT_BYTES + 8 + 8 * length
    if at > end:
        raise file.fail(f"is truncated (track of the last of {n} points)")
    file.at = at
    file.finish()
    # Records begin at any byte: view one at every byte and pick the true ones.
    points = np.ndarray(end - _POINT_BYTES + 1, _POINT, data, strides=(1,))[starts] if n else np.empty(0, _POINT)
    ids, xyz, error = (points[name] for name in ("id", "xyz", "error"))
    return ColmapPoints(ids.astype(np.int64), xyz.astype(np.float64), error.astype(np.float64), track)
