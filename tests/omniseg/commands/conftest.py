"""A trained run, and commands to use it with."""

import shutil
from pathlib import Path

import pytest

from command_line import Run, run_command
from tiny_scene import SMALL, write_ball


@pytest.fixture
def command(device, tmp_path: Path, monkeypatch) -> Run:
    """Run a command by name, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda name, *arguments: run_command(device, name, *arguments)


@pytest.fixture(scope="session")
def _trained(device, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    scene = write_ball(folder / "ball")
    done = run_command(device, "train", "--scene", scene, "--run", folder / "run", *SMALL)
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Write a capture that one test may change."""
    return write_ball(tmp_path / "ball")


@pytest.fixture
def run(_trained: Path, tmp_path: Path) -> Path:
    """Copy a trained run; its capture lies where no test changes it."""
    return Path(shutil.copytree(_trained / "run", tmp_path / "run"))
