"""train, evaluate and render with masks: both stages, one alone, one again, and bad input."""

import json
from pathlib import Path

import cv2
import pytest
from safetensors.torch import load_file

from command_line import Run, content, run_command
from tiny_scene import SMALL, write_ball, write_ball_masks

STAGE = ["--stage", "features", "--run", "run"]
LEVELS = {"part", "object"}


@pytest.fixture(scope="module")
def _masked(device, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("masked")
    write_ball(folder / "ball")
    write_ball_masks(folder / "ball")
    done = run_command(device, "train", "--scene", folder / "ball", "--run", folder / "run", *SMALL)
    assert done.status == 0, done.err
    (folder / "said").write_text(done.out)
    return folder


@pytest.fixture
def masked(_masked: Path, tmp_path: Path) -> Path:
    """Copy a capture with masks and labels, and the run `run` of both its stages, to the current folder."""
    for name, data in content(_masked).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "ball"


def test_both_stages_leave_fields_figures_and_pictures(command: Run, masked: Path):
    said = Path("said").read_text()
    assert "8 views to train, 2 to test" in said
    assert said.count("trained 4 steps") == 2
    assert "click" in said
    files = set(content(Path("run")))
    assert {"features.safetensors", "resume/features.safetensors", "renders/part.png", "renders/object.png"} <= files
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["train_seconds"].keys() == {"radiance", "features"}
    assert metrics["levels"].keys() == LEVELS
    for level in metrics["levels"].values():
        names = {"click_miou", "prompt_miou", "boundary_iou", "specks", "holes", "recall_50", "recall_75"}
        assert level.keys() == names | {"labels", "everything_miou"}
        assert 0 <= level["click_miou"] <= 1
        assert level["labels"][0].keys() >= {"id", "view", "pixels", "click", "prompt", "same_view"}


def test_one_stage_after_the_other_trains_the_same_features(command: Run, masked: Path, device):
    assert command("train", "--scene", masked, "--run", "alone", "--stage", "radiance", *SMALL).status == 0
    assert not Path("alone/features.safetensors").exists()
    before = Path("alone/radiance.safetensors").read_bytes()
    done = command("train", "--stage", "features", "--run", "alone")
    assert done.status == 0, done.err
    assert Path("alone/radiance.safetensors").read_bytes() == before
    if device.type == "cpu":
        first, second = (load_file(f"{run}/features.safetensors") for run in ("run", "alone"))
        assert all(first[name].equal(second[name]) for name in first)


def test_new_features_leave_the_colour_figures_alone(command: Run, masked: Path):
    metrics = json.loads(Path("run/metrics.json").read_text())
    done = command("train", *STAGE, "--overwrite", "--feature-training.steps", "9")
    assert done.status == 0, done.err
    after = json.loads(Path("run/metrics.json").read_text())
    assert (after["psnr"], after["ssim"]) == (metrics["psnr"], metrics["ssim"])


def test_features_are_not_replaced_without_overwrite(command: Run, masked: Path):
    before = content(Path("run"))
    command("train", *STAGE).refused("run: already holds features", "--resume", "--overwrite")
    command("train", "--stage", "features", "--run", "x").refused("x: holds no radiance field", "--run")
    changed = command("train", *STAGE, "--overwrite", "--training.lr", "0.5")
    changed.refused("--training", "is fixed by the radiance field in run")
    assert content(Path("run")) == before


def test_resume_makes_the_features_longer(command: Run, masked: Path):
    radiance = Path("run/radiance.safetensors").read_bytes()
    done = command("train", *STAGE, "--resume", "--feature-training.steps", "7")
    assert done.status == 0, done.err
    assert "trained 7 steps" in done.out
    assert Path("run/radiance.safetensors").read_bytes() == radiance
    again = command("train", "--run", "run", "--resume", "--feature-training.steps", "7")
    assert again.status == 0, again.err
    assert "the features are complete" in again.out
    assert Path("run/features.safetensors").exists()
    other = command("train", *STAGE, "--resume", "--features.dim", "5")
    other.refused("other values of features.dim", "resume without these options")


def test_a_new_radiance_field_removes_the_old_features(command: Run, masked: Path):
    done = command("train", "--run", "run", "--resume", "--stage", "radiance", "--training.steps", "6")
    assert done.status == 0, done.err
    assert not Path("run/features.safetensors").exists()
    assert not Path("run/resume/features.safetensors").exists()


def test_without_masks_only_the_radiance_field_is_trained(command: Run, scene: Path):
    done = command("train", "--scene", scene, "--run", "run", *SMALL)
    assert done.status == 0, done.err
    assert "has no masks (sam/NAME.npz), so the radiance field alone is trained" in done.err
    assert "omniseg run_sam" in done.err
    command("train", *STAGE).refused("has no masks", "omniseg run_sam")


def test_views_without_masks_are_counted(command: Run, masked: Path, caplog):
    (masked / "sam" / "train" / "3.npz").unlink()
    done = command("train", *STAGE, "--scene", masked, "--overwrite")
    assert done.status == 0, done.err
    assert "masks of 7 of 8 views" in caplog.text


@pytest.mark.parametrize("bytes_kept", [0, 100])
def test_a_damaged_mask_file_is_found_before_the_training(command: Run, masked: Path, bytes_kept: int):
    path = masked / "sam" / "train" / "3.npz"
    path.write_bytes(path.read_bytes()[:bytes_kept])
    command("train", "--scene", masked, "--run", "new", *SMALL).refused(path, "damaged", "omniseg run_sam")
    assert not Path("new").exists()


def test_evaluate_measures_again(command: Run, masked: Path):
    before = json.loads(Path("run/metrics.json").read_text())
    Path("run/metrics.json").unlink()
    done = command("evaluate", "run", "--scene", masked)
    assert done.status == 0, done.err
    after = json.loads(Path("run/metrics.json").read_text())
    for level in LEVELS:
        for figure in ("click_miou", "prompt_miou", "recall_50"):
            assert after["levels"][level][figure] == pytest.approx(before["levels"][level][figure], abs=0.02)
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[3:6]] == ["level", "part", "object"]


