"""Writer of the sample scene: views of the sample room as a capture with exact depth and labels.

OUT/transforms_train.json, transforms_test.json    cameras (OpenGL axes), `aabb`, `integer_depth_scale`
OUT/rgb/0000.png                                    8-bit colour
OUT/depth/0000.png                                  16-bit z-depth in steps of `integer_depth_scale` metres
OUT/labels/{part,object,group}/0000.png             16-bit ids, the same in all views, 0 = ignore
OUT/sam/0000.npz                                    hierarchy of masks with the errors of a segmenter
OUT/labels/names.json                               level -> id -> name and parent (an id one level coarser)
OUT/sample.json                                     generator, seed and severity; marks the folder as ours
"""

import json
import math
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from omniseg.cameras import Camera, look_at
from omniseg.errors import InputError
from omniseg.masks.hierarchy import absorb_covered, build_hierarchy
from omniseg_sample_scenes.builder import LEVELS
from omniseg_sample_scenes.masks import DEFAULT_SEVERITY, sam_like_masks
from omniseg_sample_scenes.render import SampleImage, render_scene
from omniseg_sample_scenes.room import SampleScene, build_scene

DEPTH_SCALE = 2e-4
"""Step of the depth images in metres: 13 m fit into 16 bits."""

FIELD_OF_VIEW = 74.0
"""Horizontal field of view in degrees."""

MARGIN = 0.1
"""Thickness in metres of the walls that belong to the scene's box."""

