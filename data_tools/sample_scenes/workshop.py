"""A small workshop with many small things: tools on the wall and the benches, shelves of tins, jars and crates.

z up; bench and tool wall at -y, window in the +y wall, shelves at -x, another bench in the middle.
"""

import math
from collections.abc import Sequence

import numpy as np

from omniseg_sample_scenes import furniture, interior, small_objects, tools
from omniseg_sample_scenes.builder import Builder, Paint, ScenePlan, Vector
from omniseg_sample_scenes.furniture import BLACK
from omniseg_sample_scenes.kind import SceneKind
from omniseg_sample_scenes.palettes import PALETTES
from omniseg_sample_scenes.patterns import Pattern
from omniseg_sample_scenes.rings import poses_along, rounded

COLOURS = ("#c8402f", "#e0a93a", "#3f6f9c", "#4f8f55", "#d9d2c0", "#6b4a7d", "#d9703a", "#2f7d7a")

Size = tuple[float, float, float]


def _size(seed: int) -> Size:
    """Return the inside of the workshop of this seed, which the cameras know as well."""
    random = np.random.default_rng((seed, 11))
    return float(random.uniform(4.6, 5.2)), float(random.uniform(4.0, 4.5)), float(random.uniform(2.5, 2.9))


def describe(seed: int) -> ScenePlan:
    """Fill the workshop of this seed: its size, what lies where, and all colours vary."""
    b = Builder(np.random.default_rng((seed, 12)))
    size = _size(seed)
    bricks = Paint(b.pick("#b9856a", "#c9b8a0", "#a8a49c"), "#d8cfc0", Pattern.BRICK, length=0.09)
    lime = Paint(b.pick("#dcd6c6", "#cfd4cf", "#d8cdb8"), length=0.3, style=0.22)
    walls = [bricks, lime, lime, bricks] if b.pick(True, False) else [lime, bricks, lime, lime]
    floor = Paint(b.pick("#8f8a82", "#7d7a74"), "#a49d92", Pattern.FABRIC, length=b.near(0.16, 0.06))
    interior.shell(b, size, walls, floor, Paint("#e6e0d4", length=0.4, style=0.12), None)
    with b.group("window") as g, g.at((b.near(0.2, 0.5), 0.5 * size[1], 0)).object("window") as o:
        pane = interior.window(o, b.near(1.7, 0.2), 1.2, 1.0)
    bulbs = _lamps(b, size)
    _tool_wall(b, size)
    _island(b)
    _shelves(b, size)
    _floor(b, size)
    lights = interior.lights(b, pane, bulbs, (b.near(0, 0.4), 0.74, b.near(0.6, 0.1)), strength=1.5)
    return b.finish(interior.inside(size), lights)


def camera_path(n: int, seed: int) -> np.ndarray:
    """Return n camera poses (n, 3, 4) that go around the middle bench, low and high."""
    random = np.random.default_rng((seed, 13))
    x, y, _z = _size(seed)
    turns, start, phase = int(random.integers(2, 4)), random.uniform(0, 2 * math.pi), random.uniform(0, 2 * math.pi)
    half = (0.5 * x - 0.95, 0.5 * y - 0.9)

    def place(wave: float) -> tuple[np.ndarray, np.ndarray]:
        angle = turns * wave + start
        eye = np.array([*rounded(angle, half), 1.58 - 0.14 * math.cos(wave + phase)])
        aside = angle + wave + phase
        high = 1.05 + 0.30 * math.sin(4 * wave)
        return eye, np.array([0.45 * math.cos(aside), 0.40 * math.sin(aside), high])

    return poses_along(n, place)


def _lamps(b: Builder, size: Size) -> list[tuple[np.ndarray, int]]:
    bulbs = []
    with b.group("lamps") as g:
        for k, (x, y) in enumerate(((-0.7, -0.5), (0.9, 0.2)), 1):
            with g.at((x, y, 0)).object(f"lamp {k}") as o:
                bulb = furniture.pendant_lamp(o, b.pick("#3f5d58", "#7a3b34", "#40484f"), size[2], 0.5)
                bulbs.append((o.world(bulb), o.last_solid()))
    return bulbs


def _tools(b: Builder, where: str, names: Sequence[str], spots: Sequence[Vector], yaw: float) -> None:
    """Add these tools at spots (x, y, z), each as an object named after `where`, turned by about `yaw` degrees."""
    for k, (name, spot) in enumerate(zip(names, spots), 1):
        with b.at(spot, yaw=yaw + b.near(0, 8)).object(f"{where} {name} {k}") as o:
            tools.HAND_TOOLS[name](o, b.pick(*COLOURS))


