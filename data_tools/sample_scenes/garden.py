"""Things of a garden, part by part, in metres; each stands at the origin of its builder."""

import math
from collections.abc import Sequence

import numpy as np

from omniseg_sample_scenes.builder import Builder, Paint, Vector
from omniseg_sample_scenes.furniture import SOIL
from omniseg_sample_scenes.patterns import Pattern

RUBBER = Paint("#232323", style=0.2)
STEEL = Paint("#b9bdc0", gloss=0.3, style=0.05)
BARK = Paint("#6f5a44", "#3f3126", Pattern.WOOD, length=0.05, style=2)


def bicycle(b: Builder, colour: str, steer: float) -> None:
    """Add a bicycle on its side stand that faces +x, its handlebar turned by `steer` degrees."""
    lacquer = Paint(colour, gloss=0.25, style=0.05)
    rear, front, crank = (-0.52, 0.0, 0.34), (0.56, 0.0, 0.34), (-0.07, 0.0, 0.29)
    seat, head, neck = (-0.22, 0.0, 0.74), (0.36, 0.0, 0.78), (0.40, 0.0, 0.64)
    for start, end, radius in ((crank, seat, 0.018), (seat, head, 0.017), (crank, neck, 0.020), (head, neck, 0.022)):
        b.tube("frame", start, end, radius, lacquer)
    for side in (-1, 1):
        b.tube("frame", (-0.52, 0.05 * side, 0.34), (-0.07, 0.03 * side, 0.29), 0.011, lacquer)
        b.tube("frame", (-0.52, 0.05 * side, 0.34), (-0.22, 0.02 * side, 0.70), 0.010, lacquer)
    b.tube("frame", (-0.15, 0.04, 0.28), (-0.22, 0.22, 0.01), 0.008, STEEL)
    _wheel(b.at(rear), "rear wheel")
    turned = b.at(front, yaw=steer)
    _wheel(turned, "front wheel")
    for side in (-0.05, 0.05):
        turned.tube("fork", (0, side, 0), (-0.13, 0.6 * side, 0.33), 0.012, lacquer)
    top = turned.at((-0.19, 0, 0.50))
    turned.tube("handlebar", (-0.13, 0, 0.32), (-0.19, 0, 0.50), 0.014, STEEL)
    top.tube("handlebar", (0, -0.20, 0), (0, 0.20, 0), 0.012, STEEL)
    for side in (-1, 1):
        top.tube("handlebar", (0, 0.20 * side, 0), (-0.13, 0.27 * side, -0.02), 0.012, STEEL)
        top.tube("grips", (-0.05, 0.23 * side, -0.008), (-0.15, 0.28 * side, -0.024), 0.018, RUBBER)
    b.tube("saddle", seat, (-0.24, 0, 0.86), 0.013, STEEL)
    b.ball("saddle", (-0.27, 0, 0.88), (0.14, 0.075, 0.032), Paint("#4a3020", style=0.15))
    b.ball("saddle", (-0.15, 0, 0.885), (0.10, 0.03, 0.025), Paint("#4a3020", style=0.15))
    b.ring("crank", (crank[0], 0.05, 0.29), 0.085, 0.010, STEEL, pitch=90)
    b.tube("crank", (crank[0], 0.06, 0.29), (crank[0] + 0.15, 0.06, 0.23), 0.010, STEEL)
    b.tube("crank", (crank[0], -0.06, 0.29), (crank[0] - 0.15, -0.06, 0.35), 0.010, STEEL)
    b.box("pedals", (crank[0] + 0.15, 0.11, 0.23), (0.09, 0.08, 0.022), RUBBER)
    b.box("pedals", (crank[0] - 0.15, -0.11, 0.35), (0.09, 0.08, 0.022), RUBBER)
    weave = Paint("#b58b55", "#8a6436", Pattern.STRIPES, length=0.05, style=2)
    basket = top.at((0.14, 0, -0.12))
    basket.shell("basket", (0, 0, 0), 0.20, 0.10, 0.14, 0.012, weave)
    basket.cone("basket", (0, 0, 0.0), 0.014, 0.10, 0.10, weave)


def _wheel(b: Builder, part: str) -> None:
    b.ring(part, (0, 0, 0), 0.315, 0.023, RUBBER, pitch=90)
    b.ring(part, (0, 0, 0), 0.288, 0.010, STEEL, pitch=90)
    b.tube(part, (0, -0.05, 0), (0, 0.05, 0), 0.022, STEEL)
    for k in range(12):
        angle = math.radians(30 * k + 10)
        rim = (0.285 * math.cos(angle), 0.0, 0.285 * math.sin(angle))
        b.tube(part, (0, 0.02 * (-1) ** k, 0), rim, 0.0035, STEEL)


