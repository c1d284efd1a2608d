"""Builder of sample scenes: places painted solids and files them under part, object and group."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from omniseg_sample_scenes.patterns import Pattern
from omniseg_sample_scenes.shapes import BOX, CONE, ELLIPSOID, SHELL, TORUS
from omniseg_sample_scenes.tracer import CELL, WALLS

LEVELS = ("part", "object", "group")
"""Levels of the labels, from fine to coarse."""

Vector = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Label:
    """One id of one level.

    Attributes:
        name: unique in its level.
        parent: id at the next coarser level, None at the coarsest.
    """

    name: str
    parent: int | None


@dataclass(frozen=True)
class Paint:
    """Look of a surface; `Pattern` explains `length` and `style`.

    Colours are sRGB, "#rrggbb". `gloss` is the strength of the window's soft reflection, `glow` the emitted light as a
    multiple of the colour.
    """

    a: str
    b: str = "#000000"
    pattern: Pattern = Pattern.PLAIN
    length: float = 0.15
    style: float = 0.12
    gloss: float = 0.0
    glow: float = 0.0

    def row(self, offset: float) -> list[float]:
        """Return the row of `Solids.surfaces` for this paint; `offset` shifts its noise."""
        b = self.a if self.pattern is Pattern.PLAIN else self.b
        numbers = [self.length, self.style, self.gloss, self.glow, offset, float(self.pattern)]
        return [*linear_colour(self.a), *linear_colour(b), *numbers]


def linear_colour(hex_colour: str) -> list[float]:
    """Convert an sRGB colour "#rrggbb" to linear RGB in [0, 1]."""
    values = [int(hex_colour[k : k + 2], 16) / 255.0 for k in (1, 3, 5)]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Return the (3, 3) rotation from local to parent axes: roll about y, pitch about x, then yaw about z; degrees."""
    return Rotation.from_euler("yxz", [roll, pitch, yaw], degrees=True).as_matrix()


def _half_extent(kind: int, par: Vector) -> list[float]:
    """Return the half edges of the bounding box of a solid in its own axes."""
    a, b, c, d = par
    if kind == CONE:
        return [max(b, c), max(b, c), a]
    if kind == SHELL:
        return [max(b, c) + d, max(b, c) + d, a + d]
    if kind == TORUS:
        return [a + b, a + b, b]
    return [a, b, c]


@dataclass(frozen=True)
class ScenePlan:
    """Finished description of a scene, as numpy arrays.

    Attributes:
        aabb: (2, 3) float64 lower and upper corner of the inside of the room, or outdoors of the middle; metres, z up.
        shapes, surfaces: float32 tables as in `Solids`.
        ids: level -> (n_solids,) int64 id of each solid, from 1.
        names: level -> id -> label.
        lights: (n_lights, 9) float32, columns in `omniseg_sample_scenes.light`.
        cell: edge of a cell of the tracer's grid, metres.
        n_walls, n_far: number of slabs and of far solids (`Solids`); they come first in the tables, in this order.
    """

    aabb: np.ndarray
    shapes: np.ndarray
    surfaces: np.ndarray
    ids: Mapping[str, np.ndarray]
    names: Mapping[str, Mapping[int, Label]]
    lights: np.ndarray
    cell: float = CELL
    n_walls: int = WALLS
    n_far: int = 0


