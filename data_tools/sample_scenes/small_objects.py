"""Small things and plants of the sample scenes, in metres; each stands at the origin of its builder."""

import math

from omniseg_sample_scenes.builder import Builder, Paint
from omniseg_sample_scenes.furniture import BLACK, BRASS, CREAM, LEAF, SOIL
from omniseg_sample_scenes.patterns import Pattern


def mug(b: Builder, colour: str) -> None:
    """Add a mug of coffee with a handle."""
    glaze = Paint(colour, gloss=0.12, style=0.05)
    b.cone("body", (0, 0, 0), 0.01, 0.043, 0.045, glaze)
    b.shell("body", (0, 0, 0.004), 0.096, 0.044, 0.046, 0.006, glaze)
    b.cone("coffee", (0, 0, 0.072), 0.006, 0.042, 0.042, Paint("#4a2c17", gloss=0.1, style=0.0))
    b.ring("handle", (0.062, 0, 0.052), 0.026, 0.007, glaze, pitch=90)


def fruit_bowl(b: Builder, colour: str) -> None:
    """Add a wide bowl with fruit in it."""
    glaze = Paint(colour, "#ffffff", Pattern.SPECKLE, length=0.03, gloss=0.12)
    b.cone("bowl", (0, 0, 0), 0.02, 0.075, 0.085, glaze)
    b.shell("bowl", (0, 0, 0.012), 0.085, 0.085, 0.165, 0.010, glaze)
    b.cone("bowl", (0, 0, 0.018), 0.012, 0.085, 0.09, glaze)
    apple = Paint("#b3372b", "#d98a3a", Pattern.FABRIC, length=0.05, gloss=0.12)
    pear = Paint("#a9b04a", "#c8c060", Pattern.FABRIC, length=0.05, gloss=0.08)
    orange = Paint("#e08a2c", gloss=0.06, style=0.1)
    fruit = [
        ("apple", apple, 0.040),
        ("orange", orange, 0.041),
        ("apple", apple, 0.039),
        ("pear", pear, 0.036),
    ]
    for k, (name, paint, radius) in enumerate(fruit):
        angle = math.radians(90 * k + 20)
        spot = (0.062 * math.cos(angle), 0.062 * math.sin(angle), 0.032 + radius)
        b.ball(f"{name} {k + 1}", spot, (radius, radius, radius * 0.95), paint)
    b.ball("orange 5", (0.004, 0.0, 0.118), 0.041, orange)
    b.cone("apple 1", (0.058, 0.022, 0.106), 0.018, 0.003, 0.003, Paint("#4d3520"))


def flower_vase(b: Builder, glaze: Paint, petals: tuple[str, str], stems: int) -> None:
    """Add a bellied vase with flowers."""
    b.cone("vase", (0, 0, 0), 0.015, 0.045, 0.05, glaze)
    b.ball("vase", (0, 0, 0.085), (0.075, 0.075, 0.08), glaze)
    b.shell("vase", (0, 0, 0.145), 0.075, 0.035, 0.045, 0.008, glaze)
    for k in range(stems):
        angle = 360.0 * k / stems + b.near(0, 12)
        tilt, length = b.near(20, 6) if k else 3.0, b.near(0.25, 0.03)
        stem = b.at((0, 0, 0.14), yaw=angle).at((0, 0, 0), roll=tilt)
        stem.cone("stems", (0, 0, 0), length, 0.004, 0.004, LEAF)
        stem.ball("leaves", (0.025, 0, 0.6 * length), (0.035, 0.012, 0.006), LEAF, roll=-45)
        bloom = Paint(petals[k % 2], style=0.15)
        stem.ball(f"blossom {k + 1}", (0, 0, length), (0.034, 0.034, 0.030), bloom)
        stem.ball(f"blossom {k + 1}", (0, 0, length + 0.022), 0.014, Paint("#d9a13a"))


def laptop(b: Builder) -> None:
    """Add an open laptop; its user sits at -y."""
    metal = Paint("#b9bcc0", gloss=0.12, style=0.03)
    b.box("base", (0, 0, 0.009), (0.33, 0.23, 0.018), metal, rounding=0.006)
    b.box("keyboard", (0, 0.025, 0.0185), (0.28, 0.11, 0.004), Paint("#35373b", "#55585e", Pattern.CHECK, 0.04))
    lid = b.at((0, 0.115, 0.016), pitch=-16)
    lid.box("lid", (0, 0, 0.11), (0.33, 0.008, 0.22), metal, rounding=0.003)
    lid.box(
        "screen",
        (0, -0.005, 0.112),
        (0.31, 0.004, 0.195),
        Paint("#203040", "#40a0a0", Pattern.SCREEN, glow=0.5),
    )


def plate(b: Builder, colour: str) -> None:
    """Add a plate with a slice of cake."""
    glaze = Paint(colour, gloss=0.12, style=0.03)
    b.cone("plate", (0, 0, 0), 0.012, 0.075, 0.105, glaze)
    b.ring("plate", (0, 0, 0.014), 0.104, 0.006, glaze)
    cake = b.at((0.0, 0.0, 0.012), yaw=b.near(20, 40))
    cake.box("cake", (0, 0, 0.02), (0.10, 0.055, 0.04), Paint("#c98d4e", "#9c6330", Pattern.STRIPES, 0.02, style=2))
    cake.box("icing", (0, 0, 0.047), (0.102, 0.057, 0.014), Paint("#f2e3d8", style=0.05), rounding=0.006)
    cake.ball("cherry", (0.02, 0, 0.064), 0.013, Paint("#a3202a", gloss=0.15))