def test_evaluate_measures_everything(command: Run, masked: Path):
    assert json.loads(Path("run/metrics.json").read_text())["levels"]["part"]["everything_miou"] is None
    done = command("evaluate", "run", "--scene", masked, "--everything", "--prompts", "0")
    assert done.status == 0, done.err
    assert "everything" in done.out
    levels = json.loads(Path("run/metrics.json").read_text())["levels"]
    assert all(0 < level["everything_miou"] <= 1 for level in levels.values())


def test_evaluate_takes_labels_of_another_folder(command: Run, masked: Path):
    (masked / "labels").rename("mine")
    done = command("evaluate", "run", "--scene", masked)
    assert done.status == 0, done.err
    assert "level" not in done.out
    done = command("evaluate", "run", "--scene", masked, "--labels", "mine", "--prompts", "0")
    assert done.status == 0, done.err
    assert "part" in done.out
    command("evaluate", "run", "--scene", masked, "--labels", "nowhere").refused("nowhere: holds no LEVEL/")
    command("evaluate", "run", "--scene", masked, "--prompts", "-1").refused("--prompts: expected at least 0")
    Path("mine/part/test/8.png").write_bytes(b"no image")
    bad = command("evaluate", "run", "--scene", masked, "--labels", "mine")
    bad.refused("mine/part/test/8.png", "does not open as labels")


def test_labels_are_refused_where_there_are_no_features(command: Run, masked: Path):
    Path("run/features.safetensors").unlink()
    done = command("evaluate", "run", "--scene", masked, "--labels", masked / "labels")
    done.refused("has no features to measure", "--stage features")


def test_features_are_rendered_where_there_are_any(command: Run, masked: Path):
    done = command("render", "run", "--path", "test", "--show", "features", "--out", "pictures")
    assert done.status == 0, done.err
    pictures = [cv2.imread(str(path)) for path in Path("pictures").rglob("*.png")]
    assert [picture.shape for picture in pictures] == [(24, 24, 3)] * 2
    Path("run/features.safetensors").unlink()
    command("render", "run", "--show", "features", "--out", "p").refused("has no features", "--stage features")
