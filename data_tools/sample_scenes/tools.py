"""Tools and small things of a workshop, part by part, in metres.

Hand tools lie along x with their handle at -x, on the plane z = 0; to hang them on a wall turn their builder.
"""

from omniseg_sample_scenes.builder import Builder, Paint
from omniseg_sample_scenes.furniture import BLACK, BRASS
from omniseg_sample_scenes.patterns import Pattern

STEEL = Paint("#a9adb1", gloss=0.25, style=0.08)
ASH = Paint("#d2a878", "#a87c4c", Pattern.WOOD, length=0.03, style=0)


def hammer(b: Builder, _colour: str) -> None:
    """Add a hammer."""
    b.tube("handle", (-0.15, 0, 0.014), (0.12, 0, 0.014), 0.013, ASH, top=0.010)
    b.box("head", (0.13, 0.0, 0.016), (0.028, 0.11, 0.03), STEEL, rounding=0.006)


def saw(b: Builder, colour: str) -> None:
    """Add a hand saw."""
    b.box("blade", (0.08, 0.01, 0.006), (0.38, 0.075, 0.004), STEEL)
    b.box("handle", (-0.16, 0.0, 0.012), (0.10, 0.11, 0.024), Paint(colour, style=0.15), rounding=0.011)


def screwdriver(b: Builder, colour: str) -> None:
    """Add a screwdriver."""
    b.tube("handle", (-0.11, 0, 0.016), (-0.01, 0, 0.016), 0.016, Paint(colour, gloss=0.12), top=0.012)
    b.tube("shaft", (-0.01, 0, 0.016), (0.12, 0, 0.016), 0.005, STEEL)


def chisel(b: Builder, colour: str) -> None:
    """Add a chisel."""
    b.tube("handle", (-0.13, 0, 0.017), (0.0, 0, 0.017), 0.014, Paint(colour, "#a87c4c", Pattern.WOOD, 0.03), top=0.017)
    b.box("blade", (0.08, 0, 0.014), (0.16, 0.026, 0.006), STEEL)


def wrench(b: Builder, _colour: str) -> None:
    """Add an open-end wrench with a ring at its other end."""
    b.box("shaft", (0, 0, 0.008), (0.17, 0.02, 0.010), STEEL)
    b.ring("jaws", (0.10, 0, 0.009), 0.022, 0.009, STEEL)
    b.ring("jaws", (-0.10, 0, 0.009), 0.018, 0.008, STEEL)


def pliers(b: Builder, colour: str) -> None:
    """Add pliers."""
    grip = Paint(colour, style=0.1)
    for side in (-1, 1):
        b.tube("grips", (-0.12, 0.03 * side, 0.011), (0.0, 0.004 * side, 0.011), 0.010, grip)
        b.tube("jaws", (0.0, 0.006 * side, 0.011), (0.07, 0.008 * side, 0.011), 0.010, STEEL, top=0.005)


def brush(b: Builder, colour: str) -> None:
    """Add a flat paint brush."""
    b.tube("handle", (-0.12, 0, 0.012), (0.03, 0, 0.012), 0.008, ASH, top=0.012)
    b.box("bristles", (0.08, 0, 0.012), (0.07, 0.05, 0.018), Paint(colour, "#2e2620", Pattern.STRIPES, 0.012, style=1))
    b.box("ferrule", (0.04, 0, 0.012), (0.03, 0.05, 0.019), BRASS)


HAND_TOOLS = {
    "hammer": hammer, "saw": saw, "screwdriver": screwdriver, "chisel": chisel, "wrench": wrench, "pliers": pliers,
    "brush": brush,
}  # fmt: skip
"""Builders of hand tools by name; each takes a builder and a colour."""


def tin(b: Builder, colour: str, radius: float, height: float) -> None:
    """Add a tin of paint with a label and a bail."""
    b.cone("tin", (0, 0, 0), height, radius, radius, STEEL)
    label = Paint(colour, "#f0eadc", Pattern.STRIPES, length=0.4 * height, style=2)
    b.cone("label", (0, 0, 0.15 * height), 0.65 * height, radius + 0.002, radius + 0.002, label)
    b.ring("rim", (0, 0, height), radius - 0.004, 0.006, STEEL)


def jar(b: Builder, content: str, radius: float, height: float) -> None:
    """Add a jar filled with screws or the like."""
    b.cone(
        "body", (0, 0, 0), height, radius, radius, Paint(content, "#d8d4c8", Pattern.SPECKLE, 0.03, gloss=0.25), 0.01
    )
    b.cone("lid", (0, 0, height), 0.02, 0.92 * radius, 0.92 * radius, Paint("#b03a30", gloss=0.1))


def bottle(b: Builder, colour: str, label: str) -> None:
    """Add a bottle."""
    glass = Paint(colour, gloss=0.3, style=0.06)
    b.cone("bottle", (0, 0, 0), 0.15, 0.036, 0.036, glass, rounding=0.008)
    b.cone("bottle", (0, 0, 0.145), 0.05, 0.034, 0.014, glass)
    b.cone("cap", (0, 0, 0.195), 0.03, 0.015, 0.015, BLACK)
    b.cone("label", (0, 0, 0.04), 0.07, 0.0375, 0.0375, Paint(label, "#e8e0cc", Pattern.CHECK, 0.04))


