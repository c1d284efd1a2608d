"""Writer of sample scenes: photos of a scene as a capture with exact labels and, where wanted, exact depth.

OUT/transforms_train.json, transforms_test.json    cameras (OpenGL axes), `aabb`, `integer_depth_scale`
OUT/rgb/0000.png                                    8-bit colour
OUT/depth/0000.png                                  16-bit z-depth in steps of `integer_depth_scale` metres
OUT/labels/{part,object,group}/0000.png             16-bit ids, the same in all views, 0 = ignore
OUT/sam/0000.npz                                    hierarchy of masks with the errors of a segmenter
OUT/labels/names.json                               level -> id -> name and parent (an id one level coarser)
OUT/sample.json                                     generator, kind, seed, severity, step of the depth images in metres;
                                                    marks the folder as ours

With sparse points the folder is what COLMAP leaves: OUT/images/ in place of rgb/, OUT/sparse/0/ in place of the JSON
files. Its readers take no depth images, so the exact depth, for measuring, is in OUT/true_depth/.
"""

import json
import math
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from omniseg.cameras import Camera
from omniseg.data.splits import DEFAULT_TEST_EVERY
from omniseg.errors import InputError
from omniseg.masks.hierarchy import absorb_covered, build_hierarchy
from omniseg_sample_scenes.builder import LEVELS
from omniseg_sample_scenes.kind import SceneKind
from omniseg_sample_scenes.kinds import KINDS, KindName
from omniseg_sample_scenes.masks import DEFAULT_SEVERITY, sam_like_masks
from omniseg_sample_scenes.render import SampleImage, render_scene
from omniseg_sample_scenes.scene import SampleScene, build_scene
from omniseg_sample_scenes.sparse_points import find_points, write_model

MARGIN = 0.1
"""Thickness in metres of the walls that belong to the scene's box."""

_MARK = "sample.json"
_GENERATOR = "omniseg make_sample"
_MOST_VIEWS = 9999  # file names have four digits
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class _Order:
    """Arguments of `make_sample` with the kind's defaults filled in."""

    scene: KindName
    seed: int
    train_views: int
    test_views: int
    width: int
    height: int
    severity: float
    depth: bool
    points: int

    @property
    def kind(self) -> SceneKind:
        return KINDS[self.scene]

    @property
    def is_test(self) -> np.ndarray:
        n = self.train_views + self.test_views
        return (
            np.arange(n) % DEFAULT_TEST_EVERY == 0 if self.points else is_test_view(self.train_views, self.test_views)
        )


