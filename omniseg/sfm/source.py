"""Photos or a video as they come from a camera, and the upright images that poses are estimated for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from omniseg.data.formats.folders import IMAGE_SUFFIXES, list_images
from omniseg.data.image_io import read_image, save_image
from omniseg.errors import InputError
from omniseg.sfm.sharpness import sharpest, sharpness

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".3gp")
HEIC_SUFFIXES = (".heic", ".heif")
VIDEO_FRAMES = 100
"""Number of frames that are taken of a video unless another is given."""
LEAST_IMAGES = 3
"""Fewer photos than this give no poses worth having."""

_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
_MAKE, _MODEL, _FOCAL_LENGTH, _ZOOM, _FOCAL_35MM = 0x010F, 0x0110, 0x920A, 0xA404, 0xA405
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Source:
    """Photos or a video without poses.

    Attributes:
        path: folder of the photos, or the video.
        kind: which of the two.
        files: photos below the folder, relative paths in natural order; empty for a video.
    """

    path: Path
    kind: Literal["photos", "video"]
    files: tuple[str, ...] = ()

    @property
    def default_folder(self) -> Path:
        """Folder of the capture that is made of it: the parent of a folder `images`, else scenes/NAME."""
        if self.kind == "photos" and self.path.resolve().name == "images":
            return self.path.resolve().parent
        return Path("scenes") / (self.path.stem if self.kind == "video" else self.path.resolve().name)

    def fingerprint(self) -> list[list[object]]:
        """Return name, size in bytes and time of change in milliseconds of each file."""
        paths = [self.path] if self.kind == "video" else [self.path / name for name in self.files]
        found = [(path, path.stat()) for path in paths]
        return [[path.name, stat.st_size, stat.st_mtime_ns // 10**6] for path, stat in found]


@dataclass(frozen=True)
class Images:
    """Images that poses are estimated for.

    Attributes:
        names: relative paths in the folder of images.
        sharpness: of each, see `sharpness`.
        groups: indices of the images that share one camera: of one size, camera, focal length and zoom.
        sideways: number of images that are stored sideways and were left so, since they are used where they lie.
    """

    names: tuple[str, ...]
    sharpness: tuple[float, ...]
    groups: tuple[tuple[int, ...], ...]
    sideways: int = 0


def find_source(path: Path) -> Source:
    """Find the photos of a folder (or of its folder `images`), or a video.

    Raises:
        InputError: nothing there that can be read.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist; give a folder of photos, or a video")
    if path.is_file():
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            kinds = ", ".join(suffix[1:] for suffix in VIDEO_SUFFIXES)
            raise InputError(f"{path}: is no video ({kinds}); give a video, or the folder of the photos")
        return Source(path, "video")
    direct = any(file.suffix.lower() in (*IMAGE_SUFFIXES, *HEIC_SUFFIXES) for file in path.iterdir())
    if not direct and (path / "images").is_dir():
        path = path / "images"
    files = [*list_images(path), *_list_heic(path)]
    if not files:
        raise InputError(f"{path}: holds no photos ({', '.join(s[1:] for s in IMAGE_SUFFIXES)}, heic)")
    if len(files) < LEAST_IMAGES:
        raise InputError(f"{path}: holds {len(files)} photos; poses need at least {LEAST_IMAGES}, better 30 or more")
    return Source(path, "photos", tuple(sorted(files, key=_natural)))


def prepare_images(source: Source, folder: Path, frames: int | None, *, progress: bool = True) -> Images:
    """Write the sharpest frames of a video, or photos turned upright, into a folder.

    EXIF data stay, for the focal length. Photos that lie in `folder` already are left as they are.

    Args:
        source: photos or a video.
        folder: folder of the images.
        frames: most images: the sharpest of as many equal windows. None: all photos, `VIDEO_FRAMES` of a video.
        progress: show progress bars.
    Raises:
        InputError: a photo or the video does not open, or the folder cannot be written.
    """
    try:
        if source.kind == "video":
            return _take_frames(source.path, folder, frames or VIDEO_FRAMES, progress)
        return _take_photos(source, folder, frames, progress)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error


def _take_frames(video: Path, folder: Path, count: int, progress: bool) -> Images:
    values = [sharpness(frame) for frame in _frames(video, "frames", progress)]
    if len(values) < LEAST_IMAGES:
        raise InputError(f"{video}: has {len(values)} frames that can be read; record a video of 10 seconds or more")
    chosen = sharpest(values, count)
    name = f"{{:0{len(str(len(values)))}d}}.jpg"
    kept = set(chosen)
    for index, frame in enumerate(_frames(video, "sharpest frames", progress)):
        if index in kept:
            save_image(folder / name.format(index), frame)
    names = tuple(name.format(index) for index in chosen)
    return Images(names, tuple(values[index] for index in chosen), (tuple(range(len(names))),))


