"""The surface of a trained run as triangles, which carry colours and features and can be selected from.

The surface is where light would go two voxels deep, by marching cubes (Lorensen and Cline 1987) on what share of the
light a voxel stops. What no photo shows was never learned, so only what the run's own viewpoints see of it is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from omniseg.cameras import Cameras
from omniseg.errors import InputError
from omniseg.run_folder import Model
from omniseg.selection.selections import Selection
from omniseg_kernels.occupancy import occupied

_CHUNK, _VERTICES_AT_ONCE = 1 << 17, 1 << 20
_LEVEL = 0.5
"""Optical depth of a voxel at the surface. At ln 2, half of the light, table legs and leaves are lost; lower, walls
swell by a voxel."""
_FEW_VIEWS, _FEW_RAYS, _FAINTEST = 16, 1024, 0.25
"""Where the field is so faint that this share of what is seen lies below, the surface is where that is."""
_VIEWS, _RAYS = 200, 1_000_000
_TOLERANCE = 2.0
"""How far behind what a viewpoint sees a vertex may lie and still count as seen, voxels."""
_LOOSE = 5.0
"""A component of less area is dust, squared voxels. Leaves of a plant are little larger."""
_ISLAND = 12.0
"""An island of a selection, or a hole in it, of less area is noise, squared voxels."""
_SPECK = 0.02
"""So is an island of less than this share of the largest one's area."""


@dataclass(frozen=True)
class Mesh:
    """Triangles in scene coordinates, counter-clockwise as seen from outside; on the CPU.

    Attributes:
        vertices: (n, 3).
        faces: (m, 3) int64, vertices of each.
        normals: (n, 3) of unit length, outwards.
        colours: (n, 3) in [0, 1].
        features: (n, dim) of unit length; None where the model has no feature field.
        voxel: edge of the cells that it was made from, scene units.
    """

    vertices: Tensor
    faces: Tensor
    normals: Tensor
    colours: Tensor
    features: Tensor | None
    voxel: float

    def keep(self, faces: Tensor) -> Mesh:
        """These faces (m,) bool and their vertices."""
        used, kept = _used(self.faces[faces])
        features = None if self.features is None else self.features[used]
        return Mesh(self.vertices[used], kept, self.normals[used], self.colours[used], features, self.voxel)

    def segments(self, selections: Mapping[int, Selection]) -> Tensor:
        """Number (m,) int64 of the selection that each face is in, of several the last one; 0: none."""
        found = torch.zeros(len(self.faces), dtype=torch.int64)
        for number, selection in selections.items():
            found[self.select(selection)] = number
        return found

    def select(self, selection: Selection) -> Tensor:
        """(m,) bool, the faces of which most vertices are selected, without specks and pinholes.

        Raises:
            ValueError: there are no features.
        """
        if self.features is None:
            raise ValueError("features: expected a mesh of a model with a feature field")
        selected = selection.select(self.features, self.vertices)[self.faces].sum(1) >= 2
        area, least = face_areas(self.vertices, self.faces), _ISLAND * self.voxel**2
        island = selected.nonzero()[:, 0]
        if not len(island):
            return selected
        areas = _areas_of_parts(len(self.vertices), self.faces[island], area[island])
        selected[island[areas < max(least, _SPECK * float(areas.max()))]] = False
        hole = (~selected).nonzero()[:, 0]
        rim = torch.zeros(len(self.vertices), dtype=torch.bool)
        rim[self.faces[selected]] = True
        part = connected_parts(len(self.vertices), self.faces[hole])
        # Something small that touches no selected face is loose, and no hole.
        at_rim = torch.bincount(part, rim[self.faces[hole]].any(1).float())[part] > 0
        selected[hole[at_rim & (torch.bincount(part, area[hole])[part] < least)]] = True
        return selected


def extract_mesh(model: Model, resolution: int = 256, *, reach: float = 1.0, progress: bool = True) -> Mesh:
    """The surfaces of a model that its viewpoints see.

    Memory grows with the cube of the resolution, by 4 bytes a cell beside the mesh itself.

    Args:
        model: trained.
        resolution: cells along the longest edge of the box.
        reach: half edge of the cube around the origin that the box is cut to, scene units.
        progress: show bars.
    Raises:
        InputError: there is no surface.
    """
    voxel, corner, opacity = _voxels(model, resolution, reach, progress)
    level = min(_LEVEL, voxel * _surface_density(model, reach))
    vertices, faces = _march(opacity, 1 - math.exp(-level))
    vertices = corner + voxel * vertices
    normals = vertex_normals(vertices, faces)
    seen = _seen(model, vertices, normals, _TOLERANCE * voxel, progress)
    faces = faces[(seen != 0).any(1)[faces].sum(1) >= 2]
    faces = faces[_areas_of_parts(len(vertices), faces, face_areas(vertices, faces)) >= _LOOSE * voxel**2]
    if not len(faces):
        raise InputError(
            "no surface found: nothing solid was learned where the cameras look; "
            "look at it with apps/render.py, and train longer"
        )
    used, faces = _used(faces)
    vertices = vertices[used]
    normals = vertex_normals(vertices, faces)
    # The colour in a direction that no photo was taken in was never learned.
    directions = torch.where(seen[used].norm(dim=1, keepdim=True) > 0, F.normalize(seen[used], dim=1), -normals)
    colours, features = _look(model, vertices, directions)
    return Mesh(vertices, faces, normals, colours, features, voxel)


