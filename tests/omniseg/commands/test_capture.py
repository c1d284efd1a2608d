"""From photos, a video or a capture to a run with one command, which goes on where it stopped."""

from pathlib import Path

import pytest

import omniseg
from command_line import Run, content
from corner_photos import arc, write_video
from omniseg.run_folder import FEATURES, RADIANCE
from tiny_scene import write_ball, write_ball_masks

STEPS = ("[1/5] poses", "[2/5] masks", "[3/5] radiance field", "[4/5] features", "[5/5] evaluation")


def in_order(text: str, *words: str) -> bool:
    places = [text.find(word) for word in words]
    return places == sorted(places) and -1 not in places


@pytest.mark.slow
def test_a_video_becomes_a_run_whose_clicks_work(command: Run, device):
    pytest.importorskip("pycolmap", minversion="4.0", reason="structure from motion: pip install -e '.[sfm]'")
    video = write_video(Path("walk.mp4"), arc(36), blur=3)
    arguments = ("capture", video, "--run", "run", "--frames", 12, "--segmenter", "felzenszwalb", "--seconds", 8)
    done = command(*arguments, "--sfm.max-features", 700)
    assert done.status == 0, done.err
    assert in_order(done.out, *STEPS, "open it and click: omniseg gui run")
    assert "12 of 12 images registered" in done.out
    run = omniseg.load("run", device.type)
    assert len(run.view_names) == 12
    assert run.metrics["psnr"] > 15
    view = run.view(run.view_names[5])
    mask = run.select(view, points=[(view.width // 2, view.height // 2)]).mask(view)
    assert 0 < mask.sum() < mask.size
    before = content(Path("run"))
    again = command(*arguments, "--sfm.max-features", 700)
    assert again.status == 0, again.err
    said = ("has poses already", "all 12 photos have masks already", "is trained already", "are trained already")
    assert in_order(again.out, *said, "holds the figures already", "open it and click")
    assert content(Path("run")) == before


@pytest.fixture
def masked(scene: Path) -> Path:
    """Write a capture with masks of its training views."""
    write_ball_masks(scene)
    return scene


QUICK = ("--run", "run", "--seconds", 1, "--force")


def test_poses_and_masks_of_ones_own_are_used(command: Run, masked: Path):
    scene = masked
    before = content(scene)
    done = command("capture", scene, *QUICK)
    assert done.status == 0, done.err
    assert in_order(done.out, *STEPS)
    assert "ball: has poses already" in done.out
    assert "photos have masks" in done.out
    assert Path("run", FEATURES).is_file()
    assert content(scene) == before


def test_without_masks_the_radiance_field_alone_is_trained_and_features_come_later(command: Run, scene: Path):
    done = command("capture", scene, *QUICK)
    assert done.status == 0, done.err
    assert "--sam CHECKPOINT" in done.err
    assert "--segmenter felzenszwalb" in done.err
    assert "omniseg render run" in done.out
    assert not Path("run", FEATURES).exists()
    radiance = Path("run", RADIANCE).read_bytes()
    write_ball_masks(scene)
    done = command("capture", scene, *QUICK)
    assert done.status == 0, done.err
    assert f"{RADIANCE}: is trained already" in done.out
    assert Path("run", RADIANCE).read_bytes() == radiance
    assert Path("run", FEATURES).is_file()
    assert "open it and click" in done.out


def test_an_unfinished_training_goes_on(command: Run, masked: Path):
    scene = masked
    assert command("capture", scene, *QUICK).status == 0
    first = omniseg.load("run", "cpu").model.seconds
    done = command("capture", scene, "--run", "run", "--seconds", 2, "--force")
    assert done.status == 0, done.err
    assert first == pytest.approx(1, abs=0.9)
    model = omniseg.load("run", "cpu").model
    assert model.seconds == pytest.approx(2, abs=0.9)
    assert model.seconds > first
    assert model.features is not None


def test_wrong_input_is_refused_before_any_work(command: Run, scene: Path, tmp_path):
    command("capture", "nowhere", "--run", "run").refused("nowhere: does not exist")
    command("capture", scene, "--run", "run", "--sam", "a.pth").refused("--sam a.pth: does not exist")
    command("capture", scene, "--run", "run", "--masks", "m").refused("--masks m: is no folder")
    two = ("--masks", scene, "--segmenter", "felzenszwalb")
    command("capture", scene, "--run", "run", *two).refused("two sources of masks")
    command("capture", scene, "--run", "run", "--downsample", 0.5).refused("downsample")
    assert not Path("run").exists()
    assert command("capture", scene, *QUICK).status == 0
    other = write_ball(tmp_path / "other")
    command("capture", other, *QUICK).refused("run: holds a run of another capture", scene)
