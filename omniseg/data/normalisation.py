"""Placement of a capture in scene coordinates: z up, the interesting volume in [-1, 1]^3.

    x_scene = scale * (rotation @ x_input) + translation

The interesting volume follows from where the cameras look. Its size is what one image shows at that distance, not the
spread of the point cloud, so that a capture is placed nearly the same whichever pose file describes it.

The constants below decide the placement. Near distance, cascades and box can be overridden for a run
(`MarchingConfig`); the scale and the rotation are free choices that only have to suit the cameras.
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

MAX_CASCADES = 8
"""Most cascades of the occupancy grid; farther than 128 scene units there is only sky."""

_AABB_MARGIN = 1.05
"""Size of the scene's box over the given one: the density of a wall needs some volume behind its surface."""
_NEAR_OF_AABB = 0.05
"""Near distance in a given box, as a part of half its longest edge."""

_BLENDER_RADIUS = (3.6, 4.6)
"""Distances of NeRF-synthetic's cameras from the origin; they are on a sphere of about 4.03."""
_BLENDER_BOX = 1.5
"""Half edge of NeRF-synthetic's box: the objects are within |x| <= 1.5."""
_BLENDER_OFF_CENTRE = 0.2
"""Largest distance of the axes' crossing from the origin for NeRF-synthetic, as a part of the cameras' distance."""

_MIN_NEAR = 0.02
"""Smallest near distance, scene units."""
_NEAR_OF_POINTS = 0.6
"""Near distance as a part of the depth of the nearest points."""
_NEAR_OF_FOCUS = 0.2
"""Near distance as a part of the focus distance, where there are no points."""
_NEAREST_POINTS = 0.01
"""Quantile of all depths that counts as the depth of the nearest points; fewer than that are outliers."""

_REACH_OF_POINTS = 0.98
"""Part of the points that the outermost cascade must hold; the farthest ones are outliers."""
_REACH_OF_CAMERAS = 1.5
"""Reach of the scene over that of its cameras, where there are neither points nor bounds."""

_CROSSING = 0.02
"""Certainty (`axes_crossing`) from which optical axes count as crossing at a point."""
_CLEAR_CROSSING = 0.1
"""Certainty from which the depth of the points is not asked whether it agrees with the crossing."""
_FORWARD_CROSSING = 1e-3
"""Certainty from which a forward capture without points is focused on its crossing."""
_AGREEING_DEPTHS = (0.4, 2.5)
"""Distance of an uncertain crossing over the median depth of the points for which the crossing is kept."""
_AHEAD_OF_SPREAD = 0.1
"""Least distance of a crossing in front of a camera, as a part of the cameras' spread: cameras at one place, too, have
axes that cross there, but they do not look at it."""
_ROUNDING = 1e-12
"""Error of a coordinate by rounding, as a part of it: georeferenced positions are millions of metres."""
_PARALLEL_FOCUS = 10.0
"""Focus distance over the cameras' spread for parallel axes without points: usually a hand that moves sideways covers
a tenth of the distance."""
_MOST = 0.9
"""Part of the views that must agree for a statement on all of them."""

_BULK_OF_POINTS = 0.8
"""Part of the points that is in [-1, 1]^3 if the cameras look around."""
_BULK_OF_CAMERAS = 0.9
"""Part of the cameras within half of [-1, 1]^3 if they look around and there are no points."""

_OWN_UP_WEIGHT = 0.05
"""Weight of the cameras' mean own up against their level right axes."""
_ONE_SIDED = 0.2
"""Length of the mean viewing direction, seen from above, from which it becomes +y."""

_MAX_POINTS, _MAX_VIEWS = 20_000, 200
"""Most points and views, spread evenly, from which the depths of a capture are measured."""


