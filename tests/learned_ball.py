"""Trained model of the ball of `tiny_scene`: two objects, left and right, each of two parts, above and below."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from omniseg.cameras import Cameras
from omniseg.data.normalisation import Normalisation
from omniseg.masks.patches import PatchSet, ViewPatches
from omniseg.run_folder import Model, Viewpoints, save_features, save_radiance
from omniseg.training.features import FeatureTrainer
from omniseg.training.radiance import RadianceTrainer
from tiny_scene import SIDE, ball_cameras, ball_config, ball_hierarchy, ball_images, see_ball

NORMALISATION = Normalisation(
    0.5, np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([0.1, 0, 0])
)


def quarter_labels(cameras: Cameras) -> list[dict[str, np.ndarray]]:
    """Return true labels (SIDE, SIDE) of views: objects 1 and 2, left and right, and parts 1 to 4.

    The objects part at x = 0.02: at 0 the rays of cameras in the plane between them would fall on either by rounding.
    """
    labels = []
    for view in range(len(cameras)):
        rays_o, rays_d = cameras.image_rays(view)
        _, opacity, distance = see_ball(rays_o, rays_d)
        surface = (rays_o + distance[:, None] * rays_d).numpy().reshape(SIDE, SIDE, 3)
        seen = (opacity > 0).numpy().reshape(SIDE, SIDE)
        right, above = (surface[..., axis] > middle for axis, middle in ((0, 0.02), (2, 0.15)))
        ids = {"part": 1 + right + 2 * above, "object": 1 + right}
        labels.append({level: np.where(seen, values, 0).astype(np.int32) for level, values in ids.items()})
    return labels


def quarter_patches(cameras: Cameras) -> PatchSet:
    """Return the mask hierarchies of these labels."""
    hierarchies = [ball_hierarchy(labels) for labels in quarter_labels(cameras)]
    return PatchSet(
        views=tuple(ViewPatches.from_hierarchy(hierarchy) for hierarchy in hierarchies),
        cameras=cameras,
        names=tuple(map(str, range(len(cameras)))),
    )


@cache
def learned_ball(device: torch.device) -> Model:
    """Train the ball, in scene coordinates other than those of its input; a test that changes it copies it first."""
    torch.set_num_threads(1)
    images = ball_images(depth=True).to(device)
    radiance = RadianceTrainer(ball_config(steps=300, depth_weight=0.1, depth_fade=2.0), images)
    for _ in range(300):
        radiance.step()
    config = ball_config()
    features = FeatureTrainer(
        replace(config, feature_training=replace(config.feature_training, loss_weight=0.4, steps=300)),
        quarter_patches(ball_cameras()).to(device),
        radiance.renderer,
    )
    for _ in range(300):
        features.step()
    names = tuple(f"train/{name}" for name in images.names)
    held_out = tuple(view % 4 == 0 for view in range(len(names)))
    return Model(
        config=config,
        normalisation=NORMALISATION,
        viewpoints=Viewpoints(names, images.cameras, held_out),
        field=radiance.renderer.field,
        grid=radiance.renderer.grid,
        seconds=1.0,
        features=features.features,
        feature_seconds=1.0,
    )


def write_run(run: Path, model: Model) -> Path:
    """Write a run folder with this model."""
    run.mkdir(parents=True, exist_ok=True)
    save_radiance(run, model)
    save_features(run, model)
    return run
