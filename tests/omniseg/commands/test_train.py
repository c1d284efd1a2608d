"""train leaves a complete run on disk, resumes it, and replaces it only when told to."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from command_line import Run, content, interruptible_children
from helpers import ROOT
from omniseg.run_folder import load_photo_depth, save_photo_depth
from tiny_scene import SMALL, write_ball

MODEL = ["config.yaml", "photo_depth.safetensors", "radiance.safetensors", "resume/radiance.safetensors"]
JUDGED = sorted([*MODEL, "metrics.json", "renders/photo-depth.png"])
RESULTS = sorted([*JUDGED, "renders/test.png"])


def files(run: Path) -> list[str]:
    return [name for name in content(run) if not name.startswith(("log/", "renders/test/"))]


def test_a_run_leaves_model_figures_and_pictures(command: Run, scene: Path):
    done = command("train", "--scene", "ball", *SMALL)
    assert done.status == 0, done.err
    run = Path("runs/ball")
    assert files(run) == RESULTS
    assert (
        sorted(p.name for p in (run / "renders" / "test").iterdir()) == ["test-8.png", "test-9.png"]
        or len(list((run / "renders" / "test").rglob("*.png"))) == 2
    )
    assert "8 views to train, 2 to test" in done.out
    assert "trained 4 steps" in done.out
    assert "dB" in done.out
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["scene"] == str(scene.resolve())
    assert config["training"]["steps"] == 4
    assert config["marching"]["near"] != 0.05, "not overridden: from the scene"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics.keys() >= {"psnr", "ssim", "train_seconds", "views"}
    assert len(metrics["views"]) == 2


def test_the_same_command_gives_the_same_run_and_replaces_none_unasked(command: Run, scene: Path, device):
    arguments = ("train", "--scene", scene, "--run", "a", *SMALL)
    assert command(*arguments).status == 0
    before = content(Path("a"))
    command(*arguments).refused("a: already holds a run", "--resume", "--overwrite", "--run")
    assert content(Path("a")) == before
    assert command(*arguments, "--overwrite").status == 0
    after = content(Path("a"))
    if device.type == "cpu":
        first, second = load_file_from(before), load_file_from(after)
        assert first.keys() == second.keys()
        assert all(first[name].equal(second[name]) for name in first)


def load_file_from(files: dict[str, bytes]):
    Path("copy").write_bytes(files["radiance.safetensors"])
    return load_file("copy")


def test_overwrite_removes_what_the_old_run_left(command: Run, scene: Path, run: Path):
    (run / "renders" / "old.png").write_text("")
    done = command("train", "--scene", scene, "--run", run, "--overwrite", "--test-every", "0", *SMALL)
    assert done.status == 0, done.err
    assert files(run) == JUDGED
    assert json.loads((run / "metrics.json").read_text()).keys() == {"surface_agreement"}


def test_a_folder_of_other_things_keeps_them(command: Run, scene: Path):
    """`--run .` must not delete folders `log` and `renders` that are not of a run."""
    for name in ("log/mine.txt", "renders/mine.blend", "metrics.json"):
        path = Path("project") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    done = command("train", "--scene", scene, "--run", "project", *SMALL)
    assert done.status == 0, done.err
    assert {"log/mine.txt", "renders/mine.blend"} <= set(content(Path("project")))


def test_without_test_views_it_trains_and_says_so(command: Run, scene: Path):
    done = command("train", "--scene", scene, "--run", "run", "--test-every", "0", *SMALL)
    assert done.status == 0, done.err
    assert "10 views to train, 0 to test" in done.out
    assert "no view is held out: no test figures" in done.err
    assert files(Path("run")) == JUDGED
    command("evaluate", "run").refused("no view is held out for testing", "--test-every 8")


def test_resume_makes_a_training_longer(command: Run, run: Path):
    done = command("train", "--run", run, "--resume", "--training.steps", "7")
    assert done.status == 0, done.err
    assert "trained 7 steps" in done.out
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["steps"] == 7


def test_resume_takes_the_depth_that_the_run_keeps(command: Run, run: Path):
    kept = load_photo_depth(run)
    assert kept is not None
    everywhere = replace(kept.maps, distances=torch.ones_like(kept.maps.distances))
    save_photo_depth(run, replace(kept, maps=everywhere))
    done = command("train", "--run", run, "--resume", "--training.steps", "7")
    assert done.status == 0, done.err
    assert "depth from the photos: 100 % of pixels, kept in run" in done.out.replace(f"{run.parent}/", "")
    (run / "photo_depth.safetensors").unlink()
    done = command("train", "--run", run, "--resume", "--training.steps", "9")
    assert "kept in" not in done.out
    assert f"depth from the photos: {100 * kept.coverage:.0f} % of pixels in" in done.out
    assert load_photo_depth(run) is not None, "it is kept from now on"


def test_overwrite_removes_the_depth_of_the_old_run(command: Run, scene: Path, run: Path):
    arguments = ("--overwrite", "--training.photo-depth", "false", *SMALL)
    assert command("train", "--scene", scene, "--run", run, *arguments).status == 0
    assert not (run / "photo_depth.safetensors").exists()


def test_resume_of_a_complete_training_says_so(command: Run, run: Path):
    before = load_file(run / "radiance.safetensors")
    done = command("train", "--run", run, "--resume")
    assert done.status == 0, done.err
    assert "the radiance field is complete" in done.out
    after = load_file(run / "radiance.safetensors")
    assert all(after[name].equal(before[name]) for name in before)


def test_resume_refuses_other_options(command: Run, run: Path):
    before = content(run)
    done = command("train", "--run", run, "--resume", "--training.lr", "0.5", "--radiance.hidden", "16")
    done.refused("other values of radiance.hidden, training.lr", run, "resume without these options")
    assert content(run) == before


def test_resume_without_a_run_is_refused(command: Run, scene: Path):
    command("train", "--scene", scene, "--run", "nothing", "--resume").refused("nothing: holds no run to continue")
    assert not Path("nothing").exists()
    command("train", "--resume", "--overwrite", "--run", "x").refused("--resume", "--overwrite", "one of them")


def test_resume_needs_the_same_views_wherever_the_scene_is(command: Run, run: Path, scene: Path, tmp_path: Path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["scene"] = str(tmp_path / "gone")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    before = content(run)
    command("train", "--run", run, "--resume").refused(tmp_path / "gone", "does not exist", "--scene")
    other = write_ball(tmp_path / "other", n=5)
    command("train", "--run", run, "--resume", "--scene", other).refused("other", "has other views than", "--run")
    assert content(run) == before
    done = command("train", "--run", run, "--resume", "--scene", scene, "--training.steps", "5")
    assert done.status == 0, done.err
    assert yaml.safe_load((run / "config.yaml").read_text())["scene"] == str(scene.resolve())


def test_paths_may_hold_spaces_accents_and_quotes(command: Run, tmp_path: Path, monkeypatch):
    scene = write_ball(tmp_path / "my scène (1)" / "ähm")
    run = "runs of mine/été '24"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = command("train", "--scene", "../my scène (1)/ähm", "--run", run, *SMALL)
    assert done.status == 0, done.err
    monkeypatch.chdir(tmp_path)
    for name in ("evaluate", "render"):
        extra = ("--out", "pictures of it", "--frames", "1") if name == "render" else ()
        done = command(name, f"elsewhere/{run}", *extra)
        assert done.status == 0, done.err
    assert yaml.safe_load((Path("elsewhere") / run / "config.yaml").read_text())["scene"] == str(scene.resolve())


def test_the_run_of_a_json_file_is_named_after_its_folder(command: Run, scene: Path):
    done = command("train", "--scene", scene / "transforms_train.json", *SMALL)
    assert done.status == 0, done.err
    assert Path("runs/ball/radiance.safetensors").exists()


@pytest.mark.parametrize("option", ["refine-poses", "exposure"])
def test_optional_corrections_are_trained_saved_and_resumed(command: Run, scene: Path, option: str):
    done = command("train", "--scene", scene, "--run", "run", f"--training.{option}", *SMALL)
    assert done.status == 0, done.err
    tensors = load_file("run/resume/radiance.safetensors")
    assert any(name.startswith("corrections.") for name in tensors)
    again = command("train", "--run", "run", "--resume", f"--training.{option}", "--training.steps", "5")
    assert again.status == 0, again.err


@pytest.mark.slow
def test_ctrl_c_saves_and_exits_with_130(scene: Path, tmp_path: Path):
    """A real process saves its training and exits with status 130; the training can be resumed."""
    run = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = ["--scene", scene, "--run", run, "--device", "cpu", *SMALL[1:], "--training.steps=1000000"]
    line = [sys.executable, ROOT / "apps" / "train.py", *arguments]
    pipe = subprocess.PIPE
    with interruptible_children():
        process = subprocess.Popen(list(map(str, line)), stderr=pipe, stdout=pipe, text=True, env=environment)
    try:
        for _ in range(600):
            if (run / "resume" / "radiance.safetensors").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err.rstrip().endswith("error: interrupted; what was saved is complete")
    assert "Traceback" not in err
    assert files(run) == MODEL
    for name in ("radiance.safetensors", "resume/radiance.safetensors"):
        assert "field.table" in load_file(run / name)