def make_sample(
    out: str | Path,
    *,
    scene: KindName = "room",
    seed: int = 0,
    train_views: int | None = None,
    test_views: int | None = None,
    width: int = 240,
    height: int = 180,
    severity: float = DEFAULT_SEVERITY,
    depth: bool = True,
    points: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Render a sample scene into a folder that `read_scene` reads.

    The folder appears only when it is complete: it is written as OUT.partial, then renamed. The same arguments give
    the same pixels on the same machine.

    Args:
        out: folder to make; its parents are made too.
        scene: kind of scene, a name in `KINDS`.
        seed: at least 0. Varies arrangement, colours, sizes and the cameras' path; the room keeps its floor plan and
            its path.
        train_views, test_views: number of photos on one path, together at most 9999; test views lie evenly between
            the train views. None: the kind's numbers. With points, readers take every eighth photo for a test view;
            `test_views` must then be None or their number.
        width, height: size of the images in pixels, at least 8.
        severity: amount of mask errors (see `omniseg_sample_scenes.masks`), 0 (true masks) to 3.
        depth: write exact depth.
        points: number of sparse points, 0: none. None: the kind's number.
        overwrite: replace an earlier sample in `out`.
        progress: show a progress bar.
    Returns:
        `out`.
    Raises:
        InputError: a number is out of range, there is no such kind, `out` holds something else, or it cannot be
            written.
    """
    order = _checked(scene, seed, train_views, test_views, width, height, severity, depth, points)
    out = Path(out)
    partial = out.with_name(out.name + ".partial")
    try:
        _check_target(out, overwrite)
        mark = {"generator": _GENERATOR, "scene": scene, "seed": seed, "severity": severity}
        _prepare(partial, {**mark, "depth_scale": order.kind.depth_scale})
        try:
            _write(partial, order, progress)
            _publish(partial, out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror or error}).\nChoose a writable folder with free space."
        ) from error
    return out


def _checked(
    scene: KindName, seed: int, train_views: int | None, test_views: int | None, width: int, height: int,
    severity: float, depth: bool, points: int | None,
) -> _Order:  # fmt: skip
    """Fill in the kind's defaults, or raise `InputError`."""
    if scene not in KINDS:
        raise InputError(f"scene: expected one of {', '.join(KINDS)}, got {scene}")
    kind = KINDS[scene]
    train_views = kind.train_views if train_views is None else train_views
    points = kind.points if points is None else points
    if points > 0:
        following = -(-train_views // (DEFAULT_TEST_EVERY - 1))  # so that every eighth of all is one
        if test_views not in (None, following):
            raise InputError(
                f"test_views: with points every {DEFAULT_TEST_EVERY}th photo is a test view, {following} beside "
                f"{train_views} train views; got {test_views}"
            )
        test_views = following
    test_views = kind.test_views if test_views is None else test_views
    for name, value, least in (
        ("seed", seed, 0),
        ("train_views", train_views, 1),
        ("test_views", test_views, 0),
        ("width", width, 8),
        ("height", height, 8),
        ("points", points, 0),
    ):
        if value < least:
            raise InputError(f"{name}: expected at least {least}, got {value}")
    if not 0 <= severity <= 3:
        raise InputError(f"severity: expected 0 to 3, got {severity:g}")
    if (n_views := train_views + test_views) > _MOST_VIEWS:
        raise InputError(f"train_views, test_views: expected at most {_MOST_VIEWS} together, got {n_views}")
    return _Order(scene, seed, train_views, test_views, width, height, severity, depth, points)


def sample_camera(width: int, height: int, field_of_view: float = KINDS["room"].field_of_view) -> Camera:
    """Return the pinhole camera for this image size in pixels and this horizontal field of view in degrees."""
    focal = 0.5 * width / math.tan(math.radians(0.5 * field_of_view))
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


def _write(folder: Path, order: _Order, progress: bool) -> None:
    kind = order.kind
    camera = sample_camera(order.width, order.height, kind.field_of_view)
    test = order.is_test
    poses = kind.camera_path(len(test), order.seed)
    photos, truth = ("images", "true_depth") if order.points else ("rgb", "depth")
    for name in (photos, "sam", *([truth] if order.depth else []), *(f"labels/{level}" for level in LEVELS)):
        (folder / name).mkdir(parents=True)
    name = f"sample {order.scene}"
    images = []
    with tqdm(total=len(poses), desc=f"{name}: light", unit="view", disable=not progress) as bar:
        # As fine as a pixel sees the light from across the middle.
        scene = build_scene(order.scene, order.seed, texel=max(kind.texel, 2.5 / camera.fx))
        bar.set_description(f"{name}: views")
        with ThreadPoolExecutor(2) as pool:
            jobs = []
            for k, pose in enumerate(poses):
                image = render_scene(scene, camera, pose)
                if order.points:
                    images.append(image)
                random = np.random.default_rng((order.seed, k))
                paths = folder / photos / f"{k:04d}.png", folder / truth / f"{k:04d}.png" if order.depth else None
                jobs.append(pool.submit(_write_view, folder, *paths, image, order, random))
                bar.update()
            for job in jobs:
                job.result()
    if order.points:
        points = find_points(images, camera, poses, order.points, np.random.default_rng((order.seed, len(poses))))
        (folder / "sparse/0").mkdir(parents=True)
        write_model(folder / "sparse/0", points, camera, poses, [f"{k:04d}.png" for k in range(len(poses))])
    else:
        for split, chosen in (("train", ~test), ("test", test)):
            frames = [_frame(int(k), poses[k], order.depth) for k in np.flatnonzero(chosen)]
            _write_json(folder / f"transforms_{split}.json", _transforms(camera, kind, scene, frames))
    names = {
        level: {str(i): {"name": entry.name, "parent": entry.parent} for i, entry in scene.names[level].items()}
        for level in LEVELS
    }
    _write_json(folder / "labels" / "names.json", names)


def _write_view(
    folder: Path, photo: Path, truth: Path | None, image: SampleImage, order: _Order, random: np.random.Generator
) -> None:
    _write_png(photo, image.colour[..., ::-1])
    if truth is not None:
        _write_png(truth, np.rint(image.depth / order.kind.depth_scale).clip(0, 65535).astype(np.uint16))
    for level, ids in image.labels.items():
        _write_png(folder / "labels" / level / photo.name, ids)
    masks = sam_like_masks(image.labels, order.severity, random)
    build_hierarchy(absorb_covered(masks) if order.severity else masks).save(folder / "sam" / f"{photo.stem}.npz")


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # cv2.imwrite does not tell why it failed (a full disk); write_bytes does.
    ok, data = cv2.imencode(".png", pixels)
    if not ok:
        raise OSError(f"{path}: the image could not be encoded")
    path.write_bytes(data.tobytes())


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _frame(k: int, pose: np.ndarray, depth: bool) -> dict[str, object]:
    matrix = np.vstack([pose, [0.0, 0.0, 0.0, 1.0]]) @ _OPENGL
    return {
        "file_path": f"rgb/{k:04d}.png",
        **({"depth_file_path": f"depth/{k:04d}.png"} if depth else {}),
        "transform_matrix": matrix.tolist(),
    }


def _transforms(
    camera: Camera, kind: SceneKind, scene: SampleScene, frames: list[dict[str, object]]
) -> dict[str, object]:
    box = (scene.aabb + MARGIN * np.array([[-1.0], [1.0]])).tolist()
    return {
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "w": camera.width,
        "h": camera.height,
        "camera_angle_x": math.radians(kind.field_of_view),
        "camera_axes": "opengl",
        **({"aabb": box} if kind.boxed else {}),
        "integer_depth_scale": kind.depth_scale,
        "frames": frames,
    }
