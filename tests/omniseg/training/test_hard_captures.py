"""Captures whose photos show little depth: they train as without it, and the log says what could not be done."""

from dataclasses import replace

import pytest
import torch

from analytic_scene import photo_set
from omniseg.config import Config, MarchingConfig
from omniseg.data.images import ImageSet
from omniseg.training.photo_check import PhotoCheck, check_photos
from omniseg.training.radiance import RadianceTrainer
from tiny_scene import ball_config

CAPTURES = {
    "of one colour": {"plain": True},
    "of two photos": {"n": 2},
    "of three photos": {"n": 3},
    "of a moving ball": {"moving": True},
}


@pytest.fixture(scope="module", params=CAPTURES)
def capture(request, device) -> tuple[str, ImageSet]:
    images, _ = photo_set(**CAPTURES[request.param])
    return request.param, images.to(device)


def config(steps: int = 80) -> Config:
    small = ball_config(steps=steps, background="random")
    marching = MarchingConfig(near=0.2, box=(4.0, 4.0, 4.0), cascades=3, resolution=32, step=0.05, cone_angle=1 / 32)
    return replace(small, marching=marching)


def checked(images: ImageSet) -> PhotoCheck:
    return check_photos(images, config(), progress=False)


def error(images: ImageSet, found: PhotoCheck | None) -> float:
    """Return the squared error of the last steps of a training."""
    trainer = RadianceTrainer(config(), images, photo_depth=None if found is None else found.depth)
    errors = torch.tensor([float(trainer.step().error) for _ in range(80)])
    assert errors.isfinite().all()
    return float(errors[-20:].mean())


def test_it_trains_as_without_depth(capture):
    _, images = capture
    assert error(images, checked(images)) < 1.15 * error(images, None)


def test_the_check_says_what_it_could_not_do(capture):
    name, images = capture
    words = {
        "of one colour": "only 0 % of pixels show texture",
        "of two photos": "at least three photos",
        "of three photos": "",
        "of a moving ball": "",
    }[name]
    warning = checked(images).warning
    assert words in warning
    assert bool(words) == bool(warning)


def test_a_moving_ball_has_less_depth_than_what_stands(device):
    images, truth = photo_set(moving=True)
    maps = checked(images.to(device)).depth.maps
    there = torch.cat([maps.image(images.cameras, v).flatten() for v in range(len(images))])
    still = photo_set()[1]
    on_ball = truth < 0.999 * photo_set(moving=False)[1].maximum(truth)  # nearer than where nothing moves
    share = [(there[mask] > 0).float().mean() for mask in (on_ball, ~on_ball)]
    assert share[0] < 0.7 * share[1]
    known = there > 0
    assert ((there[known] / truth[known] - 1).abs() < 0.1).float().mean() > 0.8
    assert len(still) == len(truth)
