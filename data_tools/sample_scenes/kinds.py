"""Kinds of sample scenes by name."""

from typing import Literal

from omniseg_sample_scenes import hall, living_room, tabletop, workshop, yard
from omniseg_sample_scenes.kind import SceneKind

KindName = Literal["room", "tabletop", "workshop", "hall", "yard"]

KINDS: dict[KindName, SceneKind] = {
    "room": living_room.KIND,
    "tabletop": tabletop.KIND,
    "workshop": workshop.KIND,
    "hall": hall.KIND,
    "yard": yard.KIND,
}
