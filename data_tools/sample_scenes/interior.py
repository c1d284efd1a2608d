"""Walls, window and lights of the indoor scenes, in metres. Rooms are centred on the origin with the floor at z = 0."""

from collections.abc import Sequence

import numpy as np

from omniseg_sample_scenes.builder import Builder, Paint, Vector
from omniseg_sample_scenes.patterns import Pattern

SUN = ((0.20, 0.74, 0.60), (13.0, 11.0, 8.4), 0.03)
"""Direction towards the sun, irradiance, angular radius in radians."""

WINDOW_RADIANCE = (6.4, 6.6, 6.8)
"""Radiance of the sky behind the window, linear RGB."""

BULB_INTENSITY = (1.5, 1.05, 0.62)
"""Radiant intensity of a bulb, linear RGB."""


def inside(size: Vector) -> np.ndarray:
    """Return the box (2, 3) of a room of this size."""
    half = 0.5 * np.array(size)
    return np.stack([[-half[0], -half[1], 0.0], [half[0], half[1], size[2]]])


def shell(
    b: Builder, size: Vector, walls: Sequence[Paint], floor: Paint, ceiling: Paint, skirting: Paint | None
) -> None:
    """Add the slabs around a room, before all else; `walls` are west, east, south, north."""
    x, y, z = size
    t = 0.1  # thickness of the slabs, which does not show; they come in the order of WALLS
    west, east, south, north = walls
    with b.group("room") as g:
        with g.object("walls") as o:
            o.box("west wall", (-0.5 * (x + t), 0, 0.5 * z), (t, y + 2 * t, z), west)
            o.box("east wall", (0.5 * (x + t), 0, 0.5 * z), (t, y + 2 * t, z), east)
            o.box("south wall", (0, -0.5 * (y + t), 0.5 * z), (x, t, z), south)
            o.box("north wall", (0, 0.5 * (y + t), 0.5 * z), (x, t, z), north)
        with g.object("floor") as o:
            o.box("floor", (0, 0, -0.5 * t), (x + 2 * t, y + 2 * t, t), floor)
        with g.object("ceiling") as o:
            o.box("ceiling", (0, 0, z + 0.5 * t), (x + 2 * t, y + 2 * t, t), ceiling)
        if skirting is not None:
            with g.object("skirting") as o:
                for side, name in ((-1, "south"), (1, "north")):
                    o.box(f"{name} board", (0, side * (0.5 * y - 0.009), 0.045), (x - 0.04, 0.018, 0.09), skirting)
                for side, name in ((-1, "west"), (1, "east")):
                    o.box(f"{name} board", (side * (0.5 * x - 0.009), 0, 0.045), (0.018, y, 0.09), skirting)


def window(b: Builder, width: float, height: float, sill: float) -> int:
    """Add a window whose pane touches the north wall at y = 0; return the index of the pane."""
    white = Paint("#efe9dd", style=0.04)
    middle = sill + 0.5 * height
    view = Paint("#ffffff", "#ffffff", Pattern.OUTDOORS, glow=1.1)
    b.box("pane", (0, -0.006, middle), (width, 0.012, height), view)
    pane = b.last_solid()
    for side in (-1, 1):
        b.box("frame", (side * 0.5 * width, -0.025, middle), (0.07, 0.05, height + 0.07), white)
        b.box("frame", (0, -0.025, middle + side * 0.5 * height), (width, 0.05, 0.07), white)
    b.box("mullion", (0, -0.022, middle), (0.05, 0.044, height), white)
    b.box("transom", (0, -0.022, middle + 0.2 * height), (width, 0.044, 0.04), white)
    b.box("sill", (0, -0.09, sill - 0.05), (width + 0.2, 0.18, 0.035), white, rounding=0.01)
    return pane


def lights(
    b: Builder, pane: int, bulbs: Sequence[tuple[np.ndarray, int]], sun: Vector = SUN[0], strength: float = 1.0
) -> list[tuple[Vector, int]]:
    """Return the rows of `Builder.finish` for the sun, the window and bulbs.

    Args:
        b: holds the pane, which faces -y.
        pane: index of the pane.
        bulbs: centre, and index of the solid, of each bulb.
        sun: direction towards the sun.
        strength: factor on the bulbs' intensity.
    """
    direction = np.array(sun) / np.linalg.norm(sun)
    spot, extent = b.tables.shapes[pane][:3], b.tables.shapes[pane][12:15]
    intensity = [strength * value for value in BULB_INTENSITY]
    return [
        ([*direction, *SUN[1], SUN[2]], pane),
        ([spot[0], spot[1] - extent[1], spot[2], *WINDOW_RADIANCE, extent[0], extent[2]], pane),
        *(([*centre, *intensity, 0.045], bulb) for centre, bulb in bulbs),
    ]
