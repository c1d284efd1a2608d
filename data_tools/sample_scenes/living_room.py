"""The sample room, a living room: furniture, colours, lights and camera path.

The room is 5.4 x 4.4 x 2.6 m, centred on the origin, z up: window in the +y wall, sofa at the -y wall,
bookcase at the -x wall, sideboard at the +x wall, dining table towards +x.
"""

import math

import numpy as np

from omniseg.cameras import look_at
from omniseg_sample_scenes import furniture, interior, small_objects
from omniseg_sample_scenes.builder import Builder, Paint, ScenePlan
from omniseg_sample_scenes.furniture import BRASS, CREAM, Palette, along
from omniseg_sample_scenes.kind import SceneKind
from omniseg_sample_scenes.palettes import PALETTES
from omniseg_sample_scenes.patterns import Pattern

SIZE = (5.4, 4.4, 2.6)
"""Inside of the room in metres."""


def describe(seed: int) -> ScenePlan:
    """Furnish the room of this seed. Palette, arrangement and small things vary, the floor plan stays."""
    b = Builder(np.random.default_rng(seed))
    palette = PALETTES[seed % len(PALETTES)]
    bulbs: list[tuple[np.ndarray, int]] = []
    _shell(b, palette)
    pane = _window(b, palette)
    bulbs += _dining_set(b, palette)
    bulbs += _reading_corner(b, palette)
    _shelf(b, palette)
    _sideboard(b, palette)
    _plant_corner(b, palette)

    return b.finish(interior.inside(SIZE), interior.lights(b, pane, bulbs))


def camera_path(n: int, _seed: int = 0) -> np.ndarray:
    """Return n camera poses on a closed path.

    The path goes three times around the room, low and high; cameras look inwards and a little aside.

    Returns:
        (n, 3, 4) float64 camera to world, OpenCV axes, metres.
    """
    poses = np.empty((n, 3, 4))
    for k in range(n):
        wave = 2.0 * math.pi * k / n
        angle = 3.0 * wave + 0.94
        x, y = math.cos(angle), math.sin(angle)
        # A shape between ellipse and rectangle stays close to the walls and clear of the table.
        reach = (0.95 + 0.05 * math.cos(2.0 * wave + 0.5)) / (abs(x / 1.95) ** 3 + abs(y / 1.52) ** 3) ** (1 / 3)
        eye = np.array([0.1 + reach * x, reach * y, 1.54 - 0.20 * math.cos(wave)])
        aside = angle + wave + 1.2
        poses[k] = look_at(eye, np.array([0.1 + 0.55 * math.cos(aside), 0.44 * math.sin(aside), 0.78]))
    return poses


def _shell(b: Builder, palette: Palette) -> None:
    paper = Paint(*palette.wall, Pattern.WALLPAPER, length=0.32)
    bricks = Paint(*palette.accent, Pattern.BRICK, length=0.085)
    planks = Paint(*palette.floor, Pattern.PLANKS, length=0.15, gloss=0.10)
    interior.shell(b, SIZE, (bricks, paper, paper, paper), planks, Paint("#f1ece2", length=0.35, style=0.10), CREAM)


def _window(b: Builder, palette: Palette) -> int:
    """Add window and curtains to the north wall; return the index of the pane."""
    width, sill = 1.9, 0.85
    with b.group("window") as g:
        wall = g.at((-0.35, 0.5 * SIZE[1], 0))
        with wall.object("window") as o:
            pane = interior.window(o, width, 1.35, sill)
        cloth = Paint(*palette.curtain, Pattern.FABRIC, length=0.07)
        for side, name in ((-1, "left curtain"), (1, "right curtain")):
            with wall.object(name) as o:
                for k in range(6):
                    x = side * (0.5 * width + 0.10 + 0.062 * k)
                    o.cone("cloth", (x, -0.13 + 0.022 * (k % 2), 0.06), 2.26, o.near(0.046, 0.003), 0.044, cloth)
        with wall.object("curtain rod") as o:
            o.cone("rod", (-1.5, -0.12, 2.36), 3.0, 0.014, 0.014, BRASS, roll=90)
            for side in (-1, 1):
                o.ball("finials", (1.5 * side, -0.12, 2.36), 0.032, BRASS)
    return pane


