"""Sparse surface points as structure from motion would find them, written as a COLMAP model in text.

A point lies where a photo has texture, and counts if at least three photos see it within the angle that matching
bears. Its error is that of triangulation: pixels are observed with a random error, and the position moves by the least
squares solution of all observations, so far points are less exact than near ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from omniseg.cameras import Camera
from omniseg_sample_scenes.render import SampleImage

PIXEL_ERROR = 0.4
"""Standard deviation of an observation in pixels, on each axis."""

MIN_TRACK = 3
"""Fewest photos that see a point."""

MATCH_ANGLE = 40.0
"""Largest angle in degrees between rays to a point that are matched."""

MIN_ANGLE = 1.5
"""Largest angle in degrees between a point's rays must be at least this."""

MATCH_SHARE = 0.7
"""Share of the photos that could match a point and do."""

_SAME_DEPTH = 0.02
"""Largest difference of depth, relative, at which a photo sees a point."""


@dataclass(frozen=True)
class SparsePoints:
    """Points and which photos see them.

    Attributes:
        xyz: (n, 3) float64 positions, metres.
        rgb: (n, 3) uint8 colours.
        seen: (n, n_photos) bool, photos in which the point was found.
        pixels: (n, n_photos, 2) float64 observed x, y in pixels; meaningful where `seen`.
        errors: (n,) float64 mean reprojection error, pixels.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    seen: np.ndarray
    pixels: np.ndarray
    errors: np.ndarray


def find_points(
    images: Sequence[SampleImage], camera: Camera, poses: np.ndarray, count: int, random: np.random.Generator
) -> SparsePoints:
    """Return `count` points, or as many as the photos share if those are fewer.

    Args:
        images: photos with depth.
        camera, poses: their pinhole camera and poses (n_photos, 3, 4), OpenCV axes.
        random: draws pixels and their errors.
    """
    drawn = [
        _draw_points(image, camera, pose, 4 * count // len(images) + 1, random) for image, pose in zip(images, poses)
    ]
    xyz, rgb = (np.concatenate(column) for column in zip(*drawn))
    source = np.repeat(np.arange(len(images)), [len(points) for points, _ in drawn])
    gap = xyz[:, None] - poses[None, :, :, 3]
    local = np.einsum("pvk,vkc->pvc", gap, poses[:, :, :3])
    depth = local[..., 2]
    ahead = np.maximum(depth, 1e-9)
    pixels = np.stack(
        [camera.fx * local[..., 0] / ahead + camera.cx, camera.fy * local[..., 1] / ahead + camera.cy], -1
    )
    column, row = (
        pixels[..., axis].clip(0, side - 1).astype(int) for axis, side in ((0, camera.width), (1, camera.height))
    )
    inside = (pixels > 0).all(-1) & (pixels < [camera.width, camera.height]).all(-1) & (depth > 0)
    truth = np.stack([images[v].depth[row[:, v], column[:, v]] for v in range(len(images))], 1)
    towards = gap / np.linalg.norm(gap, axis=-1, keepdims=True)
    own = towards[np.arange(len(xyz)), source]
    cosine = np.einsum("pvk,pk->pv", towards, own)
    seen = inside & (np.abs(truth - depth) < _SAME_DEPTH * depth) & (cosine > math.cos(math.radians(MATCH_ANGLE)))
    seen &= random.random(seen.shape) < MATCH_SHARE
    seen[np.arange(len(xyz)), source] = True
    spread = np.where(seen, cosine, 1.0).min(1) < math.cos(math.radians(MIN_ANGLE))
    good = np.flatnonzero((seen.sum(1) >= MIN_TRACK) & spread)
    good = np.sort(random.permutation(good)[:count])
    moved, pixels, errors = _triangulate(local[good], pixels[good], seen[good], camera, poses, random)
    return SparsePoints(xyz[good] + moved, rgb[good], seen[good], pixels, errors)


def _draw_points(
    image: SampleImage, camera: Camera, pose: np.ndarray, count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return surface points (n, 3) of textured pixels and their colours (n, 3)."""
    grey = cv2.cvtColor(image.colour, cv2.COLOR_RGB2GRAY).astype(np.float32)
    texture = np.sqrt(cv2.cornerMinEigenVal(grey, 3).clip(min=0)) * (image.depth > 0)  # may be -1e-9
    if not texture.any():
        return np.empty((0, 3)), np.empty((0, 3), np.uint8)
    chosen = random.choice(texture.size, count, p=texture.ravel() / texture.sum(dtype=np.float64))
    row, column = np.divmod(chosen, camera.width)
    ray = np.stack([(column + 0.5 - camera.cx) / camera.fx, (row + 0.5 - camera.cy) / camera.fy, np.ones(count)], -1)
    points = image.depth[row, column][:, None] * ray @ pose[:, :3].T + pose[:, 3]
    return points, image.colour[row, column]