@dataclass
class _Tables:
    shapes: list[list[float]] = field(default_factory=list)
    surfaces: list[list[float]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    far: list[bool] = field(default_factory=list)
    names: dict[str, dict[int, Label]] = field(default_factory=lambda: {level: {} for level in LEVELS})


@dataclass(frozen=True)
class Builder:
    """Local axes in the scene, and the group and object to which new solids belong.

    `at` returns a builder with other axes, `group` and `object` one with another owner, `beyond` one whose solids lie
    beyond the box of an outdoor scene. The methods named after solids
    add one solid to the part named first; solids of one object with the same part name are one part. Lengths are in
    metres, turns (`yaw`, `pitch`, `roll`) in degrees.
    """

    random: np.random.Generator
    tables: _Tables = field(default_factory=_Tables)
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    group_id: int = 0
    object_id: int = 0
    far: bool = False

    def beyond(self) -> "Builder":
        """Return a builder of far solids."""
        return replace(self, far=True)

    def at(self, position: Vector, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> "Builder":
        """Return a builder with its origin at `position` and its axes turned, both in this builder's axes."""
        origin = self.origin + self.turn @ np.asarray(position, dtype=np.float64)
        return replace(self, origin=origin, turn=self.turn @ rotation(yaw, pitch, roll))

    @contextmanager
    def group(self, name: str) -> Iterator["Builder"]:
        """Yield a builder for the group of this name."""
        yield replace(self, group_id=self._file("group", name, None))

    @contextmanager
    def object(self, name: str) -> Iterator["Builder"]:
        """Yield a builder for the object of this name in this group."""
        yield replace(self, object_id=self._file("object", name, self.group_id))

    def box(self, part: str, centre: Vector, size: Vector, paint: Paint, rounding: float = 0.0, **turn: float):
        """Add a box with edges `size`."""
        half = [0.5 * edge for edge in size]
        self._add(BOX, part, centre, [*half, min(rounding, 0.999 * min(half))], paint, turn)

    def ball(self, part: str, centre: Vector, radii: Vector | float, paint: Paint, **turn: float):
        """Add a sphere (one radius) or an ellipsoid."""
        radii = [radii] * 3 if isinstance(radii, (int, float)) else list(radii)
        self._add(ELLIPSOID, part, centre, [*radii, 0.0], paint, turn)

    def cone(
        self, part: str, foot: Vector, height: float, bottom: float, top: float, paint: Paint,
        rounding: float = 0.0, **turn: float,
    ):  # fmt: skip
        """Add a cylinder or frustum that stands on `foot`."""
        radius = min(rounding, 0.45 * height, 0.9 * min(bottom, top))
        par = [0.5 * height, bottom, top, radius]
        self._add(CONE, part, self._lifted(foot, 0.5 * height, turn), par, paint, turn)

    def shell(
        self, part: str, foot: Vector, height: float, bottom: float, top: float, wall: float, paint: Paint,
        **turn: float,
    ):  # fmt: skip
        """Add an open conical wall with these mean radii that stands on `foot`."""
        half = 0.5 * wall
        par = [0.5 * height - half, bottom, top, half]
        self._add(SHELL, part, self._lifted(foot, 0.5 * height, turn), par, paint, turn)

    def ring(self, part: str, centre: Vector, radius: float, tube: float, paint: Paint, **turn: float):
        """Add a torus in the local xy plane."""
        self._add(TORUS, part, centre, [radius, tube, 0.0, 0.0], paint, turn)

    def tube(self, part: str, start: Vector, end: Vector, radius: float, paint: Paint, top: float | None = None):
        """Add a round bar from `start` to `end`, with the radius `top` at its end if that differs."""
        along = np.asarray(end, dtype=np.float64) - np.asarray(start, dtype=np.float64)
        length = float(np.linalg.norm(along))
        pitch, yaw = np.degrees([np.arccos(along[2] / length), np.arctan2(along[0], -along[1])])
        self.cone(part, start, length, radius, radius if top is None else top, paint, pitch=pitch, yaw=yaw)

    def pick(self, *choices):
        """Return one of the choices at random."""
        return choices[int(self.random.integers(len(choices)))]

    def near(self, value: float, spread: float) -> float:
        """Return a random value within `spread` of `value`."""
        return float(value + self.random.uniform(-spread, spread))

    def last_solid(self) -> int:
        """Return the index of the solid added last."""
        return len(self.tables.parts) - 1

    def world(self, point: Vector) -> np.ndarray:
        """Transform a point from this builder's axes to world coordinates."""
        return self.origin + self.turn @ np.asarray(point, dtype=np.float64)

    def finish(
        self, aabb: np.ndarray, lights: Sequence[tuple[Vector, int]], cell: float = CELL, n_walls: int = WALLS
    ) -> ScenePlan:
        """Return everything added so far as arrays.

        Args:
            aabb: (2, 3) corners of the inside of the room, or outdoors of the box.
            lights: up to eight columns of each light, and the solid that its shadow rays must reach (-1: none).
            cell: edge of a cell of the tracer's grid, metres.
            n_walls: number of slabs around the room, which were added first; 0 outdoors.
        """
        far = np.array(self.tables.far)
        order = np.argsort(~far, kind="stable") if n_walls == 0 else np.arange(len(far))
        names = self.tables.names
        part = np.array(self.tables.parts, dtype=np.int64)[order]
        above = {level: np.array([0, *(entry.parent or 0 for entry in names[level].values())]) for level in LEVELS}
        object_ = above["part"][part]
        return ScenePlan(
            aabb=aabb,
            shapes=np.array(self.tables.shapes, dtype=np.float32)[order],
            surfaces=np.array(self.tables.surfaces, dtype=np.float32)[order],
            ids={"part": part, "object": object_, "group": above["object"][object_]},
            names=names,
            lights=np.array([[*row, *[0.0] * (8 - len(row)), solid] for row, solid in lights], dtype=np.float32),
            cell=cell,
            n_walls=n_walls,
            n_far=int(far.sum()),
        )

    def _lifted(self, foot: Vector, height: float, turn: Mapping[str, float]) -> np.ndarray:
        return np.asarray(foot, dtype=np.float64) + rotation(**turn) @ np.array([0.0, 0.0, height])

    def _file(self, level: str, name: str, parent: int | None) -> int:
        entries = self.tables.names[level]
        for number, entry in entries.items():
            if entry.name == name and entry.parent == parent:
                return number
        number = len(entries) + 1
        entries[number] = Label(name, parent)
        return number

    def _add(self, kind: int, part: str, centre: Vector, par: Vector, paint: Paint, turn: Mapping[str, float]) -> None:
        if not (self.group_id and self.object_id):
            raise ValueError(f"part {part!r}: add it inside of a group and an object")
        owner = self.tables.names["object"][self.object_id].name
        to_local = (self.turn @ rotation(**turn)).T
        self.tables.shapes.append([*self.world(centre), *to_local.ravel(), *par, *_half_extent(kind, par), kind])
        self.tables.surfaces.append(paint.row(float(self.random.uniform(0.0, 8.0))))
        self.tables.far.append(self.far)
        self.tables.parts.append(self._file("part", f"{owner}: {part}", self.object_id))
