"""What a reader returns: posed images on disk, no pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from omniseg.cameras import Camera

SceneKind = Literal["synthetic", "forward", "unbounded", "replica"]
"""What a capture looks like, which chooses the preset.

synthetic: an object without surroundings, cameras around it (NeRF-synthetic).
forward: cameras roughly in a plane that face the same way (LLFF).
unbounded: anything else that has surroundings.
replica: a bounded room with a known box, usually with depth.
"""

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class View:
    """One posed image.

    name: unique in the scene; path of the image without suffix, below the folder of images, with "/".
    images: files of this image by the whole factor by which they are smaller than `camera`, never empty.
    camera: intrinsics at full resolution.
    c2w: (3, 4) float64 camera to world, input coordinates, OpenCV axes.
    split: as the format says; None where it says nothing.
    depth_path: z-depth image, or None.
    depth_unit: input units per integer step of the depth image.
    depth_range: nearest and farthest z-depth, input units, where the format tells it (LLFF).
    hierarchy_path: mask hierarchy `sam/NAME.npz`, or None.
    label_paths: evaluation labels, level name to `labels/LEVEL/NAME.png`.
    """

    name: str
    images: Mapping[int, Path]
    camera: Camera
    c2w: np.ndarray
    split: Split | None = None
    depth_path: Path | None = None
    depth_unit: float = 1.0
    depth_range: tuple[float, float] | None = None
    hierarchy_path: Path | None = None
    label_paths: Mapping[str, Path] = field(default_factory=dict)

    @property
    def image_path(self) -> Path:
        """The sharpest file of this image."""
        return self.images[min(self.images)]


@dataclass(frozen=True)
class Scene:
    """A capture, as its files describe it, in input coordinates.

    root: folder of the capture.
    format: name of the reader in `omniseg.data.READERS`.
    kind: what it looks like.
    views: sorted by name, at least one, names unique.
    points: (n, 3) float64 points on surfaces (structure from motion), or None.
    aabb: (2, 3) float64 box of everything worth modelling, where the format gives one.
    extent: half edge of the modelled cube around the origin, where the format gives one (instant-ngp).
    """

    root: Path
    format: str
    kind: SceneKind
    views: tuple[View, ...]
    points: np.ndarray | None = None
    aabb: np.ndarray | None = None
    extent: float | None = None


_FORWARD_DEGREES = 30.0
_FORWARD_FLATNESS = 0.5


def capture_kind(c2w: np.ndarray) -> SceneKind:
    """Tell "forward" from "unbounded" by the poses (V, 3, 4).

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
