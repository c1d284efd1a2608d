"""segment writes masks of clicks, boxes, strokes, selection files and of everything, and refuses bad options."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from command_line import Run, content
from learned_ball import learned_ball, quarter_labels, write_run
from omniseg.evaluation.segmentation import innermost
from omniseg.run_folder import fingerprint
from omniseg.selection.session import SegmentationSession
from tiny_scene import SIDE, ball_cameras, write_ball

VIEW = "train/0002"
LABELS = quarter_labels(ball_cameras())
HALF = LABELS[2]["object"] == 1
ROW, COLUMN = divmod(innermost(HALF), SIDE)
CLICK = ["--view", VIEW, "--click", COLUMN, ROW]


@pytest.fixture
def run(device, tmp_path: Path) -> Path:
    """Write a run of the learned ball."""
    return write_run(tmp_path / "run", learned_ball(device))


def read(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_clicks_give_masks_cutouts_overlays_and_a_file(command: Run, run: Path, device):
    done = command(
        "segment", run, *CLICK, "--reject", 1, SIDE // 2, "--threshold", 0.8, "--out", "out", "--name", "a/b"
    )
    assert done.status == 0, done.err
    files = content(Path("out"))
    names = [f"train/000{k}.png" for k in range(8)]
    assert {f"masks/a_b/{name}" for name in names} | {f"overlays/{name}" for name in names} <= set(files)
    assert f"cutouts/a_b/{VIEW}.png" in files
    mask = read(Path(f"out/masks/a_b/{VIEW}.png"))
    assert set(np.unique(mask)) == {0, 255}
    cut = read(Path(f"out/cutouts/a_b/{VIEW}.png"))
    assert cut.shape == (SIDE, SIDE, 4)
    assert np.array_equal(cut[..., 3], mask)
    assert overlap(mask > 0, HALF) > 0.5
    model = learned_ball(device)
    session = SegmentationSession(model, fingerprint(run))
    session.load(Path("out/selections.json"))
    session.look(model.viewpoints.cameras, 2)
    assert np.array_equal(session.mask(), mask > 0)
    again = command("segment", run, "--selection", "out/selections.json", "--out", "again")
    assert again.status == 0, again.err
    assert content(Path("again")) == files


def test_clicks_are_in_pixels_of_the_chosen_width(command: Run, run: Path):
    wide = 2 * SIDE
    click = ["--view", VIEW, "--click", 2 * COLUMN, 2 * ROW]
    done = command("segment", run, *click, "--width", wide, "--threshold", 0.8, "--out", "wide")
    assert done.status == 0, done.err
    mask = read(Path(f"wide/masks/selection 1/{VIEW}.png"))
    assert mask.shape == (wide, wide)
    assert overlap(mask > 0, np.kron(HALF, np.ones((2, 2))) > 0) > 0.5


def test_levels_boxes_and_scribbles_select_something(command: Run, run: Path):
    rows, columns = np.nonzero(HALF)
    box = ["--box", columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    stroke = ["--scribble", COLUMN, ROW, COLUMN, ROW + 3]
    for name, how in (("level", [*CLICK[2:], "--level", 0]), ("box", box), ("stroke", stroke)):
        done = command("segment", run, "--view", VIEW, *how, "--out", name)
        assert done.status == 0, done.err
        assert read(Path(f"{name}/masks/selection 1/{VIEW}.png")).any(), name
    assert "level 0 of 0 to" in command("segment", run, *CLICK, "--level", 0, "--out", "level").out


def test_cutouts_are_taken_from_the_photos_if_there_are_any(command: Run, run: Path):
    """The photos of the capture are plain green."""
    scene = write_ball(Path("ball"))
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("scene: ''", f"scene: {scene}"))
    for path in (scene / "train").iterdir():
        cv2.imwrite(str(path), np.full((2 * SIDE, 2 * SIDE, 3), (0, 255, 0), np.uint8))
    for path in sorted((scene / "train").iterdir()):
        path.rename(path.with_name(f"000{path.name}"))
    transforms = scene / "transforms_train.json"
    meta = json.loads(transforms.read_text())
    for frame in meta["frames"]:
        frame["file_path"] = frame["file_path"].replace("train/", "train/000")
    transforms.write_text(json.dumps(meta))
    done = command("segment", run, *CLICK, "--out", "out")
    assert done.status == 0, done.err
    cut = read(Path(f"out/cutouts/selection 1/{VIEW}.png"))
    assert (cut[..., :3] == (0, 255, 0)).all()
    moved = command("segment", run, *CLICK, "--out", "moved", "--scene", "nowhere")
    moved.refused("scene nowhere", "does not exist")


def test_everything_has_one_id_in_all_views(command: Run, run: Path):
    done = command("segment", run, "--everything", "--level", 4.5, "--out", "out")
    assert done.status == 0, done.err
    assert (run / "segments.safetensors").exists()
    ids = [read(Path(f"out/ids/train/000{k}.png")) for k in range(8)]
    assert ids[0].dtype == np.uint16
    assert not any(view[0, 0] for view in ids)
    # what is one part is mostly one id, whichever view shows it
    for part in range(1, 5):
        seen = np.concatenate([view[labels["part"] == part] for view, labels in zip(ids, LABELS)])
        assert (seen == np.bincount(seen)[1:].argmax() + 1).mean() > 0.6
    assert read(Path("out/overlays/train/0000.png")).shape == (SIDE, SIDE, 3)


def test_render_shows_the_same_segments(command: Run, run: Path):
    assert command("segment", run, "--everything", "--level", 2, "--out", "out").status == 0
    shown = ["--path", "views", "--show", "segments", "--level", 2]
    done = command("render", run, *shown, "--out", "shown")
    assert done.status == 0, done.err
    assert content(Path("shown")) == {
        name.removeprefix("overlays/"): data for name, data in content(Path("out")).items() if "overlays" in name
    }
    command("render", run, *shown[:-1], 7, "--out", "no").refused("--level", "0 to 6")
    (run / "features.safetensors").unlink()
    command("render", run, *shown, "--out", "no").refused("--show segments", "--stage features")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected either"),
        ([*CLICK, "--everything"], "expected either"),
        (["--click", 3, 3], "--view"),
        (["--view", "nobody", "--click", 3, 3], "no such view"),
        (["--view", VIEW, "--click", 0, 0], "nothing is there"),
        (["--view", VIEW, "--click", SIDE, 3], "outside the picture"),
        (["--view", VIEW, "--click", -1, 3], "outside the picture"),
        (["--view", VIEW, "--box", 0, 0, 3, 3], "nothing is there"),
        (["--view", VIEW, "--scribble", 1, 2, 3], "pairs"),
        (["--view", VIEW, "--reject", COLUMN, ROW], "nothing is selected"),
        ([*CLICK, "--threshold", 2], "--threshold"),
        ([*CLICK, "--threshold", 0.5, "--level", 1], "give one"),
        ([*CLICK, "--level", 9], "--level"),
        ([*CLICK, "--spatial-weight", -1], "--spatial-weight"),
        ([*CLICK, "--width", 0], "--width"),
        ([*CLICK, "--name", " "], "the name '' is empty"),
        (["--selection", "none.json"], "none.json"),
    ],
)
def test_refusals_leave_nothing(command: Run, run: Path, arguments: list, words: str):
    command("segment", run, *arguments, "--out", "out").refused(words)
    assert not Path("out").exists()


def test_a_selection_without_clicks_is_refused(command: Run, run: Path, device):
    SegmentationSession(learned_ball(device), fingerprint(run)).save(Path("empty.json"))
    command("segment", run, "--selection", "empty.json", "--out", "out").refused("empty.json", "selects nothing")
    assert not Path("out").exists()


def test_a_selection_of_another_run_is_refused(command: Run, run: Path, device):
    SegmentationSession(learned_ball(device), "another").save(Path("other.json"))
    command("segment", run, "--selection", "other.json", "--out", "out").refused("other.json", "another feature field")


def test_a_run_without_features_is_refused(command: Run, run: Path):
    (run / "features.safetensors").unlink()
    command("segment", run, *CLICK, "--out", "out").refused("no features", "--stage features")


def test_a_file_in_place_of_the_output_folder_is_kept(command: Run, run: Path):
    Path("out").write_text("a file")
    command("segment", run, *CLICK, "--out", "out").refused("out", "cannot be written")
    assert Path("out").read_text() == "a file"