def _tool_wall(b: Builder, size: Size) -> None:
    width, depth, back = min(3.2, size[0] - 1.4), 0.62, -0.5 * size[1]
    wood = Paint("#b98a58", "#7d5836", Pattern.WOOD, length=0.05, style=0)
    with b.group("long bench") as g:
        place = g.at((b.near(0.3, 0.1), back + 0.5 * depth, 0))
        with place.object("long bench") as o:
            top = tools.workbench(o, width, depth, wood)
        with place.at((-0.38 * width, 0.02, top)).object("vise") as o:
            tools.vise(o, b.pick("#3f5f7a", "#4f6b58", "#7a3b34"))
        with place.at((0.36 * width, -0.05, top), yaw=b.near(0, 15)).object("toolbox") as o:
            tools.toolbox(o, b.pick(*COLOURS))
        for k in range(5):
            spot = (width * (0.08 * k - 0.22), b.near(-0.17, 0.03), top)
            with place.at(spot).object(f"jar {k + 1}") as o:
                tools.jar(o, b.pick("#8a8f94", "#b08a4a", "#6f5a44"), b.near(0.042, 0.008), b.near(0.11, 0.02))
        names = [b.pick(*tools.HAND_TOOLS) for _ in range(4)]
        spots = [(width * (0.11 * k - 0.20), b.near(0.10, 0.04), top) for k in range(4)]
        _tools(place, "bench", names, spots, yaw=b.near(70, 20))
        with place.at((-0.2 * width, 0, 0.215)).object("crate") as o:
            tools.crate(o, "#a8804e", (0.45, 0.32, 0.24))
        for k in range(3):
            with place.at((width * (0.05 + 0.1 * k), 0, 0.215)).object(f"tin {k + 1}") as o:
                tools.tin(o, b.pick(*COLOURS), b.near(0.085, 0.015), b.near(0.17, 0.03))
    with b.group("tool wall") as g:
        board = g.at((b.near(0.3, 0.1), back, 1.45))
        with board.object("board") as o:
            o.box("board", (0, 0.012, 0), (width - 0.2, 0.024, 0.78), Paint("#c9ab7c", "#a98a5c", Pattern.WOOD, 0.06))
        names = list(tools.HAND_TOOLS) + [b.pick(*tools.HAND_TOOLS) for _ in range(9)]
        order = b.random.permutation(len(names))
        spots = [((width - 0.6) * (0.143 * (k % 8) - 0.5), 0.37 * (k // 8) - 0.18, 0.026) for k in range(16)]
        # On the wall the board's x runs to the right and its y down.
        _tools(board.at((0, 0, 0), pitch=-90), "wall", [names[k] for k in order], spots, yaw=90)


def _island(b: Builder) -> None:
    wood = Paint("#c49a66", "#8f683e", Pattern.WOOD, length=0.045, style=0)
    width, depth = b.near(1.3, 0.15), b.near(0.75, 0.08)
    with b.group("middle bench") as g:
        place = g.at((b.near(0, 0.1), b.near(0.1, 0.08), 0), yaw=b.near(0, 18))
        with place.object("middle bench") as o:
            top = tools.workbench(o, width, depth, wood)
        cells = [(x, y) for y in (-0.21, 0.02, 0.23) for x in (-0.40, -0.13, 0.14, 0.40)]
        cells = [cells[k] for k in b.random.permutation(len(cells))]
        names = [b.pick(*tools.HAND_TOOLS) for _ in range(5)]
        for k, (name, (x, y)) in enumerate(zip(names, cells), 1):
            spot = (x * width + b.near(0, 0.02), y + b.near(0, 0.02), top)
            with place.at(spot, yaw=b.near(0, 90)).object(f"middle {name} {k}") as o:
                tools.HAND_TOOLS[name](o, b.pick(*COLOURS))
        for k, (x, y) in enumerate(cells[5:]):
            with place.at((x * width, y, top), yaw=b.near(0, 180)).object(f"thing {k + 1}") as o:
                _thing(o, k)
        with place.at((0.1, 0, 0.215), yaw=b.near(0, 20)).object("low crate") as o:
            tools.crate(o, "#9c7a50", (0.5, 0.34, 0.26))


def _thing(b: Builder, which: int) -> None:
    if which == 0:
        small_objects.mug(b, b.pick(*COLOURS))
    elif which == 1:
        tools.tin(b, b.pick(*COLOURS), b.near(0.06, 0.01), b.near(0.11, 0.02))
    elif which == 2:
        tools.blocks(b, ("#d2a878", "#c09058", "#e0bc8c"))
    elif which == 3:
        tools.bottle(b, b.pick("#3c5a3a", "#6b3a24", "#34506b"), b.pick(*COLOURS))
    elif which == 4:
        tools.toy_car(b, b.pick(*COLOURS))
    elif which == 5:
        tools.jar(b, "#b08a4a", 0.045, 0.11)
    else:
        cloth = Paint(b.pick(*COLOURS), "#e8e0d0", Pattern.CHECK, length=0.06)
        b.ball("rag", (0, 0, 0.012), (0.09, 0.07, 0.016), cloth)
        b.ball("rag", (0.03, 0.02, 0.022), (0.05, 0.04, 0.018), cloth)


def _shelves(b: Builder, size: Size) -> None:
    palette = PALETTES[b.pick(0, 1, 2)]
    for side, name in ((-1, "west"), (1, "east")):
        with b.group(f"{name} shelf") as g:
            place = g.at((side * (0.5 * size[0] - 0.17), b.near(0.25, 0.2), 0), yaw=90 * side)
            with place.object(f"{name} shelf") as o:
                boards = furniture.bookcase(o, palette, 1.3, b.near(1.85, 0.1), 4)
            for row, board in enumerate(boards[:-1], 1):
                for k in range(5):
                    spot = (0.245 * k - 0.49 + b.near(0, 0.015), b.near(0.0, 0.02), board)
                    with place.at(spot, yaw=b.near(0, 12)).object(f"{name} {row} {k + 1}") as o:
                        _stored(o)


def _stored(b: Builder) -> None:
    """Add what stands on a shelf: a tin, a jar, a bottle, a box or a crate."""
    which = b.pick("tin", "tin", "jar", "jar", "bottle", "box", "box", "crate")
    if which == "tin":
        tools.tin(b, b.pick(*COLOURS), b.near(0.075, 0.02), b.near(0.15, 0.04))
    elif which == "jar":
        tools.jar(b, b.pick("#8a8f94", "#b08a4a", "#6f5a44", "#c9b070"), b.near(0.06, 0.015), b.near(0.15, 0.04))
    elif which == "bottle":
        tools.bottle(b, b.pick("#3c5a3a", "#6b3a24", "#34506b"), b.pick(*COLOURS))
    elif which == "box":
        height = b.near(0.15, 0.05)
        b.box(
            "box",
            (0, 0, 0.5 * height),
            (b.near(0.17, 0.03), b.near(0.2, 0.03), height),
            Paint(b.pick("#b08a5c", *COLOURS)),
        )
        b.box(
            "tag",
            (0, 0.105, 0.55 * height),
            (0.07, 0.02, 0.05),
            Paint("#efe8d8", BLACK.a, Pattern.STRIPES, 0.03, style=2),
        )
    else:
        tools.crate(b, "#a8804e", (0.2, 0.22, 0.16))


def _floor(b: Builder, size: Size) -> None:
    x, y = 0.5 * size[0], 0.5 * size[1]
    with b.group("corner") as g:
        with g.at((x - 0.35, y - 0.4, 0)).object("bucket") as o:
            o.shell("bucket", (0, 0, 0), 0.28, 0.12, 0.16, 0.01, Paint(b.pick(*COLOURS), gloss=0.1))
            o.cone("bucket", (0, 0, 0), 0.02, 0.12, 0.12, Paint("#55585c"))
        with g.at((-x + 0.25, y - 0.25, 0)).object("broom") as o:
            o.tube("handle", (0.12, -0.12, 0.12), (-0.12, 0.10, 1.35), 0.013, tools.ASH)
            o.box(
                "head",
                (0.12, -0.12, 0.09),
                (0.32, 0.07, 0.16),
                Paint("#b03a30", "#d8b070", Pattern.STRIPES, 0.05, style=2),
            )
        with g.at((-x + 0.55, -y + 0.4, 0)).object("stool") as o:
            o.cone("seat", (0, 0, 0.55), 0.04, 0.17, 0.17, tools.ASH)
            for k in range(4):
                leg = o.at((0, 0, 0), yaw=90 * k + 45)
                leg.tube("legs", (0.18, 0, 0), (0.11, 0, 0.55), 0.016, tools.ASH)


KIND = SceneKind(describe, camera_path, field_of_view=74.0, texel=0.03, train_views=80, test_views=12)
