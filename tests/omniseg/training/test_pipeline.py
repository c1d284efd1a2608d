"""Reading the masks of a capture for a training; tests/omniseg/commands tests trainings as a whole."""

from pathlib import Path

import pytest

from omniseg.data.formats import read_scene
from omniseg.training.pipeline import Training, training_patches
from tiny_scene import ball_config, write_ball, write_ball_masks


@pytest.mark.parametrize("progress", [True, False])
def test_reading_masks_shows_a_bar_unless_told_not_to(tmp_path: Path, capsys, bars_at_once, progress):
    scene = write_ball(tmp_path / "ball")
    write_ball_masks(scene)
    training = Training(run=tmp_path / "run", config=ball_config(), scene=read_scene(scene), progress=progress)
    patches = training_patches(training, required=True)
    assert patches is not None
    assert ("masks" in capsys.readouterr().err) == progress
