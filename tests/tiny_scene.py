"""A capture so small that a few dozen steps learn it: a painted ball that cameras go around."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from omniseg.cameras import Camera, Cameras
from omniseg.config import (
    Config,
    FeatureFieldConfig,
    FeatureTrainingConfig,
    MarchingConfig,
    RadianceFieldConfig,
    RadianceTrainingConfig,
)
from omniseg.data.images import ImageSet
from omniseg.data.normalisation import Normalisation
from omniseg.fields import OccupancyGrid, RadianceField, Space
from omniseg.masks.hierarchy import MaskHierarchy, build_hierarchy
from omniseg.masks.patches import PatchSet, ViewPatches
from omniseg.masks.run_length import MaskStack
from omniseg.run_folder import Model, Viewpoints
from omniseg_kernels.hash_encoding import HashLayout
from scene_files import opengl, orbit

SIDE = 24
"""Width and height of a photo, pixels."""
RADIUS = 0.6
"""Radius of the ball around the origin."""
CAMERA = Camera(width=SIDE, height=SIDE, fx=40.0, fy=40.0, cx=SIDE / 2, cy=SIDE / 2)


def ball_cameras(n: int = 8, distance: float = 2.0, height: float = 0.7) -> Cameras:
    return Cameras.stack([CAMERA] * n, orbit(n, distance, height))


def see_ball(rays_o: Tensor, rays_d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return colour (n, 3), opacity (n,) and distance (n,) along rays; 0 beside the ball."""
    middle = -(rays_o * rays_d).sum(1)
    inside = middle.square() - rays_o.square().sum(1) + RADIUS**2
    distance = torch.where(inside > 0, middle - inside.clamp(min=0).sqrt(), 0.0)
    surface = rays_o + distance[:, None] * rays_d
    colour = 0.5 + 0.4 * torch.sin(4 * surface + torch.tensor([0.0, 1.0, 2.0]))
    return colour, (inside > 0).float(), distance


def ball_images(
    n: int = 8,
    *,
    alpha: bool = True,
    depth: bool = False,
    believed: Cameras | None = None,
) -> ImageSet:
    """Take photos of the ball, over grey where they have no alpha.

    Args:
        n: number of photos.
        alpha: with a fourth channel.
        depth: with exact depth.
        believed: cameras that the set claims, instead of those that took the photos.
    """
    cameras = ball_cameras(n)
    pixels, depths = [], []
    for view in range(n):
        colour, opacity, distance = see_ball(*cameras.image_rays(view))
        seen = opacity[:, None]
        colour = torch.cat([colour, seen], dim=1) if alpha else torch.where(seen > 0, colour, 0.4)
        pixels.append((colour.clamp(0, 1) * 255).round().byte())
        depths.append(distance.half())
    return ImageSet(
        pixels=torch.cat(pixels),
        offsets=torch.arange(n + 1) * SIDE * SIDE,
        sizes=torch.full((n, 2), SIDE),
        cameras=believed or cameras,
        names=tuple(f"{view:04d}" for view in range(n)),
        depths=torch.cat(depths) if depth else None,
    )


def ball_config(**training: object) -> Config:
    """Return a configuration that is small in everything; options of the training by name."""
    values: dict = {"steps": 60, "samples_per_step": 8192, "lr": 5e-2, "background": "white", **training}
    return Config(
        marching=MarchingConfig(near=0.2, resolution=16, step=0.08, max_samples=128),
        radiance=RadianceFieldConfig(
            encoding=HashLayout(levels=4, log2_table=12, base_resolution=4, finest_resolution=24), hidden=32
        ),
        training=RadianceTrainingConfig(**values),
        features=FeatureFieldConfig(
            encoding=HashLayout(levels=4, log2_table=12, base_resolution=4, finest_resolution=24), hidden=32, dim=8
        ),
        feature_training=FeatureTrainingConfig(steps=60, rays_per_step=256, lr=5e-2),
    )


def ball_model(device: torch.device, seed: int = 0) -> Model:
    """Make an untrained model with three viewpoints."""
    torch.manual_seed(seed)
    config = ball_config()
    field = RadianceField(config.radiance, Space.from_config(config.marching))
    with torch.no_grad():
        field.table.uniform_(-1, 1)
    cameras = ball_cameras(3).to(device)
    return Model(
        config=config,
        normalisation=Normalisation(0.5, np.eye(3), np.array([0.1, 0.2, 0.3])),
        viewpoints=Viewpoints(("a", "deep/ähm", "c"), cameras, (False, True, False)),
        field=field.to(device),
        grid=OccupancyGrid(config.marching, cameras).to(device),
        seconds=12.5,
    )