_MARK = "sample.json"
_GENERATOR = "omniseg make_sample"
_MOST_VIEWS = 9999  # file names have four digits
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def make_sample(
    out: str | Path,
    *,
    seed: int = 0,
    train_views: int = 80,
    test_views: int = 12,
    width: int = 240,
    height: int = 180,
    severity: float = DEFAULT_SEVERITY,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Render the sample room into a folder that `read_scene` reads.

    The folder appears only when it is complete: it is written as OUT.partial, then renamed. The same arguments give
    the same pixels on the same machine.

    Args:
        out: folder to make; its parents are made too.
        seed: varies colours and arrangement of the room, at least 0.
        train_views, test_views: number of cameras on one path, together at most 9999; test views lie evenly between
            the train views.
        width, height: size of the images in pixels, at least 8.
        severity: amount of mask errors (see `omniseg_sample_scenes.masks`), 0 (true masks) to 3.
        overwrite: replace an earlier sample in `out`.
        progress: show a progress bar.
    Returns:
        `out`.
    Raises:
        InputError: a number is out of range, `out` holds something else, or it cannot be written.
    """
    for name, value, least in (
        ("seed", seed, 0),
        ("train_views", train_views, 1),
        ("test_views", test_views, 0),
        ("width", width, 8),
        ("height", height, 8),
    ):
        if value < least:
            raise InputError(f"{name}: expected at least {least}, got {value}")
    if not 0 <= severity <= 3:
        raise InputError(f"severity: expected 0 to 3, got {severity:g}")
    if (n_views := train_views + test_views) > _MOST_VIEWS:
        raise InputError(f"train_views, test_views: expected at most {_MOST_VIEWS} together, got {n_views}")
    out = Path(out)
    partial = out.with_name(out.name + ".partial")
    try:
        _check_target(out, overwrite)
        _prepare(partial, {"generator": _GENERATOR, "seed": seed, "severity": severity})
        try:
            _write(partial, seed, train_views, test_views, width, height, severity, progress)
            _publish(partial, out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror or error}).\nChoose a writable folder with free space."
        ) from error
    return out


def camera_path(n: int) -> np.ndarray:
    """Return n camera poses on a closed path.

    The path goes three times around the room, low and high; cameras look inwards and a little aside.

    Returns:
        (n, 3, 4) float64 camera to world, OpenCV axes, metres.
    """
    poses = np.empty((n, 3, 4))
    for k in range(n):
        wave = 2.0 * math.pi * k / n
        angle = 3.0 * wave + 0.94
        x, y = math.cos(angle), math.sin(angle)
        # A shape between ellipse and rectangle stays close to the walls and clear of the table.
        reach = (0.95 + 0.05 * math.cos(2.0 * wave + 0.5)) / (abs(x / 1.95) ** 3 + abs(y / 1.52) ** 3) ** (1 / 3)
        eye = np.array([0.1 + reach * x, reach * y, 1.54 - 0.20 * math.cos(wave)])
        aside = angle + wave + 1.2
        poses[k] = look_at(eye, np.array([0.1 + 0.55 * math.cos(aside), 0.44 * math.sin(aside), 0.78]))
    return poses


def sample_camera(width: int, height: int) -> Camera:
    """Return the pinhole camera of the sample for this image size in pixels."""
    focal = 0.5 * width / math.tan(math.radians(0.5 * FIELD_OF_VIEW))
    return Camera(width, height, focal, focal, 0.5 * width, 0.5 * height)


def is_test_view(n_train: int, n_test: int) -> np.ndarray:
    """Return (n_train + n_test,) bool that spreads the test views evenly along the path."""
    n = n_train + n_test
    test = np.zeros(n, dtype=bool)
    test[((np.arange(n_test) + 0.5) * n / max(n_test, 1)).astype(int)] = True
    return test


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not _is_ours(out):
        raise InputError(f"{out}: exists and is not a sample scene made here.\nChoose another folder.")
    if not overwrite:
        raise InputError(f"{out}: holds a sample scene already.\nChoose another folder, or add --overwrite.")


def _is_ours(folder: Path) -> bool:
    try:
        return json.loads((folder / _MARK).read_text())["generator"] == _GENERATOR
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _prepare(partial: Path, mark: Mapping[str, object]) -> None:
    if partial.exists():
        if not _is_ours(partial):
            raise InputError(f"{partial}: exists and was not made here.\nMove it, or choose another folder.")
        shutil.rmtree(partial)  # left by an interrupted run
    partial.mkdir(parents=True)
    (partial / _MARK).write_text(json.dumps(mark, indent=2) + "\n")


def _publish(partial: Path, out: Path) -> None:
    old = out.with_name(out.name + ".old")
    if not _is_ours(out):
        partial.rename(out)  # also replaces an empty folder
        return
    if _is_ours(old):
        shutil.rmtree(old)
    out.rename(old)
    try:
        partial.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)


def _write(
    folder: Path, seed: int, n_train: int, n_test: int, width: int, height: int, severity: float, progress: bool
) -> None:
    camera = sample_camera(width, height)
    test = is_test_view(n_train, n_test)
    poses = camera_path(n_train + n_test)
    for name in ("rgb", "depth", "sam", *(f"labels/{level}" for level in LEVELS)):
        (folder / name).mkdir(parents=True)
    with tqdm(total=len(poses), desc="sample room: light", unit="view", disable=not progress) as bar:
        # As fine as a pixel sees the light from across the table.
        room = build_scene(seed, texel=max(0.035, 2.5 / camera.fx))
        bar.set_description("sample room: views")
        with ThreadPoolExecutor(2) as pool:
            jobs = []
            for k, pose in enumerate(poses):
                image = render_scene(room, camera, pose)
                random = np.random.default_rng((seed, k))
                jobs.append(pool.submit(_write_view, folder, f"{k:04d}", image, severity, random))
                bar.update()
            for job in jobs:
                job.result()
    for split, chosen in (("train", ~test), ("test", test)):
        frames = [_frame(int(k), poses[k]) for k in np.flatnonzero(chosen)]
        _write_json(folder / f"transforms_{split}.json", _transforms(camera, room, frames))
    names = {
        level: {str(i): {"name": entry.name, "parent": entry.parent} for i, entry in room.names[level].items()}
        for level in LEVELS
    }
    _write_json(folder / "labels" / "names.json", names)


def _write_view(folder: Path, stem: str, image: SampleImage, severity: float, random: np.random.Generator) -> None:
    steps = np.rint(image.depth / DEPTH_SCALE).clip(0, 65535).astype(np.uint16)
    _write_png(folder / "rgb" / f"{stem}.png", image.colour[..., ::-1])
    _write_png(folder / "depth" / f"{stem}.png", steps)
    for level, ids in image.labels.items():
        _write_png(folder / "labels" / level / f"{stem}.png", ids)
    masks = sam_like_masks(image.labels, severity, random)
    build_hierarchy(absorb_covered(masks) if severity else masks).save(folder / "sam" / f"{stem}.npz")


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # cv2.imwrite does not tell why it failed (a full disk); write_bytes does.
    ok, data = cv2.imencode(".png", pixels)
    if not ok:
        raise OSError(f"{path}: the image could not be encoded")
    path.write_bytes(data.tobytes())


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _frame(k: int, pose: np.ndarray) -> dict[str, object]:
    matrix = np.vstack([pose, [0.0, 0.0, 0.0, 1.0]]) @ _OPENGL
    return {
        "file_path": f"rgb/{k:04d}.png",
        "depth_file_path": f"depth/{k:04d}.png",
        "transform_matrix": matrix.tolist(),
    }


def _transforms(camera: Camera, room: SampleScene, frames: list[dict[str, object]]) -> dict[str, object]:
    return {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "w": camera.width,
        "h": camera.height,
        "camera_angle_x": math.radians(FIELD_OF_VIEW),
        "camera_axes": "opengl",
        "aabb": (room.aabb + MARGIN * np.array([[-1.0], [1.0]])).tolist(),
        "integer_depth_scale": DEPTH_SCALE,
        "frames": frames,
    }