def _dining_set(b: Builder, palette: Palette) -> list[tuple[np.ndarray, int]]:
    width, depth = 0.88, 1.45
    with b.group("dining set") as g:
        place = g.at((g.near(1.08, 0.05), g.near(0.32, 0.05), 0), yaw=g.near(0, 3))
        with place.object("dining table") as o:
            top = furniture.table(o, palette, width, depth)
        for k, (side, y) in enumerate(((-1, -0.36), (-1, 0.36), (1, -0.36), (1, 0.36)), 1):
            out = g.near(0.56, 0.05) + (0.10 if k == 1 else 0.0)
            spot = (side * out, y + g.near(0, 0.04), 0)
            with place.at(spot, yaw=side * 90 + g.near(0, 10)).object(f"chair {k}") as o:
                furniture.chair(o, palette)
        on_top = place.at((0, 0, top))
        with on_top.at((g.near(0.02, 0.03), g.near(-0.03, 0.03), 0)).object("fruit bowl") as o:
            bowl = palette.cushions[0][0] if palette is not PALETTES[0] else "#e9dfcd"
            small_objects.fruit_bowl(o, bowl)
        with on_top.at((g.near(-0.02, 0.04), 0.33, 0)).object("flower vase") as o:
            glaze = Paint(palette.sofa[0], "#e9e2d2", Pattern.STRIPES, length=0.07, style=2, gloss=0.12)
            small_objects.flower_vase(o, glaze, ("#e6a13c", "#d9583f"), 7)
        with on_top.at((-0.20, -0.42, 0), yaw=-90 + g.near(0, 12)).object("laptop") as o:
            small_objects.laptop(o)
        with on_top.at((-0.27, g.near(-0.12, 0.02), 0), yaw=g.near(200, 50)).object("blue mug") as o:
            small_objects.mug(o, "#3f6c8f")
        with on_top.at((0.27, g.near(0.36, 0.03), 0)).object("plate") as o:
            small_objects.plate(o, "#f0e9dc")
        with on_top.at((0.26, g.near(-0.34, 0.03), 0), yaw=g.near(60, 30)).object("pile of books") as o:
            furniture.book_pile(o, palette, 3)
        with place.object("pendant lamp") as o:
            bulb = furniture.pendant_lamp(o, palette.sofa[0], SIZE[2], 0.66)
            return [(o.world(bulb), o.last_solid())]


def _reading_corner(b: Builder, palette: Palette) -> list[tuple[np.ndarray, int]]:
    with b.group("reading corner") as g:
        place = g.at((g.near(-0.85, 0.06), -0.5 * SIZE[1] + 0.47, 0))
        with place.object("sofa") as o:
            furniture.sofa(o, palette, 1.95)
        spots = ((-0.58, 14.0, -12.0), (0.32, 12.0, 8.0), (0.60, 16.0, 16.0))
        for k, (x, pitch, yaw) in enumerate(spots, 1):
            a, c = palette.cushions[k - 1]
            pattern = (Pattern.FABRIC, Pattern.STRIPES, Pattern.CHECK)[k - 1]
            cover = Paint(a, c, pattern, length=(0.05, 0.09, 0.11)[k - 1], style=0)
            with place.at((x, 0.06, 0.465), yaw=yaw + g.near(0, 5), pitch=pitch).object(f"pillow {k}") as o:
                furniture.throw_pillow(o, cover, (0.42, 0.40, 0.36)[k - 1])
        with place.at((g.near(-0.02, 0.05), 1.17, 0), yaw=g.near(0, 3)).object("rug") as o:
            rug = Paint(*palette.rug, Pattern.RUG, length=0.075)
            o.box("rug", (0, 0, 0.007), (2.3, 1.5, 0.014), rug)
        table = place.at((g.near(0.05, 0.08), 1.12, 0.014))
        with table.object("coffee table") as o:
            top = furniture.coffee_table(o, palette)
        with table.at((-0.15, 0.05, top), yaw=g.near(20, 30)).object("magazines") as o:
            high = furniture.book_pile(o, palette, 2)
        with table.at((-0.16, 0.05, top + high), yaw=g.near(0, 90)).object("red mug") as o:
            small_objects.mug(o, "#b5483a")
        with table.at((0.16, g.near(-0.05, 0.03), top)).object("candles") as o:
            small_objects.candles(o)
        with g.at((-2.32, -1.84, 0)).object("floor lamp") as o:
            bulb = furniture.floor_lamp(o)
            lamp = (o.world(bulb), o.last_solid())
        frame = along(palette.walnut, 0)
        pictures = ((-0.62, 1.62, 0.46, 0.60, 0), (0.02, 1.68, 0.62, 0.48, 1), (0.62, 1.60, 0.42, 0.54, 2))
        for k, (x, z, width, height, style) in enumerate(pictures, 1):
            canvas = Paint(palette.sofa[0], palette.accent[0], Pattern.PAINTING, style=style)
            with g.at((place.origin[0] + x, -0.5 * SIZE[1], z)).object(f"picture {k}") as o:
                furniture.picture(o, width, height, canvas, frame)
    return [lamp]


