"""Far things of the outdoor scenes: land, hills, houses and trees, in metres.

Each stands at the origin of its builder, which must be one of far solids.
"""

import math
from dataclasses import dataclass

from omniseg_sample_scenes.builder import Builder, Paint
from omniseg_sample_scenes.patterns import Pattern

GLASS = Paint("#3c4a56", gloss=0.3, style=0.3)


@dataclass(frozen=True)
class Country:
    """Colours of a landscape, sRGB "#rrggbb"; pairs are the two colours of a pattern."""

    meadow: tuple[str, str]
    crops: tuple[str, str]
    wood: tuple[str, str]
    walls: tuple[str, ...]
    roofs: tuple[str, ...]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]


def house(b: Builder, width: float, depth: float, height: float, wall: str, roof: str) -> None:
    """Add a house with a gable roof, its ridge along x, its front at -y."""
    facade = Paint(wall, "#46525c", Pattern.FACADE, length=width / max(round(width / 2.6), 1), style=0.5)
    _roofed(b, width, depth, height, facade, Paint(wall, length=0.6, style=0.25), roof)
    b.box("chimney", (0.22 * width, 0.1 * depth, height + 0.5 * depth), (0.7, 0.7, 1.5), Paint("#8a5140", style=0.3))


def _roofed(b: Builder, width: float, depth: float, height: float, facade: Paint, gable: Paint, roof: str) -> None:
    b.box("walls", (0, 0, 0.5 * height - 0.4), (width, depth, height + 0.8), facade)
    side = depth / math.sqrt(2.0)
    b.box("walls", (0, 0, height), (width, side, side), gable, pitch=45)
    tiles = Paint(roof, pattern=Pattern.TILES, length=0.35)
    slope = side + 0.5
    for sign in (-1, 1):
        middle = 0.5 * slope - 0.06
        at = (0, sign * middle / math.sqrt(2.0), height + 0.5 * depth - middle / math.sqrt(2.0) + 0.10)
        b.box("roof", at, (width + 0.7, slope, 0.16), tiles, pitch=-45 * sign)


def home(b: Builder, width: float, depth: float, height: float, wall: Paint, roof: str, shutters: str) -> None:
    """Add the house that the yard belongs to: its front, with a door and windows, is the plane y = 0."""
    body = b.at((0, 0.5 * depth, 0))
    _roofed(body, width, depth, height, wall, wall, roof)
    white, wood = Paint("#ece7dc", style=0.05), Paint(shutters, style=0.15, gloss=0.05)
    door = -0.16 * width
    b.box("door", (door, -0.02, 1.02), (1.0, 0.05, 2.05), wood)
    b.box("door", (door, -0.04, 1.45), (0.6, 0.03, 0.8), GLASS)
    b.box("door frame", (door - 0.56, -0.03, 1.06), (0.12, 0.08, 2.14), white)
    b.box("door frame", (door + 0.56, -0.03, 1.06), (0.12, 0.08, 2.14), white)
    b.box("door frame", (door, -0.03, 2.12), (1.24, 0.08, 0.12), white)
    for k, x in enumerate((-0.36 * width, 0.07 * width, 0.32 * width), 1):
        b.box(f"window {k}", (x, -0.01, 1.55), (1.1, 0.04, 1.2), GLASS)
        for side in (-1, 1):
            b.box(f"window {k}", (x + 0.56 * side, -0.03, 1.55), (0.08, 0.08, 1.28), white)
            b.box(f"window {k}", (x, -0.03, 1.55 + 0.62 * side), (1.2, 0.08, 0.08), white)
            shutter = Paint(shutters, "#2f2a24", Pattern.STRIPES, length=0.14, style=2)
            b.box(f"shutters {k}", (x + 0.87 * side, -0.04, 1.55), (0.5, 0.04, 1.28), shutter)
        b.box(f"window {k}", (x, -0.03, 1.55), (0.05, 0.07, 1.2), white)
        b.box(f"window {k}", (x, -0.07, 0.90), (1.36, 0.2, 0.05), Paint("#b7b0a2", style=0.2))
    gutter = Paint("#8d8f8c", gloss=0.15, style=0.1)
    b.tube("gutter", (-0.5 * width, -0.42, height - 0.30), (0.5 * width, -0.42, height - 0.30), 0.07, gutter)
    b.tube("drainpipe", (0.47 * width, -0.08, 0), (0.47 * width, -0.08, height - 0.3), 0.05, gutter)


def broad_tree(b: Builder, height: float, colours: tuple[str, str]) -> None:
    """Add a round tree seen from afar."""
    crown = Paint(*colours, Pattern.FOLIAGE, length=0.09 * height)
    b.tube("trunk", (0, 0, -0.5), (0, 0, 0.45 * height), 0.035 * height, Paint("#5b4a3a", style=0.3))
    for k in range(4):
        angle = 1.6 * k + b.near(0, 0.4)
        size = b.near(0.25, 0.04) * height
        spot = (0.16 * height * math.cos(angle), 0.16 * height * math.sin(angle), b.near(0.55, 0.08) * height)
        b.ball("crown", spot, (size, size, 0.9 * size), crown)
    b.ball("crown", (0, 0, 0.76 * height), (0.24 * height, 0.24 * height, 0.23 * height), crown)


def conifer(b: Builder, height: float, colours: tuple[str, str]) -> None:
    """Add a fir seen from afar."""
    crown = Paint(*colours, Pattern.FOLIAGE, length=0.07 * height)
    b.tube("trunk", (0, 0, -0.5), (0, 0, 0.3 * height), 0.03 * height, Paint("#4f4034", style=0.3))
    for k, (low, wide) in enumerate(((0.12, 0.24), (0.38, 0.18), (0.62, 0.12))):
        b.cone("crown", (0, 0, low * height), (0.36 + 0.02 * k) * height, wide * height, 0.02 * height, crown)


def hedge(b: Builder, length: float, height: float, colours: tuple[str, str]) -> None:
    """Add a hedge along x: a row of bushes."""
    leaf = Paint(*colours, Pattern.FOLIAGE, length=0.35)
    count = max(round(length / 1.4), 1)
    for k in range(count):
        x = (k + 0.5) * length / count - 0.5 * length
        b.ball("bushes", (x, b.near(0, 0.15), 0.4 * height), (1.0, b.near(0.7, 0.1), height * b.near(0.6, 0.1)), leaf)


def hill(b: Builder, radii: tuple[float, float, float], paint: Paint) -> None:
    """Add a hill: the top of an ellipsoid centred a little below the ground."""
    b.ball("slope", (0, 0, -0.12 * radii[2]), radii, paint)
