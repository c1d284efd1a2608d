"""Areas, normals and connected parts of triangles: vertices (n, 3) and faces (m, 3) int64, on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return the area (m,) of each face."""
    return 0.5 * _face_normals(vertices, faces).norm(dim=1)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return unit normals (n, 3) of vertices: the means of their faces' normals, weighted by area."""
    total = torch.zeros_like(vertices)
    for corner in faces.unbind(1):
        total.index_add_(0, corner, _face_normals(vertices, faces))
    return F.normalize(total, dim=1)


def _face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return normals (m, 3) of faces; their length is twice the area."""
    a, b, c = (vertices[corner] for corner in faces.unbind(1))
    return torch.linalg.cross(b - a, c - a)


def connected_parts(n_vertices: int, faces: Tensor) -> Tensor:
    """Return the number (m,) int64, from 0, of the connected part that each face is in."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = torch.cat([faces[:, :2], faces[:, 1:]]).numpy()
    links = coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), (n_vertices, n_vertices))
    part = connected_components(links, directed=False)[1]
    return torch.from_numpy(part.astype(np.int64))[faces[:, 0]]


def part_areas(n_vertices: int, faces: Tensor, areas: Tensor) -> Tensor:
    """Return the area (m,) of the connected part that each face is in, from the areas (m,) of the faces."""
    part = connected_parts(n_vertices, faces)
    return torch.bincount(part, areas)[part]


def used_vertices(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Return the vertices (k,) int64 that faces use, and the faces renumbered to these."""
    used, renumbered = faces.unique(return_inverse=True)
    return used, renumbered.view(-1, 3)