@dataclass(frozen=True)
class Normalisation:
    """Similarity x_scene = scale * (rotation @ x_input) + translation.

    scale: scene units per input unit, above 0. rotation: (3, 3). translation: (3,).
    """

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def points(self, x: np.ndarray) -> np.ndarray:
        """Map points (..., 3) from input to scene coordinates."""
        return self.scale * x @ self.rotation.T + self.translation

    def inverse_points(self, x: np.ndarray) -> np.ndarray:
        """Map points (..., 3) from scene to input coordinates."""
        return (x - self.translation) @ self.rotation / self.scale

    def c2w(self, c2w: np.ndarray) -> np.ndarray:
        """Map poses (..., 3, 4) from input to scene coordinates; their rotations stay rotations."""
        position = self.points(c2w[..., 3])
        return np.concatenate([self.rotation @ c2w[..., :3], position[..., None]], axis=-1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for JSON or YAML."""
        return {
            "scale": float(self.scale),
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Normalisation:
        """Build from the result of `to_dict`.

        Raises:
            ValueError: a key is missing, or a value has another shape or is not finite.
        """
        try:
            scale = float(data["scale"])
            rotation = np.asarray(data["rotation"], np.float64)
            translation = np.asarray(data["translation"], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"normalisation: expected scale, rotation, translation, got {data}") from error
        shaped = rotation.shape == (3, 3) and translation.shape == (3,) and scale > 0
        if not (shaped and math.isfinite(scale) and np.isfinite(rotation).all() and np.isfinite(translation).all()):
            raise ValueError(f"normalisation: expected scale > 0, rotation (3, 3), translation (3,), got {data}")
        return cls(scale, rotation, translation)


@dataclass(frozen=True)
class Placement:
    """Scene coordinates of a capture, and the volume that is modelled.

    normalisation: from input to scene coordinates.
    near: nearest distance of anything from a camera, scene units.
    cascades: number of occupancy grids; the outermost covers [-2^(cascades - 1), 2^(cascades - 1)]^3.
    box: half edges of the box around the origin that holds everything, scene units.
    """

    normalisation: Normalisation
    near: float
    cascades: int
    box: tuple[float, float, float]


@dataclass(frozen=True)
class _Focus:
    """Subject of the cameras, input coordinates.

    centre: (3,) becomes the origin.
    half: length that becomes 1.
    near: near distance.
    """

    centre: np.ndarray
    half: float
    near: float


def place(scene: Scene) -> Placement:
    """Compute scene coordinates, near distance and outer bound from the poses, points and box of a scene.

    A given box, or NeRF-synthetic's known box, becomes [-1, 1]^3. Otherwise the origin is the first of these that
    exists: the point in front of the cameras where their optical axes cross; the median of the points' depths along
    the optical axes; for cameras that look around, the middle of the points or of the cameras. The smaller side of
    what an image shows at this distance becomes the edge of [-1, 1]^3 (in forward captures the larger side, since all
    of it is subject).

    Raises:
        InputError: a pose is not finite, or all cameras stand at one place.
    """
    c2w = np.stack([view.c2w for view in scene.views])
    for view, pose in zip(scene.views, c2w):
        if not np.isfinite(pose).all():
            raise InputError(f"{scene.root}: view {view.name} has a pose with NaN or infinity; remove the view")
    _refuse_one_place(scene, c2w)
    if scene.aabb is not None:
        half = 0.5 * float((scene.aabb[1] - scene.aabb[0]).max()) * _AABB_MARGIN
        placement = _placement(scene, np.eye(3), _Focus(scene.aabb.mean(0), half, _NEAR_OF_AABB * half), cascades=1)
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
        reach = max(reach, float(np.quantile(far, _REACH_OF_POINTS)) / focus.half)
    elif ranges := [view.depth_range[1] for view in scene.views if view.depth_range]:
        reach = max(reach, float(np.median(ranges)) / focus.half - 1)
    elif scene.extent is not None:
        reach = max(reach, scene.extent / focus.half)
    else:
        reach = _REACH_OF_CAMERAS * reach
    cascades = math.ceil(math.log2(max(reach, 1.0))) + 1
    return _placement(scene, _upright(c2w), focus, min(cascades, MAX_CASCADES))


def _refuse_one_place(scene: Scene, c2w: np.ndarray) -> None:
    """Raise InputError if several cameras have one pose, or stand at one place, where photos alone show no depth."""
    away = np.abs(c2w[:, :, 3] - c2w[0, :, 3]).max()
    if len(c2w) < 2 or away > _ROUNDING * (1 + np.abs(c2w[:, :, 3]).max()):
        return
    if np.allclose(c2w, c2w[0], rtol=0, atol=1e-9):
        raise InputError(f"{scene.root}: all {len(c2w)} poses are identical; the calibration or its export failed")
    if any(view.depth_path is not None for view in scene.views):
        return
    raise InputError(
        f"{scene.root}: all {len(c2w)} cameras stand at one place, so that nothing tells how far anything is; "
        "take photos from different places"
    )


def _placement(scene: Scene, rotation: np.ndarray, focus: _Focus, cascades: int) -> Placement:
    scale = 1.0 / focus.half
    translation = -scale * rotation @ focus.centre
    bound = 2.0 ** (cascades - 1)
    return Placement(
        normalisation=Normalisation(scale, rotation, translation),
        near=max(_MIN_NEAR, scale * focus.near),
        cascades=cascades,
        box=(bound, bound, bound),
    )


def _is_blender(c2w: np.ndarray) -> bool:
    centre, certainty = axes_crossing(c2w)
    distance = np.median(np.linalg.norm(c2w[:, :, 3], axis=1))
    low, high = _BLENDER_RADIUS
    centred = certainty < _CROSSING or float(np.linalg.norm(centre)) < _BLENDER_OFF_CENTRE * distance
    return low <= distance <= high and centred


def _focus(scene: Scene, c2w: np.ndarray) -> _Focus:
    forward, position = c2w[:, :, 2], c2w[:, :, 3]
    depths = _view_depths(scene, c2w)
    centre, certainty = axes_crossing(c2w)
    along = ((centre - position) * forward).sum(1)
    distance = float(np.median(along))
    spread = float(np.sqrt(((position - position.mean(0)) ** 2).sum(1).mean()))
    ahead = _mostly(along > _AHEAD_OF_SPREAD * spread + _ROUNDING * np.abs(position).max() + 1e-12)
    crossing = certainty > _CROSSING and ahead
    if crossing and certainty < _CLEAR_CROSSING and depths is not None:  # nearly parallel: points are more reliable
        low, high = _AGREEING_DEPTHS
        crossing = low < distance / float(np.median(depths.median)) < high
    if depths is not None and not crossing:
        looked_at = np.median(position + depths.median[:, None] * forward, axis=0)
        in_front = _mostly(((looked_at - position) * forward).sum(1) > 0)
        if not in_front:
            return _inside_out(scene, position, looked_at, depths.near)
        centre, distance = looked_at, float(np.median(depths.median))
    elif not crossing:
        if scene.kind != "forward":
            return _inside_out(scene, position, position.mean(0), _NEAR_OF_FOCUS * max(spread, 1e-3))
        if not (certainty > _FORWARD_CROSSING and ahead):
            distance = _PARALLEL_FOCUS * spread if spread > 0 else 1.0
            centre = np.median(position + distance * forward, axis=0)
    half = distance * _half_view(scene)
    near = _NEAR_OF_POINTS * depths.near if depths is not None else _NEAR_OF_FOCUS * distance
    return _Focus(centre, half, min(near, 0.5 * distance))


def _inside_out(scene: Scene, position: np.ndarray, centre: np.ndarray, near: float) -> _Focus:
    """Return the focus of cameras that look around: the bulk of the points, or twice the cameras' own reach."""
    if scene.points is not None:
        half = float(np.quantile(np.abs(scene.points - centre).max(1), _BULK_OF_POINTS))
        near *= _NEAR_OF_POINTS
    else:
        half = 2 * float(np.quantile(np.abs(position - centre).max(1), _BULK_OF_CAMERAS))
    return _Focus(centre, half if half > 1e-9 else 1.0, near)


def _mostly(mask: np.ndarray) -> bool:
    return bool(mask.mean() >= _MOST)


def _half_view(scene: Scene) -> float:
    """Return the tangent of half the smaller field of view (larger for forward captures), median over views."""
    smaller = scene.kind != "forward"
    tangents = []
    for view in scene.views:
        camera = view.camera
        sides = (0.5 * camera.width / camera.fx, 0.5 * camera.height / camera.fy)
        tangents.append(min(sides) if smaller else max(sides))
    return min(float(np.median(tangents)), 1.0)


@dataclass(frozen=True)
class _Depths:
    """Depths that views see, input units: median (V,) of each view, and the depth of the nearest points."""

    median: np.ndarray
    near: float


def _view_depths(scene: Scene, c2w: np.ndarray) -> _Depths | None:
    """Return the depths of the points that views see, or else of the format's depth ranges, or else None."""
    ranges = [view.depth_range for view in scene.views if view.depth_range is not None]
    if scene.points is None and len(ranges) == len(scene.views):
        near, far = np.array(ranges).T
        return _Depths(2 / (1 / near + 1 / far), float(np.quantile(near, _NEAREST_POINTS)))
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
    return _Depths(medians, float(np.quantile(np.concatenate(seen), _NEAREST_POINTS)))


def _upright(c2w: np.ndarray) -> np.ndarray:
    """Return the rotation that turns up to +z and, if the cameras look from one side, their mean direction to +y.

    Up is orthogonal to the cameras' right axes, since people hold cameras level, and near their mean own up, which
    decides alone where the right axes do not: argmin_u mean (right . u)^2 + 0.05 |u - mean up|^2.
    """
    right, up = c2w[:, :, 0], -c2w[:, :, 1]
    mean_up = up.mean(0)
    if np.linalg.norm(mean_up) < 1e-3:
        mean_up = -c2w[:, :, 2].mean(0)
    z = np.linalg.solve((right.T @ right) / len(c2w) + _OWN_UP_WEIGHT * np.eye(3), mean_up)
    if np.linalg.norm(z) < 1e-3:
        return np.eye(3)
    z /= np.linalg.norm(z)
    ahead = c2w[:, :, 2].mean(0)
    y = ahead - (ahead @ z) * z
    if np.linalg.norm(y) < _ONE_SIDED:  # from all sides, or straight down: keep the input's own heading
        axis = np.eye(3)[1] if abs(z[1]) < 0.9 else np.eye(3)[2]
        y = axis - (axis @ z) * z
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, z), y, z])
