"""Objects on a table, photographed from outside all around.

The room around is seen, but no box is told to readers; z up, the table in the middle.
"""

import math
from collections.abc import Callable

import numpy as np

from omniseg_sample_scenes import furniture, interior, small_objects, tools
from omniseg_sample_scenes.builder import Builder, Paint, ScenePlan
from omniseg_sample_scenes.furniture import CREAM, Palette, along
from omniseg_sample_scenes.kind import SceneKind
from omniseg_sample_scenes.palettes import PALETTES
from omniseg_sample_scenes.patterns import Pattern
from omniseg_sample_scenes.rings import poses_along

TOP = 0.74
"""Height of the table."""

Item = tuple[str, str, float, Callable[[Builder], object]]
"""Group, name, radius and builder of an object."""


def describe(seed: int) -> ScenePlan:
    """Lay the table of this seed: its shape, what stands on it and where, and the room around it vary."""
    b = Builder(np.random.default_rng((seed, 6)))
    palette = PALETTES[(seed + 1) % len(PALETTES)]
    size = (b.near(5.2, 0.5), b.near(4.8, 0.4), b.near(2.7, 0.2))
    walls = [Paint(palette.wall[0], style=0.12, length=0.5), Paint(palette.accent[0], style=0.2, length=0.4)]
    walls += [Paint(*palette.wall, Pattern.WALLPAPER, length=0.4), Paint(palette.wall[1], style=0.1, length=0.5)]
    order = b.random.permutation(4)
    floor = Paint(*palette.floor, Pattern.PLANKS, length=b.near(0.14, 0.03), gloss=0.08)
    interior.shell(b, size, [walls[k] for k in order], floor, Paint("#f1ece2", length=0.4, style=0.1), CREAM)
    with b.group("window") as g, g.at((b.near(0, 0.6), 0.5 * size[1], 0)).object("window") as o:
        pane = interior.window(o, b.near(1.8, 0.3), 1.3, 0.9)
    reach = _table(b, palette)
    _objects(b, palette, reach)
    with b.group("lamp") as g, g.object("pendant lamp") as o:
        bulb = furniture.pendant_lamp(o, palette.sofa[0], size[2], 0.34)
        lamp = (o.world(bulb), o.last_solid())
    _surroundings(b, palette, size)
    return b.finish(interior.inside(size), interior.lights(b, pane, [lamp], strength=1.6))


def camera_path(n: int, seed: int) -> np.ndarray:
    """Return n camera poses (n, 3, 4) that circle the table two or three times, from flat to steep."""
    random = np.random.default_rng((seed, 7))
    turns, start = int(random.integers(2, 4)), random.uniform(0, 2 * math.pi)
    reach, low = random.uniform(1.25, 1.4), random.uniform(18, 24)

    def place(wave: float) -> tuple[np.ndarray, np.ndarray]:
        angle = turns * wave + start
        height = math.radians(low + 13.0 * (1.0 - math.cos(wave)))
        away = reach * np.array([math.cos(angle), math.sin(angle), 0]) * math.cos(height)
        eye = away + np.array([0, 0, TOP + 0.05 + reach * math.sin(height)])
        return eye, np.array([0.10 * math.cos(2 * wave), 0.10 * math.sin(2 * wave), TOP + 0.05])

    return poses_along(n, place)


def _table(b: Builder, palette: Palette) -> float:
    """Add the table with a cloth or a runner; return how far from its middle objects may stand."""
    wood, cloth = palette.oak, Paint(*palette.rug, Pattern.RUG, length=0.045)
    with b.group("table") as g, g.at((0, 0, 0), yaw=b.near(0, 45)).object("table") as o:
        if b.pick(True, False):
            radius = b.near(0.72, 0.06)
            o.cone("top", (0, 0, TOP - 0.04), 0.04, radius, radius, wood, rounding=0.01)
            o.cone("pillar", (0, 0, 0.05), TOP - 0.08, 0.06, 0.05, along(wood, 2))
            for k in range(3):
                foot = o.at((0, 0, 0), yaw=120 * k)
                foot.box("feet", (0.22, 0, 0.04), (0.44, 0.07, 0.06), along(wood, 0), rounding=0.02)
        else:
            radius = 0.62
            width, depth = b.near(1.35, 0.1), b.near(1.3, 0.05)
            o.box("top", (0, 0, TOP - 0.02), (width, depth, 0.04), wood, rounding=0.01)
            for k, (sx, sy) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1)), 1):
                spot = (sx * (0.5 * width - 0.07), sy * (0.5 * depth - 0.07), 0)
                o.cone(f"leg {k}", spot, TOP - 0.04, 0.024, 0.036, along(wood, 2))
        o.box("runner", (0, 0, TOP + 0.002), (1.05, b.near(0.42, 0.06), 0.004), cloth)
    return radius


