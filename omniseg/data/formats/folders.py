"""Files that belong to a view: images at several sizes, mask hierarchies, labels; and JSON files."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from omniseg.cameras import Camera
from omniseg.data.image_io import image_header, read_bytes
from omniseg.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

_log = logging.getLogger("omniseg")


def list_images(folder: Path) -> list[str]:
    """Return the relative paths (with "/") of all images below `folder`, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def with_image_suffix(path: Path) -> Path | None:
    """Return `path`, or the same name with another image suffix; None if no such file exists."""
    bare = path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path
    others = (Path(f"{bare}{end}") for suffix in IMAGE_SUFFIXES for end in (suffix, suffix.upper()))
    try:
        return next((candidate for candidate in (path, *others) if candidate.is_file()), None)
    except OSError:  # the name is longer than the file system allows
        return None


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
            "put the images where the file says, or repeat the calibration"
        )
    if missing:
        _log.warning("%s: skipped %d of %d views whose images do not exist", source, len(missing), total)


def hierarchy_path(root: Path, name: str) -> Path | None:
    """Return the mask hierarchy of a view, `sam/NAME.npz` (Replica: also in `results`), or None."""
    paths = (root / folder / f"{name}.npz" for folder in ("sam", "results/sam"))
    return next((path for path in paths if path.is_file()), None)


def label_paths(labels: Path, name: str) -> Mapping[str, Path]:
    """Return the label images `LEVEL/NAME.png` of a view below the folder `labels`, by level."""
    if not labels.is_dir():
        return {}
    levels = sorted(folder.name for folder in labels.iterdir() if folder.is_dir())
    return {level: path for level in levels if (path := labels / level / f"{name}.png").is_file()}


def read_json(path: Path) -> dict:
    """Return the object in a JSON file.

    Raises:
        InputError: the file cannot be read, or does not hold a JSON object.
    """
    text = read_bytes(path)
    try:
        content = json.loads(text.decode("utf-8"), parse_int=_integer)
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


def size_fits(camera: Camera, factor: int, width: int, height: int) -> bool:
    """Tell whether an image of this size is the camera's image shrunk by `factor`, up to rounding."""
    return abs(camera.width / factor - width) <= 1 and abs(camera.height / factor - height) <= 1