def _triangulate(
    local: np.ndarray,
    pixels: np.ndarray,
    seen: np.ndarray,
    camera: Camera,
    poses: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how far points move (n, 3) when observed with errors, the observed pixels, and the errors that remain."""
    depth = np.where(seen, local[..., 2], 1.0)
    jacobian = np.zeros((*seen.shape, 2, 3))
    jacobian[..., 0, 0], jacobian[..., 1, 1] = camera.fx / depth, camera.fy / depth
    jacobian[..., 0, 2] = -camera.fx * local[..., 0] / depth**2
    jacobian[..., 1, 2] = -camera.fy * local[..., 1] / depth**2
    jacobian = np.einsum("pvij,vkj->pvik", jacobian, poses[:, :, :3]) * seen[..., None, None]
    noise = random.normal(0, PIXEL_ERROR, pixels.shape) * seen[..., None]
    normal = np.einsum("pvij,pvik->pjk", jacobian, jacobian)
    moved = np.linalg.solve(normal, np.einsum("pvij,pvi->pj", jacobian, noise)[..., None])[..., 0]
    left = np.linalg.norm(np.einsum("pvij,pj->pvi", jacobian, moved) - noise, axis=-1)
    return moved, pixels + noise, left.sum(1) / seen.sum(1)


def write_model(folder: Path, points: SparsePoints, camera: Camera, poses: np.ndarray, names: Sequence[str]) -> None:
    """Write cameras.txt, images.txt and points3D.txt, as COLMAP does.

    Args:
        folder: existing folder.
        points: what `find_points` returned.
        camera, poses: the photos' pinhole camera and poses (n_photos, 3, 4), camera to world, OpenCV axes.
        names: the photos' file names.
    """
    size = f"{camera.width} {camera.height}"
    lens = f"{camera.fx!r} {camera.fy!r} {camera.cx!r} {camera.cy!r}"
    (folder / "cameras.txt").write_text(f"# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]\n1 PINHOLE {size} {lens}\n")
    turns = poses[:, :, :3].transpose(0, 2, 1)
    quaternions = Rotation.from_matrix(turns).as_quat()[:, [3, 0, 1, 2]]
    shifts = -np.einsum("vij,vj->vi", turns, poses[:, :, 3])
    place = np.cumsum(points.seen, 0) - 1  # number of each observation in its photo
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then X Y POINT3D_ID of each observation"]
    for v, name in enumerate(names):
        pose = " ".join(f"{value:.17g}" for value in (*quaternions[v], *shifts[v]))
        lines.append(f"{v + 1} {pose} 1 {name}")
        of = np.flatnonzero(points.seen[:, v])
        lines.append(" ".join(f"{x:.3f} {y:.3f} {p + 1}" for p, (x, y) in zip(of, points.pixels[of, v])))
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    lines = ["# POINT3D_ID X Y Z R G B ERROR TRACK[] as IMAGE_ID POINT2D_IDX"]
    for p, (xyz, rgb, error) in enumerate(zip(points.xyz, points.rgb, points.errors)):
        track = " ".join(f"{v + 1} {place[p, v]}" for v in np.flatnonzero(points.seen[p]))
        lines.append(f"{p + 1} {' '.join(f'{c:.6f}' for c in xyz)} {' '.join(map(str, rgb))} {error:.4f} {track}")
    (folder / "points3D.txt").write_text("\n".join(lines) + "\n")
