"""Reading the masks of a capture for a training; tests/omniseg/commands tests trainings as a whole."""

from pathlib import Path

import pytest

from omniseg.data.formats import read_scene
from omniseg.errors import NoSurfaces
from omniseg.run_folder import update_metrics
from omniseg.training.pipeline import Training, check_surfaces, found_no_surfaces, training_patches
from tiny_scene import ball_config, write_ball, write_ball_masks


@pytest.mark.parametrize("progress", [True, False])
def test_reading_masks_shows_a_bar_unless_told_not_to(tmp_path: Path, capsys, bars_at_once, progress):
    scene = write_ball(tmp_path / "ball")
    write_ball_masks(scene)
    training = Training(run=tmp_path / "run", config=ball_config(), scene=read_scene(scene), progress=progress)
    patches = training_patches(training, required=True)
    assert patches is not None
    assert ("masks" in capsys.readouterr().err) == progress


@pytest.mark.parametrize(
    ("agreement", "level", "words"),
    [
        (0.05, None, "no surfaces found: only 5 %"),
        (0.3, "WARNING", "geometry is uncertain: 30 %"),
        (0.8, "INFO", "80 %"),
    ],
)
def test_the_geometry_of_a_run_is_judged(tmp_path: Path, caplog, agreement: float, level: str | None, words: str):
    caplog.set_level("INFO", "omniseg")
    update_metrics(tmp_path, {"surface_agreement": agreement})
    assert found_no_surfaces(tmp_path) == (level is None)
    if level is None:
        with pytest.raises(NoSurfaces, match=f"{words}.*check the camera axes.*--force"):
            check_surfaces(tmp_path, force=False)
        check_surfaces(tmp_path, force=True)
        level = "WARNING"
    else:
        check_surfaces(tmp_path, force=False)
    assert [(record.levelname, words in record.message) for record in caplog.records] == [(level, True)]


def test_a_run_of_an_earlier_version_is_not_judged(tmp_path: Path, caplog):
    check_surfaces(tmp_path, force=False)
    assert not found_no_surfaces(tmp_path)
    assert not caplog.records
