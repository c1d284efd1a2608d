"""A camera moved by hand: around a point, nearer, sideways, in flight. No window library here.

Scene coordinates and camera axes are those of docs/conventions.md. The direction of view is kept as two angles: the
camera never rolls, and straight up and down are views like any other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from omniseg.cameras import Camera, Cameras

TURN_SPEED = 1.5
"""Radians that the scene turns in a drag of one focal length."""
ZOOM_STEP = 0.9
"""Factor of the distance to the target in one zoom step."""
MIN_DISTANCE, MAX_DISTANCE = 0.02, 20.0
"""Limits of the distance to the target, scene units."""
MAX_TARGET_RADIUS = 20.0
"""Limit of the distance between target and origin, scene units."""
_LEVEL = 1e-3
"""Horizontal part of a viewing direction below which it counts as straight up or down."""
_MIN_AHEAD = 0.1
"""Least distance ahead of a photo, scene units, at which the origin sets the distance of its first target."""


@dataclass(frozen=True)
class OrbitCamera:
    """A camera that looks at a target. Every move returns another camera.

    Drags are measured in focal lengths (pixels / `focal_length`), x right and y down like the mouse. The scene follows
    them: a drag to the right moves it to the right.

    Attributes:
        target: point in the middle of the picture, around which the camera turns, scene coordinates.
        heading: direction of view, radians to the left of the y axis seen from above.
        pitch: direction of view, radians above the horizon, in [-pi / 2, pi / 2].
        distance: from the camera to the target, scene units.
        lens: field of view.
        device: torch device of the cameras that it makes.
    """

    target: tuple[float, float, float]
    heading: float
    pitch: float
    distance: float
    lens: Camera
    device: torch.device

    @classmethod
    def from_viewpoint(cls, cameras: Cameras, view: int = 0) -> OrbitCamera:
        """Return the camera of a photo, set upright; its target is as far as the origin, or 1 if that is not ahead.

        Args:
            cameras: of the photos, scene coordinates; the field of view is that of the first one.
            view: index of the photo.
        """
        c2w = cameras.c2w[view].double().cpu().numpy()
        width, height = cameras.size[0].tolist()
        fx, fy = cameras.intrinsics[0, :2].tolist()
        lens = Camera(width=width, height=height, fx=fx, fy=fy, cx=width / 2, cy=height / 2)
        ahead = -float(c2w[:, 3] @ c2w[:, 2])
        return cls.from_pose(c2w, ahead if ahead > _MIN_AHEAD else 1.0, lens, cameras.c2w.device)

    @classmethod
    def from_pose(cls, c2w: np.ndarray, distance: float, lens: Camera, device: torch.device) -> OrbitCamera:
        """Return the camera of a pose, set upright.

        Args:
            c2w: (3, 4) camera to scene.
            distance: from the camera to its target, scene units.
            lens: field of view.
            device: torch device of the cameras that it makes.
        """
        right, forward, eye = c2w[:, 0], c2w[:, 2], c2w[:, 3]
        # Straight up or down only the pose's x axis gives a heading.
        is_level = math.hypot(forward[0], forward[1]) > _LEVEL
        heading = math.atan2(-forward[0], forward[1]) if is_level else math.atan2(right[1], right[0])
        pitch = math.asin(min(max(float(forward[2]), -1.0), 1.0))
        return cls(_point(eye), heading, pitch, 0.0, lens, device).focused(distance)

    @property
    def eye(self) -> tuple[float, float, float]:
        """Position of the camera, scene coordinates."""
        return _point(np.array(self.target) - self.distance * self._axes[2])

    def focused(self, distance: float) -> OrbitCamera:
        """Return the same view with its target at another distance, scene units."""
        distance = min(max(distance, MIN_DISTANCE), MAX_DISTANCE)
        return replace(self, target=_point(np.array(self.eye) + distance * self._axes[2]), distance=distance)

    def orbit(self, dx: float, dy: float) -> OrbitCamera:
        """Turn around the target by a drag; stops straight above and straight below it."""
        pitch = min(max(self.pitch - TURN_SPEED * dy, -math.pi / 2), math.pi / 2)
        return replace(self, heading=math.remainder(self.heading - TURN_SPEED * dx, 2 * math.pi), pitch=pitch)

    def zoom(self, steps: float) -> OrbitCamera:
        """Go nearer to the target by so many steps of `ZOOM_STEP`, or away from it if negative."""
        distance = min(max(self.distance * ZOOM_STEP**steps, MIN_DISTANCE), MAX_DISTANCE)
        return replace(self, distance=distance)

    def pan(self, dx: float, dy: float) -> OrbitCamera:
        """Move sideways by a drag; points as far away as the target stay under the mouse."""
        right, down, _ = self._axes
        return self._moved(-self.distance * (dx * right + dy * down))

    def fly(self, forward: float, right: float, up: float) -> OrbitCamera:
        """Move camera and target, scene units: along the direction of view, to the right, and along the z axis."""
        axes = self._axes
        return self._moved(forward * axes[2] + right * axes[0] + up * np.array([0.0, 0.0, 1.0]))

    def cameras(self, width: int, height: int) -> Cameras:
        """Return this one camera for a picture of some size, which shows all that the lens sees, or more."""
        factor = self._scale(width, height)
        fx, fy = self.lens.fx * factor, self.lens.fy * factor
        camera = Camera(width=width, height=height, fx=fx, fy=fy, cx=width / 2, cy=height / 2)
        c2w = np.column_stack([*self._axes, self.eye])
        return Cameras.stack([camera], c2w[None]).to(self.device)

    def focal_length(self, width: int, height: int) -> float:
        """Return `fx` of a picture of some size, pixels."""
        return self.lens.fx * self._scale(width, height)

    def _scale(self, width: int, height: int) -> float:
        return min(width / self.lens.width, height / self.lens.height)

    @property
    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and z axis of the camera, scene coordinates."""
        level = math.cos(self.pitch)
        right = np.array([math.cos(self.heading), math.sin(self.heading), 0.0])
        forward = np.array([-math.sin(self.heading) * level, math.cos(self.heading) * level, math.sin(self.pitch)])
        return right, np.cross(forward, right), forward

    def _moved(self, by: np.ndarray) -> OrbitCamera:
        target = np.array(self.target) + by
        return replace(self, target=_point(target * min(1.0, MAX_TARGET_RADIUS / max(np.linalg.norm(target), 1e-9))))


def _point(xyz: np.ndarray) -> tuple[float, float, float]:
    x, y, z = xyz.tolist()
    return x, y, z