def _shelf(b: Builder, palette: Palette) -> None:
    width, height, bays = 1.25, 1.85, 5
    with b.group("bookshelf") as g:
        place = g.at((-0.5 * SIZE[0] + 0.16, g.near(0.25, 0.05), 0), yaw=-90)
        with place.object("bookcase") as o:
            boards = furniture.bookcase(o, palette, width, height, bays)
        room = boards[1] - boards[0] - 0.025
        left = -0.5 * width + 0.045
        rows = ((0, 0.0, 0.85), (1, 0.0, 0.70), (2, 0.32, 0.82), (3, 0.0, 0.80), (4, 0.30, 0.84))
        for board, x, length in rows:
            with place.at((left + x, 0.01, boards[board])).object(f"books {board + 1}") as o:
                furniture.book_row(o, palette, length, room)
        with place.at((0.46, 0.0, boards[0])).object("basket") as o:
            small_objects.basket(o)
        with place.at((0.36, 0.0, boards[1]), yaw=20).object("globe") as o:
            small_objects.globe(o)
        with place.at((-0.44, 0.02, boards[2])).object("succulent") as o:
            small_objects.succulent(o, Paint(*palette.pot, Pattern.FABRIC, length=0.05))
        with place.at((0.46, -0.02, boards[3]), yaw=8).object("pile on the shelf") as o:
            furniture.book_pile(o, palette, 4)
        with place.at((-0.44, 0.0, boards[4])).object("shelf vase") as o:
            glaze = Paint("#e9e2d2", palette.sofa[0], Pattern.SPECKLE, length=0.03, gloss=0.1)
            o.cone("body", (0, 0, 0), 0.13, 0.05, 0.085, glaze, rounding=0.01)
            o.cone("body", (0, 0, 0.128), 0.06, 0.083, 0.03, glaze)
            o.shell("neck", (0, 0, 0.18), 0.05, 0.026, 0.034, 0.008, glaze)


def _sideboard(b: Builder, palette: Palette) -> None:
    with b.group("sideboard corner") as g:
        place = g.at((0.5 * SIZE[0] - 0.24, g.near(-1.30, 0.04), 0), yaw=90)
        with place.object("sideboard") as o:
            top = furniture.sideboard(o, palette, 1.35)
        with place.at((g.near(-0.36, 0.04), 0.0, top), yaw=g.near(0, 8)).object("radio") as o:
            small_objects.radio(o, along(palette.oak, 0))
        with place.at((0.46, 0.0, top)).object("tall vase") as o:
            glaze = Paint(*palette.pot, Pattern.FABRIC, length=0.06, gloss=0.06)
            o.cone("body", (0, 0, 0), 0.20, 0.05, 0.085, glaze, rounding=0.01)
            o.cone("body", (0, 0, 0.198), 0.10, 0.083, 0.035, glaze)
            o.shell("neck", (0, 0, 0.29), 0.06, 0.030, 0.040, 0.008, glaze)
            twig = Paint("#c9a56b", "#a97f48", Pattern.FABRIC, length=0.04)
            for k in range(6):
                stem = o.at((0, 0, 0.30), yaw=60 * k).at((0, 0, 0), roll=o.near(12, 5))
                length = o.near(0.32, 0.05)
                stem.cone("grasses", (0, 0, 0), length, 0.004, 0.004, twig)
                stem.ball("grasses", (0, 0, length), (0.018, 0.018, 0.075), twig)
        with place.at((g.near(0.08, 0.03), 0.03, top), yaw=g.near(0, 20)).object("small plant") as o:
            small_objects.succulent(o, CREAM)
        art = Paint(palette.cushions[1][0], palette.sofa[0], Pattern.PAINTING, style=0)
        with place.at((0.0, -0.24, 1.62)).object("large picture") as o:
            furniture.picture(o, 1.05, 0.74, art, along(palette.oak, 0))
        with g.at((0.5 * SIZE[0], 0.95, 1.78), yaw=90).object("wall clock") as o:
            furniture.wall_clock(o)


def _plant_corner(b: Builder, palette: Palette) -> None:
    with b.group("plant corner") as g:
        pot = Paint(*palette.pot, Pattern.FABRIC, length=0.06)
        with g.at((2.30, 1.78, 0), yaw=g.near(0, 40)).object("rubber plant") as o:
            small_objects.potted_plant(o, pot, o.near(1.45, 0.08), 13)
        with g.at((-2.25, 1.72, 0)).object("stool") as o:
            o.cone("seat", (0, 0, 0.43), 0.03, 0.16, 0.17, palette.walnut, rounding=0.01)
            for k in range(3):
                leg = o.at((0, 0, 0), yaw=120 * k).at((0.13, 0, 0))
                leg.cone(f"leg {k + 1}", (0, 0, 0), 0.44, 0.013, 0.018, along(palette.walnut, 2), roll=-7)
        with g.at((-2.25, 1.72, 0.46), yaw=g.near(0, 60)).object("fern") as o:
            o.shell("pot", (0, 0, 0), 0.18, 0.08, 0.11, 0.012, CREAM)
            o.cone("soil", (0, 0, 0.01), 0.14, 0.08, 0.10, furniture.SOIL)
            for k in range(14):
                frond = o.at((0, 0, 0.15), yaw=137.5 * k).at((0, 0, 0), roll=-65 + 4.0 * k + o.near(0, 4))
                frond.ball("fronds", (0.19, 0, 0), (0.18, 0.035, 0.008), furniture.LEAF, roll=18)


KIND = SceneKind(describe, camera_path, field_of_view=74.0, texel=0.035, train_views=80, test_views=12)
