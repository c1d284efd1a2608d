"""The package as a wheel, installed away from the checkout and used from an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers import ROOT
from omniseg.commands import COMMANDS

pytestmark = pytest.mark.slow

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "kernels", "omniseg", "data_tools")
"""All that a wheel is made of; a copy, since building leaves files behind."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source))
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's content and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-compile", "--target", str(folder), str(wheel))
    return folder


def pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "-q", *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def run(installed: Path, tmp_path: Path):
    """Run a program with the installed package, in an empty folder: `run("omniseg", ...)` or `run("python", ...)`."""

    def start(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable] if program == "python" else [sys.executable, str(installed / "bin" / program)]
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        return subprocess.run(
            [*line, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    return start


def test_a_wheel_holds_the_packages_and_their_types_but_no_tests_and_no_benchmarks(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"omniseg", "omniseg_kernels", "omniseg_sample_scenes"}
    assert {f"{top}/py.typed" for top in tops} <= set(names)
    sources = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for package, folder in (
            ("omniseg", "omniseg"),
            ("omniseg_kernels", "kernels"),
            ("omniseg_sample_scenes", "data_tools/sample_scenes"),
        )
        for path in (ROOT / folder).rglob("*.py")
    }
    assert sources == {name for name in names if name.endswith(".py")}


def test_every_package_is_imported_from_the_installed_wheel(run, installed: Path):
    packages = "omniseg, omniseg_kernels, omniseg_sample_scenes"
    done = run("python", "-c", f"import {packages}; print(*(package.__file__ for package in ({packages})))")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(Path(path).is_relative_to(installed) for path in done.stdout.split())


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_omniseg_lists_its_commands(run, arguments: tuple[str, ...]):
    done = run("omniseg", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for name in COMMANDS:
        assert name in done.stdout


def test_omniseg_explains_a_command(run):
    done = run("omniseg", "train", "--help")
    assert done.returncode == 0, done.stderr
    for word in ("usage: omniseg train ", "--scene", "--device"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("trian",), 2, "trian"),
        (("render", "nowhere", "--out", "pictures"), 1, "nowhere"),
    ],
)
def test_a_wrong_word_is_an_error_of_one_line(run, tmp_path: Path, arguments, status: int, words: str):
    done = run("omniseg", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not list(tmp_path.iterdir()), "something was written"
