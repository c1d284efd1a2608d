"""The command line of train.py: defaults of the scene and the device, each option read once."""

from pathlib import Path

import pytest
import yaml

from command_line import Run
from tiny_scene import SMALL


def config_of(run: str) -> dict:
    return yaml.safe_load((Path(run) / "config.yaml").read_text())


def words(text: str) -> str:
    """Return help without its frames and line breaks."""
    return " ".join(text.replace("│", " ").split())


def test_help_shows_the_settings_of_the_scene_on_this_device(command: Run, scene: Path, device):
    shown = words(command("train", "--scene", scene, "--help", "--device", device.type).out)
    steps = 1100 if device.type == "cpu" else 20_000
    assert (
        f"--training.steps INT Number of optimisation steps, unless the run has a budget of seconds. (default: {steps})"
        in shown
    )
    assert (
        "--marching.resolution INT Cells along each side of an occupancy grid, a power of two. (default: 64)" in shown
    )
    assert "(default: the split that the format gives, else 8)" in shown
    for section in ("levels", "prompts", "segment-tree"):
        assert f"--{section}." in shown


def test_help_without_a_scene_is_that_of_the_sample_room(command: Run, device):
    shown = words(command("train", "--help", "--device", device.type).out)
    assert "a power of two. (default: 128)" in shown
    assert not Path("scenes").exists(), "help makes no sample room"


def test_a_value_that_is_given_counts_also_where_it_is_the_general_default(command: Run, scene: Path):
    """The preset of this scene has 64 cells; 128 is what the dataclass has."""
    arguments = [argument for argument in SMALL if "resolution" not in argument]
    done = command("train", "--scene", scene, "--run", "run", *arguments, "--marching.resolution", 128)
    assert done.status == 0, done.err
    assert config_of("run")["marching"]["resolution"] == 128


def test_an_unknown_option_shows_before_the_sample_room_is_made(command: Run):
    done = command("train", "--training.stepps", 3)
    assert done.status == 2
    assert "--training.stepps" in done.err + done.out
    assert not Path("scenes").exists()


@pytest.mark.parametrize("arguments", [("--downsample", 2), ("--test-every", 4)])
def test_options_that_the_preset_follows_are_recorded(command: Run, scene: Path, arguments: tuple):
    done = command("train", "--scene", scene, "--run", "run", *arguments, *SMALL)
    assert done.status == 0, done.err
    name = arguments[0].removeprefix("--").replace("-", "_")
    assert config_of("run")[name] == arguments[1]


def test_a_wrong_option_comes_before_the_state_of_the_run_folder(command: Run, scene: Path, run: Path):
    done = command("train", "--scene", scene, "--run", run, "--bogus")
    assert done.status == 2
    assert "--bogus" in done.err + done.out


def test_choices_of_reading_are_recorded_and_used_by_every_command(command: Run, scene: Path, tmp_path: Path):
    shots = tmp_path / "elsewhere"
    shots.mkdir()
    for split in ("train", "test"):
        (scene / split).rename(shots / split)
    arguments = ("--images", "elsewhere", "--test-views", "train/1", "test/8", "--alpha", "transparent")
    done = command("train", "--scene", scene, "--run", "run", *arguments, *SMALL)
    assert done.status == 0, done.err
    assert config_of("run")["capture"] == {
        "images": str(shots.resolve()), "alpha": "transparent", "test_views": ["train/1", "test/8"]
    }  # fmt: skip
    assert "8 views to train, 2 to test" in done.out
    assert command("evaluate", "run").status == 0
    command("train", "--scene", scene, "--run", "other", "--images", "nothing").refused("nothing", "--images")
    command("train", "--scene", scene, "--run", "other", *arguments[:2], "--test-views", "x").refused("--test-views x")
    assert command("train", "--scene", scene, "--test-views", "x", "--test-every", "2").status == 2


def test_transparent_pixels_may_be_left_out(command: Run, scene: Path):
    done = command("train", "--scene", scene, "--run", "run", "--alpha", "left-out", *SMALL)
    assert done.status == 0, done.err
    assert "masks leave out" in done.out


def test_mask_files_of_other_names_are_an_error(command: Run, scene: Path):
    (scene / "sam_4").mkdir()
    (scene / "sam_4" / "frame1.npz").touch()
    command("train", "--scene", scene, "--run", "run", *SMALL).refused("frame1.npz", "named as a view is")
