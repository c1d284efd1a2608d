import importlib
import json
from pathlib import Path

import pytest

from helpers import ROOT, run_python
from omniseg.errors import InputError
from tiny_scene import write_ball, write_ball_masks


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """Train and measure two captures, one of them with masks and labels, and a folder that is no capture."""
    folder = tmp_path_factory.mktemp("quality")
    bare, labelled = write_ball(folder / "bare"), write_ball(folder / "labelled")
    write_ball_masks(labelled)
    (folder / "nothing").mkdir()
    arch = request.config.getoption("--arch")
    arguments = ["--quick", "--device", arch, "--runs", folder / "runs", "--out", folder / "quality.json"]
    arguments += ["--captures", bare, folder / "nothing", labelled]
    return folder, run_python("benchmarks/quality.py", *map(str, arguments), timeout=200)


@pytest.mark.slow
def test_every_capture_has_a_row_and_one_that_fails_costs_no_other(trained):
    folder, done = trained
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {folder / 'nothing'}")
    assert "Traceback" not in done.stderr
    result = json.loads((folder / "quality.json").read_text())
    assert {"cpu", "cores", "torch", "commit", "date"} <= result["surroundings"].keys()
    assert result["quick"]
    assert [row["scene"] for row in result["rows"]] == ["bare", "labelled"]
    assert len(result["failed"]) == 1
    for row in result["rows"]:
        metrics = json.loads((folder / "runs" / row["scene"] / "metrics.json").read_text())
        assert row["psnr"] == metrics["psnr"]
        assert row["ssim"] == metrics["ssim"]
        assert row["format"] == "transforms"
        assert row["photos"] == [24, 24, 2]
        assert row["seconds"] == metrics["train_seconds"]
    bare, labelled = result["rows"]
    assert bare["seconds"].keys() == {"radiance"}
    assert bare["levels"] == {}
    assert labelled["seconds"].keys() == {"radiance", "features"}
    assert labelled["levels"].keys() == {"part", "object"}
    assert labelled["levels"]["part"].keys() == {"click_miou", "prompt_miou", "recall_50", "recall_75"}


@pytest.mark.slow
def test_the_table_is_markdown_with_the_figures(trained):
    folder, done = trained
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    row = json.loads((folder / "quality.json").read_text())["rows"][1]
    assert "| labelled | transforms | 24 x 24 | 2 |" in lines[3]
    assert f"| {row['psnr']:.2f} | {row['ssim']:.3f} |" in lines[3]
    assert lines[2].endswith("|  |  |  |"), "no labels, no figures"


def test_figures_stand_below_their_heads(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    quality = importlib.import_module("quality")
    figures = {"click_miou": 0.1, "prompt_miou": 0.2, "recall_50": 0.3, "recall_75": 0.4}
    row = quality.Row("a", "colmap", (9, 8, 7), {"radiance": 3.0, "features": 4.0}, 30.0, 0.9, {"object": figures})
    heads, _, cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in quality.table([row]).splitlines())
    found = dict(zip(heads, cells))
    assert found.pop("part: click, prompt, recall 50 / 75") == ""
    assert found == {
        "scene": "a", "format": "colmap", "photos": "9 x 8", "test views": "7", "training, s": "3 + 4",
        "PSNR, dB": "30.00", "SSIM": "0.900", "object": "0.100, 0.200, 0.30 / 0.40", "group": "",
    }  # fmt: skip


