"""A sunny yard: a terrace and a lawn with a bicycle, a fence and a tree, before far houses, hills and the sky.

The middle is about as wide as the cameras' ring, 6 m; the farther houses and hills stand 10 to 40 times as far away as
the middle. The house is at +y, z up.
"""

import math

import numpy as np

from omniseg.cameras import look_at
from omniseg_sample_scenes import garden, landscape, small_objects
from omniseg_sample_scenes.builder import Builder, Paint, ScenePlan
from omniseg_sample_scenes.kind import SceneKind
from omniseg_sample_scenes.landscape import Country
from omniseg_sample_scenes.patterns import Pattern

BOX = ((-6.0, -6.0, -0.35), (6.0, 6.0, 4.4))
"""Box around the near solids, metres."""

CELL = 0.2
"""Edge of a grid cell, metres."""

COUNTRIES = (
    Country(
        meadow=("#7f9a45", "#a5ad58"), crops=("#b9a95a", "#6f8f42"), wood=("#34552a", "#5d7f3a"),
        walls=("#e6dcc6", "#d9c29a", "#efe9dc", "#c9b7a4"), roofs=("#a4513a", "#8c4636", "#6b5248"),
        zenith=(0.13, 0.27, 0.62), horizon=(0.62, 0.72, 0.84),
    ),
    Country(
        meadow=("#94a04e", "#c0ae62"), crops=("#d0b667", "#8f9a4c"), wood=("#3f5a30", "#7d8a3c"),
        walls=("#efe3cf", "#e4cdb2", "#cfd2cb", "#d8b894"), roofs=("#7d4a3a", "#57606a", "#9a5a3c"),
        zenith=(0.17, 0.30, 0.60), horizon=(0.78, 0.74, 0.70),
    ),
    Country(
        meadow=("#5f8f40", "#86a54c"), crops=("#7fa04a", "#a9b061"), wood=("#274a2c", "#477040"),
        walls=("#f1eee6", "#dccfb6", "#b98f74", "#e9dfc8"), roofs=("#5b3f38", "#8f4030", "#4c545c"),
        zenith=(0.10, 0.24, 0.60), horizon=(0.55, 0.68, 0.86),
    ),
)  # fmt: skip

SUN_IRRADIANCE = (4.6, 4.2, 3.5)
"""Irradiance of the sun on a surface that faces it, linear RGB."""


def describe(seed: int) -> ScenePlan:
    """Lay out the yard of this seed. Arrangement, sizes, colours, the sun and the country around vary."""
    b = Builder(np.random.default_rng((seed, 4)))
    country = COUNTRIES[seed % len(COUNTRIES)]
    flip = b.pick(-1.0, 1.0)  # which side the tree is on
    _ground(b, country)
    level = _terrace(b, flip)
    _cycle(b, flip)
    _borders(b, flip)
    _tree(b, flip, country)
    _corner(b, flip, level)
    far = b.beyond()
    _home(far, country)
    _country(far, country)
    azimuth, height = math.radians(b.near(-100.0, 55.0)), math.radians(b.near(42.0, 10.0))
    sun = [math.cos(azimuth) * math.cos(height), math.sin(azimuth) * math.cos(height), math.sin(height)]
    lights = [
        ([*sun, *SUN_IRRADIANCE, 0.012], -1),
        ([*country.zenith, *country.horizon, b.near(0.40, 0.12), b.near(40.0, 30.0)], -1),
    ]
    return b.finish(np.array(BOX), lights, cell=CELL, n_walls=0)


def camera_path(n: int, seed: int) -> np.ndarray:
    """Return n camera poses on a closed path, (n, 3, 4): two or three rings around the middle, low and high."""
    random = np.random.default_rng((seed, 5))
    turns = int(random.integers(2, 4))
    start, phase, reach = random.uniform(0, 2 * math.pi), random.uniform(0, 2 * math.pi), random.uniform(2.95, 3.25)
    poses = np.empty((n, 3, 4))
    for k in range(n):
        wave = 2.0 * math.pi * k / n
        angle = turns * wave + start
        radius = reach * (1.0 + 0.06 * math.cos(2.0 * wave + phase))
        eye = np.array([radius * math.cos(angle), radius * math.sin(angle), 1.48 - 0.32 * math.cos(wave + phase)])
        aside = angle + wave + phase
        poses[k] = look_at(eye, np.array([0.5 * math.cos(aside), 0.5 * math.sin(aside), 0.82 + 0.1 * math.sin(wave)]))
    return poses


