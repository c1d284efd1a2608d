"""Captures as readers describe them: posed images on disk, without their pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from omniseg.cameras import Camera

SceneKind = Literal["synthetic", "forward", "unbounded", "replica"]
"""Kind of a capture, which chooses the preset.

synthetic: an object without surroundings, cameras around it (NeRF-synthetic).
forward: cameras roughly in a plane that face the same way (LLFF).
unbounded: any other capture with surroundings.
replica: a bounded room with a known box, usually with depth.
"""

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class View:
    """One posed image.

    name: unique in the scene; path of the image below the folder of images, with "/", without suffix.
    images: files of this image, at least one, by the whole factor by which they are smaller than `camera`.
    camera: intrinsics at full resolution.
    c2w: (3, 4) float64 camera to world, input coordinates, OpenCV axes.
    split: split that the format puts the view in; None: the format has no splits.
    depth_path: z-depth image, or None.
    depth_unit: input units per integer step of the depth image.
    depth_range: nearest and farthest z-depth, input units, if the format has them (LLFF).
    ignore_path: black-and-white picture, black where pixels are neither trained on nor measured; None: all count.
    ignore_transparent: True: neither are pixels of an alpha below one half; False: nothing is there.
    hierarchy_path: mask hierarchy `sam/NAME.npz`, or None.
    label_paths: evaluation labels `labels/LEVEL/NAME.png` by the name of their level.
    seen_points: (n, 3) float64 reliable points, input coordinates, that structure from motion found in this image, or
        None. Other points may be hidden in it.
    """

    name: str
    images: Mapping[int, Path]
    camera: Camera
    c2w: np.ndarray
    split: Split | None = None
    depth_path: Path | None = None
    depth_unit: float = 1.0
    depth_range: tuple[float, float] | None = None
    ignore_path: Path | None = None
    ignore_transparent: bool = False
    hierarchy_path: Path | None = None
    label_paths: Mapping[str, Path] = field(default_factory=dict)
    seen_points: np.ndarray | None = None

    @property
    def image_path(self) -> Path:
        """Largest file of this image."""
        return self.images[min(self.images)]


@dataclass(frozen=True, repr=False)
class Scene:
    """A capture in input coordinates, as its files describe it.

    root: folder of the capture.
    format: name of the reader in `omniseg.data.formats.READERS`.
    kind: chooses the preset.
    views: sorted by name, at least one, names unique.
    points: (n, 3) float64 points on surfaces (structure from motion), or None.
    aabb: (2, 3) float64 box around everything to be modelled, if the format has one.
    extent: half edge of the modelled cube around the origin, if the format has one (instant-ngp).
    """

    root: Path
    format: str
    kind: SceneKind
    views: tuple[View, ...]
    points: np.ndarray | None = None
    aabb: np.ndarray | None = None
    extent: float | None = None

    def __repr__(self) -> str:
        points = "" if self.points is None else f", {len(self.points)} points"
        return f"Scene({str(self.root)!r}, {self.format}, {self.kind}, {len(self.views)} views{points})"


_FORWARD_DEGREES = 30.0
"""Largest angle to the mean direction in a forward capture, for nine of ten views."""
_FORWARD_FLATNESS = 0.5
"""Largest spread of a forward capture's cameras along the mean direction, as a part of their spread across it."""


def capture_kind(c2w: np.ndarray) -> SceneKind:
    """Return "forward" or "unbounded" for poses (V, 3, 4).

    Forward: nine of ten views look within 30 degrees of the mean direction, and the cameras spread along that
    direction at most half as far as across it. A single camera is forward.
    """
    forward, positions = c2w[:, :, 2], c2w[:, :, 3]
    mean = forward.mean(0)
    length = np.linalg.norm(mean)
    if length < 1e-6:
        return "unbounded"
    mean = mean / length
    if np.quantile(forward @ mean, 0.1) < np.cos(np.radians(_FORWARD_DEGREES)):
        return "unbounded"
    offset = positions - positions.mean(0)
    along = offset @ mean
    across = np.linalg.norm(offset - along[:, None] * mean, axis=1)
    flat = np.sqrt((along**2).mean()) <= _FORWARD_FLATNESS * np.sqrt((across**2).mean()) + 1e-9
    return "forward" if flat else "unbounded"