def bistro_table(b: Builder, colour: str) -> float:
    """Add a round steel table on three thin legs; return the height of its top."""
    steel = Paint(colour, gloss=0.12, style=0.08)
    b.cone("top", (0, 0, 0.70), 0.02, 0.42, 0.42, Paint(colour, "#e8e4da", Pattern.CHECK, 0.16, gloss=0.08))
    b.ring("top", (0, 0, 0.71), 0.42, 0.014, steel)
    for k in range(3):
        angle = math.radians(120 * k + 30)
        x, y = math.cos(angle), math.sin(angle)
        b.tube(f"leg {k + 1}", (0.33 * x, 0.33 * y, 0), (0.05 * x, 0.05 * y, 0.38), 0.012, steel)
        b.tube(f"leg {k + 1}", (0.05 * x, 0.05 * y, 0.38), (0.30 * x, 0.30 * y, 0.70), 0.012, steel)
    b.ring("ring", (0, 0, 0.38), 0.062, 0.009, steel)
    return 0.72


def bistro_chair(b: Builder, colour: str, slats: str) -> None:
    """Add a folding chair of thin steel with wooden slats; its back is at -y."""
    steel, wood = Paint(colour, gloss=0.12, style=0.08), Paint(slats, "#7a5a38", Pattern.WOOD, length=0.04, style=0)
    for side in (-1, 1):
        x = 0.19 * side
        b.tube("frame", (x, 0.20, 0), (x, -0.24, 0.88), 0.011, steel)
        b.tube("frame", (x, -0.22, 0), (x, 0.18, 0.45), 0.011, steel)
    b.tube("frame", (-0.19, -0.24, 0.88), (0.19, -0.24, 0.88), 0.011, steel)
    b.tube("frame", (-0.19, 0.20, 0.02), (0.19, 0.20, 0.02), 0.009, steel)
    for k in range(5):
        b.box("seat", (0, -0.14 + 0.08 * k, 0.455), (0.40, 0.062, 0.018), wood)
    for k in range(3):
        height = 0.60 + 0.10 * k
        b.box("back", (0, 0.20 - 0.5 * height + 0.012, height), (0.38, 0.016, 0.06), wood, pitch=26)


def fence(b: Builder, length: float, height: float, gap: float, paint: Paint, posts: Paint) -> None:
    """Add a picket fence along x, centred on the origin; each panel between two posts is a part."""
    panels = max(round(length / 2.0), 1)
    width = length / panels
    for k in range(panels + 1):
        x = -0.5 * length + k * width
        b.box("posts", (x, 0, 0.5 * height + 0.06), (0.09, 0.09, height + 0.12), posts)
        b.ball("posts", (x, 0, height + 0.15), 0.055, posts)
    for k in range(panels):
        left = -0.5 * length + k * width
        for z in (0.25 * height, 0.8 * height):
            b.box(f"panel {k + 1}", (left + 0.5 * width, 0.03, z), (width, 0.028, 0.07), paint)
        count = int(width / gap)
        for j in range(count):
            x = left + (j + 0.5) * width / count
            high = height * b.near(0.985, 0.02)
            b.box(f"panel {k + 1}", (x, 0, 0.5 * high + 0.03), (0.055, 0.02, high), paint, roll=b.near(0, 0.8))


def tree(b: Builder, height: float, lean: Vector, leaf: Paint, trunk: float) -> None:
    """Add a tree: a trunk, five boughs that fork twice, and loose leaves; `lean` (x, y) is where its boughs tend."""
    fork = np.array([0.10 * lean[0], 0.10 * lean[1], 0.48 * height])
    b.tube("trunk", (0, 0, -0.05), fork, 1.15 * trunk, BARK, top=0.8 * trunk)
    for k in range(3):
        root = b.at((0, 0, 0), yaw=120 * k + 20)
        root.ball("trunk", (0.8 * trunk, 0, 0), (1.4 * trunk, 0.6 * trunk, 0.7 * trunk), BARK)
    for k in range(5):
        angle = 2.0 * math.pi * (k + b.near(0, 0.2)) / 5
        out = np.array([math.cos(angle) + 0.9 * lean[0], math.sin(angle) + 0.9 * lean[1], b.near(0.75, 0.25)])
        _bough(b, f"bough {k + 1}", fork, out, b.near(0.36, 0.06) * height, 0.55 * trunk, 2, leaf)


def _bough(
    b: Builder, part: str, start: np.ndarray, out: np.ndarray, length: float, radius: float, forks: int, leaf: Paint
) -> None:
    out = out / np.linalg.norm(out)
    end = start + length * out
    b.tube(part, start, end, radius, BARK, top=0.6 * radius)
    if forks == 0:
        for _ in range(4):
            spot = end - b.near(0.35, 0.35) * length * out + np.array([b.near(0, 0.13) for _ in range(3)])
            size = b.near(0.085, 0.025)
            turn = {"yaw": b.near(0, 180), "pitch": b.near(0, 40), "roll": b.near(0, 40)}
            b.ball("leaves", spot, (size, 0.62 * size, 0.010), leaf, **turn)
        return
    for _ in range(3):
        turned = out + np.array([b.near(0, 0.75), b.near(0, 0.75), b.near(0.1, 0.4)])
        spot = start + b.near(0.8, 0.2) * length * out
        _bough(b, part, spot, turned, b.near(0.62, 0.12) * length, 0.6 * radius, forks - 1, leaf)


