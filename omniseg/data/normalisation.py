"""From input to scene coordinates: z up, the interesting volume in [-1, 1]^3, near and bound from the data.

    x_scene = scale * (rotation @ x_input) + translation

What is interesting depends on how the cameras look. The scale comes from what one image shows at the distance
of that interest and not from the point cloud, so a capture is placed nearly the same by any pose file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from omniseg.cameras.poses import axes_crossing
from omniseg.data.scene import Scene
from omniseg.errors import InputError

MAX_CASCADES = 5

_AABB_MARGIN = 1.05
"""A wall needs some volume behind its surface, or there is nowhere to put its density."""

_BLENDER_RADIUS = (3.6, 4.6)
_BLENDER_BOX = 1.5
"""NeRF-synthetic: cameras on a sphere of about 4.03, objects within |x| <= 1.5."""

_MIN_NEAR = 0.02
_NEAR_OF_POINTS = 0.6
_NEAR_OF_FOCUS = 0.2
_MAX_POINTS, _MAX_VIEWS = 20_000, 200


@dataclass(frozen=True)
class Normalisation:
    """The similarity x_scene = scale * (rotation @ x_input) + translation.

    scale: scene units per input unit, above 0. rotation: (3, 3). translation: (3,).
    """

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    @classmethod
    def identity(cls) -> Normalisation:
        """Scene coordinates are input coordinates."""
        return cls(1.0, np.eye(3), np.zeros(3))

    def points(self, x: np.ndarray) -> np.ndarray:
        """Input to scene coordinates, (..., 3)."""
        return self.scale * x @ self.rotation.T + self.translation

    def inverse_points(self, x: np.ndarray) -> np.ndarray:
        """Scene to input coordinates, (..., 3)."""
        return (x - self.translation) @ self.rotation / self.scale

    def c2w(self, c2w: np.ndarray) -> np.ndarray:
        """Poses (..., 3, 4) from input to scene coordinates; their rotation part stays a rotation."""
        position = self.points(c2w[..., 3])
        return np.concatenate([self.rotation @ c2w[..., :3], position[..., None]], axis=-1)

    def inverse_c2w(self, c2w: np.ndarray) -> np.ndarray:
        """Poses (..., 3, 4) from scene to input coordinates."""
        position = self.inverse_points(c2w[..., 3])
        return np.concatenate([self.rotation.T @ c2w[..., :3], position[..., None]], axis=-1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for JSON or YAML."""
        return {
            "scale": float(self.scale),
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Normalisation:
        """Read what `to_dict` gave.

        Raises:
            ValueError: a key is missing, or a value has another shape or is not finite.
        """
        try:
            scale = float(data["scale"])
            rotation = np.asarray(data["rotation"], np.float64)
            translation = np.asarray(data["translation"], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"normalisation: expected scale, rotation, translation, got {data}") from error
        fits = rotation.shape == (3, 3) and translation.shape == (3,) and scale > 0
        if not (fits and math.isfinite(scale) and np.isfinite(rotation).all() and np.isfinite(translation).all()):
            raise ValueError(f"normalisation: expected scale > 0, rotation (3, 3), translation (3,), got {data}")
        return cls(scale, rotation, translation)


@dataclass(frozen=True)
class Placement:
    """Where a scene sits in the grid.

    near: distance from a camera, scene units, before which nothing is.
    cascades: the outermost grid covers [-bound, bound]^3 with bound = 2^(cascades - 1).
    box: half edges of the box, around the origin, beyond which nothing is, scene units.
    cone: whether steps should grow with distance, since the scene has a far background.
    """

    normalisation: Normalisation
    near: float
    cascades: int
    box: tuple[float, float, float]
    cone: bool

    @property
    def bound(self) -> float:
        """Half edge of the outermost cube."""
        return 2.0 ** (self.cascades - 1)


@dataclass(frozen=True)
class _Focus:
    """What the cameras look at, input coordinates."""

    centre: np.ndarray
    half: float  # input units that become 1
    near: float


def place(scene: Scene) -> Placement:
    """Derive scene coordinates, near distance and outer bound from the poses, points and box of a scene.

    A given box goes into [-1, 1]^3, and so does NeRF-synthetic's known box. Else the centre is where the
    optical axes cross, if they do so in front of the cameras; else the median of what the cameras look at, by
    the points they see; else, for cameras that look around, the middle of points or cameras. The smaller side
    of what an image shows at the centre's distance becomes the edge of [-1, 1]^3 (for forward captures the
    larger, since all of it is subject).

    Raises:
        InputError: a pose is not finite.
    """
    c2w = np.stack([view.c2w for view in scene.views])
    for view, pose in zip(scene.views, c2w):
        if not np.isfinite(pose).all():
            raise InputError(f"{scene.root}: view {view.name} has a pose with NaN or infinity; remove the view")
    if scene.aabb is not None:
        half = 0.5 * float((scene.aabb[1] - scene.aabb[0]).max()) * _AABB_MARGIN
        placement = _placement(scene, np.eye(3), _Focus(scene.aabb.mean(0), half, 0.05 * half), cascades=1)
        edges = np.minimum(0.5 * (scene.aabb[1] - scene.aabb[0]) * _AABB_MARGIN / half, 1.0)
        return replace(placement, box=(float(edges[0]), float(edges[1]), float(edges[2])))
    if scene.kind == "synthetic" and _is_blender(c2w):
        near = _NEAR_OF_FOCUS * float(np.median(np.linalg.norm(c2w[:, :, 3], axis=1)))
        return _placement(scene, np.eye(3), _Focus(np.zeros(3), _BLENDER_BOX, near), cascades=1)
    focus = _focus(scene, c2w)
    if scene.kind == "synthetic":
        return _placement(scene, _upright(c2w), focus, cascades=1)
    reach = np.abs((c2w[:, :, 3] - focus.centre) @ _upright(c2w).T).max() / focus.half
    if scene.points is not None:
        far = np.abs((scene.points - focus.centre) @ _upright(c2w).T).max(1)
        reach = max(reach, float(np.quantile(far, 0.98)) / focus.half)
    elif ranges := [view.depth_range[1] for view in scene.views if view.depth_range]:
        reach = max(reach, float(np.median(ranges)) / focus.half - 1)
    elif scene.extent is not None:
        reach = max(reach, scene.extent / focus.half)
    else:
        reach = 1.5 * reach
    cascades = math.ceil(math.log2(max(reach, 1.0))) + 1
    return _placement(scene, _upright(c2w), focus, min(cascades, MAX_CASCADES))


def _placement(scene: Scene, rotation: np.ndarray, focus: _Focus, cascades: int) -> Placement:
    scale = 1.0 / focus.half
    translation = -scale * rotation @ focus.centre
    bound = 2.0 ** (cascades - 1)
    return Placement(
        normalisation=Normalisation(scale, rotation, translation),
        near=max(_MIN_NEAR, scale * focus.near),
        cascades=cascades,
        box=(bound, bound, bound),
        cone=scene.kind in ("forward", "unbounded"),
    )


def _is_blender(c2w: np.ndarray) -> bool:
    centre, certainty = axes_crossing(c2w)
    distance = np.median(np.linalg.norm(c2w[:, :, 3], axis=1))
    low, high = _BLENDER_RADIUS
    return low <= distance <= high and (certainty < 0.02 or float(np.linalg.norm(centre)) < 0.2 * distance)


def _focus(scene: Scene, c2w: np.ndarray) -> _Focus:
    forward, position = c2w[:, :, 2], c2w[:, :, 3]
    depths = _view_depths(scene, c2w)
    centre, certainty = axes_crossing(c2w)
    along = ((centre - position) * forward).sum(1)
    distance = float(np.median(along))
    spread = float(np.sqrt(((position - position.mean(0)) ** 2).sum(1).mean()))
    # Cameras at one place all "look at" it: an axis must cross clearly in front of its camera.
    ahead = _mostly(along > 0.1 * spread + 1e-6 * np.abs(position).max() + 1e-12)
    crossing = certainty > 0.02 and ahead
    if crossing and certainty < 0.1 and depths is not None:  # nearly parallel: the points know better
        crossing = 0.4 < distance / float(np.median(depths.median)) < 2.5
    if depths is not None and not crossing:
        looked_at = np.median(position + depths.median[:, None] * forward, axis=0)
        in_front = _mostly(((looked_at - position) * forward).sum(1) > 0)
        if not in_front:
            return _inside_out(scene, position, looked_at, depths.near)
        centre, distance = looked_at, float(np.median(depths.median))
    elif not crossing:
        if scene.kind != "forward":
            return _inside_out(scene, position, position.mean(0), _NEAR_OF_FOCUS * max(spread, 1e-3))
        if not (certainty > 1e-3 and ahead):
            # Parallel axes tell no depth: a hand that moves sideways usually covers a tenth of it.
            distance = 10 * spread if spread > 0 else 1.0
            centre = np.median(position + distance * forward, axis=0)
    half = distance * _half_view(scene)
    near = _NEAR_OF_POINTS * depths.near if depths is not None else _NEAR_OF_FOCUS * distance
    return _Focus(centre, half, min(near, 0.5 * distance))


def _inside_out(scene: Scene, position: np.ndarray, centre: np.ndarray, near: float) -> _Focus:
    """Cameras inside, looking around: the bulk of the points, or twice the cameras' own reach."""
    if scene.points is not None:
        half = float(np.quantile(np.abs(scene.points - centre).max(1), 0.8))
        near *= _NEAR_OF_POINTS
    else:
        half = 2 * float(np.quantile(np.abs(position - centre).max(1), 0.9))
    return _Focus(centre, half if half > 1e-9 else 1.0, near)


def _mostly(mask: np.ndarray) -> bool:
    return bool(mask.mean() >= 0.9)


def _half_view(scene: Scene) -> float:
    """Tangent of half the smaller field of view (larger for forward captures), median over views."""
    smaller = scene.kind != "forward"
    tangents = []
    for view in scene.views:
        camera = view.camera
        sides = (0.5 * camera.width / camera.fx, 0.5 * camera.height / camera.fy)
        tangents.append(min(sides) if smaller else max(sides))
    return min(float(np.median(tangents)), 1.0)


@dataclass(frozen=True)
class _Depths:
    median: np.ndarray  # (V,) of what each view sees
    near: float  # first percentile over all views


def _view_depths(scene: Scene, c2w: np.ndarray) -> _Depths | None:
    """Depths that views see, by the points in their pyramids or by the format's range, else None."""
    ranges = [view.depth_range for view in scene.views if view.depth_range is not None]
    if scene.points is None and len(ranges) == len(scene.views):
        near, far = np.array(ranges).T
        return _Depths(2 / (1 / near + 1 / far), float(np.quantile(near, 0.01)))
    if scene.points is None:
        return None
    points = scene.points[:: max(1, len(scene.points) // _MAX_POINTS)]
    medians = np.full(len(c2w), np.nan)
    seen = []
    for i in range(0, len(c2w), max(1, len(c2w) // _MAX_VIEWS)):
        camera = scene.views[i].camera
        x, y, z = ((points - c2w[i, :, 3]) @ c2w[i, :, :3]).T
        inside = (z > 0) & (np.abs(x) * camera.fx < z * camera.width / 2)
        inside &= np.abs(y) * camera.fy < z * camera.height / 2
        if inside.any():
            medians[i] = np.median(z[inside])
            seen.append(z[inside])
    if not seen:
        return None
    medians[np.isnan(medians)] = np.nanmedian(medians)
    return _Depths(medians, float(np.quantile(np.concatenate(seen), 0.01)))


def _upright(c2w: np.ndarray) -> np.ndarray:
    """Rotation that turns up to +z and, where the cameras look from one side, their mean direction to +y.

    Up is across the cameras' right axes (people hold cameras level) and near their mean own up, which decides
    alone where the right axes do not: argmin_u mean (right . u)^2 + 0.05 |u - mean up|^2.
    """
    right, up = c2w[:, :, 0], -c2w[:, :, 1]
    mean_up = up.mean(0)
    if np.linalg.norm(mean_up) < 1e-3:
        mean_up = -c2w[:, :, 2].mean(0)
    z = np.linalg.solve((right.T @ right) / len(c2w) + 0.05 * np.eye(3), mean_up)
    if np.linalg.norm(z) < 1e-3:
        return np.eye(3)
    z /= np.linalg.norm(z)
    ahead = c2w[:, :, 2].mean(0)
    y = ahead - (ahead @ z) * z
    if np.linalg.norm(y) < 0.2:  # all around, or straight down: keep the input's own heading
        axis = np.eye(3)[1] if abs(z[1]) < 0.9 else np.eye(3)[2]
        y = axis - (axis @ z) * z
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z])
