"""Segment everything: a tree of segments over points of the surface, cut at any level, with one id in every view.

Points of the surface, as the photos' viewpoints see them, are thinned to a voxel grid, their features smoothed
among neighbours that agree, and neighbours in space joined by Ward's rule (Ward 1963) in features and positions. One
tree serves all levels, so that a segment of one level lies within a segment of the next.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from omniseg.errors import InputError
from omniseg.rendering.view import RenderedView
from omniseg.run_folder import Model, fingerprint, read_tensors, write_tensors

if TYPE_CHECKING:
    from scipy.spatial import KDTree

SEGMENTS = "segments.safetensors"
LEVELS = 7
"""Cuts of the tree that have a number; each joins what half of the next one's cost would still join."""
DEFAULT_LEVEL = 3.0

_RAYS, _VIEWS = 250_000, 40
_VOXEL, _POINTS = 0.025, 40_000
_RAYS_A_POINT = 6
_SEEN = 3
"""A voxel that fewer rays end in is the edge of something, where depth lies between what is before and behind."""
_NEIGHBOURS = 20
_AGREE = 40.0
_POSITION_WEIGHT = 0.1
_FEWEST = 6
_CANDIDATES = 16


@dataclass(frozen=True)
class SegmentTree:
    """Surface points and the order in which they join.

    Attributes:
        features: (n, dim) of unit length.
        positions: (n, 3) scene coordinates.
        children: (n - 1, 2) int64, which two nodes each join makes one; node n + k is what join k makes.
        heights: (n - 1,) what each join costs.
    """

    features: Tensor
    positions: Tensor
    children: Tensor
    heights: Tensor

    def nearest(self, features: Tensor, positions: Tensor) -> Tensor:
        """Which point (m,) int64 of the tree is most similar to each of other points, among those nearest to it.

        Args:
            features: (m, dim) of unit length.
            positions: (m, 3) scene coordinates.
        """
        count = min(_CANDIDATES, len(self.features))
        found = self._search.query(positions.cpu().numpy(), k=count, workers=-1)[1]
        near = torch.from_numpy(np.asarray(found).reshape(-1, count)).to(features.device)
        alike = torch.stack([(self.features[points] * features).sum(1) for points in near.unbind(1)], dim=1)
        return near.gather(1, alike.argmax(1, keepdim=True))[:, 0]

    @cached_property
    def _search(self) -> KDTree:
        from scipy.spatial import KDTree

        return KDTree(self.positions.cpu().numpy())

    def cut(self, level: float) -> Segments:
        """The segments of a level, from 0, the finest, to LEVELS - 1; between whole levels, too."""
        n = len(self.features)
        limit = float(self.heights.max()) * 2.0 ** (level - LEVELS)
        costs, children = self.heights.tolist(), self.children.tolist()
        sizes = [1] * n
        for left, right in children:
            sizes.append(sizes[left] + sizes[right])
        segment = list(range(2 * n - 1))
        for join in range(n - 2, -1, -1):  # from the top; where a segment falls apart, the larger half stays it
            less, more = sorted(children[join], key=sizes.__getitem__)
            segment[more] = segment[n + join]
            if costs[join] <= limit or sizes[less] < _FEWEST:
                segment[less] = segment[n + join]
        _, ids, counts = torch.tensor(segment[:n]).unique(return_inverse=True, return_counts=True)
        rank = counts.argsort(descending=True, stable=True).argsort() + 1
        return Segments(self, rank[ids].to(self.features.device))


@dataclass(frozen=True)
class Segments:
    """One level of a tree.

    Attributes:
        tree: that was cut.
        ids: (n,) int64 segment of each of its points, 1 the largest.
    """

    tree: SegmentTree
    ids: Tensor

    def __len__(self) -> int:
        return int(self.ids.max())

    def of(self, features: Tensor, positions: Tensor) -> Tensor:
        """Segment (m,) int64 of other points: that of the most similar one of the nearest points of the tree.

        Args:
            features: (m, dim) of unit length.
            positions: (m, 3) scene coordinates.
        """
        return self.ids[self.tree.nearest(features, positions)]

    def of_frame(self, frame: RenderedView) -> Tensor:
        """Segment (height * width,) int64 of each pixel of a frame; 0 where nothing is."""
        found = torch.zeros(len(frame.features), dtype=torch.int64, device=frame.features.device)
        solid = frame.solid.nonzero()[:, 0]
        if len(solid):
            found[solid] = self.of(frame.features[solid], frame.positions[solid])
        return found


def check_level(level: float) -> None:
    """Check the option `--level` of a command.

    Raises:
        InputError: there is no such level.
    """
    if not 0 <= level <= LEVELS - 1:
        raise InputError(f"--level: expected 0 to {LEVELS - 1}, got {level:g}")