def shrub(b: Builder, pot: Paint | None, height: float, leaf: Paint, blossom: Paint, stems: int) -> None:
    """Add a bush of thin stems with leaves and blossoms, in a pot or in the ground."""
    low = 0.0
    if pot is not None:
        low = 0.30
        b.shell("pot", (0, 0, 0), 0.34, 0.13, 0.18, 0.02, pot)
        b.cone("pot", (0, 0, 0), 0.03, 0.13, 0.13, pot)
        b.cone("soil", (0, 0, 0.20), 0.08, 0.15, 0.165, SOIL)
    for k in range(stems):
        angle = 2.4 * k
        out = b.near(0.28, 0.14) * height
        end = np.array([out * math.cos(angle), out * math.sin(angle), low + b.near(0.8, 0.2) * height])
        foot = np.array([0.03 * math.cos(angle), 0.03 * math.sin(angle), low - 0.03])
        b.tube("stems", foot, end, 0.008, BARK, top=0.004)
        for j in range(4):
            spot = foot + (0.4 + 0.18 * j) * (end - foot)
            turn = {"yaw": b.near(0, 180), "pitch": b.near(0, 50)}
            b.ball("leaves", spot + np.array([b.near(0, 0.04), b.near(0, 0.04), 0]), (0.065, 0.04, 0.010), leaf, **turn)
        b.ball("blossoms", end, (0.045, 0.045, 0.035), blossom)


def watering_can(b: Builder, colour: str) -> None:
    """Add a watering can with its spout along +x."""
    tin = Paint(colour, gloss=0.2, style=0.12)
    b.cone("body", (0, 0, 0), 0.24, 0.115, 0.10, tin)
    b.tube("spout", (0.09, 0, 0.05), (0.33, 0, 0.27), 0.022, tin, top=0.014)
    b.tube("spout", (0.32, 0, 0.262), (0.36, 0, 0.30), 0.02, tin, top=0.05)
    b.ring("handle", (-0.06, 0, 0.24), 0.115, 0.011, tin, pitch=90)


def dry_wall(b: Builder, length: float, height: float, paints: Sequence[Paint]) -> None:
    """Add a wall of field stones along x, in front of which is -y; each course is a part."""
    courses = max(round(height / 0.15), 1)
    for row in range(courses):
        x = -0.5 * length
        while x < 0.5 * length - 0.1:
            wide = min(b.near(0.28, 0.10), 0.5 * length - x)
            size = (wide - 0.012, b.near(0.26, 0.03), height / courses - 0.008)
            at = (x + 0.5 * wide, b.near(0, 0.015), (row + 0.5) * height / courses)
            b.box(f"course {row + 1}", at, size, b.pick(*paints), rounding=0.03, yaw=b.near(0, 3))
            x += wide


def bench(b: Builder, wood: Paint) -> None:
    """Add a bench of slats, 1.4 m wide; its back is at -y."""
    for side in (-1, 1):
        b.box("legs", (0.6 * side, 0.16, 0.21), (0.06, 0.06, 0.42), wood)
        b.box("legs", (0.6 * side, -0.20, 0.43), (0.06, 0.06, 0.86), wood, pitch=6)
        b.box("arms", (0.6 * side, 0.0, 0.62), (0.07, 0.46, 0.03), wood)
        b.box("arms", (0.6 * side, 0.18, 0.52), (0.05, 0.05, 0.20), wood)
    for k in range(5):
        b.box("seat", (0, -0.16 + 0.09 * k, 0.43), (1.4, 0.07, 0.024), wood)
    for k in range(4):
        b.box("back", (0, -0.215 - 0.012 * k, 0.54 + 0.095 * k), (1.4, 0.022, 0.07), wood, pitch=8)


def laundry(b: Builder, length: float, cloths: Sequence[Paint]) -> None:
    """Add a line between two posts along x with cloths on it."""
    pole = Paint("#d7d5cf", gloss=0.1, style=0.05)
    for side, name in ((-1, "left post"), (1, "right post")):
        x = 0.5 * length * side
        b.tube(name, (x, 0, 0), (x, 0, 1.95), 0.022, pole)
        b.tube(name, (x, -0.25, 1.92), (x, 0.25, 1.92), 0.014, pole)
    for y in (-0.2, 0.2):
        b.tube("lines", (-0.5 * length, y, 1.92), (0.5 * length, y, 1.92), 0.005, pole)
    x = -0.5 * length + 0.2
    for k, cloth in enumerate(cloths):
        wide, long = b.near(0.42, 0.12), b.near(0.55, 0.2)
        if x + wide > 0.5 * length - 0.1:
            break
        y = b.pick(-0.2, 0.2)
        b.box(f"cloth {k + 1}", (x + 0.5 * wide, y, 1.92 - 0.5 * long), (wide, 0.018, long), cloth, pitch=b.near(0, 4))
        x += wide + b.near(0.1, 0.06)
