"""A wide hall with few large plain surfaces: plaster, stone floor, columns, a stage and some benches.

z up, the long side along x, the window front in the +y wall.
"""

import math

import numpy as np

from omniseg_sample_scenes import furniture, interior, small_objects
from omniseg_sample_scenes.builder import Builder, Paint, ScenePlan
from omniseg_sample_scenes.furniture import BRASS, Palette, along
from omniseg_sample_scenes.kind import SceneKind
from omniseg_sample_scenes.palettes import PALETTES
from omniseg_sample_scenes.patterns import Pattern
from omniseg_sample_scenes.rings import poses_along, rounded

CELL = 0.25
"""Edge of a grid cell, metres."""


def _size(seed: int) -> tuple[float, float, float]:
    """Return the inside of the hall of this seed, which the cameras know as well."""
    random = np.random.default_rng((seed, 8))
    return float(random.uniform(10.5, 13.0)), float(random.uniform(7.4, 9.0)), float(random.uniform(3.8, 4.6))


def describe(seed: int) -> ScenePlan:
    """Build the hall of this seed: its size, columns, stage, benches and colours vary."""
    b = Builder(np.random.default_rng((seed, 9)))
    size = _size(seed)
    palette = PALETTES[(seed + 2) % len(PALETTES)]
    plaster = Paint(palette.wall[0], length=1.1, style=0.10)
    tinted = Paint(palette.accent[b.pick(0, 1)], length=1.3, style=0.14)
    floor = Paint(
        b.pick("#b8b0a2", "#a89f94", "#c2b294"), "#6f675c", Pattern.PAVING, length=b.near(1.0, 0.2), gloss=0.14
    )
    walls = [plaster, tinted, plaster, plaster] if b.pick(True, False) else [tinted, plaster, plaster, plaster]
    interior.shell(b, size, walls, floor, Paint("#efeae0", length=1.0, style=0.07), None)
    with b.group("window front") as g, g.at((b.near(0, 1.0), 0.5 * size[1], 0)).object("window") as o:
        pane = interior.window(o, b.near(5.0, 0.8), b.near(2.2, 0.2), 0.8)
    bulbs = _ceiling(b, palette, size)
    _columns(b, size)
    _stage(b, palette, size)
    _furniture(b, palette, size)
    lights = interior.lights(b, pane, bulbs, (b.near(0, 0.5), 0.74, 0.55), strength=2.0)
    return b.finish(interior.inside(size), lights, cell=CELL)


def camera_path(n: int, seed: int) -> np.ndarray:
    """Return n camera poses (n, 3, 4) on one or two rounds through the hall, which look across it."""
    random = np.random.default_rng((seed, 10))
    x, y, _z = _size(seed)
    turns, start, aside = int(random.integers(1, 3)), random.uniform(0, 2 * math.pi), random.uniform(0.4, 1.0)
    half = (0.5 * x - 1.9, 0.5 * y - 1.75)

    def place(wave: float) -> tuple[np.ndarray, np.ndarray]:
        angle = turns * wave + start
        eye = np.array([*rounded(angle, half), 1.65 - 0.25 * math.cos(3 * wave)])
        look = angle + aside * math.sin(2 * wave + start)
        return eye, np.array([-0.25 * half[0] * math.cos(look), -0.25 * half[1] * math.sin(look), 1.25])

    return poses_along(n, place)


def _ceiling(b: Builder, palette: Palette, size: tuple[float, float, float]) -> list[tuple[np.ndarray, int]]:
    x, y, z = size
    bulbs = []
    with b.group("ceiling work") as g:
        beam = Paint(*palette.dark_wood, Pattern.WOOD, length=0.12, style=1)
        with g.object("beams") as o:
            for k in range(count := b.pick(3, 4)):
                o.box(f"beam {k + 1}", (x * ((k + 0.5) / count - 0.5), 0, z - 0.16), (0.24, y - 0.02, 0.32), beam)
        for k, (sx, sy) in enumerate(((-0.25, -0.2), (0.25, -0.2), (0.0, 0.2)), 1):
            with g.at((sx * x, sy * y, 0)).object(f"lamp {k}") as o:
                bulb = furniture.pendant_lamp(o, palette.sofa[0], z, 1.1)
                bulbs.append((o.world(bulb), o.last_solid()))
    return bulbs


def _columns(b: Builder, size: tuple[float, float, float]) -> None:
    x, y, z = size
    stone = Paint(b.pick("#d3cbbb", "#c4b8a4", "#b9b5ac"), length=0.5, style=0.16)
    square, count, radius = b.pick(True, False), b.pick(2, 3), b.near(0.24, 0.05)
    with b.group("colonnade") as g:
        for side, name in ((-1, "south"), (1, "north")):
            for k in range(count):
                at = (x * ((k + 0.5) / count - 0.5), side * (0.5 * y - 0.75), 0)
                with g.at(at).object(f"{name} column {k + 1}") as o:
                    if square:
                        o.box("shaft", (0, 0, 0.5 * z), (1.7 * radius, 1.7 * radius, z - 0.5), stone)
                    else:
                        o.cone("shaft", (0, 0, 0.25), z - 0.5, radius, 0.85 * radius, stone)
                    o.box("base", (0, 0, 0.125), (2.5 * radius, 2.5 * radius, 0.25), stone)
                    o.box("capital", (0, 0, z - 0.125), (2.5 * radius, 2.5 * radius, 0.25), stone)


