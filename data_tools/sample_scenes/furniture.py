"""Furniture of the sample scenes, part by part, in metres.

Each function adds one piece, which stands at the origin of its builder and faces +y.
"""

import math
from dataclasses import dataclass, replace

from omniseg_sample_scenes.builder import Builder, Paint
from omniseg_sample_scenes.patterns import Pattern


@dataclass(frozen=True)
class Palette:
    """Colours of one room, sRGB "#rrggbb"; pairs are the two colours of a pattern."""

    wall: tuple[str, str]
    accent: tuple[str, str]
    floor: tuple[str, str]
    wood: tuple[str, str]
    dark_wood: tuple[str, str]
    sofa: tuple[str, str]
    cushions: tuple[tuple[str, str], ...]
    rug: tuple[str, str]
    pad: tuple[str, str]
    curtain: tuple[str, str]
    pot: tuple[str, str]
    books: tuple[str, ...]

    @property
    def oak(self) -> Paint:
        """Paint of tables and shelves."""
        return Paint(*self.wood, Pattern.WOOD, length=0.035, style=0)

    @property
    def walnut(self) -> Paint:
        """Paint of chairs and the sideboard."""
        return Paint(*self.dark_wood, Pattern.WOOD, length=0.035, style=0)


BRASS = Paint("#b8924a", gloss=0.25, style=0.05)
BLACK = Paint("#2b2a2a", gloss=0.04, style=0.05)
CREAM = Paint("#ece2cf", style=0.06)
LEAF = Paint("#4d7a3a", "#6d9a4c", Pattern.FABRIC, length=0.06)
SOIL = Paint("#3b2a1e", "#5b4330", Pattern.SPECKLE, length=0.02)


def along(paint: Paint, axis: int) -> Paint:
    """Return the wood paint with its grain along this axis."""
    return replace(paint, style=axis)


def table(b: Builder, palette: Palette, width: float, depth: float) -> float:
    """Add a dining table with tapered legs; return the height of its top."""
    height, oak = 0.74, palette.oak
    along_x, along_y = along(oak, 0), along(oak, 1)
    b.box("top", (0, 0, height - 0.02), (width, depth, 0.04), replace(along_y, gloss=0.06), rounding=0.012)
    x, y = 0.5 * width - 0.09, 0.5 * depth - 0.09
    for side in (-1, 1):
        b.box("apron", (0, side * y, height - 0.085), (2 * x, 0.025, 0.09), along_x)
        b.box("apron", (side * x, 0, height - 0.085), (0.025, 2 * y, 0.09), along_y)
    for k, (sx, sy) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1)), 1):
        b.cone(f"leg {k}", (sx * x, sy * y, 0), height - 0.04, 0.021, 0.036, along(oak, 2))
    return height


def chair(b: Builder, palette: Palette) -> None:
    """Add a wooden chair with a seat pad and a slatted back; its back is at -y."""
    wood = along(palette.walnut, 2)
    b.box("seat", (0, 0, 0.44), (0.43, 0.42, 0.03), along(palette.walnut, 0), rounding=0.012)
    cloth = Paint(*palette.pad, Pattern.FABRIC, length=0.05)
    b.box("pad", (0, 0.01, 0.472), (0.38, 0.37, 0.045), cloth, rounding=0.022)
    for k, (sx, sy) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1)), 1):
        foot = (0.19 * sx, 0.185 * sy, 0)
        b.cone(f"leg {k}", foot, 0.43, 0.014, 0.02, wood, pitch=3.0 * sy, roll=-3.0 * sx)
    for side in (-1, 1):
        b.cone("back post", (0.18 * side, -0.19, 0.44), 0.48, 0.016, 0.013, wood, pitch=9.0)
    for k, height in enumerate((0.18, 0.30, 0.42), 1):
        y = -0.19 - math.tan(math.radians(9.0)) * height
        b.box(
            f"slat {k}",
            (0, y, 0.44 + height),
            (0.36, 0.018, 0.075),
            along(palette.walnut, 0),
            0.008,
            pitch=9.0,
        )