@torch.no_grad()
def _voxels(model: Model, resolution: int, reach: float, progress: bool) -> tuple[float, Tensor, np.ndarray]:
    """Edge of a voxel, the first of a grid of points, and what share of the light a voxel around each stops.

    The share rather than the density, because between two points it is nearer to linear.
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
def _surface_density(model: Model, reach: float) -> float:
    """Density that most of what the viewpoints see has at least, where they see it; infinite where that is nothing.

    A field that had little time, or many views that disagree, stops light over many voxels: its surface is faint.
    """
    cameras, found = model.viewpoints.cameras, []
    for view in torch.linspace(0, len(cameras) - 1, min(len(cameras), _FEW_VIEWS)).round().long().tolist():
        rays_o, rays_d = cameras.image_rays(view)
        step = max(len(rays_o) // _FEW_RAYS, 1)
        rays_o, rays_d = rays_o[::step], rays_d[::step]
        rendering = model.renderer.render(rays_o, rays_d, colour=False)
        positions = (rays_o + rendering.distance[:, None] * rays_d)[rendering.opacity > 0.5]
        found.append(model.field.density(positions[(positions.abs() <= reach).all(1)]).sigmas)
    sigmas = torch.cat(found)
    return float(sigmas.quantile(_FAINTEST)) if len(sigmas) else math.inf


def _march(opacity: np.ndarray, level: float) -> tuple[Tensor, Tensor]:
    """Vertices (n, 3), in cells, and faces (m, 3) of the surface; none where there is no surface."""
    from skimage.measure import marching_cubes

    if not opacity.min() < level < opacity.max():
        return torch.empty(0, 3), torch.empty(0, 3, dtype=torch.int64)
    vertices, faces, _, _ = marching_cubes(opacity, level, gradient_direction="ascent", allow_degenerate=False)
    return torch.from_numpy(np.ascontiguousarray(vertices)), torch.from_numpy(faces.astype(np.int64))


@torch.no_grad()
def _seen(model: Model, vertices: Tensor, normals: Tensor, tolerance: float, progress: bool) -> Tensor:
    """Sum (n, 3) of the directions from which viewpoints see the fronts of vertices; 0 where none does.

    A vertex is seen that is not much behind what the viewpoint sees there.
    """
    cameras = _some_cameras(model.viewpoints.cameras)
    vertices, normals = vertices.to(cameras.c2w), normals.to(cameras.c2w)
    total = torch.zeros_like(vertices)
    for view in tqdm(range(len(cameras)), desc="visibility", unit="view", delay=2, disable=not progress):
        rendering = model.renderer.render_image(cameras, view, colour=False)
        depth = torch.where(rendering.opacity < 0.5, torch.inf, rendering.distance)
        camera, (width, height) = cameras[[view]], cameras.size[view].tolist()
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


def _some_cameras(cameras: Cameras) -> Cameras:
    """At most so many of them, spread evenly, with images small enough for a bounded number of rays."""
    chosen = torch.linspace(0, len(cameras) - 1, min(len(cameras), _VIEWS)).round().long()
    cameras = cameras[chosen.to(cameras.c2w.device)]
    shrink = math.sqrt(min(_RAYS / float(cameras.size.prod(1).sum()), 1.0))
    return cameras if shrink == 1 else cameras.resized(max(int(float(cameras.size[:, 0].max()) * shrink), 1))


@torch.no_grad()
def _look(model: Model, vertices: Tensor, directions: Tensor) -> tuple[Tensor, Tensor | None]:
    """Colours (n, 3), seen along unit directions (n, 3), and features (n, dim) of vertices."""
    device, field = model.grid.bits.device, model.field
    colours, features = [], []
    for position, direction in zip(vertices.to(device).split(_CHUNK), directions.to(device).split(_CHUNK)):
        each = torch.arange(len(position), dtype=torch.int32, device=device)
        colours.append(field.colour(field.density(position).geometry, direction, each).cpu())
        if model.features is not None:
            features.append(F.normalize(model.features(position), dim=1).cpu())
    return torch.cat(colours), torch.cat(features) if features else None


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area (m,) of each face."""
    return 0.5 * _face_normals(vertices, faces).norm(dim=1)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (n, 3) of vertices: the mean of their faces', by area."""
    total = torch.zeros_like(vertices)
    for corner in faces.unbind(1):
        total.index_add_(0, corner, _face_normals(vertices, faces))
    return F.normalize(total, dim=1)


def _face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Normals (m, 3) as long as twice the area."""
    a, b, c = (vertices[corner] for corner in faces.unbind(1))
    return torch.linalg.cross(b - a, c - a)


def connected_parts(n_vertices: int, faces: Tensor) -> Tensor:
    """Number (m,) int64, from 0, of the connected part that each face (m, 3) is in."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = torch.cat([faces[:, :2], faces[:, 1:]]).numpy()
    links = coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), (n_vertices, n_vertices))
    part = connected_components(links, directed=False)[1]
    return torch.from_numpy(part.astype(np.int64))[faces[:, 0]]


def _areas_of_parts(n_vertices: int, faces: Tensor, area: Tensor) -> Tensor:
    """Area (m,) of the connected part that each face is in."""
    part = connected_parts(n_vertices, faces)
    return torch.bincount(part, area)[part]


def _used(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Which vertices (n,) int64 some faces use, and the faces numbered anew by their order."""
    used, renumbered = faces.unique(return_inverse=True)
    return used, renumbered.view(-1, 3)
