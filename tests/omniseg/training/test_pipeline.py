"""Reading the masks of a capture for a training; tests/omniseg/commands tests trainings as a whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omniseg.config import Config, PhotoDepthConfig
from omniseg.data.formats import read_scene
from omniseg.errors import NoSurfaces
from omniseg.run_folder import update_metrics
from omniseg.training.pipeline import (
    Training,
    check_surfaces,
    estimate_depth,
    found_no_surfaces,
    train_radiance,
    training_patches,
)
from omniseg.training.radiance import RadianceTrainer
from scene_files import orbit, write_colmap
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


@pytest.mark.parametrize("sweep", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
def test_points_that_are_tracked_in_photos_give_depth(tmp_path: Path, caplog, device, sweep: bool, tracked: bool):
    caplog.set_level("INFO", "omniseg")
    points = np.random.default_rng(0).normal(scale=0.2, size=(40, 3))
    seen = [range(1, 41), *[[]] * 5] if tracked else ()
    write_colmap(tmp_path / "scene", orbit(6), points=points, seen=seen)
    scene = read_scene(tmp_path / "scene")
    config = replace(ball_config(), test_every=0, photo_depth=PhotoDepthConfig(sweep=sweep))
    training = Training(run=tmp_path / "run", config=config, scene=scene, progress=False)
    images = training.images(training.splits.train)
    assert images is not None
    depth = estimate_depth(training, images.to(device))
    logged = "of COLMAP's points" in caplog.text
    assert logged == tracked
    if not tracked:
        assert (depth is None) == (not sweep)
        return
    assert depth is not None
    assert depth.from_points > 0
    assert (depth.near > 0) == sweep
    # The first photo has the distances of the points, in scene coordinates.
    found = depth.maps.image(images.cameras, 0)
    placed = torch.from_numpy(training.placement.normalisation.points(points)).float()
    true = (placed - images.cameras.c2w[0, :, 3]).norm(dim=1)
    known = found[found > 0]
    assert len(known) > 5
    if not sweep:
        assert all(bool(((true - distance).abs() < 2e-3 * distance).any()) for distance in known)
    RadianceTrainer(config, images.to(device), photo_depth=depth).step()


def test_a_run_of_an_earlier_version_is_not_judged(tmp_path: Path, caplog):
    check_surfaces(tmp_path, force=False)
    assert not found_no_surfaces(tmp_path)
    assert not caplog.records


def test_the_end_says_whether_more_steps_would_pay(tmp_path: Path, caplog, device):
    caplog.set_level("INFO", "omniseg")
    scene = read_scene(write_ball(tmp_path / "ball"))

    def said(config: Config, *, resume: bool = False) -> list[str]:
        caplog.clear()
        train_radiance(
            Training(run=tmp_path / "run", config=config, scene=scene, resume=resume, progress=False), device
        )
        return [record.message for record in caplog.records if "more steps would" in record.message]

    config = ball_config(steps=40)
    (learning,) = said(config)
    assert learning.startswith("more steps would still pay: about ")
    later = replace(config, training=replace(config.training, steps=44))
    assert said(later, resume=True) == [], "the steps before were not seen"
    no_change = {"lr": 1e-9, "ramp": 0.01, "grid_every": 1000, "grid_warmup_every": 1000}
    still = replace(config, training=replace(config.training, **no_change))
    (standing,) = said(still)
    assert standing == "more steps would hardly pay: less than 0.5 dB for twice as many"