def sofa(b: Builder, palette: Palette, width: float) -> None:
    """Add a three-cushion sofa, 0.85 m deep; its back is at -y."""
    cloth = Paint(*palette.sofa, Pattern.FABRIC, length=0.05)
    inner = width - 0.36
    b.box("base", (0, 0.0, 0.22), (width - 0.04, 0.80, 0.20), cloth, rounding=0.03)
    b.box("back", (0, -0.34, 0.47), (width - 0.04, 0.18, 0.62), cloth, rounding=0.06)
    for side, name in ((-1, "left arm"), (1, "right arm")):
        b.box(name, (side * (0.5 * width - 0.09), 0.0, 0.37), (0.18, 0.84, 0.48), cloth, rounding=0.07)
    each = inner / 3
    for k in range(3):
        x = (k - 1) * each
        b.box(f"seat cushion {k + 1}", (x, 0.09, 0.39), (each - 0.008, 0.66, 0.16), cloth, rounding=0.05)
        b.box(
            f"back cushion {k + 1}",
            (x, -0.185, 0.63),
            (each - 0.015, 0.17, 0.40),
            cloth,
            rounding=0.075,
            pitch=10,
        )
    for sx in (-1, 1):
        for sy in (-1, 1):
            b.cone("feet", (sx * (0.5 * width - 0.12), sy * 0.33, 0), 0.13, 0.018, 0.028, palette.walnut)


def throw_pillow(b: Builder, paint: Paint, size: float = 0.40) -> None:
    """Add a stuffed pillow standing on its edge, leaning back."""
    b.box("cover", (0, 0, 0.5 * size), (size, 0.15, size), paint, rounding=0.074)
    b.ball("cover", (0, 0, 0.5 * size), (0.46 * size, 0.095, 0.46 * size), paint)


def floor_lamp(b: Builder) -> tuple[float, float, float]:
    """Add a reading lamp; return the position of its bulb."""
    b.cone("foot", (0, 0, 0), 0.03, 0.15, 0.14, BLACK, rounding=0.01)
    b.cone("pole", (0, 0, 0.03), 1.38, 0.012, 0.012, BRASS)
    b.shell("shade", (0, 0, 1.33), 0.30, 0.21, 0.145, 0.008, Paint("#f2dfb8", "#ead2a4", glow=0.9))
    b.ball("bulb", (0, 0, 1.47), 0.045, Paint("#fff2d8", glow=5.0))
    return (0, 0, 1.47)


def pendant_lamp(b: Builder, shade: str, ceiling: float, drop: float) -> tuple[float, float, float]:
    """Add a lamp that hangs from the ceiling; return the position of its bulb."""
    low = ceiling - drop
    b.cone("rose", (0, 0, ceiling - 0.03), 0.03, 0.06, 0.05, BRASS)
    b.cone("cord", (0, 0, low + 0.24), drop - 0.26, 0.006, 0.006, BLACK)
    b.shell("shade", (0, 0, low), 0.22, 0.23, 0.06, 0.010, Paint(shade, gloss=0.10, style=0.04))
    b.cone("shade", (0, 0, low + 0.20), 0.06, 0.07, 0.02, Paint(shade, style=0.04))
    b.ball("bulb", (0, 0, low + 0.10), 0.05, Paint("#fff2d8", glow=5.0))
    return (0, 0, low + 0.10)


def coffee_table(b: Builder, palette: Palette) -> float:
    """Add a low round table on three splayed legs; return the height of its top."""
    b.cone("top", (0, 0, 0.39), 0.03, 0.39, 0.40, replace(palette.oak, gloss=0.06), rounding=0.01)
    for k in range(3):
        angle = math.radians(120 * k + 30)
        foot = (0.29 * math.cos(angle), 0.29 * math.sin(angle), 0)
        b.at(foot, yaw=120 * k + 30).cone(f"leg {k + 1}", (0, 0, 0), 0.40, 0.015, 0.022, along(palette.oak, 2), roll=-9)
    return 0.42


def bookcase(b: Builder, palette: Palette, width: float, height: float, bays: int) -> list[float]:
    """Add a bookcase 0.30 m deep, its back at -y; return the heights of its boards, lowest first."""
    depth, thick, oak = 0.30, 0.025, palette.oak
    for side, name in ((-1, "left side"), (1, "right side")):
        b.box(name, (side * (0.5 * width - 0.5 * thick), 0, 0.5 * height), (thick, depth, height), along(oak, 2))
    b.box(
        "back panel",
        (0, -0.5 * depth + 0.006, 0.5 * height),
        (width - 0.05, 0.012, height - 0.04),
        along(oak, 2),
    )
    b.box("plinth", (0, 0.0, 0.035), (width - 0.052, depth - 0.03, 0.07), along(oak, 0))
    step = (height - 0.07 - thick) / bays
    tops = []
    for k in range(bays + 1):
        z = 0.07 + k * step
        b.box(
            f"board {k + 1}",
            (0, 0.004, z + 0.5 * thick),
            (width - 0.052, depth - 0.012, thick),
            along(oak, 0),
        )
        tops.append(z + thick)
    return tops


