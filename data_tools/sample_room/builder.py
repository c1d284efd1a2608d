"""How the sample room is written down: solids with a paint, filed under part, object and group."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from omniseg_sample_room.patterns import Pattern
from omniseg_sample_room.shapes import BOX, CONE, ELLIPSOID, SHELL, TORUS

LEVELS = ("part", "object", "group")
"""Levels of the labels, from fine to coarse."""

Vector = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Label:
    """One id of one level.

    Attributes:
        name: what a person would call it; unique in its level.
        parent: id at the next coarser level, None at the coarsest.
    """

    name: str
    parent: int | None


@dataclass(frozen=True)
class Paint:
    """What a surface looks like; `length` and `style` are explained at `Pattern`.

    Colours are sRGB, "#rrggbb". `gloss` is the strength of the window's soft reflection, `glow` is emitted
    light as a multiple of the colour.
    """

    a: str
    b: str = "#000000"
    pattern: Pattern = Pattern.PLAIN
    length: float = 0.15
    style: float = 0.12
    gloss: float = 0.0
    glow: float = 0.0

    def row(self, offset: float) -> list[float]:
        """The row of `Solids.surfaces` for this paint."""
        b = self.a if self.pattern is Pattern.PLAIN else self.b
        scale = [self.length, self.style, self.gloss, self.glow, offset, 0.0]
        return [*linear_colour(self.a), *linear_colour(b), *scale]


def linear_colour(hex_colour: str) -> list[float]:
    """Linear RGB in [0, 1] of an sRGB colour "#rrggbb"."""
    values = [int(hex_colour[k : k + 2], 16) / 255.0 for k in (1, 3, 5)]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Local -> parent rotation (3, 3): roll about y, then pitch about x, then yaw about z; degrees."""
    (cy, cp, cr), (sy, sp, sr) = (f(np.radians([yaw, pitch, roll])) for f in (np.cos, np.sin))
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    return about_z @ about_x @ about_y


def _half_extent(kind: int, par: Vector) -> list[float]:
    """Half edges of the bounding box of a solid in its own axes."""
    a, b, c, d = par
    if kind == CONE:
        return [max(b, c), max(b, c), a]
    if kind == SHELL:
        return [max(b, c) + d, max(b, c) + d, a + d]
    if kind == TORUS:
        return [a + b, a + b, b]
    return [a, b, c]


@dataclass(frozen=True)
class RoomPlan:
    """A described room, as arrays.

    Attributes:
        aabb: (2, 3) float64, inside of the room, metres.
        shapes, surfaces, info: tables of `Solids`, numpy.
        ids: level -> (n_solids,) int64.
        names: level -> id -> label.
        lights, light_solid: tables of `Lights`, numpy.
    """

    aabb: np.ndarray
    shapes: np.ndarray
    surfaces: np.ndarray
    info: np.ndarray
    ids: Mapping[str, np.ndarray]
    names: Mapping[str, Mapping[int, Label]]
    lights: np.ndarray
    light_solid: np.ndarray


@dataclass
class _Tables:
    shapes: list[list[float]] = field(default_factory=list)
    surfaces: list[list[float]] = field(default_factory=list)
    info: list[list[int]] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    names: dict[str, dict[int, Label]] = field(default_factory=lambda: {level: {} for level in LEVELS})


