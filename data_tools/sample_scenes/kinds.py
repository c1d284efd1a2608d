"""Kinds of sample scenes by name."""

from typing import Literal

from omniseg_sample_scenes import living_room, yard
from omniseg_sample_scenes.kind import SceneKind

KindName = Literal["room", "yard"]

KINDS: dict[KindName, SceneKind] = {"room": living_room.KIND, "yard": yard.KIND}
