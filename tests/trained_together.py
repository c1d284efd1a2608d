"""A few training steps of both stages on the ball, in one process or, as a script under torchrun, in several."""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from omniseg import distributed
from omniseg.distributed import Process
from omniseg.fields import KERNELS
from omniseg.rendering.renderer import Renderer
from omniseg.training.features import FeatureTrainer
from omniseg.training.radiance import RadianceTrainer
from omniseg.training.trainer import Trainer
from omniseg_kernels import launch
from tiny_scene import ball_config, ball_images, ball_patches

FLOAT32 = replace(KERNELS, matmul_dtype=lambda _: torch.float32)
"""In bfloat16 the gradient of a slice of the rays is rounded to three digits."""
RADIANCE_STEPS, FEATURE_STEPS = 20, 8
"""The grid is updated after 16 steps of stage 1."""


@dataclass(frozen=True)
class Trained:
    """Results of both trainings.

    Attributes:
        tensors: trained tensors by name.
        steps: rays, samples, loss and error of each step, by stage.
    """

    tensors: dict[str, Tensor]
    steps: dict[str, list[tuple[float, ...]]]


def learned_geometry() -> Renderer:
    """Train the geometry for stage 2, in one process."""
    trainer = RadianceTrainer(ball_config(steps=40), ball_images(depth=True), FLOAT32)
    for _ in range(40):
        trainer.step()
    return trainer.renderer


def train_both(geometry: Renderer) -> Trained:
    """Train both stages with every option that has a term in the loss."""
    options = {"background": "random", "refine_poses": True, "exposure": True}
    weights = {"distortion_weight": 1e-2, "depth_weight": 0.3, "opacity_weight": 1e-2}
    radiance = RadianceTrainer(ball_config(**options, **weights, lr=0.2), ball_images(depth=True), FLOAT32)
    steps = {"radiance": run_steps(radiance, RADIANCE_STEPS, 1e-2)}
    config = ball_config()
    # An odd number of pixels, and so few that patches are left out: no two ranks have alike slices.
    options = {"rays_per_step": 251, "min_pixels": 20, "lr": 1.0}
    config = replace(config, feature_training=replace(config.feature_training, **options))
    features = FeatureTrainer(config, ball_patches(), geometry, FLOAT32)
    steps["features"] = run_steps(features, FEATURE_STEPS, 1e2)
    modules = {"field": radiance.field, "grid": radiance.grid, "corrections": radiance.camera_optimizer}
    modules["features"] = features.features
    return Trained({f"{m}.{k}": v.clone() for m, it in modules.items() for k, v in it.state_dict().items()}, steps)


def run_steps(trainer: Trainer, n: int, eps: float) -> list[tuple[float, ...]]:
    """Train n steps, with an `eps` so large that Adam does not scale up gradients that are only rounding errors."""
    for group in trainer.optimizer.param_groups:
        group["eps"] = eps
    reports = [trainer.step() for _ in range(n)]
    return [(out.n_rays, out.n_samples, float(out.loss), float(out.error)) for out in reports]


def steps_of_a_budget(rank: int) -> int:
    """Return the number of steps in a budget of seconds, by a clock whose speed differs between ranks."""
    ticks = iter(range(10_000))
    clock, time.perf_counter = time.perf_counter, lambda: next(ticks) * 0.1 * (1 + rank)
    trainer = RadianceTrainer(replace(ball_config(), seconds=2.0), ball_images())
    trainer.run(save=lambda: None, progress=False)
    time.perf_counter = clock
    return trainer.progress.step


def main(out: Path) -> None:
    """Train as one of several ranks, and write the results."""
    torch.set_num_threads(1)
    process = Process.from_environment()
    launch.init("cpu", threads=1)
    geometry = learned_geometry()
    distributed.start(process, torch.device("cpu"))
    torch.manual_seed(process.rank)
    copied = nn.BatchNorm1d(3)
    nn.init.normal_(copied.weight)
    nn.init.normal_(copied.running_mean)
    distributed.broadcast_modules([copied])
    trained = train_both(geometry)
    torch.save(
        {"tensors": trained.tensors, "steps": trained.steps, "copied": copied.state_dict()}, out / f"{process.rank}.pt"
    )
    (out / f"{process.rank}.json").write_text(json.dumps(steps_of_a_budget(process.rank)))
    distributed.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
