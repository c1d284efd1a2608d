"""A step makes the host wait only for numbers that decide the sizes of tensors."""

from dataclasses import replace

import pytest
import torch

from host_waits import HostWaits
from omniseg.training.features import FeatureTrainer
from omniseg.training.radiance import RadianceTrainer
from tiny_scene import ball_config, ball_images, ball_patches


def waits(step) -> dict[str, int]:
    with HostWaits() as waited:
        step()
    return dict(waited.found)


def test_what_counts_as_a_wait(device):
    x = torch.arange(3, device=device)
    for wait in (
        lambda: x.sum().item(),
        lambda: bool(x[0]),
        lambda: x.tolist(),
        lambda: x.nonzero(),
        lambda: x[x > 1],
        lambda: x.repeat_interleave(x),
        lambda: torch.bincount(x),
        lambda: x.unique(),
    ):
        assert sum(waits(wait).values()) == 1
    for free in (lambda: x[x], lambda: x.repeat_interleave(x, output_size=3), lambda: x.cumsum(0), lambda: len(x)):
        assert waits(free) == {}


@pytest.mark.parametrize("everything", [False, True], ids=["plain", "every loss"])
def test_radiance(device, everything):
    config, images = ball_config(), ball_images(depth=everything).to(device)
    if everything:
        losses = {"distortion_weight": 1e-2, "depth_weight": 0.3, "opacity_weight": 1e-2}
        options = {"background": "random", "refine_poses": True, "exposure": True}
        config = replace(config, training=replace(config.training, **losses, **options))
    trainer = RadianceTrainer(config, images)
    for _ in range(70):  # with four updates of the occupancy grid
        assert waits(trainer.step) == {"aten._local_scalar_dense": 1}, "the number of samples"


def test_features(device):
    geometry = RadianceTrainer(ball_config(steps=40), ball_images(depth=True).to(device))
    for _ in range(40):
        geometry.step()
    trainer = FeatureTrainer(ball_config(), ball_patches().to(device), geometry.renderer)
    while len(trainer._cache) < len(trainer.sampler.patches):  # visible samples of a view are found once
        trainer.step()
    for _ in range(4):
        found = waits(trainer.step)
        assert found == {"tolist": 1, "aten._local_scalar_dense": 1}, "numbers of clusters; number of samples"
