"""Tiny captures in every format that the readers know, written by the tests themselves."""

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from omniseg.data.normalisation import Normalisation

WIDTH, HEIGHT = 24, 16
PINHOLE = (1, 1, WIDTH, HEIGHT, (30.0, 31.0, 12.5, 7.5))
"""A COLMAP camera: id, model id, width, height, parameters (here fx fy cx cy)."""

COLMAP_NAMES = [
    "SIMPLE_PINHOLE",
    "PINHOLE",
    "SIMPLE_RADIAL",
    "RADIAL",
    "OPENCV",
    "OPENCV_FISHEYE",
    "FULL_OPENCV",
    "FOV",
    "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE",
    "THIN_PRISM_FISHEYE",
]


def real_capture(name: str) -> Path:
    """Return the folder of a real capture in OMNISEG_CAPTURES; skip the test if it is not there."""
    captures = os.environ.get("OMNISEG_CAPTURES")
    if not captures:
        pytest.skip(f"needs the real capture {name}: OMNISEG_CAPTURES names no folder of captures")
    path = Path(captures) / name
    if not path.exists():
        pytest.skip(f"needs the real capture {name}, which is not in {captures}")
    return path


def look_at(eye: Sequence[float], target: Sequence[float] = (0, 0, 0), up: Sequence[float] = (0, 0, 1)) -> np.ndarray:
    """Return the pose (3, 4), OpenCV axes, of a camera at `eye` that looks at `target`."""
    forward = np.subtract(target, eye)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward, np.asarray(eye, float)], axis=1)


IDENTITY = Normalisation(1.0, np.eye(3), np.zeros(3))
"""Similarity that changes nothing."""


def inverse_c2w(normalisation: Normalisation, c2w: np.ndarray) -> np.ndarray:
    """Map poses (..., 3, 4) from scene to input coordinates."""
    position = normalisation.inverse_points(c2w[..., 3])
    return np.concatenate([normalisation.rotation.T @ c2w[..., :3], position[..., None]], axis=-1)


def orbit(n: int = 5, radius: float = 4.0, height: float = 1.0, target: Sequence[float] = (0, 0, 0)) -> np.ndarray:
    """Return poses (n, 3, 4) on a circle around `target`, z up."""
    angles = 2 * np.pi * np.arange(n) / n
    eyes = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(n, height)], axis=1)
    return np.stack([look_at(eye + target, target) for eye in eyes])


def sideways(n: int = 5, distance: float = 5.0) -> np.ndarray:
    """Return poses (n, 3, 4) of a camera that moves sideways and looks along +y."""
    return np.stack([look_at([x, -distance, 0.2 * x], [x, 0, 0.2 * x]) for x in np.linspace(-0.5, 0.5, n)])


