"""docs/api.md and README.md: their Python runs as it stands, on a small scene in place of the sample room."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import ROOT
from learned_ball import learned_ball, quarter_labels, write_run
from omniseg.evaluation.segmentation import innermost
from tiny_scene import SIDE, ball_config, write_ball, write_ball_masks

VIEW, OTHER = "train/0002", "train/0003"
SCALE = 320 / SIDE


def points_on_the_halves(device) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a pixel of the left half of the ball, and one of the right half in the view 320 pixels wide."""
    labels = quarter_labels(learned_ball(device).viewpoints.cameras.to("cpu"))[2]["object"]
    (row, column), (row2, column2) = (divmod(innermost(labels == k), SIDE) for k in (1, 2))
    return (column, row), (round((column2 + 0.5) * SCALE), round((row2 + 0.5) * SCALE))


def blocks(page: str) -> list[str]:
    """Return the Python code of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def on_the_ball(code: str, first: tuple[int, int], second: tuple[int, int]) -> str:
    """Name views of the ball, and points on it, instead of those of the sample room."""
    for name, ours in (('"0005"', f'"{VIEW}"'), ('"0030"', f'"{OTHER}"')):
        code = code.replace(name, ours)
    code = code.replace("(120, 88)", str(first)).replace("(150, 65)", str(first)).replace("(160, 120)", str(second))
    centre = ", ".join(str(value + 0.5) for value in second)
    code = code.replace("(20, 20)", str(tuple(round((value + 0.5) * SCALE) for value in first)))
    return code.replace("160.5, 120.5", centre).replace("(100, 60, 220, 180)", "(60, 60, 260, 260)")


@pytest.fixture
def folder(device, tmp_path: Path, monkeypatch) -> Path:
    """Return a folder with the capture and the run that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    write_run(tmp_path / "runs/sample", learned_ball(device))
    write_ball(tmp_path / "scenes/sample")
    write_ball_masks(tmp_path / "scenes/sample")
    return tmp_path


@pytest.mark.slow
def test_the_tour_of_the_api_runs(folder: Path, device):
    """Train less, and on smaller pictures, but run every line."""
    left, right = points_on_the_halves(device)
    config = ball_config(steps=4, samples_per_step=1024)
    small = replace(config, feature_training=replace(config.feature_training, steps=4, rays_per_step=64))
    namespace: dict = {"small": small}
    for block in blocks("docs/api.md"):
        code = on_the_ball(block, left, right).replace("seconds=20", "config=small")
        exec(compile(code, "docs/api.md", "exec"), namespace)
    for name in ("thing.json", "thing.glb", "scene.ply", "orbit.mp4", "tour.png", "runs/mine/metrics.json"):
        assert (folder / name).is_file(), name
    assert namespace["mask"].any()
    assert not namespace["mask"].all()


def test_the_lines_of_the_readme_run(folder: Path, device):
    found = blocks("README.md")
    assert found, "README.md shows no Python"
    left, right = points_on_the_halves(device)
    namespace: dict = {}
    for block in found:
        exec(compile(on_the_ball(block, left, right), "README.md", "exec"), namespace)
    assert namespace["mask"].shape == (SIDE, SIDE)
    assert (folder / "sofa.glb").is_file()
