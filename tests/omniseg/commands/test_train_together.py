"""train in two processes writes one run folder, prints each line once and leaves no process behind."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from safetensors import safe_open

from command_line import Run, content, interruptible_children, torchrun, torchrun_line
from helpers import ROOT
from tiny_scene import SMALL, write_ball, write_ball_masks

pytestmark = pytest.mark.slow

TRAIN = ROOT / "apps" / "train.py"


@pytest.fixture(autouse=True)
def _cpu(device) -> None:
    if device.type != "cpu":
        pytest.skip("two processes would share one GPU, which NCCL refuses")


def test_two_processes_go_on_with_a_run_of_one(command: Run, tmp_path: Path):
    scene = write_ball(tmp_path / "ball")
    write_ball_masks(scene)
    begun, straight = (
        command("train", "--scene", scene, "--run", run, *SMALL, f"--training.steps={steps}")
        for run, steps in (("run", 2), ("straight", 4))
    )
    assert begun.status == straight.status == 0, begun.err + straight.err
    done = torchrun(2, TRAIN, "--run", "run", "--resume", "--device", "cpu", "--training.steps", "4")
    assert done.status == 0, done.err
    lines = [line.replace("straight", "run").split()[:3] for line in straight.out.splitlines()]
    assert [line.split()[:3] for line in done.out.splitlines()][:-3] == lines[:-3], "more or other lines"
    assert done.err.count("| 0/4 steps [00:00<?]\n") == 2, "a progress bar begins once in each stage"
    files = [{name for name in content(Path(run)) if not name.startswith("log/")} for run in ("run", "straight")]
    assert files[0] == files[1]
    with safe_open("run/resume/radiance.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["progress"])["step"] == 4
    figures = [json.loads((Path(run) / "metrics.json").read_text()) for run in ("run", "straight")]
    assert figures[0]["psnr"] == pytest.approx(figures[1]["psnr"], abs=0.05)


def test_an_error_is_printed_once(tmp_path: Path):
    done = torchrun(2, TRAIN, "--scene", tmp_path / "nowhere", "--run", tmp_path / "run", "--device", "cpu")
    assert done.status != 0
    assert done.err.count("error: ") == 1
    assert f"error: {tmp_path / 'nowhere'}: does not exist" in done.err
    # torchrun's own traceback is there, of files below the checkout where an environment is made in it.
    ours = [f'File "{ROOT / folder}{os.sep}' for folder in ("apps", "kernels", "omniseg", "data_tools")]
    assert not [line for line in done.err.splitlines() if any(start in line for start in ours)]
    assert not (tmp_path / "run").exists()


def test_ctrl_c_saves_and_ends_every_process(scene: Path, tmp_path: Path):
    """The signal reaches torchrun and all processes at once."""
    run = tmp_path / "run"
    arguments = ["--scene", scene, "--run", run, "--device", "cpu", *SMALL[1:], "--training.steps=1000000"]
    line = torchrun_line(2, TRAIN, *arguments)
    with interruptible_children():
        process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, bufsize=1, start_new_session=True)
    assert process.stderr is not None
    try:
        said = ""
        while "rays/s" not in said:  # the first figures of the progress bar
            said += process.stderr.read(1)
            assert process.poll() is None, said
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert (said + err).count("error: ") == 1, err
    assert "error: interrupted; what was saved is complete" in err
    with safe_open(run / "resume" / "radiance.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["progress"])["step"] > 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
