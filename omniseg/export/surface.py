"""The surface of a run, or of what is selected of it, as a mesh file or a point cloud file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from omniseg.data.drawing import distinct_colours
from omniseg.errors import BadArgument, InputError
from omniseg.export.mesh import extract_mesh
from omniseg.export.mesh_files import MESH_SUFFIXES, POINT_SUFFIXES, require_trimesh, save_mesh, save_points
from omniseg.files import require_writable
from omniseg.run_folder import Model
from omniseg.selection.segment_tree import Segments
from omniseg.selection.selections import Selection

SurfaceKind = Literal["mesh", "points"]

MIN_RESOLUTION, MAX_RESOLUTION = 16, 1024
"""Range of `resolution`; memory grows with its cube."""


@dataclass(frozen=True)
class ExportedSurface:
    """A mesh or point cloud on disk.

    Attributes:
        path: the file.
        n_faces, n_vertices: size of the mesh, or of the mesh whose vertices are the points.
        segment_faces: segment number -> number of its faces; empty without selections and segments.
    """

    path: Path
    n_faces: int
    n_vertices: int
    segment_faces: dict[int, int]


def check_surface(path: Path, kind: SurfaceKind, resolution: int, reach: float) -> None:
    """Check the arguments of `export_surface`, and that its file can be written, before minutes of work.

    Raises:
        InputError: an argument is out of range, the suffix is wrong, trimesh is missing, or the folder is not writable.
    """
    suffixes = MESH_SUFFIXES if kind == "mesh" else POINT_SUFFIXES
    if path.suffix not in suffixes:
        raise BadArgument("out", f"expected a file that ends in {' or '.join(suffixes)}", path)
    if not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        raise BadArgument("resolution", f"expected {MIN_RESOLUTION} to {MAX_RESOLUTION}, got {resolution}")
    if not 0 < reach < float("inf"):
        raise BadArgument("reach", f"expected a number above 0, got {reach}")
    if path.suffix == ".glb":
        require_trimesh()
    require_writable(path.parent)
    if path.is_dir():
        raise BadArgument("out", "is a folder; give a file", path)


def export_surface(
    path: Path,
    model: Model,
    kind: SurfaceKind,
    *,
    selections: Mapping[int, Selection] | None = None,
    segments: Segments | None = None,
    resolution: int = 256,
    reach: float = 1.0,
    progress: bool = True,
) -> ExportedSurface:
    """Extract the surface of a model and write it, in the coordinates and units of the capture.

    Args:
        path: file of the result.
        model: trained model.
        kind: "mesh", or "points" for the vertices of the mesh.
        selections: keep only what these select; a face gets the number of its selection as its segment.
        segments: one level of the segment tree, which labels every face; excludes `selections`.
        resolution: cells along the longest edge of the box.
        reach: half edge of the cube around the subject that the box is cut to, scene units.
        progress: show progress bars.
    Raises:
        InputError: no surface was learned, the selections are empty there, or the file cannot be written.
    """
    selections = selections or {}
    mesh = extract_mesh(model, resolution, reach=reach, progress=progress)
    labels = mesh.segments(selections)
    colours = {number: selection.colour for number, selection in selections.items()}
    if segments is not None and mesh.features is not None:
        device = segments.ids.device
        of_vertices = segments.ids_at(mesh.features.to(device), mesh.vertices.to(device)).cpu()
        labels = of_vertices[mesh.faces].mode(1).values
        colours = dict(enumerate(distinct_colours(len(segments)).tolist(), 1))
    if selections:
        kept = labels > 0
        if not kept.any():
            names = ", ".join(selection.name for selection in selections.values())
            raise InputError(
                f"{names}: selects nothing on the surface; lower the threshold, "
                "or give a finer --resolution or a larger --reach"
            )
        mesh, labels = mesh.keep(kept), labels[kept]
    if kind == "mesh":
        save_mesh(path, mesh, model.normalisation, labels, colours)
    else:
        save_points(path, mesh, model.normalisation, labels)
    numbers, counts = torch.unique(labels, return_counts=True)
    faces = {number: count for number, count in zip(numbers.tolist(), counts.tolist()) if number}
    return ExportedSurface(path, len(mesh.faces), len(mesh.vertices), faces)
