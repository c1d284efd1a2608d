"""Exact labels and distances of points in a sample scene, against which renderings of it are tested."""

from collections.abc import Mapping
from dataclasses import dataclass

import taichi as ti
import torch
from torch import Tensor

from omniseg_kernels.launch import launch
from omniseg_sample_scenes.scene import SampleScene
from omniseg_sample_scenes.shapes import FAR, bounding_gap, distance, to_local
from omniseg_sample_scenes.tracer import integers, real_rows, reals, row3


@dataclass(frozen=True)
class SurfaceLabels:
    """Labels of the surface nearest to each of n points.

    Attributes:
        distance: (n,) float32 signed distance to the nearest solid, metres, negative inside.
        labels: level name -> (n,) int64 id of that solid.
    """

    distance: Tensor
    labels: Mapping[str, Tensor]


def label_points(scene: SampleScene, points: Tensor) -> SurfaceLabels:
    """Return the labels of the surface nearest to each point (n, 3) float32, metres, and the exact distance to it."""
    return nearest_labels(scene.solids.shapes, scene.ids, points)


def nearest_labels(shapes: Tensor, ids: Mapping[str, Tensor], points: Tensor) -> SurfaceLabels:
    """Do what `label_points` does for the solids in `shapes` and their `ids` by level."""
    points = points.to(shapes)
    index = torch.empty(len(points), dtype=torch.int32, device=points.device)
    gap = points.new_empty(len(points))
    launch(_nearest, (shapes, points), (index, gap))
    solid = index.long()
    return SurfaceLabels(gap, {level: of_level.to(solid.device)[solid] for level, of_level in ids.items()})


@ti.kernel
def _nearest(shapes: real_rows, points: real_rows, index: integers, gap: reals):
    for n in range(points.shape[0]):
        best, best_gap = 0, FAR
        for i in range(shapes.shape[0]):
            p = to_local(shapes, i, row3(points, n))
            if bounding_gap(shapes, i, p) <= ti.max(best_gap, 0.0):
                d = distance(shapes, i, p)
                if d < best_gap:
                    best, best_gap = i, d
        index[n] = best
        gap[n] = best_gap
