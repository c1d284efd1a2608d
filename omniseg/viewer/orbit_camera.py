"""A camera that a hand moves: around a point, nearer, sideways, in flight. No window library here.

Scene coordinates and camera axes are those of docs/conventions.md. Where the camera looks is kept as two angles, so
that it never rolls, and looking straight up or down is a view like any other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from omniseg.cameras import Camera, Cameras

_TURN = 1.5
"""Radians that a drag by one focal length turns the scene."""
_NEARER = 0.9
_NEAREST, _FARTHEST = 0.02, 20.0
_BEYOND = 20.0
"""How far from the origin the camera's target may get, scene units."""


@dataclass(frozen=True)
class Navigation:
    """Where a camera is, and the one it becomes when a hand moves it.

    Drags are measured in focal lengths, pixels / `fx` of the picture: y down, as the mouse moves. They take the scene
    along: what is dragged right goes right.

    Attributes:
        target: the point that it turns around, in the middle of the picture, scene coordinates.
        heading: radians to the left of the y axis, seen from above.
        pitch: radians above the horizon, in [-pi / 2, pi / 2].
        distance: of the camera from the target, scene units.
        lens: with the field of view.
        device: of the cameras it makes.
    """

    target: tuple[float, float, float]
    heading: float
    pitch: float
    distance: float
    lens: Camera
    device: torch.device

    @classmethod
    def from_viewpoint(cls, cameras: Cameras, view: int = 0) -> Navigation:
        """Stand where a photo was taken and look where it looks, upright, at a target as far as the origin.

        Args:
            cameras: viewpoints of the photos; the first one says the field of view.
            view: which of them to stand at.
        """
        c2w = cameras.c2w[view].double().cpu().numpy()
        right, forward, eye = c2w[:, 0], c2w[:, 2], c2w[:, 3]
        # Straight up or down it is the photo's right side that says how the picture is turned.
        level = math.hypot(forward[0], forward[1]) > 1e-3
        heading = math.atan2(-forward[0], forward[1]) if level else math.atan2(right[1], right[0])
        width, height = cameras.size[0].tolist()
        fx, fy = cameras.intrinsics[0, :2].tolist()
        lens = Camera(width=width, height=height, fx=fx, fy=fy, cx=width / 2, cy=height / 2)
        pitch = math.asin(min(max(forward[2], -1.0), 1.0))
        start = cls(_point(eye), heading, pitch, 0.0, lens, cameras.c2w.device)
        return start.focused(-float(eye @ forward)) if eye @ forward < -0.1 else start.focused(1.0)

    @property
    def eye(self) -> tuple[float, float, float]:
        """Where the camera is."""
        return _point(np.array(self.target) - self.distance * self._axes[2])

    def focused(self, distance: float) -> Navigation:
        """The same view, to be turned around the point this far ahead, scene units."""
        distance = min(max(distance, _NEAREST), _FARTHEST)
        return replace(self, target=_point(np.array(self.eye) + distance * self._axes[2]), distance=distance)

    def orbit(self, dx: float, dy: float) -> Navigation:
        """Turn the scene around the target by a drag; it stops when seen straight from above or below."""
        pitch = min(max(self.pitch - _TURN * dy, -math.pi / 2), math.pi / 2)
        return replace(self, heading=math.remainder(self.heading - _TURN * dx, 2 * math.pi), pitch=pitch)

    def zoom(self, steps: float) -> Navigation:
        """Go nearer to the target, by a tenth of the distance a step, or away from it."""
        distance = min(max(self.distance * _NEARER**steps, _NEAREST), _FARTHEST)
        return replace(self, distance=distance)

    def pan(self, dx: float, dy: float) -> Navigation:
        """Move sideways by a drag; what is as far as the target stays under the mouse."""
        right, down, _ = self._axes
        return self._moved(-self.distance * (dx * right + dy * down))

    def fly(self, forward: float, right: float, up: float) -> Navigation:
        """Move camera and target, scene units: along the view, to the right, and along the z axis."""
        axes = self._axes
        return self._moved(forward * axes[2] + right * axes[0] + up * np.array([0.0, 0.0, 1.0]))

    def cameras(self, width: int, height: int) -> Cameras:
        """This one camera for pictures of any size: as large a field of view as has all that the lens sees in it."""
        factor = min(width / self.lens.width, height / self.lens.height)
        fx, fy = self.lens.fx * factor, self.lens.fy * factor
        camera = Camera(width=width, height=height, fx=fx, fy=fy, cx=width / 2, cy=height / 2)
        c2w = np.column_stack([*self._axes, self.eye])
        return Cameras.stack([camera], c2w[None]).to(self.device)

    @property
    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The camera's x, y and z axis, scene coordinates."""
        level = math.cos(self.pitch)
        right = np.array([math.cos(self.heading), math.sin(self.heading), 0.0])
        forward = np.array([-math.sin(self.heading) * level, math.cos(self.heading) * level, math.sin(self.pitch)])
        return right, np.cross(forward, right), forward

    def _moved(self, by: np.ndarray) -> Navigation:
        target = np.array(self.target) + by
        return replace(self, target=_point(target * min(1.0, _BEYOND / max(np.linalg.norm(target), 1e-9))))


def _point(xyz: np.ndarray) -> tuple[float, float, float]:
    x, y, z = xyz.tolist()
    return x, y, z