SMALL = [
    "--training.steps=4",
    "--training.samples-per-step=1024",
    "--marching.resolution=16",
    "--marching.step=0.1",
    "--radiance.encoding.levels=4",
    "--radiance.encoding.log2-table=10",
    "--radiance.hidden=8",
    "--features.encoding.levels=4",
    "--features.encoding.log2-table=10",
    "--feature-training.steps=4",
    "--feature-training.rays-per-step=64",
]
"""Options of train.py for a training of a moment."""


def write_ball(root: Path, n: int = 8, n_test: int = 2) -> Path:
    """Write the photos as a NeRF-synthetic capture; scene coordinates are two thirds of the file's."""
    images = ball_images(n + n_test)
    c2w = images.cameras.c2w.double().numpy()
    c2w[:, :, 3] *= 2.0  # NeRF-synthetic cameras are 4 away
    for split, views in (("train", range(n)), ("test", range(n, n + n_test))):
        (root / split).mkdir(parents=True, exist_ok=True)
        frames = []
        for view in views:
            pixels = images.image(view).numpy()
            cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA))[1].tofile(root / split / f"{view}.png")
            frames.append({"file_path": f"./{split}/{view}", "transform_matrix": opengl(c2w[view])})
        if frames:
            angle = 2 * np.arctan(SIDE / 2 / CAMERA.fx)
            content = {"camera_angle_x": angle, "frames": frames}
            (root / f"transforms_{split}.json").write_text(json.dumps(content))
    return root


def moved(cameras: Cameras, degrees: float, seed: int = 0) -> Cameras:
    """Turn each camera by so many degrees about a random axis of its own."""
    vectors = torch.randn(len(cameras), 3, generator=torch.Generator().manual_seed(seed))
    vectors = vectors / vectors.norm(dim=1, keepdim=True) * np.deg2rad(degrees)
    turns = np.stack([cv2.Rodrigues(vector.double().numpy())[0] for vector in vectors])
    turned = torch.from_numpy(turns).float() @ cameras.c2w[:, :, :3]
    return replace(cameras, c2w=torch.cat([turned, cameras.c2w[:, :, 3:]], dim=2))


def ball_labels(n: int = 8) -> list[dict[str, np.ndarray]]:
    """Return true labels of `ball_images`: halves, left and right of x = 0, are parts of one object."""
    cameras, labels = ball_cameras(n), []
    for view in range(n):
        rays_o, rays_d = cameras.image_rays(view)
        _, opacity, distance = see_ball(rays_o, rays_d)
        seen = (opacity > 0).numpy().reshape(SIDE, SIDE)
        right = ((rays_o + distance[:, None] * rays_d)[:, 0] > 0).numpy().reshape(SIDE, SIDE)
        labels.append({"part": np.where(seen, 1 + right, 0).astype(np.int32), "object": seen.astype(np.int32)})
    return labels


def ball_hierarchy(labels: dict[str, np.ndarray]) -> MaskHierarchy:
    """Build the hierarchy of the true masks of one view."""
    masks = [ids == k for ids in labels.values() for k in np.unique(ids) if k]
    return build_hierarchy(MaskStack.from_masks(masks, SIDE, SIDE))


def ball_patches(n: int = 8) -> PatchSet:
    """Return the true mask hierarchies of `ball_images`."""
    hierarchies = [ball_hierarchy(labels) for labels in ball_labels(n)]
    return PatchSet(
        views=tuple(ViewPatches.from_hierarchy(hierarchy) for hierarchy in hierarchies),
        cameras=ball_cameras(n),
        names=tuple(f"{view:04d}" for view in range(n)),
    )


def write_ball_masks(root: Path, n: int = 8, n_test: int = 2) -> None:
    """Add true mask hierarchies of the training views, and labels of all, to what `write_ball` wrote."""
    for view, labels in enumerate(ball_labels(n + n_test)):
        name = f"{'train' if view < n else 'test'}/{view}"
        if view < n:
            ball_hierarchy(labels).save(root / "sam" / f"{name}.npz")
        for level, ids in labels.items():
            path = root / "labels" / level / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imencode(".png", ids.astype(np.uint8))[1].tofile(path)
