"""The tree of segments of everything: cut at any level, it gives every view, point and face the same ids.

One tree serves all levels, so that a segment of one level lies within a segment of the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from omniseg.config import SegmentTreeConfig
from omniseg.errors import BadArgument
from omniseg.rendering.view import RenderedView

if TYPE_CHECKING:
    from scipy.spatial import KDTree


@dataclass(frozen=True, eq=False, repr=False)
class SegmentTree:
    """Surface points and the order in which they are joined (`tree_building.build_tree` makes it).

    Attributes:
        features: (n, dim) of unit length.
        positions: (n, 3) scene coordinates.
        children: (n - 1, 2) int64, the two nodes that each join unites; node n + k is the result of join k.
        heights: (n - 1,) cost of each join.
        config: numbers that it was built with and is cut by.
    """

    features: Tensor
    positions: Tensor
    children: Tensor
    heights: Tensor
    config: SegmentTreeConfig

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        return f"SegmentTree({len(self)} points, levels 0 to {self.config.levels - 1})"

    def nearest(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return the most similar point of the tree (m,) int64, among the nearest ones, for each of other points.

        Args:
            features: (m, dim) of unit length.
            positions: (m, 3) scene coordinates.
        """
        count = min(self.config.candidates, len(self))
        found = self._search.query(positions.cpu().numpy(), k=count, workers=-1)[1]
        near = torch.from_numpy(np.asarray(found).reshape(-1, count)).to(features.device)
        alike = torch.stack([(self.features[points] * features).sum(1) for points in near.unbind(1)], dim=1)
        return near.gather(1, alike.argmax(1, keepdim=True))[:, 0]

    @cached_property
    def _search(self) -> KDTree:
        from scipy.spatial import KDTree

        return KDTree(self.positions.cpu().numpy())

    def cut(self, level: float) -> Segments:
        """Return the segments of a level: 0 is the finest, `config.levels - 1` the coarsest; fractions are allowed."""
        n = len(self)
        limit = float(self.heights.max()) * 2.0 ** (level - self.config.levels)
        costs, children = self.heights.tolist(), self.children.tolist()
        sizes = [1] * n
        for left, right in children:
            sizes.append(sizes[left] + sizes[right])
        segment = list(range(2 * n - 1))
        for join in range(n - 2, -1, -1):  # from the root; where a node is split, the larger child keeps its segment
            smaller, larger = sorted(children[join], key=sizes.__getitem__)
            segment[larger] = segment[n + join]
            if costs[join] <= limit or sizes[smaller] < self.config.min_points:
                segment[smaller] = segment[n + join]
        _, ids, counts = torch.tensor(segment[:n]).unique(return_inverse=True, return_counts=True)
        rank = counts.argsort(descending=True, stable=True).argsort() + 1
        return Segments(self, rank[ids].to(self.features.device))


@dataclass(frozen=True, eq=False, repr=False)
class Segments:
    """The segments of one level of a tree; its length is their number.

    Attributes:
        tree: the tree.
        ids: (n,) int64 segment of each point of the tree, from 1, the largest.
    """

    tree: SegmentTree
    ids: Tensor

    def __len__(self) -> int:
        return int(self.ids.max())

    def __repr__(self) -> str:
        return f"Segments({len(self)} segments of {len(self.ids)} points)"

    def ids_at(self, features: Tensor, positions: Tensor) -> Tensor:
        """Return the segment (m,) int64 of other points, by the point of the tree that is `nearest`.

        Args:
            features: (m, dim) of unit length.
            positions: (m, 3) scene coordinates.
        """
        return self.ids[self.tree.nearest(features, positions)]

    def ids_in(self, view: RenderedView) -> np.ndarray:
        """Return the segment (height, width) int64 of each pixel of a view; 0 where nothing is seen."""
        found = torch.zeros(len(view.solid), dtype=torch.int64, device=view.solid.device)
        solid = view.solid.nonzero()[:, 0]
        if len(solid):
            found[solid] = self.ids_at(view.unit_features[solid], view.positions[solid])
        return found.view(view.height, view.width).cpu().numpy()


def check_level(level: float, config: SegmentTreeConfig) -> None:
    """Check the level of segments that a person asks for.

    Args:
        level: to check.
        config: the tree's configuration.
    Raises:
        InputError: there is no such level.
    """
    if not 0 <= level <= config.levels - 1:
        raise BadArgument("level", f"expected 0 to {config.levels - 1}, got {level:g}")
