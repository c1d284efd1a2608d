"""export writes files that other programs open, in the capture's coordinates, and refuses bad options."""

import errno
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from command_line import Run, content
from learned_ball import NORMALISATION, learned_ball, write_run
from omniseg.evaluation.segmentation import best_threshold
from omniseg.run_folder import fingerprint
from omniseg.selection.query import Click
from omniseg.selection.selections import Selection, Selections, save_selections
from omniseg.selection.session import SegmentationSession
from tiny_scene import RADIUS, SIDE

trimesh = pytest.importorskip("trimesh", reason="what reads the files back: pip install -e '.[export]'")

SMALL = ["--resolution", 40]


@pytest.fixture
def run(device, tmp_path: Path) -> Path:
    """Write a run of the learned ball."""
    return write_run(tmp_path / "run", learned_ball(device))


@pytest.fixture
def selections(device, run: Path) -> Path:
    """Write a selection file: an empty selection, each half of the ball, and one that matches nothing."""
    session = SegmentationSession(learned_ball(device), fingerprint(run))
    frame = session.look(session.model.viewpoints.cameras, 2)
    found = [Selection("empty", (9, 9, 9))]
    for name, right, colour in (("left", False, (255, 0, 0)), ("right/../one", True, (0, 0, 255))):
        positions = frame.positions.cpu()
        at = torch.where(frame.solid.cpu(), positions[:, 0] * (1 if right else -1), -9.0)
        pixel = int((at - 0.3).abs().argmin())
        session.click(pixel % SIDE + 0.5, pixel // SIDE + 0.5)
        half = (positions[:, 0] > 0) == right
        score, solid = torch.from_numpy(session.score()).view(-1), frame.solid.cpu()
        threshold, _ = best_threshold(score[solid], half[solid])
        found.append(replace(session.current, name=name, colour=colour, threshold=threshold))
    feature = tuple(-value for value in found[1].clicks[0].feature)
    nothing = Click(True, (0.0, 0.0, 0.0), feature)
    found.append(Selection("nothing", (1, 1, 1), (nothing,), threshold=1.0))
    path = run.parent / "selections.json"
    save_selections(path, Selections(tuple(found)), fingerprint(run))
    return path


def opened(path: str) -> trimesh.Trimesh:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return trimesh.load(path, process=False, force="mesh")


def raw(mesh: trimesh.Trimesh, element: str) -> np.ndarray:
    return mesh.metadata["_ply_raw"][element]["data"]


@pytest.mark.parametrize("suffix", ["ply", "glb"])
def test_the_mesh_of_the_whole_scene_has_its_shape_colours_and_features(command: Run, run: Path, suffix: str):
    before = content(run)
    done = command("export", run, "--what", "mesh", "--out", f"new/a.{suffix}", *SMALL)
    assert done.status == 0, done.err
    mesh = opened(f"new/a.{suffix}")
    assert f"{len(mesh.faces)} faces in new/a.{suffix}" in done.out
    centre = NORMALISATION.inverse_points(np.zeros(3))
    away = np.linalg.norm(mesh.vertices - centre, axis=1)
    assert np.median(away) == pytest.approx(RADIUS / NORMALISATION.scale, abs=0.1)
    outwards = (mesh.vertices - centre) / away[:, None]
    assert (outwards * mesh.vertex_normals).sum(1).mean() > 0.85
    assert (outwards[mesh.faces[:, 0]] * mesh.face_normals).sum(1).mean() > 0.7
    scene = NORMALISATION.points(mesh.vertices)
    scene *= RADIUS / np.linalg.norm(scene, axis=1, keepdims=True)
    error = mesh.visual.vertex_colors[:, :3] / 255 - (0.5 + 0.4 * np.sin(4 * scene + np.arange(3)))
    assert np.abs(error).mean() < 0.12
    features = np.load("new/a.features.npy")
    assert features.dtype == np.float32
    assert features.shape == (len(mesh.vertices), 8)
    assert content(run) == before


def test_faces_carry_the_number_and_colour_of_their_selection(command: Run, run: Path, selections: Path):
    done = command("export", run, "--what", "mesh", "--selection", selections, "--out", "a.ply", *SMALL)
    assert done.status == 0, done.err
    mesh = opened("a.ply")
    faces = raw(mesh, "face")
    assert set(np.unique(faces["segment"])) == {2, 3}  # by their number in the file
    middle = NORMALISATION.points(mesh.vertices[mesh.faces].mean(1))
    right, upper = middle[:, 0] > 0, middle[:, 2] > 0
    assert ((faces["segment"] == 3) == right)[upper].mean() > 0.8
    assert (faces["red"] == np.where(faces["segment"] == 2, 255, 0)).all()
    assert (faces["blue"] == np.where(faces["segment"] == 3, 255, 0)).all()
    assert f"segment 2: left, {(faces['segment'] == 2).sum()} faces" in done.out


def test_everything_labels_the_whole_scene(command: Run, run: Path):
    how = ["--everything", "--level", 4.5, *SMALL]
    assert command("export", run, "--what", "mesh", *how, "--out", "all.ply").status == 0
    done = command("export", run, "--what", "points", *how, "--out", "points.ply")
    assert done.status == 0, done.err
    assert "segments of everything" in done.out
    mesh = opened("all.ply")
    segments = raw(mesh, "face")["segment"]
    assert segments.min() >= 1
    # above and below, left and right: parts differ, and a part is mostly one segment
    middles = mesh.triangles_center
    above = middles[:, 2] > NORMALISATION.inverse_points(np.array([0.0, 0.0, 0.3]))[2]
    assert np.bincount(segments[above]).argmax() != np.bincount(segments[~above]).argmax()
    command("export", run, "--what", "masks", *how, "--out", "m").refused("--everything")
    command("export", run, "--what", "mesh", "--level", 9, "--out", "m.ply").refused("--level")


def test_one_selection_is_half_of_the_ball(command: Run, run: Path, selections: Path):
    area = {}
    for name in ("", "left"):
        some = ["--selection", selections, "--name", name] if name else []
        assert command("export", run, "--what", "mesh", *some, "--out", f"all{name}.glb", *SMALL).status == 0
        mesh = opened(f"all{name}.glb")
        area[name] = mesh.area_faces[NORMALISATION.points(mesh.triangles_center)[:, 2] > 0].sum()
    assert 0.4 < area["left"] / area[""] < 0.6


def test_points_have_positions_normals_colours_and_segments(command: Run, run: Path, selections: Path):
    done = command("export", run, "--what", "points", "--selection", selections, "--out", "p.ply", *SMALL)
    assert done.status == 0, done.err
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cloud = trimesh.load("p.ply")
    rows = cloud.metadata["_ply_raw"]["vertex"]["data"]
    assert rows.dtype.names == ("x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "segment")
    assert f"{len(rows)} points in p.ply" in done.out
    assert set(np.unique(rows["segment"])) == {2, 3}
    scene = NORMALISATION.points(np.stack([rows["x"], rows["y"], rows["z"]], 1).astype(np.float64))
    assert np.linalg.norm(scene, axis=1).mean() == pytest.approx(RADIUS, abs=0.05)
    assert ((rows["segment"] == 3) == (scene[:, 0] > 0))[scene[:, 2] > 0].mean() > 0.8
    normals = np.stack([rows["nx"], rows["ny"], rows["nz"]], 1) @ NORMALISATION.rotation.T
    assert (normals * scene).sum(1).mean() / RADIUS > 0.8
    assert len(np.load("p.features.npy")) == len(rows)


@pytest.mark.parametrize(("path", "n"), [("views", 8), ("test", 2), ("orbit", 3)])
def test_masks_and_cutouts_agree_in_every_view(command: Run, run: Path, selections: Path, path: str, n: int):
    some = ["--selection", selections, "--path", path, "--frames", 3, "--width", 12]
    for what in ("masks", "rgba"):
        done = command("export", run, "--what", what, *some, "--out", what)
        assert done.status == 0, done.err
        assert f"{n} pictures in {what}" in done.out
    masks, cuts = (content(Path(what)) for what in ("masks", "rgba"))
    assert masks.keys() == cuts.keys()
    assert {name.split("/")[0] for name in masks} == {"left", "right_.._one", "nothing"}
    seen = set()
    for name, data in masks.items():
        mask, cut = (cv2.imdecode(np.frombuffer(d, np.uint8), cv2.IMREAD_UNCHANGED) for d in (data, cuts[name]))
        assert mask.shape == (12, 12)
        assert cut.shape == (12, 12, 4)
        assert np.array_equal(cut[..., 3] > 0, mask == 255)
        assert set(np.unique(mask)) <= {0, 255}
        seen |= {name.split("/")[0]} if mask.any() else set()
    assert seen == {"left", "right_.._one"}  # each from some side


def test_cutouts_of_the_whole_scene_are_transparent_beside_it(command: Run, run: Path):
    done = command("export", run, "--what", "rgba", "--path", "test", "--out", "out")
    assert done.status == 0, done.err
    cut = cv2.imread("out/train/0000.png", cv2.IMREAD_UNCHANGED)
    assert 0.1 < (cut[..., 3] > 127).mean() < 0.9


def test_a_run_without_features_exports_its_mesh_but_no_selection(command: Run, run: Path):
    (run / "features.safetensors").unlink()
    assert command("export", run, "--what", "mesh", "--out", "a.ply", *SMALL).status == 0
    assert not Path("a.features.npy").exists()
    command("export", run, "--what", "mesh", "--selection", "s.json", "--out", "b.ply").refused("has no features")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mesh", "a.stl"), ("--out a.stl", ".ply or .glb")),
        (("mesh", "folder"), ("--out folder", ".ply or .glb")),
        (("points", "a.glb"), ("--out a.glb", ".ply")),
        (("masks", "a.png"), ("--out a.png", "a folder")),
        (("mesh", "file/a.ply"), ("file: cannot be written", "is a file")),
        (("rgba", "file"), ("file", "cannot be written")),
        (("mesh", "a.ply", "--resolution", 8), ("--resolution", "16 to 1024")),
        (("mesh", "a.ply", "--reach", 0), ("--reach", "above 0")),
        (("mesh", "a.ply", "--reach", 0.1), ("no surface found",)),
        (("rgba", "out", "--frames", 0), ("--frames", "at least 1")),
        (("rgba", "out", "--path", "orbitt"), ("--path orbitt", "orbit, spiral, views or test")),
        (("mesh", "a.ply", "--name", "left"), ("--name", "--selection FILE")),
        (("mesh", "a.ply", "--selection", "gone.json"), ("gone.json", "cannot be read")),
        (("mesh", "a.ply", "--selection", "S", "--name", "lift"), ("--name lift", "left, right")),
        (("mesh", "a.ply", "--selection", "S", "--name", "empty"), ("empty", "no click")),
        (("mesh", "a.ply", "--selection", "S", "--name", "nothing"), ("nothing on the surface", "threshold")),
        (("points", "a.ply", "--selection", "S", "--name", "nothing"), ("nothing on the surface", "threshold")),
        (("mesh", "a.ply", "--selection", "other.json"), ("other.json", "another feature field")),
    ],
)
def test_what_is_refused_changes_no_file(command: Run, run: Path, selections: Path, arguments: tuple, words: tuple):
    Path("file").write_text("mine")
    Path("other.json").write_text(selections.read_text().replace(fingerprint(run), "0" * 16))
    Path("a.ply").write_text("an earlier one")
    what, out, *more = (str(selections) if value == "S" else value for value in arguments)
    before = content(Path())
    small = () if "--resolution" in more else SMALL
    command("export", run, "--what", what, "--out", out, *more, *small).refused(*words)
    assert content(Path()) == before


def test_without_trimesh_a_ply_is_written_and_a_glb_refused(command: Run, run: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    command("export", run, "--what", "mesh", "--out", "a.glb").refused("trimesh", "pip install 'omniseg3d[export]'")
    assert command("export", run, "--what", "mesh", "--out", "a.ply", *SMALL).status == 0


def test_a_folder_that_may_not_be_written_is_named_at_once(command: Run, run: Path, monkeypatch):
    Path("locked").mkdir()
    make = tempfile.mkstemp

    def mkstemp(*, dir, **options):
        if Path(dir).name == "locked":  # permissions do not stop root
            raise PermissionError(errno.EACCES, "Permission denied")
        return make(dir=dir, **options)

    monkeypatch.setattr("tempfile.mkstemp", mkstemp)
    command("export", run, "--what", "mesh", "--out", "locked/new/a.ply").refused("locked/new", "writable folder")
    assert not list(Path("locked").iterdir())