def _ground(b: Builder, country: Country) -> None:
    lawn = Paint(*country.meadow, Pattern.GRASS, length=0.075)
    with b.group("garden") as g:
        with g.object("lawn") as o:
            o.box("lawn", (0, 0, -0.15), (11.9, 11.9, 0.3), lawn)
        with g.object("path") as o:
            stone = Paint("#a8a093", "#7d766b", Pattern.FABRIC, length=0.12)
            for k in range(6):
                spot = (b.near(0.0, 0.12), -4.6 + 0.62 * k, 0.0)
                o.ball(
                    f"stone {k + 1}", spot, (b.near(0.27, 0.05), b.near(0.22, 0.04), 0.035), stone, yaw=b.near(0, 40)
                )
        with g.object("tufts") as o:
            blade = Paint(*country.meadow, Pattern.FABRIC, length=0.06)
            for k in range(36):
                x, y = (b.near(0, 5.0), -4.85) if k % 3 else (b.pick(-4.9, 4.9), b.near(0, 4.5))
                tuft = o.at((x, y + b.near(0, 0.1), 0), yaw=b.near(0, 180))
                for j in range(3):
                    tuft.ball(
                        "blades", (0.03 * j, 0, 0.09), (0.02, 0.008, b.near(0.16, 0.05)), blade, roll=25 * (j - 1)
                    )


def _terrace(b: Builder, flip: float) -> float:
    """Add the terrace with table and chairs before the house; return its height."""
    height, width, depth = b.near(0.24, 0.08), b.near(4.6, 0.5), b.near(4.4, 0.2)
    near = 4.95 - depth
    colours = [Paint(c, d, Pattern.FABRIC, length=0.10) for c, d in
               (("#9c9284", "#7b7266"), ("#b3a793", "#8c8272"), ("#867d73", "#a39a8b"))]  # fmt: skip
    with b.group("terrace") as g:
        at = g.at((0.25 * flip, 0, 0))
        with at.object("paving") as o:
            slabs = Paint(b.pick("#b9ae9c", "#c3b49a", "#aaa9a4"), "#5f584e", Pattern.PAVING, b.near(0.42, 0.08))
            o.box("slabs", (0, near + 0.5 * depth, 0.5 * height), (width - 0.2, depth, height), slabs)
            o.box("step", (0, near - 0.24, 0.25 * height), (1.3, 0.46, 0.5 * height), slabs)
        for side, name in ((-1, "left wall"), (1, "right wall")):
            with at.at((side * (0.25 * width + 0.3), near, 0)).object(name) as o:
                garden.dry_wall(o, 0.5 * width - 0.75, height + b.near(0.18, 0.05), colours)
        colour = b.pick("#3f5d58", "#40484f", "#7a3b34", "#e3ddd0")
        place = at.at((b.near(0.5, 0.25) * flip, near + 0.85, height))
        with place.at((0, 0, 0), yaw=b.near(0, 60)).object("bistro table") as o:
            top = garden.bistro_table(o, colour)
        first = b.near(0, 50)
        for k in range(b.pick(2, 3)):
            turn = first + (150 + b.near(0, 15)) * k
            spot = (0.66 * math.sin(math.radians(turn)), -0.66 * math.cos(math.radians(turn)), 0)
            with place.at(spot, yaw=turn + b.near(0, 12)).object(f"chair {k + 1}") as o:
                garden.bistro_chair(o, colour, b.pick("#a67c4e", "#b98d5e"))
        with place.at((0.12, 0.05, top)).object("flower vase") as o:
            small_objects.flower_vase(
                o, Paint("#e9e2d2", "#4f7a8a", Pattern.STRIPES, 0.07, style=2), ("#e6a13c", "#c9405a"), 6
            )
        with place.at((-0.18, b.near(0.0, 0.1), top), yaw=b.near(0, 90)).object("mug") as o:
            small_objects.mug(o, b.pick("#3f6c8f", "#b5483a", "#e0c050"))
    return height


