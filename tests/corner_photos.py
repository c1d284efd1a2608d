"""Photos of a textured corner of a room from known poses: enough details for structure from motion, in milliseconds."""

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from scene_files import look_at

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
_SIZE, _TEXELS = 6.0, 768


def arc(n: int, degrees: float = 60.0) -> np.ndarray:
    """Return n poses (n, 3, 4) that walk around the corner and look at it, rising a little."""
    angles = np.radians(45 + degrees * (np.arange(n) / max(n - 1, 1) - 0.5))
    eyes = [(3.2 * np.cos(a), 3.2 * np.sin(a), 1.4 + 0.4 * k / n) for k, a in enumerate(angles)]
    return np.stack([look_at(eye, (0.6, 0.6, 0.7)) for eye in eyes])


def turn(n: int, degrees: float = 30.0) -> np.ndarray:
    """Return n poses (n, 3, 4) of a camera that turns on the spot."""
    angles = np.radians(225 + degrees * (np.arange(n) / max(n - 1, 1) - 0.5))
    eye = np.array([2.2, 2.2, 1.3])
    return np.stack([look_at(eye, np.add(eye, (np.cos(a), np.sin(a), -0.2))) for a in angles])


def photo(c2w: np.ndarray) -> np.ndarray:
    """Return the photo (HEIGHT, WIDTH, 3) uint8 RGB from a pose, OpenCV axes."""
    x, y = np.meshgrid(np.arange(2 * WIDTH) + 0.5, np.arange(2 * HEIGHT) + 0.5)
    rays = np.stack([x / 2 - WIDTH / 2, y / 2 - HEIGHT / 2, np.full_like(x, FOCAL)], axis=-1) @ c2w[:, :3].T
    eye = c2w[:, 3]
    with np.errstate(divide="ignore"):
        distance = np.where(rays < 0, -eye / rays, np.inf)  # to the planes x = 0, y = 0, z = 0
    plane = distance.argmin(-1)
    hit = eye + rays * np.minimum(distance.min(-1), 1e3)[..., None]
    image = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    for axis, texture in enumerate(_textures()):
        u, v = (hit[..., k] * (_TEXELS / _SIZE) for k in range(3) if k != axis)
        seen = cv2.remap(texture, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
        image[plane == axis] = seen[plane == axis]
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


@functools.cache
def _textures() -> list[np.ndarray]:
    """Return one texture of random blobs for each plane."""
    rng = np.random.default_rng(0)
    textures = []
    for tint in ((1.0, 0.8, 0.7), (0.7, 1.0, 0.8), (0.8, 0.8, 1.0)):
        total = np.zeros((_TEXELS, _TEXELS), np.float32)
        for cells, weight in ((24, 0.8), (64, 1.0), (160, 0.8)):
            noise = rng.standard_normal((cells, cells)).astype(np.float32)
            total += weight * cv2.resize(noise, (_TEXELS, _TEXELS), interpolation=cv2.INTER_CUBIC)
        grey = 128 + 50 * total[..., None] * np.array(tint, np.float32)
        textures.append(grey.clip(0, 255).astype(np.uint8))
    return textures


def write_photos(folder: Path, poses: Sequence[np.ndarray] | np.ndarray, suffix: str = ".jpg") -> Path:
    """Write a photo of each pose as IMG_0.jpg, IMG_1.jpg, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, pose in enumerate(poses):
        cv2.imwrite(str(folder / f"IMG_{k}{suffix}"), photo(pose)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder


def write_video(path: Path, poses: Sequence[np.ndarray] | np.ndarray, blur: int = 1) -> Path:
    """Write a video with a frame of each pose, of which only every `blur`-th is sharp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for k, pose in enumerate(poses):
        frame = photo(pose)[..., ::-1]
        writer.write(np.ascontiguousarray(frame if k % blur == blur // 2 else cv2.blur(frame, (9, 9))))
    writer.release()
    return path


def position_error(centres: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest distance between camera centres (n, 3) after the similarity that fits them best, as a
    fraction of the extent of the true ones."""
    a, b = centres - centres.mean(0), truth - truth.mean(0)
    u, scales, vt = np.linalg.svd(b.T @ a)
    flip = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    fitted = (scales * flip).sum() / (a**2).sum() * a @ (u * flip @ vt).T
    return float(np.linalg.norm(fitted - b, axis=1).max() / np.ptp(truth, axis=0).max())
