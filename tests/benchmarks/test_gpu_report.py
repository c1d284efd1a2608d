import importlib
import json
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from helpers import ROOT, run_python
from tiny_scene import write_ball


@pytest.fixture(scope="module")
def report():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("gpu_report")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def reported(request, tmp_path_factory):
    """Run all parts at tiny size."""
    folder = tmp_path_factory.mktemp("report")
    write_ball(folder / "captures" / "lego")
    arch = request.config.getoption("--arch")
    arguments = ["--quick", "--arch", arch, "--captures", folder / "captures", "--out", folder / "report.json"]
    return folder, run_python("benchmarks/gpu_report.py", *map(str, arguments), timeout=300)


@pytest.mark.slow
def test_every_part_runs_and_leaves_its_figures(reported):
    folder, done = reported
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((folder / "report.json").read_text())
    assert result["quick"]
    assert {"cpu", "gpu", "torch", "taichi", "commit", "date", "cuda"} <= result["surroundings"].keys()
    assert list(result["parts"]) == ["speed", "lego_minute", "lego_steps", "sample", "frames", "tests"]
    assert all(part["state"] == "done" for part in result["parts"].values())
    figures = {name: part["figures"] for name, part in result["parts"].items()}
    assert figures["speed"]["rows"]
    assert figures["lego_minute"]["radiance"]["steps"] == 4
    assert 0 < figures["lego_minute"]["psnr"] < 60
    assert figures["lego_steps"]["step"] == 4
    assert figures["lego_steps"]["ms_per_step"] > 0
    assert [chunk["samples_per_step"] > 0 for chunk in figures["lego_steps"]["chunks"]] == [True, True]
    assert figures["sample"]["features"]["steps"] == 4
    assert figures["sample"]["features"]["rays"] == 64
    assert "object" in figures["sample"]["levels"]
    assert figures["frames"]["lego"].keys() == {"side", "colour"}
    assert figures["frames"]["sample"]["colour_and_features"]["median"] > 0
    assert figures["tests"]["complete"]
    assert figures["tests"]["passed"] > 5
    assert figures["tests"]["failed"] == 0


@pytest.mark.slow
def test_the_table_has_every_figure_that_was_measured(reported):
    folder, done = reported
    parts = json.loads((folder / "report.json").read_text())["parts"]
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert f"| tests passed | {parts['tests']['figures']['passed']} |  |  |" in lines
    assert f"| the same, SSIM | {parts['lego_minute']['figures']['ssim']:.3f} |  |  |" in lines
    assert "| the same, PSNR after 60 s (5 views) | not measured |  |  |" in lines
    wrong = [line for line in lines if "steps made | 4 | at least 20000 | no |" in line]
    assert len(wrong) == 1


@pytest.mark.slow
def test_nothing_is_left_of_the_runs(reported):
    folder, _ = reported
    assert sorted(path.name for path in folder.iterdir()) == ["captures", "report.json"]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_what_to_do():
    done = run_python("benchmarks/gpu_report.py")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: PyTorch sees no CUDA device")
    assert "--arch cpu --quick" in line


@pytest.mark.slow
def test_a_cpu_is_not_measured():
    done = run_python("benchmarks/gpu_report.py", "--arch", "cpu")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the report is of a GPU" in done.stderr


def options(folder: Path) -> Namespace:
    return Namespace(arch="cpu", quick=True, captures=folder / "captures")


@pytest.mark.slow
def test_a_part_that_fails_costs_no_other_and_its_log_tells(tmp_path):
    out = tmp_path / "report.json"
    arguments = ["--quick", "--arch", "cpu", "--captures", str(tmp_path), "--out", str(out)]
    done = run_python("benchmarks/gpu_report.py", "--parts", "lego_steps", "tests", *arguments)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: lego_steps: failed with status 1")
    parts = json.loads(out.read_text())["parts"]
    assert parts["lego_steps"]["state"] == "failed with status 1"
    assert parts["lego_steps"]["figures"] is None
    assert "lego" in parts["lego_steps"]["log"][-1]
    assert parts["tests"]["state"] == "done"


def _ends(process: Path) -> bool:
    """Return whether a process of /proc is gone, or a zombie, within a few seconds of the signal."""
    for _ in range(50):
        try:
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_a_part_that_is_cut_off_leaves_its_partial_figures(report, tmp_path, monkeypatch):
    script = tmp_path / "benchmarks" / "_gpu_parts.py"
    script.parent.mkdir()
    script.write_text(
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "folder = Path(sys.argv[sys.argv.index('--folder') + 1])\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "(folder / 'child').write_text(str(child.pid))\n"
        "(folder / 'slow.json').write_text('{\"psnr\": 30.0}')\n"
        "print('on my way', flush=True)\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(report, "ROOT", tmp_path)
    found = report.run_part("slow", options(tmp_path), tmp_path, 3.0)
    assert found["state"] == "cut off"
    assert 3 <= found["seconds"] < 20
    assert found["figures"] == {"psnr": 30.0}
    assert found["log"] == ["on my way"]
    child = Path("/proc") / (tmp_path / "child").read_text()
    assert _ends(child)


def test_parts_get_what_those_after_them_do_not_count_on(report):
    names = list(report.SHARES)
    assert sum(report.SHARES.values()) == report.BUDGET == 480
    limit = report.limits(names)
    assert limit("speed", 0) == report.SHARES["speed"]
    assert limit("lego_minute", 10) == report.SHARES["speed"] - 10 + report.SHARES["lego_minute"]
    assert limit("tests", 400) == 80
    assert report.limits(["tests"])("tests", 0) == 480


def test_a_target_is_met_or_not(report):
    def cells(value: float, **bounds: float) -> list[str]:
        figure = report.Figure("step", "lego", ("ms",), "{:.1f} ms", **bounds)
        return figure.cells({"lego": {"figures": {"ms": value}}})

    assert cells(2.0, at_most=2.5) == ["step", "2.0 ms", "at most 2.5 ms", "yes"]
    assert cells(2.6, at_most=2.5) == ["step", "2.6 ms", "at most 2.5 ms", "no"]
    assert cells(2.4, at_least=2.5) == ["step", "2.4 ms", "at least 2.5 ms", "no"]
    assert cells(7.0) == ["step", "7.0 ms", "", ""]
    figure = report.Figure("step", "lego", ("ms",), "{}")
    assert figure.cells({"lego": {"figures": None}}) == ["step", "not measured", "", ""]
