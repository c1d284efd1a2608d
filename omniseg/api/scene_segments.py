"""All segments of a scene at one level: ids of pixels, and a labelled point cloud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from omniseg.rendering.view import RenderedView
from omniseg.run_folder import Model
from omniseg.selection.segment_tree import Segments
from omniseg.selection.survey import surface_colours


@dataclass(frozen=True)
class PointCloud:
    """Points on the surface of a scene.

    Attributes:
        xyz: (n, 3) float64, coordinates and units of the capture.
        rgb: (n, 3) uint8.
        ids: (n,) int64 segment of each point, from 1.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.xyz)

    def __repr__(self) -> str:
        return f"PointCloud({len(self)} points, {len(np.unique(self.ids))} segments)"


class SceneSegments:
    """All segments of a scene at one level; a segment has the same id in every view.

    Attributes:
        model: the run's fields and cameras.
        level: level of the tree, 0 the finest.
        segments: segment of each point of the tree.
    """

    def __init__(self, model: Model, level: float, segments: Segments) -> None:
        self.model, self.level, self.segments = model, level, segments

    def __len__(self) -> int:
        return len(self.segments)

    def __repr__(self) -> str:
        return f"SceneSegments({len(self)} segments at level {self.level:g})"

    def ids(self, view: RenderedView) -> np.ndarray:
        """Return the segment (height, width) int64 of each pixel of a view; 0 where nothing solid is."""
        return self.segments.ids_in(view)

    def points(self) -> PointCloud:
        """Return surface points with colours and segment ids."""
        tree, model = self.segments.tree, self.model
        xyz = model.normalisation.inverse_points(tree.positions.double().cpu().numpy())
        rgb = (_seen_colours(model, tree.positions).clamp(0, 1) * 255).round().byte().cpu().numpy()
        return PointCloud(xyz, rgb, self.segments.ids.cpu().numpy())


@torch.no_grad()
def _seen_colours(model: Model, positions: torch.Tensor) -> torch.Tensor:
    """Return the colours (n, 3) of surface points (n, 3) as the nearest camera that has each in its picture sees it."""
    _, _, inside = model.viewpoints.cameras.project(positions)
    eyes = model.viewpoints.cameras.c2w[:, :, 3]
    distance = torch.cdist(positions, eyes).masked_fill(~inside.t(), torch.inf)
    directions = F.normalize(positions - eyes[distance.argmin(1)], dim=1)
    return surface_colours(model, positions, directions)
