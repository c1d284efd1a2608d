"""evaluate measures a run again, wherever its capture is now."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from command_line import Run, content
from tiny_scene import write_ball


def test_the_figures_are_those_of_the_training(command: Run, run: Path):
    trained = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").unlink()
    done = command("evaluate", run)
    assert done.status == 0, done.err
    again = json.loads((run / "metrics.json").read_text())
    assert again["psnr"] == pytest.approx(trained["psnr"], abs=1e-3)
    assert again["views"].keys() == trained["views"].keys()
    lines = done.out.splitlines()
    assert len(lines) == 4
    assert all("dB  SSIM" in line for line in lines[:2])
    assert lines[2].startswith(f"test views: PSNR {again['psnr']:.2f} dB, SSIM")


def test_only_figures_and_pictures_change(command: Run, run: Path):
    before = content(run)
    assert command("evaluate", run).status == 0
    after = content(run)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"metrics.json"} | {name for name in before if name.startswith("renders/")}


def test_a_scene_that_moved_is_given_by_option(command: Run, run: Path, tmp_path: Path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    moved = tmp_path / "moved"
    shutil.copytree(config["scene"], moved)
    config["scene"] = str(tmp_path / "gone")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    command("evaluate", run).refused(tmp_path / "gone", "does not exist", "--scene")
    done = command("evaluate", run, "--scene", moved)
    assert done.status == 0, done.err
    command("evaluate", run, "--scene", tmp_path / "nowhere").refused("nowhere", "does not exist")


def test_a_scene_without_test_views_is_refused(command: Run, run: Path, tmp_path: Path):
    before = content(run)
    command("evaluate", run, "--scene", write_ball(tmp_path / "b", n_test=0)).refused("no view is held out")
    assert content(run) == before