def test_captures_are_found_by_what_is_in_them(monkeypatch, tmp_path: Path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    quality = importlib.import_module("quality")
    ball = write_ball(tmp_path / "ball")
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("no capture")
    assert quality.find_captures([tmp_path, tmp_path / "missing"]) == [quality.SAMPLE, ball]


def test_the_environment_names_a_folder_of_captures(monkeypatch, tmp_path: Path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    quality = importlib.import_module("quality")
    monkeypatch.delenv(quality.CAPTURES_VARIABLE, raising=False)
    assert quality.captures_folder() is None
    monkeypatch.setenv("OMNISEG_CAPTURES", str(tmp_path))
    assert quality.captures_folder() == tmp_path
    monkeypatch.setenv("OMNISEG_CAPTURES", str(tmp_path / "missing"))
    with pytest.raises(InputError, match=r"OMNISEG_CAPTURES: .*missing is not a folder"):
        quality.captures_folder()


@pytest.mark.slow
def test_runs_that_are_measured_are_not_trained_again(trained):
    folder, _ = trained
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")}
    out = folder / "again.json"
    runs = [str(folder / "runs" / name) for name in ("bare", "labelled")]
    done = run_python("benchmarks/quality.py", *runs, "--device", "cpu", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")} == before
    assert json.loads(out.read_text())["rows"] == json.loads((folder / "quality.json").read_text())["rows"]


@pytest.mark.slow
def test_a_run_without_figures_is_named(trained, tmp_path: Path):
    folder, _ = trained
    run = tmp_path / "unmeasured"
    run.mkdir()
    (run / "config.yaml").write_bytes((folder / "runs" / "bare" / "config.yaml").read_bytes())
    done = run_python("benchmarks/quality.py", str(run), "--device", "cpu")
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {run}: holds no figures; measure it with: python apps/evaluate.py {run}"


@pytest.fixture(scope="module")
def matrix(request, tmp_path_factory):
    """Train the smallest matrix that has a kind for choosing, one for reporting, and two seeds."""
    folder = tmp_path_factory.mktemp("matrix")
    arch = request.config.getoption("--arch")
    arguments = ["--matrix", "--kinds", "tabletop", "yard", "--seeds", "3", "4", "--quick", "--device", arch]
    arguments += ["--runs", folder / "runs", "--out", folder / "matrix.json"]
    return folder, run_python("benchmarks/quality.py", *map(str, arguments), timeout=400)


@pytest.mark.slow
def test_the_matrix_trains_every_kind_with_every_seed(matrix):
    folder, done = matrix
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "matrix.json").read_text())
    assert [row["scene"] for row in result["rows"]] == ["tabletop-3", "tabletop-4", "yard-3", "yard-4"]
    assert [row["format"] for row in result["rows"]] == ["transforms"] * 2 + ["colmap"] * 2
    for row in result["rows"]:
        run = folder / "runs" / row["scene"]
        seed = row["scene"][-1]
        assert f"seed: {seed}\n" in (run / "config.yaml").read_text()
        assert json.loads((folder / "runs/scenes" / row["scene"] / "sample.json").read_text())["seed"] == int(seed)
        assert not list((folder / "runs/scenes" / row["scene"]).rglob("*depth/*"))
        assert row["levels"].keys() == {"part", "object", "group"}
        assert 0 <= row["surface_agreement"] <= 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert lines[2].startswith("| tabletop | choosing | 3, 4 |")
    assert lines[3].startswith("| yard | reporting | 3, 4 |")


def test_a_line_of_the_matrix_is_the_mean_of_its_seeds(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    figures, table = (importlib.import_module(name) for name in ("_figures", "_matrix"))
    rows = [
        figures.Row(
            f"hall-{seed}", "replica", (9, 8, 7), {"radiance": 3.0 + seed, "features": 4.0}, 30.0 + seed, 0.9,
            {"object": dict.fromkeys(figures.FIGURES, 0.1 * seed)}, 0.5 + 0.1 * seed,
        )
        for seed in (1, 3)
    ]  # fmt: skip
    lines = table.matrix_table(rows).splitlines()
    heads, _, cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    found = dict(zip(heads, cells))
    assert found.pop("part: click, prompt, recall 50 / 75") == ""
    assert found == {
        "kind": "hall", "for": "reporting", "seeds": "1, 3", "PSNR, dB": "32.00 (31.00 to 33.00)",
        "surfaces agree": "0.70", "object": "0.200, 0.200, 0.20 / 0.20", "group": "", "training, s": "5 + 4",
    }  # fmt: skip
