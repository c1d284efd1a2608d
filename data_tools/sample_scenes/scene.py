"""A sample scene, furnished and lit."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omniseg_kernels.launch import arch
from omniseg_sample_scenes.builder import LEVELS, Label
from omniseg_sample_scenes.kinds import KINDS, KindName
from omniseg_sample_scenes.light import gather_light
from omniseg_sample_scenes.lightmap import Lightmap, lay_out_lightmap
from omniseg_sample_scenes.tracer import Solids, build_solids


@dataclass(frozen=True)
class SampleScene:
    """A lit scene, ready to be rendered; made by `build_scene`.

    Attributes:
        aabb: (2, 3) float64 corners of the inside of the room, or outdoors of the middle; metres, z up.
        names: level name -> id -> label, ids from 1.
        ids: level name -> (n_solids,) int64, id of each solid.
        solids, lightmap: geometry, and where light is stored.
        lights: (n_lights, 9) float32, columns in `omniseg_sample_scenes.light`.
        light: (n_texels, 3) float32, irradiance / pi at each lightmap point.
    """

    aabb: np.ndarray
    names: Mapping[str, Mapping[int, Label]]
    ids: Mapping[str, Tensor]
    solids: Solids
    lightmap: Lightmap
    lights: Tensor
    light: Tensor


def build_scene(kind: KindName = "room", seed: int = 0, *, texel: float = 0.035) -> SampleScene:
    """Furnish a scene and compute its light.

    Args:
        kind: name in `KINDS`.
        seed: varies it; the same seed gives the same scene.
        texel: resolution of the light on large surfaces, metres.
    """
    plan = KINDS[kind].describe(seed)
    shapes, surfaces, box = (torch.from_numpy(table).float() for table in (plan.shapes, plan.surfaces, plan.aabb))
    solids = build_solids(shapes, surfaces, box, plan.cell, plan.n_walls, plan.n_far)
    lights = torch.from_numpy(plan.lights).to(arch())
    ids = {level: torch.from_numpy(plan.ids[level]).long() for level in LEVELS}
    lightmap = lay_out_lightmap(solids, texel)
    light = gather_light(solids, lightmap, lights)
    return SampleScene(plan.aabb, plan.names, ids, solids, lightmap, lights, light)