def _frames(video: Path, what: str, progress: bool) -> Iterator[np.ndarray]:
    """Yield every frame of a video as (height, width, 3) uint8 RGB, turned as the video says."""
    reader = cv2.VideoCapture(str(video))
    try:
        if not reader.isOpened():
            raise InputError(f"{video}: does not open as a video; convert it to MP4 (H.264)")
        total = int(max(reader.get(cv2.CAP_PROP_FRAME_COUNT), 0)) or None
        with tqdm(total=total, desc=what, unit="frame", disable=not progress) as bar:
            while True:
                there, frame = reader.read()
                if not there:
                    return
                bar.update()
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        reader.release()


def _take_photos(source: Source, folder: Path, frames: int | None, progress: bool) -> Images:
    in_place = _same_folder(folder, source.path)
    names, values, cameras, sideways = [], [], [], 0
    bar = tqdm(source.files, desc="photos", unit="photo", disable=not progress)
    for file in bar:
        path = source.path / file
        name = _stored_name(file)
        if name in names:
            raise InputError(f"{path}: another photo would be stored as {name}, too; rename one of them")
        if in_place and name != file:
            raise InputError(f"{path}: would have to be stored as {name}; make the capture in another folder")
        camera, turned = _exif(path)
        if not in_place:
            _copy_upright(path, folder / name, turned)
        sideways += in_place and turned
        names.append(name)
        cameras.append(camera)
        values.append(sharpness(read_image(folder / name)[..., :3]))
    if frames is not None:
        kept = sharpest(values, frames)
        names, values, cameras = ([items[k] for k in kept] for items in (names, values, cameras))
        if not in_place:
            for unused in {str(path.relative_to(folder).as_posix()) for path in _files(folder)} - set(names):
                (folder / unused).unlink()
    groups: dict[object, list[int]] = {}
    for index, camera in enumerate(cameras):
        groups.setdefault(camera, []).append(index)
    return Images(tuple(names), tuple(values), tuple(map(tuple, groups.values())), sideways)


def _exif(path: Path) -> tuple[tuple[object, ...], bool]:
    """Return what two photos of one camera and zoom have in common, and whether the photo is stored sideways."""
    try:
        with _open(path) as image:
            exif = image.getexif()
            details = exif.get_ifd(_EXIF_IFD)
            turned = exif.get(_ORIENTATION, 1) in range(2, 9)
            swapped = exif.get(_ORIENTATION, 1) in range(5, 9)
            size = image.size[::-1] if swapped else image.size
            tags = (exif.get(_MAKE), exif.get(_MODEL))
            lens = tuple(details.get(tag) for tag in (_FOCAL_LENGTH, _FOCAL_35MM, _ZOOM))
            return (size, *map(str, tags), *map(str, lens)), turned
    except InputError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: does not open as an image; copy or export it again, or remove it") from error


def _copy_upright(path: Path, out: Path, turned: bool) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    if not turned and not _is_heic(path.name):
        shutil.copyfile(path, out)
        return
    with _open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if out.suffix.lower() in (".jpg", ".jpeg") and upright.mode not in ("RGB", "L"):
            upright = upright.convert("RGB")
        upright.save(out, exif=upright.getexif(), quality=_JPEG_QUALITY)  # formats without a quality ignore it


def _open(path: Path) -> Image.Image:
    if _is_heic(path.name):
        try:
            from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise InputError(f"{path}: HEIC is not read; convert it to JPEG, or pip install pillow-heif") from None
        register_heif_opener()
    return Image.open(path)


def _stored_name(file: str) -> str:
    """Return the name of a photo in the capture: COLMAP's lists of pairs allow no spaces, and HEIC becomes JPEG."""
    name = "_".join(file.split())
    return Path(name).with_suffix(".jpg").as_posix() if _is_heic(name) else name


def _is_heic(name: str) -> bool:
    return Path(name).suffix.lower() in HEIC_SUFFIXES


def _list_heic(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in _files(folder) if _is_heic(path.name)]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


def _natural(name: str) -> list[str | int]:
    """Return a key that sorts IMG_2 before IMG_10."""
    return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", name.lower())]


def _same_folder(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