def write_image(path: Path, width: int = WIDTH, height: int = HEIGHT, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Write smooth random pixels, and return them as RGB or RGBA."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 4, channels), dtype=np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    order = cv2.COLOR_RGBA2BGRA if channels == 4 else cv2.COLOR_RGB2BGR
    assert cv2.imwrite(str(path), cv2.cvtColor(pixels, order))
    return pixels


def write_images(root: Path, names: Sequence[str], **kwargs) -> None:
    for seed, name in enumerate(names):
        write_image(root / name, seed=seed, **kwargs)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """Return the quaternion w x y z of a rotation, by the eigenvector of Bar-Itzhack 2000."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [0, r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [0, 0, r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [0, 0, 0, r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    return np.linalg.eigh(np.triu(k).T + np.triu(k, 1))[1][:, -1]


def world_to_camera(c2w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return quaternion and translation, as COLMAP stores a pose."""
    rotation = c2w[:, :3].T
    return quaternion(rotation), -rotation @ c2w[:, 3]


def cameras_bin(cameras: Sequence[tuple] = (PINHOLE,)) -> bytes:
    out = struct.pack("<Q", len(cameras))
    for camera_id, model, width, height, params in cameras:
        out += struct.pack(f"<IiQQ{len(params)}d", camera_id, model, width, height, *params)
    return out


def images_bin(
    names: Sequence[str], poses: np.ndarray, camera_id: int = 1, n_observed: int = 2, seen: Sequence = ()
) -> bytes:
    """Return images.bin; `seen` has the ids of the points that each image sees, else they see none."""
    out = struct.pack("<Q", len(names))
    for i, (name, c2w) in enumerate(zip(names, poses)):
        q, t = world_to_camera(c2w)
        out += struct.pack("<I7dI", i + 1, *q, *t, camera_id) + name.encode() + b"\0"
        ids = [*(seen[i] if len(seen) else ()), *[-1] * n_observed]
        out += struct.pack("<Q", len(ids)) + b"".join(struct.pack("<ddq", 1.0, 2.0, point) for point in ids)
    return out


def points_bin(points: np.ndarray, track: int = 3, error: float = 0.5) -> bytes:
    out = struct.pack("<Q", len(points))
    for i, xyz in enumerate(points):
        out += struct.pack("<Q3d3Bd", i + 1, *xyz, 1, 2, 3, error)
        out += struct.pack("<Q", track) + struct.pack("<II", 1, 0) * track
    return out


def write_colmap(
    root: Path,
    poses: np.ndarray,
    *,
    names: Sequence[str] | None = None,
    cameras: Sequence[tuple] = (PINHOLE,),
    points: np.ndarray | None = None,
    images: bool = True,
    folder: str = "sparse/0",
    seen: Sequence = (),
) -> list[str]:
    """Write a binary COLMAP capture, and return its image names."""
    names = [f"{i:04d}.png" for i in range(len(poses))] if names is None else list(names)
    model = root / folder
    model.mkdir(parents=True, exist_ok=True)
    (model / "cameras.bin").write_bytes(cameras_bin(cameras))
    (model / "images.bin").write_bytes(images_bin(names, poses, cameras[0][0], seen=seen))
    (model / "points3D.bin").write_bytes(points_bin(np.empty((0, 3)) if points is None else points))
    if images:
        write_images(root / "images", names)
    return names


def write_colmap_text(folder: Path, names: Sequence[str], poses: np.ndarray, points: np.ndarray) -> None:
    """Write the same model as text, the last image without observed points."""
    folder.mkdir(parents=True, exist_ok=True)
    camera_id, model, width, height, params = PINHOLE
    line = " ".join(map(repr, params))
    (folder / "cameras.txt").write_text(f"# cameras\n{camera_id} {COLMAP_NAMES[model]} {width} {height} {line}\n")
    lines = ["# images, two lines each"]
    for i, (name, c2w) in enumerate(zip(names, poses)):
        q, t = world_to_camera(c2w)
        lines.append(" ".join([str(i + 1), *(repr(float(v)) for v in (*q, *t)), str(camera_id), name]))
        lines.append("" if i == len(names) - 1 else "1.0 2.0 -1 3.0 4.0 7")
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    rows = [f"{i + 1} {x!r} {y!r} {z!r} 1 2 3 0.5 1 0 2 0 3 0" for i, (x, y, z) in enumerate(points.tolist())]
    (folder / "points3D.txt").write_text("\n".join(["# points", *rows]) + "\n")


def opengl(c2w: np.ndarray) -> list[list[float]]:
    """Return the `transform_matrix` (axes right, up, backwards) of a pose in OpenCV axes."""
    matrix = np.eye(4)
    matrix[:3] = c2w
    matrix[:, 1:3] *= -1
    return matrix.tolist()


def frames(names: Sequence[str], poses: np.ndarray) -> list[dict]:
    return [{"file_path": name, "transform_matrix": opengl(c2w)} for name, c2w in zip(names, poses)]


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_transforms(root: Path, poses: np.ndarray, **meta) -> list[str]:
    """Write transforms.json with images/0000.png..., and return the file paths."""
    names = [f"images/{i:04d}.png" for i in range(len(poses))]
    write_images(root, names)
    write_json(root / "transforms.json", {"fl_x": 30.0, "frames": frames(names, poses), **meta})
    return names


def write_llff(root: Path, poses: np.ndarray, bounds: tuple[float, float] = (2.0, 8.0)) -> np.ndarray:
    """Write poses_bounds.npy with images/image000.png..., and return its rows."""
    rows = []
    for c2w in poses:
        right, down, forward, position = c2w.T
        hwf = np.array([HEIGHT, WIDTH, 30.0])
        rows.append([*np.stack([down, right, -forward, position, hwf], axis=1).reshape(-1), *bounds])
    np.save(root / "poses_bounds.npy", np.array(rows))
    write_images(root / "images", [f"image{i:03d}.png" for i in range(len(poses))])
    return np.array(rows)
