"""Image files of views, at several sizes and however they are spelled; and JSON files."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from omniseg.cameras import Camera
from omniseg.data.image_io import image_header, read_bytes
from omniseg.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif")

IMAGE_FOLDERS = ("images", "input", "rgb", "photos")
"""Names of the folder of photos in captures whose pose file does not name it, in this order."""

_SAME_FACTOR = 1.01
"""Largest ratio of two factors, between photos and cameras, that count as one."""

_log = logging.getLogger("omniseg")


def list_images(folder: Path) -> list[str]:
    """Return the relative paths (with "/") of all images below `folder`, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


class ImageFinder:
    """Finder of image files whose names are spelled otherwise than listed: suffix, its case, form of accented letters.

    It remembers the folders that it has looked into, so it serves one reading of a capture.
    """

    def __init__(self) -> None:
        self._entries: dict[Path, dict[str, Path]] = {}

    def find(self, path: Path) -> Path | None:
        """Return `path`, or the image of the same name, spelled otherwise, in its folder; None if there is none."""
        try:
            if path.is_file():
                return path
            folder = self._folder(path.parent)
        except OSError:  # the name is longer than the file system allows
            return None
        if folder is None:
            return None
        entries, name = self._list(folder), _spelling(path.name)
        bare = name.removesuffix(PurePosixPath(name).suffix) if name.endswith(IMAGE_SUFFIXES) else name
        candidates = (entries.get(each) for each in (name, *(bare + suffix for suffix in IMAGE_SUFFIXES)))
        return next((entry for entry in candidates if entry is not None and entry.is_file()), None)

    def _folder(self, path: Path) -> Path | None:
        if path.is_dir() or path == path.parent:
            return path if path.is_dir() else None
        parent = self._folder(path.parent)
        entry = None if parent is None else self._list(parent).get(_spelling(path.name))
        return entry if entry is not None and entry.is_dir() else None

    def _list(self, folder: Path) -> dict[str, Path]:
        if folder not in self._entries:
            self._entries[folder] = {_spelling(entry.name): entry for entry in sorted(folder.iterdir(), reverse=True)}
        return self._entries[folder]


def _spelling(name: str) -> str:
    """Return a file name in composed Unicode (NFC; macOS writes NFD), with the suffix of an image in lower case."""
    name = unicodedata.normalize("NFC", name)
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) + suffix.lower() if suffix.lower() in IMAGE_SUFFIXES else name


def image_folders(root: Path, given: str) -> dict[int, Path]:
    """Return the folder of a capture's photos and its smaller siblings, by nominal factor, as `scaled_folders`.

    Args:
        root: folder of the capture.
        given: name or path of the folder; empty: the first of `IMAGE_FOLDERS` that holds images at any size.
    Raises:
        InputError: the given folder does not exist.
    """
    if given:
        return scaled_folders(given_folder(root, given))
    found = (scaled_folders(root / name) for name in IMAGE_FOLDERS)
    with_images = (folders for folders in found if any(map(_holds_images, folders.values())))
    return next(with_images, scaled_folders(root / IMAGE_FOLDERS[0]))


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*"))


def given_folder(root: Path, given: str) -> Path:
    """Return the folder of images that a person named, below the capture or anywhere.

    Raises:
        InputError: there is no such folder.
    """
    for folder in (root / given, Path(given)):
        if folder.is_dir() or scaled_folders(folder):
            return folder
    raise InputError(f"{root / given}: is no folder; --images names the folder of the photos")


def scaled_folders(images: Path) -> dict[int, Path]:
    """Return `images` and its smaller siblings `images_2`, `images_4`... by nominal factor, if they exist."""
    found = {1: images} if images.is_dir() else {}
    pattern = re.compile(re.escape(images.name) + r"_(\d+)")
    if images.parent.is_dir():
        for folder in sorted(images.parent.iterdir()):
            match = pattern.fullmatch(folder.name)
            if match and 1 < int(match[1]) <= 64 and folder.is_dir():
                found[int(match[1])] = folder
    return dict(sorted(found.items()))


def view_names(paths: Sequence[str]) -> list[str]:
    """Return unique view names of relative image paths, without suffix and without `..`.

    Images that differ in their suffix only keep it.
    """
    clean = ["/".join(p for p in PurePosixPath(path).parts if p not in ("..", "/")) for path in paths]
    bare = [str(PurePosixPath(path).with_suffix("")) for path in clean]
    count = Counter(bare)
    return [short if count[short] == 1 else path for short, path in zip(bare, clean)]


def warn_missing(missing: Sequence[object], total: int, source: Path) -> None:
    """Log one warning if some of the listed images are missing.

    Raises:
        InputError: all `total` images are missing.
    """
    if total and len(missing) == total:
        raise InputError(
            f"{source}: lists {total} images, but none exists (first: {missing[0]}); "
            "put the images where the file says, or name their folder with --images"
        )
    if missing:
        _log.warning("%s: skipped %d of %d views whose images do not exist", source, len(missing), total)


def read_json(path: Path) -> dict:
    """Return the object in a JSON file.

    Raises:
        InputError: the file cannot be read, or does not hold a JSON object.
    """
    text = read_bytes(path)
    try:
        content = json.loads(text.decode("utf-8-sig"), parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); write the file again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object with `frames`, got a {type(content).__name__}")
    return content


def _integer(digits: str) -> int | float:
    """Parse an integer; one too long for a float becomes infinity, which the readers refuse."""
    return int(digits) if len(digits) < 16 else float(digits)


def true_factors(camera: Camera, images: Mapping[int, Path]) -> dict[int, int]:
    """Map the nominal factor of each image to the factor by which its file is really smaller than the camera.

    The images themselves may already be smaller than the camera of the pose file. A size that fits no whole factor
    keeps its nominal one; loading the image then says what is wrong.
    """
    factors = {}
    for nominal, path in images.items():
        header = image_header(path)
        factor = max(1, round(camera.width / header.width))
        fits = size_fits(camera, factor, header.width, header.height)
        factors[nominal] = factor if fits else nominal
    return factors


def rescaled_cameras(photos: Mapping[Camera, Path], source: Path) -> dict[Camera, Camera]:
    """Return the cameras at the size of their photos, where these differ from them by one factor that is not whole.

    Photos that are smaller by a whole factor are left to `true_factors`. A warning says the factor. Where cameras need
    different factors nothing is changed; loading the images then says what is wrong.

    Args:
        photos: largest file of a photo of each camera.
        source: the pose file, for the warning.
    """
    changed, factors = {}, []
    for camera, path in photos.items():
        header = image_header(path)
        if size_fits(camera, max(1, round(camera.width / header.width)), header.width, header.height):
            continue
        try:
            changed[camera] = camera.resized(header.width, header.height)
        except ValueError:  # another aspect ratio
            continue
        factors.append(header.width / camera.width)
    if not changed or max(factors) > _SAME_FACTOR * min(factors):
        return {}
    camera, resized = next(iter(changed.items()))
    _log.warning(
        "%s: its cameras are %d x %d, but the photos are %d x %d: the cameras are rescaled by %.4g",
        source, camera.width, camera.height, resized.width, resized.height, factors[0],
    )  # fmt: skip
    return changed


def size_fits(camera: Camera, factor: int, width: int, height: int) -> bool:
    """Tell whether an image of this size is the camera's image shrunk by `factor`, up to rounding."""
    return abs(camera.width / factor - width) <= 1 and abs(camera.height / factor - height) <= 1
