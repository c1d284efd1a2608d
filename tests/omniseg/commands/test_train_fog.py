"""train.py where a training ends in fog, and before one begins."""

import json
from pathlib import Path

import pytest

from command_line import Run
from omniseg.training import pipeline
from tiny_scene import SMALL, write_ball_masks


@pytest.fixture
def fog(monkeypatch) -> None:
    """Let no photo confirm another one."""
    monkeypatch.setattr(pipeline, "surface_agreement", lambda *_: 0.01)


@pytest.mark.usefixtures("fog")
def test_fog_ends_with_status_3_and_without_features_unless_forced(command: Run, scene: Path):
    write_ball_masks(scene)
    done = command("train", "--scene", scene, "--run", "run", *SMALL)
    assert done.status == 3
    assert "error: no surfaces found: only 1 %" in done.err
    assert "after a fifth of the training only 1 %" in done.err
    assert json.loads(Path("run/metrics.json").read_text())["surface_agreement"] == 0.01
    assert Path("run/radiance.safetensors").exists(), "the result is kept, to be looked at"
    assert not Path("run/features.safetensors").exists()
    command("train", "--run", "run", "--stage", "features").refused("no surfaces found", "--force")
    forced = command("train", "--run", "run", "--stage", "features", "--force", *SMALL)
    assert forced.status == 0, forced.err
    assert "no surfaces found" in forced.err
    assert Path("run/features.safetensors").exists()


def test_depth_from_the_photos_can_be_turned_off(command: Run, scene: Path):
    done = command("train", "--scene", scene, "--run", "with", *SMALL)
    assert "depth from the photos: " in done.out
    done = command("train", "--scene", scene, "--run", "without", "--training.photo-depth", "false", *SMALL)
    assert done.status == 0, done.err
    assert "depth from the photos" not in done.out
    assert not Path("without/renders/photo-depth.png").exists()


def test_check_stops_before_the_training(command: Run, scene: Path):
    """The ball's pictures of 24 pixels show hardly any texture, which the check says."""
    done = command("train", "--scene", scene, "--run", "run", "--check")
    assert "depth from the photos: " in done.out
    assert done.status in (0, 1)
    assert (done.status == 1) == ("agree between photos" in done.err)
    assert not Path("run").exists()