def _stage(b: Builder, palette: Palette, size: tuple[float, float, float]) -> None:
    x, _y, _z = size
    side, wide = b.pick(-1, 1), b.near(3.6, 0.5)
    boards = Paint(*palette.floor, Pattern.PLANKS, length=0.2, gloss=0.08)
    with b.group("stage") as g:
        place = g.at((side * (0.5 * x - 0.75), 0, 0))
        with place.object("platform") as o:
            o.box("deck", (0, 0, 0.2), (1.5, wide, 0.4), boards)
            o.box("step", (-side * 0.9, 0, 0.1), (0.32, 1.2, 0.2), boards)
        with place.at((0, b.near(0, 0.6), 0.4)).object("lectern") as o:
            o.box("foot", (0, 0, 0.03), (0.42, 0.42, 0.06), along(palette.walnut, 0))
            o.box("post", (0, 0, 0.52), (0.14, 0.18, 0.96), along(palette.walnut, 2))
            o.box("desk", (0, 0, 1.05), (0.42, 0.55, 0.05), along(palette.walnut, 1), roll=18 * side)
        art = Paint(palette.sofa[0], palette.cushions[0][0], Pattern.PAINTING, style=b.pick(0, 1, 2))
        with g.at((side * 0.5 * x, 0, 2.2), yaw=90 * side).object("large picture") as o:
            furniture.picture(o, 2.6, 1.5, art, along(palette.walnut, 0))


def _furniture(b: Builder, palette: Palette, size: tuple[float, float, float]) -> None:
    x, y, _z = size
    with b.group("benches") as g:
        for k in range(count := b.pick(3, 4)):
            at = (x * (0.42 * (k + 0.5) / count - 0.21) + b.near(0, 0.15), b.near(-0.9, 0.3) + 1.8 * (k % 2), 0)
            with g.at(at, yaw=b.near(90, 12)).object(f"bench {k + 1}") as o:
                o.box("seat", (0, 0, 0.44), (1.8, 0.42, 0.06), along(palette.oak, 0), rounding=0.01)
                for side in (-1, 1):
                    o.box("feet", (0.7 * side, 0, 0.205), (0.07, 0.38, 0.41), along(palette.oak, 2))
    with (
        b.group("sculpture") as g,
        g.at((b.near(0, 0.4), b.near(0.1, 0.2), 0), yaw=b.near(0, 90)).object("sculpture") as o,
    ):
        bronze = Paint(b.pick("#8a6a3c", "#5f7a70", "#9c4f3a"), gloss=0.3, style=0.15, length=0.2)
        o.box("plinth", (0, 0, 0.4), (0.7, 0.7, 0.8), Paint("#e4dfd4", length=0.4, style=0.08))
        o.ring("ring", (0, 0, 1.28), 0.36, 0.11, bronze, pitch=90)
        o.ball("ball", (0, 0, 1.28 + b.near(0, 0.08)), b.near(0.17, 0.04), BRASS)
    with b.group("desk corner") as g:
        place = g.at((b.near(-0.15, 0.1) * x, -0.5 * y + 0.5, 0))
        with place.object("counter") as o:
            o.box("front", (0, 0.25, 0.55), (2.2, 0.08, 1.1), along(palette.oak, 2))
            o.box("top", (0, 0.1, 1.12), (2.3, 0.55, 0.05), along(palette.walnut, 0), rounding=0.01)
            for side in (-1, 1):
                o.box("sides", (1.06 * side, 0.02, 0.55), (0.07, 0.42, 1.1), along(palette.oak, 2))
        with place.at((0.6, 0.12, 1.145)).object("flower vase") as o:
            glaze = Paint("#e9e2d2", palette.sofa[0], Pattern.STRIPES, length=0.07, style=2, gloss=0.12)
            small_objects.flower_vase(o, glaze, ("#e6a13c", "#d9583f"), 7)
    with b.group("plants") as g:
        pot = Paint(*palette.pot, Pattern.FABRIC, length=0.08)
        for k, (sx, sy) in enumerate(((-1, 1), (1, -1)), 1):
            with g.at((sx * (0.5 * x - 0.6), sy * (0.5 * y - 0.6), 0), yaw=b.near(0, 90)).object(f"plant {k}") as o:
                small_objects.potted_plant(o, pot, b.near(1.8, 0.15), 13)


KIND = SceneKind(describe, camera_path, field_of_view=78.0, texel=0.07, train_views=80, test_views=12, depth_scale=4e-4)