def segment_everything(run: Path, model: Model) -> SegmentTree:
    """The segments of a run: those it has already, or new ones, which are then kept in it.

    Raises:
        InputError: the run has no features, sees no surface, or its folder cannot be written.
    """
    path, of = run / SEGMENTS, fingerprint(run)
    device = model.viewpoints.cameras.c2w.device
    if path.exists():
        tensors, metadata = read_tensors(path, device)
        if metadata.get("features") == of:
            try:
                return SegmentTree(**tensors)
            except TypeError as error:
                raise InputError(f"{path}: not of this version; remove it, to have it made again") from error
    tree = build_tree(*surface_points(model))
    write_tensors(path, {field.name: getattr(tree, field.name) for field in fields(tree)}, {"features": of})
    return tree


@torch.no_grad()
def surface_points(model: Model) -> tuple[Tensor, Tensor]:
    """What the photos' viewpoints see, thinned to a voxel grid that grows with the distance from the middle.

    Returns:
        features: (n, dim) of unit length.
        positions: (n, 3) scene coordinates.
    """
    cameras = model.viewpoints.cameras
    views = np.unique(np.linspace(0, len(cameras) - 1, min(_VIEWS, len(cameras))).round().astype(int))
    step = max(int(cameras.size.double().prod(1)[views].sum() / _RAYS), 1)
    features, positions = [], []
    for view in tqdm(views, desc="surface", unit="view", delay=2, leave=False):
        rays_o, rays_d = (rays[int(view) % step :: step] for rays in cameras.image_rays(int(view)))
        rendering = model.renderer.render(rays_o, rays_d, colour=False, features=True)
        frame = RenderedView.of(cameras[[int(view)]], rays_o, rays_d, rendering)
        features.append(frame.features[frame.solid])
        positions.append(frame.positions[frame.solid])
    seen = torch.cat(features), torch.cat(positions)
    wanted = min(_POINTS, len(seen[0]) / _RAYS_A_POINT)
    voxel = _VOXEL
    for _ in range(2):  # a surface falls into voxels by the square of their size
        voxel *= (max(len(_cells(seen[1], voxel).unique(dim=0)), 1) / max(wanted, 1)) ** 0.5
    return _thin(*seen, voxel)


def build_tree(features: Tensor, positions: Tensor) -> SegmentTree:
    """Join surface points, features (n, dim) of unit length and positions (n, 3), into a tree.

    Raises:
        InputError: there are fewer than two points, or scikit-learn is missing.
    """
    try:
        from sklearn.cluster import ward_tree
        from sklearn.neighbors import kneighbors_graph
    except ImportError as error:
        raise InputError("segmenting everything needs scikit-learn: pip install -e '.[export]'") from error
    if len(features) < 2:
        raise InputError("the field shows no surface to segment; look at it with apps/render.py, and train longer")
    count = min(_NEIGHBOURS, len(features) - 1)
    graph = kneighbors_graph(positions.cpu().numpy(), count, include_self=False)
    smooth = _smooth(features, torch.from_numpy(graph.indices.reshape(-1, count)).long().to(features.device))
    # Distances in space count by the size of what is seen, whose unit nobody knows.
    spread = (positions - positions.median(0).values).norm(dim=1).median().clamp(min=1e-6)
    vectors = torch.cat([smooth, positions * (_POSITION_WEIGHT / spread)], dim=1).cpu().numpy().astype(np.float64)
    with warnings.catch_warnings():
        # Parts that nothing connects are joined by their nearest points, which is what is wanted.
        warnings.filterwarnings("ignore", message="the number of connected components")
        joined: Any = ward_tree(vectors, connectivity=graph, return_distance=True)
        children, heights = joined[0], joined[4]
    return SegmentTree(
        features=smooth,
        positions=positions,
        children=torch.from_numpy(np.asarray(children, np.int64)).to(features.device),
        heights=torch.from_numpy(np.asarray(heights, np.float32)).to(features.device),
    )


def _cells(positions: Tensor, voxel: float) -> Tensor:
    """Voxel (n, 4) int64 of positions (n, 3); beyond [-1, 1]^3 voxels grow by twos."""
    growth = positions.abs().amax(1).clamp(min=1).log2().ceil()
    return torch.cat([(positions / (voxel * 2**growth)[:, None]).floor(), growth[:, None]], dim=1).long()


def _thin(features: Tensor, positions: Tensor, voxel: float) -> tuple[Tensor, Tensor]:
    """The mean of what lies in each voxel that enough points lie in."""
    _, cell, counts = _cells(positions, voxel).unique(dim=0, return_inverse=True, return_counts=True)
    kept = counts >= _SEEN
    means = [x.new_zeros(len(counts), x.shape[1]).index_add_(0, cell, x)[kept] for x in (features, positions)]
    return F.normalize(means[0], dim=1), means[1] / counts[kept, None]


def _smooth(features: Tensor, neighbours: Tensor) -> Tensor:
    """Mean of the features of each point and those of its neighbours (n, k) that agree with it."""
    near = torch.cat([features[:, None], features[neighbours]], dim=1)
    weights = torch.exp(_AGREE * ((near * features[:, None]).sum(2) - 1))
    return F.normalize((near * weights[..., None]).sum(1), dim=1)
