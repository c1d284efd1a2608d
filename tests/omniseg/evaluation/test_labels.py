"""Labels of held-out views: read, measured on the learned ball, written as figures and pictures."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from learned_ball import learned_ball, quarter_labels, write_run
from omniseg.data.scene import View
from omniseg.errors import InputError
from omniseg.evaluation import labels as labels_module
from omniseg.evaluation.labels import evaluate_labels, load_labels, table
from omniseg.run_folder import METRICS
from omniseg.selection.tree_building import segment_everything
from tiny_scene import CAMERA, SIDE, ball_cameras, ball_images


def write_labels(folder: Path) -> list[View]:
    """The views of the ball, with labels of its quarters and halves, but for the last one."""
    cameras, views = ball_cameras(), []
    for number, labels in enumerate(quarter_labels(cameras)):
        paths = {level: folder / level / f"{number:04d}.png" for level in labels}
        for level, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), labels[level].astype(np.uint8))
        known = {} if number == len(cameras) - 1 else paths
        views.append(View(f"{number:04d}", {1: Path("none")}, CAMERA, np.eye(4)[:3], label_paths=known))
    return views


def test_figures_of_the_ball(device, tmp_path: Path, capsys):
    model, views, images = learned_ball(device), write_labels(tmp_path / "labels"), ball_images().to(device)
    run = write_run(tmp_path / "run", model)
    tree = segment_everything(run, model, progress=False)
    found = evaluate_labels(model, views, images, run, 16, tree, progress=False)
    assert capsys.readouterr() == ("", ""), "no bar where none is wanted"
    assert list(found) == ["part", "object"], "in this order, though not by name"
    for level, quality in found.items():
        assert quality.prompt_miou > 0.5
        assert quality.click_miou > 0.2
        assert quality.everything_miou is not None
        assert quality.everything_miou > 0.6
        assert all(label.view != views[-1].name for label in quality.labels)
        assert cv2.imread(str(run / "renders" / f"{level}.png")) is not None
    stored = json.loads((run / METRICS).read_text())["levels"]
    assert stored["part"]["click_miou"] == found["part"].click_miou
    rows = table(found).splitlines()
    assert [row.split()[0] for row in rows] == ["level", "part", "object"]
    assert f"{found['object'].everything_miou:.3f}" in rows[2]


def test_small_labels_do_not_count(device, tmp_path: Path, monkeypatch):
    model, views, images = learned_ball(device), write_labels(tmp_path / "labels"), ball_images().to(device)
    quarters = quarter_labels(ball_cameras())[:-1]
    largest = max(int(np.bincount(labels["part"].reshape(-1))[1:].max()) for labels in quarters)
    share = (largest + 1) / SIDE**2
    monkeypatch.setattr(labels_module, "MIN_SHARE", share)
    found = evaluate_labels(model, views, images, tmp_path / "run", 0, progress=False)
    assert list(found) == ["object"]
    monkeypatch.setattr(labels_module, "MIN_SHARE", 1.0)
    with pytest.raises(InputError, match=r"no held-out view shows a label of at least 576 pixels"):
        evaluate_labels(model, views, images, tmp_path / "run", 0, progress=False)


def test_labels_are_resized_and_checked(tmp_path: Path):
    view = write_labels(tmp_path)[0]
    small = load_labels(view, SIDE // 2, SIDE // 2)
    assert small.keys() == {"part", "object"}
    assert small["part"].shape == (SIDE // 2, SIDE // 2)
    assert small["part"].dtype == np.int32
    assert set(np.unique(small["part"])) <= set(range(5))
    with pytest.raises(InputError, match=r"part.0000\.png: is 24 x 24, which does not fit a photo of 40 x 24"):
        load_labels(view, 40, SIDE)
    view.label_paths["part"].write_bytes(b"no picture")
    with pytest.raises(InputError, match="does not open as labels"):
        load_labels(view, SIDE, SIDE)
