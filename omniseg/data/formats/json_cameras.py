"""Cameras and paths in the JSON files of captures (instant-ngp, nerfstudio, NeRF)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omniseg.cameras import Camera, CameraModel
from omniseg.data.image_io import image_header
from omniseg.errors import InputError

_MODELS = {
    "PINHOLE": CameraModel.PERSPECTIVE,
    "SIMPLE_PINHOLE": CameraModel.PERSPECTIVE,
    "SIMPLE_RADIAL": CameraModel.PERSPECTIVE,
    "RADIAL": CameraModel.PERSPECTIVE,
    "OPENCV": CameraModel.PERSPECTIVE,
    "FULL_OPENCV": CameraModel.PERSPECTIVE,
    "PERSPECTIVE": CameraModel.PERSPECTIVE,
    "OPENCV_FISHEYE": CameraModel.FISHEYE,
}
"""Lens models by nerfstudio's `camera_model`."""

_NARROWEST = 0.05
"""Smallest focal length as a part of the image's side, which would show 169 degrees; below it the unit is another."""


def is_positive(value: object) -> bool:
    """Tell whether a value is a finite number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def listed_path(root: Path, value: object) -> Path | None:
    """Return a path of a JSON file, which may have been written on Windows; None where it is no text or empty."""
    return root / value.replace("\\", "/") if isinstance(value, str) and value else None


def json_camera(values: Mapping[str, Any], where: str, image: Path | None = None) -> Camera:
    """Make the camera of a frame.

    Args:
        values: keys of the file and of the frame.
        where: file and frame, for messages.
        image: file that tells the size where the keys do not.
    Raises:
        InputError: a number is missing or out of range, keys contradict each other, or the lens is not supported.
    """
    width, height = round(_number(values, "w", where)), round(_number(values, "h", where))
    if not width or not height:
        if image is None:
            raise InputError(f"{where}: does not say the size of the images; expected `w` and `h` in pixels")
        header = image_header(image)
        width, height = header.width, header.height
    fx, fy, cx, cy = _intrinsics(values, where, width, height)
    model, distortion = _lens(values, where)
    try:
        return Camera(
            width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy, model=model, distortion=distortion
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _number(values: Mapping[str, Any], key: str, where: str, default: float = 0.0) -> float:
    value = values.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: `{key}` is not a number")
    return float(value)


def _intrinsics(
    values: Mapping[str, Any], where: str, width: int, height: int
) -> tuple[float, float, float, float]:  # fmt: skip
    """Return fx, fy, cx, cy in pixels; all may be given as parts of the image's sides."""
    fx = _number(values, "fl_x", where) or _focal(width, _number(values, "camera_angle_x", where))
    fy = _number(values, "fl_y", where) or _focal(height, _number(values, "camera_angle_y", where)) or fx
    if not (fx or fy):
        raise InputError(f"{where}: has no focal length; expected `fl_x` in pixels or `camera_angle_x` in radians")
    fx, fy = fx or fy, fy or fx
    cx, cy = _number(values, "cx", where, width / 2), _number(values, "cy", where, height / 2)
    if 0 < cx < 1 < width and 0 < cy < 1 < height:
        cx, cy = cx * width, cy * height
        if 0 < fx < _NARROWEST * width and 0 < fy < _NARROWEST * height:
            fx, fy = fx * width, fy * height
    if cx == cy == 0 and values.get("cx") is not None:
        raise InputError(f"{where}: `cx`, `cy` are 0, a corner of the image; give pixels, or leave them out")
    if 0 < fx < _NARROWEST * width:
        raise InputError(f"{where}: a focal length of {fx:g} is too short for {width} pixels; give `fl_x` in pixels")
    return fx, fy, cx, cy


def _focal(side: int, angle: float) -> float:
    return 0.5 * side / math.tan(0.5 * angle) if 0 < angle < math.pi else 0.0


def _lens(values: Mapping[str, Any], where: str) -> tuple[CameraModel, tuple[float, ...]]:
    """Return the lens model and its eight numbers."""
    fisheye = values.get("is_fisheye")
    name = values.get("camera_model") or ("OPENCV_FISHEYE" if fisheye else "OPENCV")
    model = _MODELS.get(name) if isinstance(name, str) else None
    if model is None:
        raise InputError(
            f"{where}: camera model {name} is not supported; undistort the images (supported: {', '.join(_MODELS)})"
        )
    if fisheye is not None and bool(fisheye) != (model == CameraModel.FISHEYE):
        raise InputError(
            f"{where}: `is_fisheye` is {str(fisheye).lower()}, but `camera_model` is {name}; remove the wrong one"
        )
    k1, k2, k3, k4, k5, k6, p1, p2 = (
        _number(values, k, where) for k in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
    )
    if "PINHOLE" in name:
        return model, (0.0,) * 8
    if model == CameraModel.FISHEYE:
        if k5 or k6:
            raise InputError(f"{where}: k5 and k6 with camera model {name} are not supported; undistort the images")
        return model, (k1, k2, k3, k4, p1, p2, 0.0, 0.0)
    if k4 and not (k5 or k6 or name == "FULL_OPENCV"):
        raise InputError(
            f"{where}: k4 alone is not OpenCV's rational model (k4, k5, k6 with camera_model FULL_OPENCV); "
            "undistort the images"
        )
    return model, (k1, k2, p1, p2, k3, k4, k5, k6)
