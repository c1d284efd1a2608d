"""Held-out views: figures that are right, pictures on disk, other figures kept."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from omniseg.data.images import ImageSet
from omniseg.errors import InputError
from omniseg.evaluation.evaluate import Evaluation
from omniseg.evaluation.image_metrics import psnr, ssim
from omniseg.evaluation.segmentation import LevelQuality
from omniseg.evaluation.views import ImageQuality, ViewQuality, evaluate_views, photo_and_background
from omniseg.run_folder import METRICS, update_metrics
from tiny_scene import SIDE, ball_images, ball_model


def picture(path: Path) -> torch.Tensor:
    return torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).float() / 255


@pytest.mark.parametrize("alpha", [True, False])
def test_figures_are_those_of_the_pictures(tmp_path: Path, device, alpha: bool):
    images = ball_images(3, alpha=alpha)
    quality = evaluate_views(ball_model(device), images.to(device), tmp_path)
    assert [view.name for view in quality.views] == list(images.names)
    for number, view in enumerate(quality.views):
        photo, _ = photo_and_background(images, number)
        shown = picture(tmp_path / "renders" / "test" / f"{view.name}.png")
        assert psnr(shown, photo) == pytest.approx(view.psnr, abs=0.05)
        assert ssim(shown, photo) == pytest.approx(view.ssim, abs=0.02)
    assert quality.psnr == pytest.approx(np.mean([view.psnr for view in quality.views]))
    assert quality.ssim == pytest.approx(np.mean([view.ssim for view in quality.views]))
    sheet = cv2.imread(str(tmp_path / "renders" / "test.png"))
    assert sheet.shape == (3 * SIDE, 3 * SIDE, 3)

    stored = json.loads((tmp_path / METRICS).read_text())
    assert stored["psnr"] == quality.psnr
    assert stored["views"]["0001"]["ssim"] == quality.views[1].ssim
    assert stored["train_seconds"] == {"radiance": 12.5}


def test_no_bar_where_none_is_wanted(tmp_path: Path, device, capsys):
    evaluate_views(ball_model(device), ball_images(2).to(device), tmp_path, progress=False)
    assert capsys.readouterr() == ("", "")


def test_transparent_photos_are_shown_over_white():
    images = ball_images(1)
    photo, background = photo_and_background(images, 0)
    assert background == 1.0
    assert photo[0, 0].tolist() == [1.0, 1.0, 1.0]
    opaque, background = photo_and_background(ball_images(1, alpha=False), 0)
    assert (tuple(opaque.shape), background) == ((SIDE, SIDE, 3), 0.0)


@pytest.mark.parametrize("before", ["", "[1]", "{", '{"levels": {"part": 1}, "psnr": 3}'])
def test_other_figures_stay(tmp_path: Path, before: str):
    (tmp_path / METRICS).write_text(before)
    update_metrics(tmp_path, {"psnr": 20.0})
    stored = json.loads((tmp_path / METRICS).read_text())
    assert stored["psnr"] == 20.0
    assert ("levels" in stored) == ("levels" in before)


def small(images: ImageSet) -> ImageSet:
    return ImageSet(
        pixels=images.pixels[:64],
        offsets=torch.tensor([0, 64]),
        sizes=torch.tensor([[8, 8]]),
        cameras=images.cameras[[0]],
        names=("tiny",),
        depths=None,
    )


def test_photos_too_small_to_measure(tmp_path: Path, device):
    with pytest.raises(InputError, match=r"8 x 8 pixels.*at least 11"):
        evaluate_views(ball_model(device), small(ball_images(1)).to(device), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_evaluation_is_said_in_a_line():
    images = ImageQuality(30.5, 0.9, (ViewQuality("a", 30.0, 0.8), ViewQuality("b", 31.0, 1.0)))
    levels = {name: LevelQuality(0.5, 0.5, 1.0, 0.5, ()) for name in ("part", "object")}
    said = "Evaluation('run', 2 views, PSNR 30.50 dB, SSIM 0.900, "
    assert repr(Evaluation(Path("run"), images, levels)) == said + "levels part, object)"
    assert repr(Evaluation(Path("run"), images, {})) == said + "no levels)"