def candles(b: Builder) -> None:
    """Add three candles on a tray."""
    b.cone("tray", (0, 0, 0), 0.012, 0.11, 0.12, BLACK, rounding=0.004)
    for k, (x, y, height) in enumerate(((-0.05, 0.02, 0.16), (0.045, 0.045, 0.11), (0.015, -0.055, 0.08)), 1):
        b.cone(f"candle {k}", (x, y, 0.012), height, 0.028, 0.027, CREAM, rounding=0.006)
        b.ball(f"candle {k}", (x, y, height + 0.028), (0.006, 0.006, 0.016), Paint("#ffd48a", glow=3.0))


def radio(b: Builder, wood: Paint) -> None:
    """Add an old table radio facing +y."""
    b.box("case", (0, 0, 0.12), (0.36, 0.16, 0.22), wood, rounding=0.04)
    b.box(
        "grille",
        (-0.06, 0.078, 0.12),
        (0.19, 0.012, 0.15),
        Paint("#d9c9a6", "#8d7752", Pattern.STRIPES, 0.03),
    )
    b.cone("dial", (0.11, 0.07, 0.16), 0.022, 0.045, 0.045, CREAM, pitch=-90)
    b.cone("knob", (0.11, 0.07, 0.075), 0.03, 0.022, 0.018, BRASS, pitch=-90)
    b.cone("feet", (-0.13, 0, 0), 0.015, 0.015, 0.015, BLACK)
    b.cone("feet", (0.13, 0, 0), 0.015, 0.015, 0.015, BLACK)


def globe(b: Builder) -> None:
    """Add a globe on a stand."""
    b.cone("stand", (0, 0, 0), 0.02, 0.07, 0.06, BRASS)
    b.cone("stand", (0, 0, 0.02), 0.05, 0.01, 0.01, BRASS)
    b.ball("ball", (0, 0, 0.15), 0.092, Paint("#3d6f8c", "#b9a468", Pattern.SPECKLE, length=0.075, gloss=0.05))
    b.ring("meridian", (0, 0, 0.15), 0.102, 0.006, BRASS, pitch=90, yaw=30)


def basket(b: Builder) -> None:
    """Add a woven basket with a folded blanket."""
    weave = Paint("#b58b55", "#8a6436", Pattern.STRIPES, length=0.03, style=2)
    b.shell("basket", (0, 0, 0.0), 0.20, 0.105, 0.125, 0.014, weave)
    b.cone("basket", (0, 0, 0.005), 0.015, 0.10, 0.10, weave)
    b.ball("blanket", (0, 0, 0.15), (0.11, 0.11, 0.085), Paint("#d8cdb8", "#b9ab92", Pattern.FABRIC, length=0.04))


def potted_plant(b: Builder, pot: Paint, height: float, leaves: int) -> None:
    """Add a rubber plant: leaves in a spiral around one leaning stem."""
    b.shell("pot", (0, 0, 0), 0.30, 0.13, 0.175, 0.018, pot)
    b.cone("pot", (0, 0, 0), 0.03, 0.13, 0.135, pot)
    b.cone("soil", (0, 0, 0.22), 0.03, 0.155, 0.16, SOIL)
    bark = Paint("#6b5138", "#8a6b4a", Pattern.WOOD, length=0.03, style=2)
    b.cone("stem", (0, 0, 0.23), height - 0.28, 0.018, 0.010, bark)
    for k in range(leaves):
        share = k / max(leaves - 1, 1)
        z = 0.48 + (height - 0.55) * share
        size = 0.20 - 0.07 * share
        leaf = b.at((0, 0, z), yaw=137.5 * k + b.near(0, 15)).at((0, 0, 0), roll=b.near(-25 - 30 * share, 8))
        leaf.cone("stem", (0, 0, 0), 0.10, 0.005, 0.004, bark, roll=90)
        leaf.ball("foliage", (0.07 + size, 0, 0), (size, 0.45 * size, 0.012), LEAF, roll=b.near(12, 6))


def succulent(b: Builder, pot: Paint) -> None:
    """Add a small pot with a rosette."""
    b.shell("pot", (0, 0, 0), 0.085, 0.045, 0.06, 0.008, pot)
    b.cone("pot", (0, 0, 0.002), 0.06, 0.045, 0.052, SOIL)
    green = Paint("#7fa383", "#5c8768", Pattern.FABRIC, length=0.04)
    for k in range(7):
        leaf = b.at((0, 0, 0.075), yaw=51.4 * k).at((0, 0, 0), roll=-40)
        leaf.ball("rosette", (0.05, 0, 0), (0.045, 0.018, 0.012), green)
    b.ball("rosette", (0, 0, 0.105), (0.022, 0.022, 0.04), green)
