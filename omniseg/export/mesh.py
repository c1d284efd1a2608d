"""The surface of a trained run as a mesh with colours and features, which can be selected from.

The surface is an iso surface of the opacity of a voxel, by marching cubes (Lorensen and Cline 1987). What no photo
shows was never learned, so only the surface that the run's own viewpoints see is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from omniseg.errors import InputError
from omniseg.export.triangles import connected_parts, face_areas, part_areas, used_vertices, vertex_normals
from omniseg.run_folder import Model
from omniseg.selection.selections import Selection
from omniseg.selection.survey import depth_maps, surface_colours, survey
from omniseg_kernels.occupancy import occupied

_CHUNK, _VERTICES_AT_ONCE = 1 << 17, 1 << 20


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Numbers that decide which surface becomes a mesh, and what is selected of it."""

    iso_depth: float = 0.5
    """Optical depth of a voxel at the surface. At ln 2 thin parts (table legs, leaves) are lost; much lower, walls
    thicken by a voxel."""
    faint_quantile: float = 0.25
    """In under-trained fields, the iso level is lowered to this quantile of the density at the visible surface."""
    faint_views: int = 16
    """Largest number of photos' views, spread evenly, in which that density is sampled."""
    faint_rays: int = 1024
    """Number of rays, approximately, in each of these views."""
    views: int = 200
    """Largest number of photos' views, spread evenly; the surface that none of them sees is dropped."""
    rays: int = 1_000_000
    """Largest number of rays, approximately, in all of these views."""
    tolerance: float = 2.0
    """A vertex is visible up to this far behind the surface that a view sees, voxels."""
    min_part: float = 5.0
    """Connected parts of a smaller area are dust and removed, squared voxels. Leaves of a plant are little larger."""
    min_island: float = 12.0
    """Islands of a selection, and holes in it, of a smaller area are noise, squared voxels."""
    min_island_share: float = 0.02
    """Islands of a selection with less than this share of the largest island's area are noise, too."""

    def __post_init__(self) -> None:
        for name in ("iso_depth", "faint_views", "faint_rays", "views", "rays"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected > 0, got {getattr(self, name)}")
        for name in ("tolerance", "min_part", "min_island", "min_island_share"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected >= 0, got {getattr(self, name)}")
        if not 0 <= self.faint_quantile <= 1:
            raise ValueError(f"faint_quantile: expected in [0, 1], got {self.faint_quantile}")


@dataclass(frozen=True, eq=False, repr=False)
class Mesh:
    """Triangles in scene coordinates, counter-clockwise as seen from outside; on the CPU.

    Attributes:
        vertices: (n, 3).
        faces: (m, 3) int64, vertices of each face.
        normals: (n, 3) of unit length, outwards.
        colours: (n, 3) in [0, 1].
        features: (n, dim) of unit length; None where the model has no feature field.
        voxel: edge of the voxels that it was made from, scene units.
        config: numbers that it was made and is selected with.
    """

    vertices: Tensor
    faces: Tensor
    normals: Tensor
    colours: Tensor
    features: Tensor | None
    voxel: float
    config: MeshConfig = field(default_factory=MeshConfig)

    def __repr__(self) -> str:
        return f"Mesh({len(self.vertices)} vertices, {len(self.faces)} faces)"

    def keep(self, faces: Tensor) -> Mesh:
        """Return the mesh of these faces (m,) bool and their vertices."""
        used, kept = used_vertices(self.faces[faces])
        features = None if self.features is None else self.features[used]
        vertices, normals, colours = self.vertices[used], self.normals[used], self.colours[used]
        return Mesh(vertices, kept, normals, colours, features, self.voxel, self.config)

    def segments(self, selections: Mapping[int, Selection]) -> Tensor:
        """Return the number (m,) int64 of the selection that each face is in, of several the last; 0: none."""
        found = torch.zeros(len(self.faces), dtype=torch.int64)
        for number, selection in selections.items():
            found[self.select(selection)] = number
        return found

    def select(self, selection: Selection) -> Tensor:
        """Return which faces are selected, (m,) bool: those with two selected vertices, without specks and pinholes.

        Raises:
            ValueError: there are no features.
        """
        if self.features is None:
            raise ValueError("features: expected a mesh of a model with a feature field")
        selected = selection.select(self.features, self.vertices)[self.faces].sum(1) >= 2
        area, least = face_areas(self.vertices, self.faces), self.config.min_island * self.voxel**2
        island = selected.nonzero()[:, 0]
        if not len(island):
            return selected
        areas = part_areas(len(self.vertices), self.faces[island], area[island])
        selected[island[areas < max(least, self.config.min_island_share * float(areas.max()))]] = False
        hole = (~selected).nonzero()[:, 0]
        rim = torch.zeros(len(self.vertices), dtype=torch.bool)
        rim[self.faces[selected]] = True
        part = connected_parts(len(self.vertices), self.faces[hole])
        # A small part that touches no selected face is loose, not a hole.
        at_rim = torch.bincount(part, rim[self.faces[hole]].any(1).float())[part] > 0
        selected[hole[at_rim & (torch.bincount(part, area[hole])[part] < least)]] = True
        return selected


def extract_mesh(
    model: Model,
    resolution: int = 256,
    *,
    reach: float = 1.0,
    config: MeshConfig | None = None,
    progress: bool = True,
) -> Mesh:
    """Return the surface of a model that its viewpoints see.

    Memory grows with the cube of the resolution, 4 bytes a voxel beside the mesh itself.

    Args:
        model: trained.
        resolution: voxels along the longest edge of the box.
        reach: half edge of the cube around the origin that the box is cut to, scene units.
        config: numbers that decide what becomes the surface; the defaults where None.
        progress: show bars.
    Raises:
        InputError: there is no surface.
    """
    config = config or MeshConfig()
    voxel, corner, opacity = _voxels(model, resolution, reach, progress)
    iso_depth = min(config.iso_depth, voxel * _surface_density(model, reach, config, progress))
    vertices, faces = _march(opacity, 1 - math.exp(-iso_depth))
    vertices = corner + voxel * vertices
    normals = vertex_normals(vertices, faces)
    seen = _seen_along(model, vertices, normals, voxel, config, progress)
    faces = faces[(seen != 0).any(1)[faces].sum(1) >= 2]
    faces = faces[part_areas(len(vertices), faces, face_areas(vertices, faces)) >= config.min_part * voxel**2]
    if not len(faces):
        raise InputError(
            "no surface found: nothing solid was learned where the cameras look; "
            "look at it with omniseg render, and train longer"
        )
    used, faces = used_vertices(faces)
    vertices = vertices[used]
    normals = vertex_normals(vertices, faces)
    # The colour in a direction that no photo was taken in was never learned.
    directions = torch.where(seen[used].norm(dim=1, keepdim=True) > 0, F.normalize(seen[used], dim=1), -normals)
    colours, features = _colours_and_features(model, vertices, directions)
    return Mesh(vertices, faces, normals, colours, features, voxel, config)


@torch.no_grad()
def _voxels(model: Model, resolution: int, reach: float, progress: bool) -> tuple[float, Tensor, np.ndarray]:
    """Return the edge of a voxel, the first point of a grid, and the opacity of the voxel around each of its points.

    Opacity rather than density, because between two points it is closer to linear.
    """
    edges = torch.tensor(model.config.marching.box).clamp(max=reach)
    voxel = float(2 * edges.max()) / resolution
    counts = [int(count) + 1 for count in (2 * edges / voxel - 1e-4).ceil().tolist()]
    x, y, z = (voxel * (torch.arange(count) - 0.5 * (count - 1)) for count in counts)
    grid, device = model.grid.occupied, model.grid.bits.device
    plane = torch.stack(torch.meshgrid(y, z, indexing="ij"), dim=-1).reshape(-1, 2).to(device)
    opacity = np.zeros(counts, np.float32)
    for layer, at in enumerate(tqdm(x.tolist(), desc="density", unit="layer", delay=2, disable=not progress)):
        positions = torch.cat([plane.new_full((len(plane), 1), at), plane], dim=1)
        sigmas = positions.new_zeros(len(positions))
        for some in occupied(positions, grid).nonzero()[:, 0].split(_CHUNK):
            sigmas[some] = model.field.density(positions[some]).sigmas
        opacity[layer] = (1 - torch.exp(-sigmas * voxel)).view(len(y), len(z)).cpu().numpy()
    return voxel, torch.stack([x[0], y[0], z[0]]), opacity


@torch.no_grad()
def _surface_density(model: Model, reach: float, config: MeshConfig, progress: bool) -> float:
    """Return a low quantile of the density at the visible surface; infinite where nothing is visible.

    A field that had little time, or views that disagree, stops light over many voxels: its surface is faint.
    """
    views = model.viewpoints.cameras.spread(config.faint_views)
    positions = survey(model, views, config.faint_rays * len(views), features=False, progress=progress).positions
    sigmas = model.field.density(positions[(positions.abs() <= reach).all(1)]).sigmas
    return float(sigmas.quantile(config.faint_quantile)) if len(sigmas) else math.inf


def _march(opacity: np.ndarray, iso_level: float) -> tuple[Tensor, Tensor]:
    """Return vertices (n, 3), in voxels, and faces (m, 3) of an iso surface; none where there is no surface."""
    from skimage.measure import marching_cubes

    if not opacity.min() < iso_level < opacity.max():
        return torch.empty(0, 3), torch.empty(0, 3, dtype=torch.int64)
    vertices, faces, _, _ = marching_cubes(opacity, iso_level, gradient_direction="ascent", allow_degenerate=False)
    return torch.from_numpy(np.ascontiguousarray(vertices)), torch.from_numpy(faces.astype(np.int64))


@torch.no_grad()
def _seen_along(
    model: Model, vertices: Tensor, normals: Tensor, voxel: float, config: MeshConfig, progress: bool
) -> Tensor:
    """Return the sum (n, 3) of the directions in which viewpoints see the fronts of vertices; 0 where none does.

    A viewpoint sees a vertex that is not much behind the surface in its depth map.
    """
    device = model.viewpoints.cameras.c2w
    vertices, normals, tolerance = vertices.to(device), normals.to(device), config.tolerance * voxel
    total = torch.zeros_like(vertices)
    for camera, depth in depth_maps(model, config.views, config.rays, progress=progress):
        width, height = camera.size[0].tolist()
        for begin in range(0, len(vertices), _VERTICES_AT_ONCE):
            xy, _, inside = camera.project(vertices[begin : begin + _VERTICES_AT_ONCE])
            shown = inside[0].nonzero()[:, 0]
            x, y = xy[0, shown].long().unbind(1)
            pixel = y.clamp(max=height - 1) * width + x.clamp(max=width - 1)
            shown += begin
            away = vertices[shown] - camera.c2w[0, :, 3]
            near = away.norm(dim=1) <= depth[pixel] + tolerance
            seen = near & ((away * normals[shown]).sum(1) < 0)
            total[shown[seen]] += F.normalize(away[seen], dim=1)
    return total.cpu()


@torch.no_grad()
def _colours_and_features(model: Model, vertices: Tensor, directions: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return colours (n, 3), seen along unit directions (n, 3), and features (n, dim) of vertices."""
    device = model.grid.bits.device
    vertices = vertices.to(device)
    colours = surface_colours(model, vertices, directions.to(device)).cpu()
    if model.features is None:
        return colours, None
    features = [F.normalize(model.features(some), dim=1).cpu() for some in vertices.split(_CHUNK)]
    return colours, torch.cat(features)
