"""Segment everything: build the tree of segments of a run and keep it in the run folder.

Surface points, as the photos' viewpoints see them, are averaged over a voxel grid. Their features are smoothed over
neighbours that agree, and neighbours in space are joined by Ward's rule (Ward 1963) in features and positions.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniseg.config import SegmentTreeConfig
from omniseg.errors import InputError
from omniseg.run_folder import SEGMENTS, Model, fingerprint, read_tensors, write_tensors
from omniseg.selection.segment_tree import SegmentTree
from omniseg.selection.survey import survey

_TENSORS = ("features", "positions", "children", "heights")


def require_sklearn() -> None:
    """Check that scikit-learn, which builds the tree, is installed; a tree that is in its file does not need it.

    Raises:
        InputError: it is missing.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise InputError("segmenting everything needs scikit-learn: pip install 'omniseg3d[export]'") from error


def segment_everything(run: Path, model: Model, *, progress: bool = True) -> SegmentTree:
    """Return the segment tree of a run: the one in its folder, else a new one, which is written there.

    The one in the folder counts if it was made with these features and this `SegmentTreeConfig`.

    Args:
        run: folder.
        model: the run, loaded from that folder, with a feature field.
        progress: show a bar.
    Raises:
        InputError: the run has no features or no visible surface, its file is damaged, scikit-learn is missing, or the
            folder cannot be written.
    """
    path, features, config = run / SEGMENTS, fingerprint(run), model.config.segment_tree
    if path.exists():
        tensors, metadata = read_tensors(path, model.viewpoints.cameras.c2w.device)
        if metadata.get("features") == features and _made_with(metadata.get("config", {})) == asdict(config):
            if not _is_tree(tensors):
                raise InputError(f"{path}: damaged or not of this version; remove it to have it made again")
            return SegmentTree(**tensors, config=config)
    require_sklearn()
    tree = build_tree(*surface_points(model, progress=progress), config)
    tensors = {name: getattr(tree, name) for name in _TENSORS}
    write_tensors(path, tensors, {"features": features, "config": asdict(config)})
    return tree


def _is_tree(tensors: dict[str, Tensor]) -> bool:
    """Return whether the tensors of a file fit together."""
    if set(tensors) != set(_TENSORS) or not tensors["features"].ndim == 2 <= len(tensors["features"]):
        return False
    n, children = len(tensors["features"]), tensors["children"]
    shapes = tensors["positions"].shape, children.shape, tensors["heights"].shape
    fits = shapes == ((n, 3), (n - 1, 2), (n - 1,)) and not children.is_floating_point()
    before = torch.arange(n, 2 * n - 1, device=children.device)[:, None]  # a join unites nodes that were there before
    return fits and bool(((children >= 0) & (children < before)).all())


def _made_with(stored: Any) -> Any:
    """Return the fields of the configuration in a file; those that an older file lacks had their defaults."""
    return {**asdict(SegmentTreeConfig()), **stored} if isinstance(stored, dict) else None


@torch.no_grad()
def surface_points(model: Model, *, progress: bool = True) -> tuple[Tensor, Tensor]:
    """Return what the photos' viewpoints see, averaged over a voxel grid that grows with the distance from the middle.

    Returns:
        features: (n, dim) of unit length.
        positions: (n, 3) scene coordinates.
    """
    config, cameras = model.config.segment_tree, model.viewpoints.cameras
    seen = survey(model, cameras.spread(config.views), config.rays, stagger=True, progress=progress)
    assert seen.features is not None
    target = min(config.max_points, len(seen) / config.rays_per_point)
    voxel = config.voxel
    for _ in range(2):  # the number of voxels that a surface meets falls with the square of their size
        voxel *= (max(len(_cells(seen.positions, voxel).unique(dim=0)), 1) / max(target, 1)) ** 0.5
    return _average(seen.features, seen.positions, voxel, config.min_rays)


def build_tree(features: Tensor, positions: Tensor, config: SegmentTreeConfig) -> SegmentTree:
    """Join surface points, features (n, dim) of unit length and positions (n, 3), into a tree.

    Raises:
        InputError: there are fewer than two points, or scikit-learn is missing.
    """
    require_sklearn()
    from sklearn.cluster import ward_tree
    from sklearn.neighbors import kneighbors_graph

    if len(features) < 2:
        raise InputError("the field shows no surface to segment; look at it with omniseg render, and train longer")
    count = min(config.neighbours, len(features) - 1)
    graph = kneighbors_graph(positions.cpu().numpy(), count, include_self=False)
    neighbours = torch.from_numpy(graph.indices.reshape(-1, count)).long().to(features.device)
    smooth = _smooth(features, neighbours, config.agreement)
    # Distances are measured in the size of the scene, since its unit is arbitrary.
    spread = (positions - positions.median(0).values).norm(dim=1).median().clamp(min=1e-6)
    vectors = torch.cat([smooth, positions * (config.position_weight / spread)], dim=1).cpu().numpy().astype(np.float64)
    with warnings.catch_warnings():
        # Parts of the graph that nothing connects are joined by their nearest points, as they should be.
        warnings.filterwarnings("ignore", message="the number of connected components")
        joined: Any = ward_tree(vectors, connectivity=graph, return_distance=True)
        children, heights = joined[0], joined[4]
    return SegmentTree(
        features=smooth,
        positions=positions,
        children=torch.from_numpy(np.asarray(children, np.int64)).to(features.device),
        heights=torch.from_numpy(np.asarray(heights, np.float32)).to(features.device),
        config=config,
    )


def _cells(positions: Tensor, voxel: float) -> Tensor:
    """Return the voxel (n, 4) int64 of positions (n, 3); beyond [-1, 1]^3 voxels grow by powers of two."""
    growth = positions.abs().amax(1).clamp(min=1).log2().ceil()
    return torch.cat([(positions / (voxel * 2**growth)[:, None]).floor(), growth[:, None]], dim=1).long()


def _average(features: Tensor, positions: Tensor, voxel: float, min_rays: int) -> tuple[Tensor, Tensor]:
    """Return the means of the features and positions in each voxel that holds at least `min_rays` points."""
    _, cell, counts = _cells(positions, voxel).unique(dim=0, return_inverse=True, return_counts=True)
    kept = counts >= min_rays
    means = [x.new_zeros(len(counts), x.shape[1]).index_add_(0, cell, x)[kept] for x in (features, positions)]
    return F.normalize(means[0], dim=1), means[1] / counts[kept, None]


def _smooth(features: Tensor, neighbours: Tensor, agreement: float) -> Tensor:
    """Return the mean of the features of each point and of those of its neighbours (n, k) that agree with it."""
    near = torch.cat([features[:, None], features[neighbours]], dim=1)
    weights = torch.exp(agreement * ((near * features[:, None]).sum(2) - 1))
    return F.normalize((near * weights[..., None]).sum(1), dim=1)
