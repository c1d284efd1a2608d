"""The mesh of the learned ball lies on the ball, faces outwards, has its colours, and can be selected from."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from learned_ball import learned_ball
from omniseg.errors import InputError
from omniseg.evaluation.segmentation import best_threshold
from omniseg.export.mesh import Mesh, MeshConfig, extract_mesh
from omniseg.export.triangles import connected_parts, face_areas, vertex_normals
from omniseg.rendering.view import render_view
from omniseg.run_folder import Model
from omniseg.selection.query import Click
from omniseg.selection.selections import Selection
from tiny_scene import RADIUS

RESOLUTION = 40


@pytest.fixture(scope="module")
def model(device) -> Model:
    return learned_ball(device)


@pytest.fixture(scope="module")
def mesh(model) -> Mesh:
    return extract_mesh(model, RESOLUTION, progress=False)


def middles(mesh: Mesh) -> Tensor:
    return mesh.vertices[mesh.faces].mean(1)


def half(model: Model, right: bool) -> Selection:
    """One half of the ball: a click, and the best threshold for it in that view."""
    view = render_view(model.renderer, model.viewpoints.cameras, 2)
    side = (view.positions[:, 0] > 0) == right
    at = torch.where(view.solid & side, view.positions[:, 0].abs(), torch.inf).sub(0.3).abs().argmin()
    found = Click(True, tuple(view.positions[at].tolist()), tuple(view.unit_features[at].tolist()))
    selection = Selection("half", (1, 2, 3), (found,))
    score = selection.score(view.unit_features, view.positions)[view.solid]
    return replace(selection, threshold=best_threshold(score, side[view.solid])[0])


def test_lies_on_the_ball(mesh: Mesh):
    area = face_areas(mesh.vertices, mesh.faces)
    away = (middles(mesh).norm(dim=1) - RADIUS).abs() / mesh.voxel
    assert float((away * area).sum() / area.sum()) < 1
    assert mesh.voxel == pytest.approx(2 / RESOLUTION)
    # All of it but what the cameras, which look down, do not see.
    assert 0.75 < float(area.sum()) / (4 * torch.pi * RADIUS**2) < 1.1
    for x in (1.0, -1.0):
        for y in (1.0, -1.0):
            corner = F.normalize(torch.tensor([x, y, 0.7]), dim=0) * RADIUS
            assert float((middles(mesh) - corner).norm(dim=1).min()) < 2 * mesh.voxel


def test_normals_and_faces_look_outwards(mesh: Mesh):
    outwards = F.normalize(mesh.vertices, dim=1)
    assert float((outwards * mesh.normals).sum(1).mean()) > 0.85
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    assert float((torch.linalg.cross(b - a, c - a) * middles(mesh)).sum(1).gt(0).float().mean()) > 0.97
    torch.testing.assert_close(mesh.normals.norm(dim=1), torch.ones(len(mesh.normals)))


def test_colours_are_near_the_true_ones(mesh: Mesh):
    on_ball = F.normalize(mesh.vertices, dim=1) * RADIUS
    want = 0.5 + 0.4 * torch.sin(4 * on_ball + torch.tensor([0.0, 1.0, 2.0]))
    error = (mesh.colours - want).abs().mean()
    assert float(error) < 0.12  # seen from where no camera was, it is twice as large
    assert float((want - want.mean(0)).abs().mean()) > 2 * float(error)


def test_features_are_those_of_the_rendering(model: Model, mesh: Mesh):
    assert mesh.features is not None
    view = render_view(model.renderer, model.viewpoints.cameras, 1)
    seen, positions = view.unit_features[view.solid].cpu(), view.positions[view.solid].cpu()
    nearest = torch.cdist(positions, mesh.vertices).argmin(1)
    assert float((mesh.features[nearest] * seen).sum(1).median()) > 0.9


def test_half_of_the_ball(model: Model, mesh: Mesh):
    """Its upper side, at which the cameras look."""
    upper = mesh.keep(middles(mesh)[:, 2] > 0)
    total = float(face_areas(upper.vertices, upper.faces).sum())
    for right in (False, True):
        part = upper.keep(upper.select(half(model, right)))
        area = face_areas(part.vertices, part.faces)
        assert 0.4 < float(area.sum()) / total < 0.6
        assert float((area * ((middles(part)[:, 0] > 0) == right)).sum() / area.sum()) > 0.8
        assert int(part.faces.max()) == len(part.vertices) - 1
        torch.testing.assert_close(vertex_normals(part.vertices, part.faces).norm(dim=1), torch.ones(len(part.normals)))


def test_of_several_selections_the_last_counts(model: Model, mesh: Mesh):
    left, right = half(model, False), half(model, True)
    found = mesh.segments({2: left, 5: right})
    assert set(found.unique().tolist()) <= {0, 2, 5}
    assert torch.equal(found == 5, mesh.select(right))
    everything = replace(left, threshold=0.0)
    assert torch.equal(mesh.segments({1: right, 3: everything}) == 3, mesh.select(everything))
    assert not mesh.segments({}).any()
    assert not mesh.select(Selection("empty", (0, 0, 0))).any()


def test_features_are_needed_to_select(mesh: Mesh):
    with pytest.raises(ValueError, match="features: expected"):
        replace(mesh, features=None).select(Selection("any", (0, 0, 0)))


def plane(side: int, speckled: Tensor) -> Mesh:
    """A square grid with unit cells; the feature of a vertex says whether it is wanted."""
    x, y = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    vertices = torch.stack([x, y, torch.zeros_like(x)], dim=-1).view(-1, 3).float()
    corner = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).view(-1)
    upper = torch.stack([corner, corner + side, corner + 1], dim=1)
    lower = torch.stack([corner + side, corner + side + 1, corner + 1], dim=1)
    features = torch.stack([speckled.float(), 1 - speckled.float()], dim=1)
    return Mesh(vertices, torch.cat([upper, lower]), torch.zeros_like(vertices), vertices, features, 1.0)


def test_specks_and_pinholes_go_and_what_is_loose_stays_out():
    side = 40
    wanted = torch.zeros(side, side, dtype=torch.bool)
    wanted[:, :20] = True
    wanted[10:12, 10:12] = False  # a pinhole
    wanted[30:32, 32:34] = True  # a speck
    flat = plane(side, wanted.view(-1))
    loose = plane(3, torch.zeros(9, dtype=torch.bool))
    mesh = Mesh(
        torch.cat([flat.vertices, loose.vertices + torch.tensor([0.0, 0.0, 5.0])]),
        torch.cat([flat.faces, loose.faces + side**2]),
        torch.cat([flat.normals, loose.normals]),
        torch.cat([flat.colours, loose.colours]),
        torch.cat([flat.features, loose.features]),
        1.0,
    )
    selected = mesh.select(Selection("left", (0, 0, 0), (Click(True, (0.0, 0.0, 0.0), (1.0, 0.0)),)))
    y = middles(mesh)[:, 1]
    assert torch.equal(selected, (y < 19.5) & (torch.arange(len(y)) < len(flat.faces)))


def test_connected_parts():
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [2, 1, 6]])
    first, second, third = connected_parts(7, faces).tolist()
    assert first == third != second
    assert len(connected_parts(7, faces[:0])) == 0


def test_what_no_camera_sees_is_left_out(model: Model, mesh: Mesh):
    front = replace(model, viewpoints=replace(model.viewpoints, cameras=model.viewpoints.cameras[[0]]))
    part = extract_mesh(front, RESOLUTION, progress=False)
    towards = front.viewpoints.cameras.c2w[0, :, 3].cpu()
    facing = (F.normalize(part.vertices, dim=1) * F.normalize(towards, dim=0)).sum(1)
    assert float((facing > 0).float().mean()) > 0.97
    assert 0.2 < len(part.faces) / len(mesh.faces) < 0.65


def test_numbers_are_those_of_the_configuration(model: Model, mesh: Mesh):
    thin = extract_mesh(model, RESOLUTION, config=MeshConfig(iso_depth=0.05), progress=False)
    thick = extract_mesh(model, RESOLUTION, config=MeshConfig(iso_depth=2.0), progress=False)
    radii = [float(m.vertices.norm(dim=1).median()) for m in (thin, mesh, thick)]
    assert radii == sorted(radii, reverse=True)
    assert radii[0] > radii[2]
    assert thin.keep(torch.ones(len(thin.faces), dtype=torch.bool)).config.iso_depth == 0.05
    with pytest.raises(InputError, match="no surface"):
        extract_mesh(model, RESOLUTION, config=MeshConfig(min_part=1e5), progress=False)
    assert repr(mesh) == f"Mesh({len(mesh.vertices)} vertices, {len(mesh.faces)} faces)"


@pytest.mark.parametrize("bad", [{"iso_depth": 0}, {"min_part": -1}, {"faint_quantile": 2}, {"views": 0}])
def test_impossible_numbers_are_refused(bad: dict):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}: expected"):
        MeshConfig(**bad)


def test_reach_cuts_the_box(model: Model):
    part = extract_mesh(model, RESOLUTION, reach=0.5, progress=False)
    assert float(part.vertices.abs().max()) <= 0.5 + 1e-5
    assert part.voxel == pytest.approx(1 / RESOLUTION)


def test_no_surface(model: Model):
    with pytest.raises(InputError, match="no surface"):
        extract_mesh(model, RESOLUTION, reach=0.1, progress=False)
    empty = replace(model, grid=type(model.grid)(model.config.marching, model.viewpoints.cameras))
    empty.grid.bits.zero_()
    with pytest.raises(InputError, match="no surface"):
        extract_mesh(empty, RESOLUTION, progress=False)


def test_without_features(model: Model):
    assert extract_mesh(replace(model, features=None), 20, progress=False).features is None