def _items(b: Builder, palette: Palette) -> list[Item]:
    glaze = Paint(b.pick("#3f6c8f", "#e8dcc4", "#7d9a78"), "#f0ece0", Pattern.SPECKLE, length=0.04, gloss=0.15)
    colours = ("#c8402f", "#e0b03a", "#3f7fa8", "#4f8f55", "#e9e0cc")
    pot = Paint(*palette.pot, Pattern.FABRIC, length=0.05)
    vase = Paint(palette.sofa[0], "#e9e2d2", Pattern.STRIPES, length=0.06, style=2, gloss=0.12)
    bottle = b.pick("#3c5a3a", "#6b3a24", "#34506b")
    return [
        ("tea", "teapot", 0.17, lambda o: tools.teapot(o, glaze)),
        ("tea", "mug 1", 0.09, lambda o: small_objects.mug(o, "#b5483a")),
        ("tea", "mug 2", 0.09, lambda o: small_objects.mug(o, "#3f6c8f")),
        ("tea", "plate", 0.12, lambda o: small_objects.plate(o, "#f0e9dc")),
        ("food", "fruit bowl", 0.18, lambda o: small_objects.fruit_bowl(o, palette.cushions[0][0])),
        ("food", "bottle", 0.06, lambda o: tools.bottle(o, bottle, "#b0482f")),
        ("plants", "flower vase", 0.13, lambda o: small_objects.flower_vase(o, vase, ("#e6a13c", "#d9583f"), 7)),
        ("plants", "succulent", 0.11, lambda o: small_objects.succulent(o, pot)),
        ("toys", "blocks", 0.15, lambda o: tools.blocks(o, colours)),
        ("toys", "car", 0.11, lambda o: tools.toy_car(o, b.pick(*colours[:4]))),
        ("desk", "books", 0.17, lambda o: furniture.book_pile(o, palette, 4)),
        ("desk", "globe", 0.12, lambda o: small_objects.globe(o)),
        ("desk", "candles", 0.14, lambda o: small_objects.candles(o)),
        ("desk", "radio", 0.20, lambda o: small_objects.radio(o, along(palette.walnut, 0))),
    ]


def _objects(b: Builder, palette: Palette, reach: float) -> None:
    """Stand ten to twelve of the objects on the table, things of one group beside each other where there is room."""
    items = _items(b, palette)
    left_out = set(b.random.permutation(len(items))[: b.pick(2, 3, 4)].tolist())
    items = [item for k, item in enumerate(items) if k not in left_out]
    start = {group: b.near(0, 180) for group, *_ in items}
    taken: list[tuple[np.ndarray, float]] = []
    for group, name, radius, build in sorted(items, key=lambda item: -item[2]):
        spots = _free_spots(b, math.radians(start[group]), reach - radius, radius, taken)
        if not len(spots):
            continue
        taken.append((spots[0], radius))
        with b.group(group) as g, g.at((*spots[0], TOP + 0.004), yaw=b.near(0, 180)).object(name) as o:
            build(o)


def _free_spots(
    b: Builder, angle: float, reach: float, radius: float, taken: list[tuple[np.ndarray, float]]
) -> np.ndarray:
    """Return random free spots (n, 2) within `reach`, those nearest to the direction `angle` first."""
    spots = b.random.uniform(-reach, reach, (400, 2))
    free = np.linalg.norm(spots, axis=1) < reach
    for spot, other in taken:
        free &= np.linalg.norm(spots - spot, axis=1) > radius + other
    spots = spots[free]
    wish = 0.6 * reach * np.array([math.cos(angle), math.sin(angle)])
    return spots[np.argsort(np.linalg.norm(spots - wish, axis=1))]


def _surroundings(b: Builder, palette: Palette, size: tuple[float, float, float]) -> None:
    x, y = 0.5 * size[0], 0.5 * size[1]
    with b.group("sideboard corner") as g:
        place = g.at((b.near(-0.3, 0.3), -y + 0.23, 0))
        with place.object("sideboard") as o:
            top = furniture.sideboard(o, palette, 1.35)
        with place.at((-0.4, 0, top)).object("pile of books") as o:
            furniture.book_pile(o, palette, 5)
        with place.at((0.35, 0, top)).object("small plant") as o:
            small_objects.succulent(o, CREAM)
    with b.group("shelf") as g:
        place = g.at((-x + 0.17, b.near(0.0, 0.4), 0), yaw=-90)
        with place.object("bookcase") as o:
            boards = furniture.bookcase(o, palette, 1.1, 1.5, 4)
        for k, board in enumerate(boards[:-1], 1):
            with place.at((-0.5, 0.01, board)).object(f"books {k}") as o:
                furniture.book_row(o, palette, b.near(0.85, 0.1), boards[1] - boards[0] - 0.03)
    with b.group("seats") as g:
        for k, (sx, turn) in enumerate(((0.42, 90), (-0.45, 60)), 1):
            spot = (x - 0.45, sx * y + b.near(0, 0.15), 0)
            with g.at(spot, yaw=turn + b.near(0, 15)).object(f"chair {k}") as o:
                furniture.chair(o, palette)
    with b.group("plant") as g, g.at((-x + 0.45, y - 0.5, 0), yaw=b.near(0, 180)).object("rubber plant") as o:
        small_objects.potted_plant(o, Paint(*palette.pot, Pattern.FABRIC, length=0.06), b.near(1.3, 0.1), 11)


KIND = SceneKind(
    describe, camera_path, field_of_view=58.0, texel=0.03, train_views=72, test_views=10, boxed=False
)  # fmt: skip