@dataclass(frozen=True)
class Builder:
    """A place in the room and a page of the file cabinet: what is built here lies there.

    `at` moves the place, `group` and `object` turn the page. The methods named after solids build one solid
    of the part named first; solids of one object with the same part name are one part.
    """

    random: np.random.Generator
    tables: _Tables = field(default_factory=_Tables)
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    turn: np.ndarray = field(default_factory=lambda: np.eye(3))
    group_id: int = 0
    object_id: int = 0

    def at(self, position: Vector, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> "Builder":
        """A builder whose origin is `position` here and whose axes are turned, degrees."""
        origin = self.origin + self.turn @ np.asarray(position, dtype=np.float64)
        return replace(self, origin=origin, turn=self.turn @ rotation(yaw, pitch, roll))

    @contextmanager
    def group(self, name: str) -> Iterator["Builder"]:
        """Everything built inside belongs to the group of this name."""
        yield replace(self, group_id=self._file("group", name, None))

    @contextmanager
    def object(self, name: str) -> Iterator["Builder"]:
        """Everything built inside belongs to the object of this name."""
        yield replace(self, object_id=self._file("object", name, self.group_id))

    def box(self, part: str, centre: Vector, size: Vector, paint: Paint, rounding: float = 0.0, **turn: float):
        """A box of these edges."""
        half = [0.5 * edge for edge in size]
        self._add(BOX, part, centre, [*half, min(rounding, 0.999 * min(half))], paint, turn)

    def ball(self, part: str, centre: Vector, radii: Vector | float, paint: Paint, **turn: float):
        """A sphere or an ellipsoid."""
        radii = [radii] * 3 if isinstance(radii, (int, float)) else list(radii)
        self._add(ELLIPSOID, part, centre, [*radii, 0.0], paint, turn)

    def cone(
        self, part: str, foot: Vector, height: float, bottom: float, top: float, paint: Paint,
        rounding: float = 0.0, **turn: float,
    ):  # fmt: skip
        """A cylinder, cone or frustum that stands on `foot`; with equal radii a cylinder."""
        radius = min(rounding, 0.45 * height, 0.9 * min(bottom, top))
        self._add(
            CONE,
            part,
            self._lifted(foot, 0.5 * height, turn),
            [0.5 * height, bottom, top, radius],
            paint,
            turn,
        )

    def shell(
        self, part: str, foot: Vector, height: float, bottom: float, top: float, wall: float, paint: Paint,
        **turn: float,
    ):  # fmt: skip
        """An open conical wall, of these mean radii, that stands on `foot`."""
        half = 0.5 * wall
        par = [0.5 * height - half, bottom, top, half]
        self._add(SHELL, part, self._lifted(foot, 0.5 * height, turn), par, paint, turn)

    def ring(self, part: str, centre: Vector, radius: float, tube: float, paint: Paint, **turn: float):
        """A torus in the local xy plane."""
        self._add(TORUS, part, centre, [radius, tube, 0.0, 0.0], paint, turn)

    def pick(self, *choices):
        """One of the choices, at random."""
        return choices[int(self.random.integers(len(choices)))]

    def near(self, value: float, spread: float) -> float:
        """A value at random within `spread` of `value`."""
        return float(value + self.random.uniform(-spread, spread))

    def last_solid(self) -> int:
        """Index of the solid built last."""
        return len(self.tables.parts) - 1

    def let_light_through(self, solid: int) -> None:
        """Mark the solid as the pane that sun and window light come through."""
        self.tables.info[solid][2] = 1

    def world(self, point: Vector) -> np.ndarray:
        """Room coordinates of a point given in this builder's axes."""
        return self.origin + self.turn @ np.asarray(point, dtype=np.float64)

    def finish(self, aabb: np.ndarray, lights: Sequence[Vector], light_solid: Sequence[int]) -> RoomPlan:
        """Everything built so far, as arrays."""
        names = self.tables.names
        part = np.array(self.tables.parts, dtype=np.int64)
        above = {level: np.array([0, *(entry.parent or 0 for entry in names[level].values())]) for level in LEVELS}
        object_ = above["part"][part]
        return RoomPlan(
            aabb=aabb,
            shapes=np.array(self.tables.shapes, dtype=np.float32),
            surfaces=np.array(self.tables.surfaces, dtype=np.float32),
            info=np.array(self.tables.info, dtype=np.int32),
            ids={"part": part, "object": object_, "group": above["object"][object_]},
            names=names,
            lights=np.array([[*row, *[0.0] * (8 - len(row))] for row in lights], dtype=np.float32),
            light_solid=np.array(light_solid, dtype=np.int32),
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
            raise ValueError(f"part {part!r}: build inside of a group and an object")
        owner = self.tables.names["object"][self.object_id].name
        to_local = (self.turn @ rotation(**turn)).T
        self.tables.shapes.append([*self.world(centre), *to_local.ravel(), *par, *_half_extent(kind, par)])
        self.tables.surfaces.append(paint.row(float(self.random.uniform(0.0, 8.0))))
        self.tables.info.append([kind, int(paint.pattern), 0])
        self.tables.parts.append(self._file("part", f"{owner}: {part}", self.object_id))