def _cycle(b: Builder, flip: float) -> None:
    with b.group("bicycle place") as g:
        place = g.at(
            (b.near(0.25, 0.2) * flip, b.near(-0.62, 0.15), 0), yaw=b.near(0, 30) + (180 if b.pick(0, 1) else 0)
        )
        with place.object("bicycle") as o:
            garden.bicycle(o, b.pick("#b23a30", "#2f6f8a", "#e0b23c", "#3e7a4f"), b.near(0, 30))
        with place.at((b.near(0.2, 0.3), b.near(-0.55, 0.1), 0), yaw=b.near(0, 180)).object("watering can") as o:
            garden.watering_can(o, b.pick("#5f7f86", "#c9a83c", "#7d8a5a"))


def _borders(b: Builder, flip: float) -> None:
    height, gap = b.near(1.0, 0.14), b.near(0.16, 0.04)
    colours = b.pick(("#e9e6de", "#cfcabd"), ("#a98258", "#7d5a38"), ("#8f9c94", "#6f7d76"))
    white = Paint(colours[0], colours[1], Pattern.FABRIC, length=0.2)
    post = Paint("#8a6a48", "#5f462e", Pattern.WOOD, length=0.05, style=2)
    with b.group("fence") as g:
        for name, spot, yaw in (
            ("south", (0, -5.2, 0), 0),
            ("west", (-5.2, -0.3, 0), 90),
            ("east", (5.2, -0.3, 0), -90),
        ):
            with g.at(spot, yaw=yaw).object(f"{name} fence") as o:
                garden.fence(o, 10.2 if yaw == 0 else 9.6, height, gap, white, post)
    dyes = ("#d9b84a", "#c9563f", "#5a86a8", "#efe8da", "#8a6f9c")
    with b.group("washing") as g, g.at((4.2 * flip, -1.6, 0), yaw=90 + b.near(0, 8)).object("line") as o:
        weaves = (Pattern.CHECK, Pattern.STRIPES, Pattern.FABRIC)
        cloths = [Paint(b.pick(*dyes), b.pick(*dyes), b.pick(*weaves), 0.11) for _ in range(5)]
        garden.laundry(o, 3.0, cloths)


def _tree(b: Builder, flip: float, country: Country) -> None:
    leaf = Paint(country.wood[1], b.pick("#8fae4a", "#b0b34e", "#7d9a40"), Pattern.FABRIC, length=0.08)
    with b.group("trees") as g:
        spot = np.array([-4.1 * flip, b.near(1.6, 0.5), 0])
        with g.at(spot).object("apple tree") as o:
            garden.tree(o, b.near(3.5, 0.3), -0.75 * spot[:2] / np.linalg.norm(spot[:2]), leaf, b.near(0.12, 0.02))
        with g.at((4.5 * flip, b.near(1.5, 0.4), 0)).object("young tree") as o:
            stake = Paint("#a98258", style=0.2)
            o.tube("stake", (0.12, 0, 0), (0.12, 0, 1.3), 0.02, stake)
            garden.tree(o, b.near(2.3, 0.2), (0, 0), leaf, 0.035)