def crate(b: Builder, colour: str, size: tuple[float, float, float]) -> None:
    """Add an open crate of boards."""
    wood = Paint(colour, "#7d5c3a", Pattern.WOOD, length=0.035, style=0)
    x, y, z = size
    b.box("bottom", (0, 0, 0.008), (x, y, 0.016), wood)
    for k in range(2):
        height = (0.28 + 0.45 * k) * z
        for side in (-1, 1):
            b.box("sides", (0, side * 0.5 * y, height), (x, 0.014, 0.36 * z), wood)
            b.box("ends", (side * 0.5 * x, 0, height), (0.014, y, 0.36 * z), wood)


def toolbox(b: Builder, colour: str) -> None:
    """Add a steel toolbox with a handle."""
    paint = Paint(colour, gloss=0.15, style=0.08)
    b.box("box", (0, 0, 0.08), (0.42, 0.20, 0.16), paint, rounding=0.01)
    b.box("lid", (0, 0, 0.185), (0.43, 0.21, 0.05), paint, rounding=0.02)
    for side in (-1, 1):
        b.box("handle", (0.09 * side, 0, 0.225), (0.018, 0.03, 0.05), BLACK)
        b.box("latches", (0.13 * side, 0.105, 0.155), (0.04, 0.012, 0.05), STEEL)
    b.tube("handle", (-0.10, 0, 0.25), (0.10, 0, 0.25), 0.014, BLACK)


def vise(b: Builder, colour: str) -> None:
    """Add a bench vise that opens along y."""
    iron = Paint(colour, gloss=0.1, style=0.15)
    b.cone("base", (0, 0, 0), 0.06, 0.075, 0.06, iron)
    b.box("body", (0, -0.05, 0.10), (0.09, 0.20, 0.09), iron, rounding=0.012)
    b.box("jaws", (0, 0.035, 0.155), (0.15, 0.035, 0.05), STEEL)
    b.box("jaws", (0, 0.105, 0.155), (0.15, 0.035, 0.05), STEEL)
    b.box("slide", (0, 0.10, 0.10), (0.07, 0.16, 0.06), iron, rounding=0.01)
    b.tube("spindle", (0, 0.15, 0.10), (0, 0.24, 0.10), 0.013, STEEL)
    b.tube("spindle", (-0.09, 0.23, 0.10), (0.09, 0.23, 0.10), 0.008, STEEL)


def workbench(b: Builder, width: float, depth: float, wood: Paint) -> float:
    """Add a heavy bench with a board near the floor; return the height of its top."""
    height = 0.88
    b.box("top", (0, 0, height - 0.03), (width, depth, 0.06), wood, rounding=0.006)
    x, y = 0.5 * width - 0.08, 0.5 * depth - 0.08
    for k, (sx, sy) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1)), 1):
        b.box(f"leg {k}", (sx * x, sy * y, 0.5 * (height - 0.06)), (0.09, 0.09, height - 0.06), wood)
    b.box("shelf", (0, 0, 0.20), (width - 0.1, depth - 0.1, 0.03), wood)
    b.box("drawer", (0.2 * width, 0.5 * depth - 0.06, height - 0.13), (0.42, 0.10, 0.13), wood, rounding=0.004)
    b.ball("drawer knob", (0.2 * width, 0.5 * depth, height - 0.13), 0.016, BRASS)
    return height


def blocks(b: Builder, colours: tuple[str, ...]) -> None:
    """Add a tower of building blocks with some beside it."""
    for k in range(5):
        place = b.at((b.near(0, 0.01), b.near(0, 0.01), 0.025 + 0.05 * k), yaw=b.near(0, 25))
        place.box(f"block {k + 1}", (0, 0, 0), (0.05, 0.05, 0.05), Paint(colours[k % len(colours)], style=0.08), 0.003)
    for k in range(3):
        angle = b.near(120 * k, 30)
        place = b.at((0, 0, 0), yaw=angle).at((b.near(0.11, 0.02), 0, 0), yaw=b.near(0, 45))
        paint = Paint(colours[(k + 2) % len(colours)], style=0.08)
        if k == 0:
            place.cone("roller", (0, 0, 0), 0.06, 0.025, 0.025, paint)
        else:
            place.box(f"brick {k}", (0, 0, 0.02), (0.09, 0.045, 0.04), paint, 0.003)


def teapot(b: Builder, glaze: Paint) -> None:
    """Add a teapot with its spout along +x."""
    b.ball("body", (0, 0, 0.075), (0.095, 0.095, 0.075), glaze)
    b.cone("body", (0, 0, 0), 0.02, 0.055, 0.06, glaze)
    b.tube("spout", (0.07, 0, 0.06), (0.155, 0, 0.125), 0.022, glaze, top=0.012)
    b.ring("handle", (-0.105, 0, 0.085), 0.045, 0.009, glaze, pitch=90)
    b.cone("lid", (0, 0, 0.140), 0.018, 0.05, 0.03, glaze)
    b.ball("lid", (0, 0, 0.168), 0.014, glaze)


def toy_car(b: Builder, colour: str) -> None:
    """Add a wooden car that faces +x."""
    paint = Paint(colour, gloss=0.15, style=0.05)
    b.box("body", (0, 0, 0.04), (0.17, 0.08, 0.04), paint, rounding=0.012)
    b.box("cabin", (-0.015, 0, 0.075), (0.085, 0.07, 0.045), Paint("#e9e0cc", style=0.08), rounding=0.015)
    for k, (x, y) in enumerate(((-0.055, -0.045), (0.055, -0.045), (-0.055, 0.045), (0.055, 0.045)), 1):
        b.cone(f"wheel {k}", (x, y - 0.008, 0.024), 0.016, 0.024, 0.024, BLACK, pitch=-90)
