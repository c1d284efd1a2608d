"""The presets of a GPU, with smaller sizes, go through the same code as those of a CPU, with depth from the photos."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch

from analytic_scene import photo_set
from omniseg.config import Config
from omniseg.data.normalisation import Normalisation, Placement
from omniseg.data.scene import SceneKind
from omniseg.training.photo_check import check_photos
from omniseg.training.presets import settings_for
from omniseg.training.radiance import RadianceTrainer
from omniseg_kernels.hash_encoding import HashLayout

STEPS = 150


def reduced(kind: SceneKind) -> Config:
    """Return the preset of a GPU for a kind of capture, with sizes that a CPU trains in a moment."""
    placement = Placement(Normalisation(1.0, torch.eye(3).numpy(), torch.zeros(3).numpy()), 0.3, 3, (4.0, 4.0, 4.0))
    gpu = torch.device("cuda")
    config = settings_for(kind, gpu, n_pixels=14 * 160 * 120, longest_side=160, placement=placement)
    layout = HashLayout(levels=6, log2_table=13, base_resolution=8, finest_resolution=128)
    marching = replace(config.marching, resolution=32, step=0.04)
    training = replace(config.training, steps=STEPS, samples_per_step=8192)
    radiance = replace(config.radiance, encoding=layout, hidden=32)
    return replace(config, marching=marching, training=training, radiance=radiance)


@pytest.mark.parametrize("kind", get_args(SceneKind))
def test_a_gpu_preset_trains_with_depth_from_the_photos(kind: SceneKind, device):
    config, (photos, truth) = reduced(kind), photo_set()
    images = photos.to(device)
    depth = check_photos(images, config, progress=False).depth
    assert depth.coverage > 0.3
    trainer, without = (RadianceTrainer(config, images, photo_depth=found) for found in (depth, None))
    off = []
    for each in (trainer, without):
        assert all(math.isfinite(float(each.step().loss)) for _ in range(STEPS))
        found = each.renderer.render(*images.cameras.image_rays(3), colour=False)
        error = (found.distance.cpu() / truth[images.offsets[3] : images.offsets[4]] - 1).abs()
        off.append(float(error.median()))
    assert off[0] < 0.5 * off[1], "without depth it ends in fog"
