"""Mesh and point files hold what they were given, as trimesh and our own reader see it."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omniseg.data.formats.ply import read_ply_points
from omniseg.data.normalisation import Normalisation
from omniseg.errors import InputError
from omniseg.export.mesh import Mesh
from omniseg.export.mesh_files import save_mesh, save_points
from scene_files import look_at

trimesh = pytest.importorskip("trimesh", reason="reads the files back: pip install -e '.[export]'")

HERE = Normalisation(0.5, look_at([1, 2, 3])[:, :3], np.array([0.1, -0.2, 0.3]))
MESH = Mesh(
    vertices=torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.5]], dtype=torch.float32),
    faces=torch.tensor([[0, 1, 2], [1, 3, 2]]),
    normals=torch.nn.functional.normalize(torch.tensor([[0, 0, 1.0], [0, 0, 1], [0, 1, 1], [-1, 0, 1]])),
    colours=torch.tensor([[0, 0.5, 1], [1, 0, 0], [0, 1, 0], [2, -1, 0.25]]),
    features=torch.eye(4, 3),
    voxel=0.1,
)
SEGMENTS = torch.tensor([2, 5])
POSITIONS = HERE.inverse_points(MESH.vertices.double().numpy())
COLOURS = [[0, 128, 255], [255, 0, 0], [0, 255, 0], [255, 0, 64]]


def rows(path: Path, element: str) -> np.ndarray:
    loaded = trimesh.load(path, process=False)
    return loaded.metadata["_ply_raw"][element]["data"]


@pytest.mark.parametrize("suffix", ["ply", "glb"])
def test_a_mesh_is_in_input_coordinates_with_normals_and_colours(tmp_path: Path, suffix: str):
    path = tmp_path / f"a.{suffix}"
    save_mesh(path, MESH, HERE, SEGMENTS, {})
    loaded = trimesh.load(path, process=False)
    mesh = loaded if suffix == "ply" else next(iter(loaded.geometry.values()))
    np.testing.assert_allclose(mesh.vertices, POSITIONS, atol=1e-5)
    np.testing.assert_array_equal(mesh.faces, MESH.faces)
    raw = rows(path, "vertex") if suffix == "ply" else None  # trimesh computes normals of its own for a PLY file
    normals = mesh.vertex_normals if raw is None else np.stack([raw[name] for name in ("nx", "ny", "nz")], axis=1)
    np.testing.assert_allclose(normals, MESH.normals.numpy() @ HERE.rotation, atol=1e-5)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], COLOURS)
    np.testing.assert_array_equal(np.load(tmp_path / "a.features.npy"), MESH.features)


def test_faces_of_a_ply_have_segments_and_their_colours(tmp_path: Path):
    save_mesh(tmp_path / "a.ply", MESH, HERE, SEGMENTS, {5: (1, 2, 3)})
    faces = rows(tmp_path / "a.ply", "face")
    assert faces["segment"].tolist() == [2, 5]
    assert [faces[name].tolist() for name in ("red", "green", "blue")] == [[0, 1], [0, 2], [0, 3]]
    save_mesh(tmp_path / "b.ply", MESH, HERE, SEGMENTS, {})
    assert b"red" not in (tmp_path / "b.ply").read_bytes().split(b"element face")[1].split(b"end_header")[0]


def test_points_have_the_largest_segment_of_their_faces(tmp_path: Path):
    save_points(tmp_path / "a.ply", replace(MESH, features=None), HERE, SEGMENTS)
    points = rows(tmp_path / "a.ply", "vertex")
    assert points.dtype.names == ("x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "segment")
    assert points["segment"].tolist() == [2, 5, 5, 5]
    np.testing.assert_allclose(read_ply_points(tmp_path / "a.ply"), POSITIONS, atol=1e-5)
    assert not (tmp_path / "a.features.npy").exists()


def test_only_glb_needs_trimesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    save_mesh(tmp_path / "a.ply", MESH, HERE, SEGMENTS, {})
    with pytest.raises(InputError, match=r"GLB files need trimesh.*\.ply"):
        save_mesh(tmp_path / "a.glb", MESH, HERE, SEGMENTS, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.features.npy", "a.ply"]


FAR = np.array([448262.25, 5411932.5, 230.125])


def test_a_georeferenced_ply_has_doubles(tmp_path: Path):
    there = replace(HERE, translation=HERE.translation - HERE.scale * HERE.rotation @ FAR)
    save_points(tmp_path / "a.ply", replace(MESH, features=None), there, SEGMENTS)
    np.testing.assert_allclose(read_ply_points(tmp_path / "a.ply") - FAR, POSITIONS, atol=1e-6)
    save_points(tmp_path / "near.ply", replace(MESH, features=None), HERE, SEGMENTS)
    assert b"property float x" in (tmp_path / "near.ply").read_bytes()


def test_a_georeferenced_glb_has_an_offset(tmp_path: Path, caplog):
    caplog.set_level("INFO", "omniseg")
    there = replace(HERE, translation=HERE.translation - HERE.scale * HERE.rotation @ FAR)
    save_mesh(tmp_path / "a.glb", MESH, there, SEGMENTS, {})
    scene = trimesh.load(tmp_path / "a.glb")
    (node,) = scene.graph.nodes_geometry
    transform, name = scene.graph[node]
    positions = np.asarray(scene.geometry[name].vertices, np.float64) + transform[:3, 3]
    np.testing.assert_allclose(positions - FAR, POSITIONS, atol=1e-5)
    offset = " ".join(f"{value:.0f}" for value in (POSITIONS + FAR).mean(0))
    assert f"relative to its node's translation, {offset}" in caplog.text