def _corner(b: Builder, flip: float, level: float) -> None:
    terracotta = Paint("#b9673f", "#cf8a60", Pattern.FABRIC, length=0.08)
    leaf = Paint("#3f6d34", "#5d8f45", Pattern.FABRIC, length=0.06)
    with b.group("flower corner") as g:
        for k, x in enumerate((-1.75, -1.2)):
            with g.at((x * flip, b.near(0.0, 0.12) + 0.1 * k, 0)).object(f"rose {k + 1}") as o:
                blossom = Paint(b.pick("#c8324a", "#f0c8c0", "#e3a030"), style=0.25)
                garden.shrub(o, terracotta, b.near(0.62, 0.12), leaf, blossom, 9)
        with g.at((b.near(1.85, 0.15) * flip, b.near(0.0, 0.15), 0)).object("lavender") as o:
            garden.shrub(o, None, b.near(0.5, 0.08), leaf, Paint("#7d68b0", style=0.25), 14)
        with g.at((b.near(-3.9, 0.1) * flip, -3.4, 0), yaw=-45 * flip).object("bench") as o:
            garden.bench(o, Paint("#9a7448", "#6f4f2e", Pattern.WOOD, length=0.05, style=0))
        with g.at((-1.55 * flip, 4.4, level)).object("rubber plant") as o:
            small_objects.potted_plant(o, terracotta, 1.2, 9)


def _home(far: Builder, country: Country) -> None:
    bricks = Paint(far.pick("#b5785f", "#c9a184", "#b9a58c"), "#d6c7b4", Pattern.BRICK, length=0.11)
    with far.group("house") as g, g.at((far.near(0.0, 0.8), 5.35, 0)).object("house") as o:
        shutters = far.pick("#4f6b58", "#39516c", "#7a3b34")
        landscape.home(o, far.near(11.0, 0.8), 7.0, far.near(3.3, 0.2), bricks, country.roofs[0], shutters)


def _country(far: Builder, country: Country) -> None:
    with far.group("country") as g:
        with g.object("meadows") as o:
            o.ball("meadows", (0, 0, -24.06), (420, 420, 24), Paint(*country.meadow, Pattern.FIELDS, 26.0, style=0.12))
        for k in range(8):
            angle = _around(far, k, 8)
            reach = far.near(140, 18)
            size = (far.near(75, 20), far.near(42, 8), reach * far.near(0.20, 0.06))
            place = g.at((reach * math.cos(angle), reach * math.sin(angle), -3), yaw=math.degrees(angle) + 90)
            with place.object(f"hill {k + 1}") as o:
                fields = Paint(*country.crops, Pattern.FIELDS, far.near(24, 6), style=far.near(0.4, 0.2))
                landscape.hill(o, size, fields)
    with far.group("village") as g:
        for k in range(8):
            angle = _around(far, k, 8)
            reach = (far.near(33, 4), far.near(47, 6), far.near(64, 6))[k % 3]
            place = g.at((reach * math.cos(angle), reach * math.sin(angle), -0.003 * reach), yaw=far.near(0, 90))
            with place.object(f"house {k + 1}") as o:
                size = far.near(10, 2.5), far.near(7.5, 1.5), far.near(4.2, 1.2)
                landscape.house(o, *size, far.pick(*country.walls), far.pick(*country.roofs))
    with far.group("woods") as g:
        for k in range(18):
            angle = _around(far, k + 0.5, 18)
            reach = (far.near(17, 4), far.near(40, 8), far.near(62, 8))[k % 3]
            place = g.at((reach * math.cos(angle), reach * math.sin(angle), -0.003 * reach))
            with place.object(f"tree {k + 1}") as o:
                height = far.near(4.5, 1.2) + 0.05 * reach
                (landscape.conifer if far.pick(0, 0, 1) else landscape.broad_tree)(o, height, country.wood)
        for k, (x, y, yaw) in enumerate(((-9.5, -3.0, 80), (3.0, -11.5, 5), (12.5, 1.0, -75)), 1):
            with g.at((x, y + far.near(0, 2), 0), yaw=yaw + far.near(0, 12)).object(f"hedge {k}") as o:
                landscape.hedge(o, far.near(6, 2), far.near(1.1, 0.2), country.wood)


def _around(far: Builder, k: float, count: int) -> float:
    """Return the direction, radians, of thing k of `count` far ones: all around but for what the house hides."""
    return math.radians(142.0 + 256.0 * (k + far.near(0.5, 0.25)) / count)


KIND = SceneKind(
    describe, camera_path, field_of_view=70.0, texel=0.05, train_views=64, test_views=10, points=4000,
    depth_scale=0.008, boxed=False,
)  # fmt: skip
