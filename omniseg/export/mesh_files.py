"""Write meshes and point clouds as files, in the coordinates of the capture.

The features of the vertices, float32 (n, dim) in their order, are in NAME.features.npy beside NAME.ply or NAME.glb:
3D programs know no property of so many channels, and some refuse a file that has one.

Positions far from the origin, such as georeferenced ones, are doubles in PLY. In GLB, whose positions are float32, they
are relative to a whole offset, which is the translation of the mesh's node, and a line of the log says it.

GLB is written by trimesh. PLY is ours: trimesh writes neither normals nor a `segment` for point clouds, and colours
only with an alpha channel.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omniseg.data.normalisation import Normalisation
from omniseg.errors import InputError
from omniseg.export.mesh import Mesh
from omniseg.files import write_atomic

MESH_SUFFIXES = (".ply", ".glb")
POINT_SUFFIXES = (".ply",)

_FAR = 10.0
"""Distance from the origin, in extents of the shape, from which positions need more than float32."""

_log = logging.getLogger("omniseg")

_PLY_TYPES = {"f4": "float", "f8": "double", "u1": "uchar", "i4": "int"}
_VERTEX = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
_COLOUR = [(name, "u1") for name in ("red", "green", "blue")]
_SEGMENT = [("segment", "<i4")]
_CORNERS = [("count", "u1"), ("vertex_indices", "<i4", (3,))]


def save_mesh(
    path: Path,
    mesh: Mesh,
    normalisation: Normalisation,
    segments: Tensor,
    colours: Mapping[int, Sequence[int]],
) -> None:
    """Write a mesh, and its features beside it.

    Args:
        path: NAME.glb or NAME.ply. Vertices have normals and the colours of the scene. In PLY, faces also have a
            `segment` and, if `colours` are given, the colour of their segment.
        mesh: in scene coordinates, n vertices and m faces.
        normalisation: from input to scene coordinates.
        segments: (m,) integers, segment of each face; 0: none.
        colours: red, green, blue in [0, 255] of each segment.
    Raises:
        InputError: a file cannot be written, or trimesh is not installed, which GLB needs.
    """
    if path.suffix == ".glb":
        data = _glb(mesh, normalisation)
    else:
        faces = np.zeros(len(mesh.faces), _CORNERS + _SEGMENT + (_COLOUR if colours else []))
        faces["count"], faces["vertex_indices"], faces["segment"] = 3, mesh.faces.numpy(), segments.numpy()
        for number, colour in colours.items():
            for (name, _), value in zip(_COLOUR, colour):
                faces[name][segments.numpy() == number] = value
        data = _ply({"vertex": _vertices(mesh, normalisation, []), "face": faces})
    _save(path, data, mesh)


def save_points(path: Path, mesh: Mesh, normalisation: Normalisation, segments: Tensor) -> None:
    """Write the vertices of a mesh as points x y z nx ny nz red green blue segment, and their features beside them.

    Args:
        path: NAME.ply.
        mesh: in scene coordinates, m faces.
        normalisation: from input to scene coordinates.
        segments: (m,) integers, segment of each face; 0: none. A vertex takes the largest one of its faces.
    Raises:
        InputError: a file cannot be written.
    """
    points = _vertices(mesh, normalisation, _SEGMENT)
    vertex_segments = torch.zeros(len(mesh.vertices), dtype=segments.dtype)
    for corner in mesh.faces.unbind(1):
        vertex_segments.scatter_reduce_(0, corner, segments, "amax")
    points["segment"] = vertex_segments.numpy()
    _save(path, _ply({"vertex": points}), mesh)


def require_trimesh() -> Any:
    """Return the library trimesh, or raise `InputError` if it is not installed."""
    try:
        return importlib.import_module("trimesh")  # takes a second to import
    except ImportError as error:
        raise InputError("GLB files need trimesh: pip install 'omniseg3d[export]', or write a .ply file") from error


def _parts(mesh: Mesh, normalisation: Normalisation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions and normals (n, 3), input coordinates, and colours (n, 3) uint8."""
    positions = normalisation.inverse_points(mesh.vertices.double().numpy())
    normals = mesh.normals.double().numpy() @ normalisation.rotation
    return positions, normals, (mesh.colours.clamp(0, 1) * 255).round().byte().numpy()


def _is_far(positions: np.ndarray) -> bool:
    """Tell whether positions (n, 3) are so far from the origin that float32 rounds away details of their shape."""
    return bool(len(positions)) and float(np.abs(positions).max()) > _FAR * float(np.ptp(positions, axis=0).max())


def _vertices(mesh: Mesh, normalisation: Normalisation, more: list[tuple[str, str]]) -> np.ndarray:
    positions, normals, colours = _parts(mesh, normalisation)
    places = [(name, "<f8" if _is_far(positions) else kind) for name, kind in _VERTEX[:3]]
    vertices = np.zeros(len(positions), places + _VERTEX[3:] + _COLOUR + more)
    for fields, values in ((_VERTEX[:3], positions), (_VERTEX[3:], normals), (_COLOUR, colours)):
        for (name, _), column in zip(fields, values.T):
            vertices[name] = column
    return vertices


def _ply(elements: Mapping[str, np.ndarray]) -> bytes:
    """Encode structured arrays, one an element, as a binary PLY file."""
    lines = ["ply", "format binary_little_endian 1.0"]
    for element, rows in elements.items():
        lines.append(f"element {element} {len(rows)}")
        for name in rows.dtype.names or ():
            kind = _PLY_TYPES[rows.dtype[name].base.str[1:]]
            if rows.dtype[name].shape:
                lines.append(f"property list uchar {kind} {name}")
            elif name != "count":  # which belongs to the list after it
                lines.append(f"property {kind} {name}")
    header = "\n".join([*lines, "end_header", ""])
    return header.encode("ascii") + b"".join(rows.tobytes() for rows in elements.values())


def _glb(mesh: Mesh, normalisation: Normalisation) -> bytes:
    positions, normals, colours = _parts(mesh, normalisation)
    trimesh, transform = require_trimesh(), np.eye(4)
    if _is_far(positions):
        offset = positions.mean(0).round()
        positions, transform[:3, 3] = positions - offset, offset
        _log.info("positions in the GLB file are relative to its node's translation, %.0f %.0f %.0f", *offset)
    made = trimesh.Trimesh(positions, mesh.faces.numpy(), vertex_normals=normals, vertex_colors=colours, process=False)
    scene = trimesh.Scene()
    scene.add_geometry(made, transform=transform)
    return scene.export(file_type="glb", include_normals=True)


def _save(path: Path, data: bytes, mesh: Mesh) -> None:
    features = path.with_suffix(".features.npy")
    if mesh.features is None:
        write_atomic(path, lambda temporary: temporary.write_bytes(data))
        return
    values = mesh.features.numpy().astype(np.float32)

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)
        # Inside, so that a full disk leaves both files of an earlier export, never a mixture.
        write_atomic(features, lambda other: np.save(other, values))

    write_atomic(path, write)