def book_row(b: Builder, palette: Palette, length: float, room: float) -> None:
    """Add books side by side from the origin along +x, at most `room` high; the last one leans."""
    x, k = 0.0, 1
    while True:
        thick, high, deep = b.near(0.040, 0.013), b.near(0.245, 0.045), b.near(0.17, 0.02)
        if x + thick + 0.09 > length:
            break
        high = min(high, room - 0.03)
        paint = _book_cover(b, palette, high)
        b.box(
            f"book {k}",
            (x + 0.5 * thick, 0.5 * (0.20 - deep), 0.5 * high),
            (thick - 0.002, deep, high),
            paint,
        )
        x, k = x + thick, k + 1
    high = min(0.22, room - 0.04)
    lean = math.radians(14.0)
    centre = (x + 0.006 + 0.5 * high * math.sin(lean) + 0.5 * 0.03, 0.01, 0.5 * high * math.cos(lean) + 0.006)
    b.box(f"book {k}", centre, (0.03, 0.16, high), _book_cover(b, palette, high), roll=-14.0)


def book_pile(b: Builder, palette: Palette, count: int) -> float:
    """Add books lying on each other; return the height of the pile."""
    z = 0.0
    for k in range(count):
        thick = b.near(0.035, 0.008)
        size = (b.near(0.25, 0.03) - 0.015 * k, b.near(0.18, 0.015) - 0.01 * k, thick)
        cover = _book_cover(b, palette, 0.2)
        b.at((0, 0, z), yaw=b.near(0, 14)).box(f"book {k + 1}", (0, 0, 0.5 * thick), size, cover, rounding=0.004)
        z += thick
    return z


def _book_cover(b: Builder, palette: Palette, height: float) -> Paint:
    colour = b.pick(*palette.books)
    return Paint(colour, b.pick("#e8dcc0", "#c9a24a", "#efe9dc"), Pattern.SPINE, length=0.05, style=b.pick(0, 1, 2))


def sideboard(b: Builder, palette: Palette, width: float) -> float:
    """Add a low cupboard with three doors, 0.42 m deep, its back at -y; return the height of its top."""
    walnut = palette.walnut
    b.box("body", (0, 0, 0.42), (width, 0.40, 0.50), walnut, rounding=0.008)
    each = (width - 0.05) / 3
    for k in range(3):
        x = (k - 1) * each
        b.box(
            f"door {k + 1}",
            (x, 0.205, 0.42),
            (each - 0.012, 0.018, 0.45),
            along(palette.oak, 2),
            rounding=0.004,
        )
        b.ball("knobs", (x + 0.32 * each, 0.228, 0.46), 0.016, BRASS)
    for sx in (-1, 1):
        for sy in (-1, 1):
            b.cone("legs", (sx * (0.5 * width - 0.08), sy * 0.15, 0), 0.175, 0.014, 0.024, along(walnut, 2))
    return 0.67


def picture(b: Builder, width: float, height: float, canvas: Paint, frame: Paint) -> None:
    """Add a framed picture; its back touches the wall at y = 0, its centre is the origin."""
    rim = 0.03
    for side in (-1, 1):
        b.box("frame", (0, 0.017, side * 0.5 * (height - rim)), (width, 0.034, rim), frame)
        b.box("frame", (side * 0.5 * (width - rim), 0.017, 0), (rim, 0.034, height - 2 * rim), along(frame, 2))
    b.box("canvas", (0, 0.009, 0), (width - 2 * rim, 0.018, height - 2 * rim), canvas)


def wall_clock(b: Builder) -> None:
    """Add a round clock whose back touches the wall at y = 0."""
    face = b.at((0, 0, 0), pitch=-90)
    face.cone("face", (0, 0, 0.004), 0.02, 0.16, 0.16, CREAM)
    face.ring("rim", (0, 0, 0.02), 0.165, 0.018, BRASS)
    for name, angle, length in (("hour hand", 305.0, 0.08), ("minute hand", 60.0, 0.12)):
        b.at((0, 0.034, 0), roll=angle).box(name, (0, 0, 0.45 * length), (0.014, 0.008, length), BLACK)
