"""Stage 1: learn density and colour from posed photos."""

import math
from typing import Any

import torch
from torch import Tensor

from omniseg import distributed
from omniseg.cameras import Cameras
from omniseg.config import Config, RadianceTrainingConfig
from omniseg.data.images import ImageSet
from omniseg.data.rays import RayBatch, RaySampler
from omniseg.fields import OccupancyGrid, RadianceField
from omniseg.rendering.renderer import Renderer, TrainingRendering
from omniseg.training.camera_optimizer import Corrections
from omniseg.training.losses import depth_error, distortion, opacity_entropy
from omniseg.training.trainer import StepReport, Trainer

_GRID_EVERY, _YOUNG_GRID_EVERY, _YOUNG = 32, 16, 256
"""The grid is looked at every so many steps, and more often in the first `_YOUNG`, while the shape is made out."""
_RAMP = 0.15
"""Share of the training over which steps shorten to their length and culling becomes as strict as configured.
Coarse steps and no culling at first let the colours of many rays settle the rough shape; fine steps from the
start lock in fog near the cameras."""
_COARSENESS = 3.0
_FIRST_SAMPLES_PER_RAY = 256
_FEWEST_RAYS, _MOST_RAYS = distributed.MOST_PROCESSES, 1 << 18
_FILL = 0.97
"""Aimed at, of the samples of a step: then nearly every step has few enough to be padded to the same number."""
_CORRECTION_LR = 0.05


class RadianceTrainer(Trainer):
    """Everything that one optimisation step of stage 1 needs. The error of a step is the squared error of colour.

    Args:
        config: resolved configuration.
        images: training views; the device of their cameras is that of the training.
    """

    stage = "radiance"
    resume_file = "resume/radiance.safetensors"

    def __init__(self, config: Config, images: ImageSet) -> None:
        device = images.device
        torch.manual_seed(config.seed)
        self.cameras: Cameras = images.cameras
        self.field = RadianceField(config.radiance, config.marching.bound).to(device)
        self.grid = OccupancyGrid(config.marching, images.cameras).to(device)
        self.renderer = Renderer(self.field, self.grid, config.marching)
        training = config.training
        self.corrections = Corrections(len(images.names), poses=training.refine_poses, exposure=training.exposure).to(
            device
        )
        super().__init__(
            config,
            device,
            modules={"field": self.field, "grid": self.grid, "corrections": self.corrections},
            groups=[(list(self.field.parameters()), 1.0), (list(self.corrections.parameters()), _CORRECTION_LR)],
            steps=training.steps,
            lr=training.lr,
            free=("scene", "seconds", "training.steps", "features", "feature_training"),
        )
        self.sampler = RaySampler(images, self.generator)
        self.progress.n_rays = max(training.samples_per_step // _FIRST_SAMPLES_PER_RAY, _FEWEST_RAYS)

    def step(self) -> StepReport:
        """One optimisation step."""
        training, progress = self.config.training, self.progress
        ramp = min(self.done / _RAMP, 1.0)
        every = _YOUNG_GRID_EVERY if progress.step < _YOUNG else _GRID_EVERY
        if progress.step % every == 0 and progress.step:
            self.grid.update(self._densities, ramp, self.generator)
        n_rays = progress.n_rays
        # Of all processes, so that they draw the same numbers as one; then this one's rays.
        batch = self.sampler.sample(n_rays, self.corrections.cameras(self.cameras))
        jitter = torch.rand(n_rays, generator=self.generator, device=self.device)
        part = distributed.process().rank_slice(n_rays)
        rendering = self.renderer.train(
            batch.rays_o[part], batch.rays_d[part], jitter=jitter[part], coarseness=_COARSENESS ** (1 - ramp)
        )
        n_samples = distributed.count(rendering.samples.n_samples)
        squared_error, loss = self._loss(batch, part, rendering)
        self.descend(loss)
        squared_error, loss = distributed.totals(squared_error, loss)

        wanted = n_rays * _FILL * training.samples_per_step / max(n_samples, 1)
        progress.n_rays = int(min(max(wanted, n_rays / 2, _FEWEST_RAYS), n_rays * 2, _MOST_RAYS))
        progress.step += 1
        return StepReport(loss.detach(), squared_error.detach(), n_rays, n_samples)

    def figure(self, error: float) -> tuple[str, float, str]:
        """PSNR of the colours of a step."""
        return "psnr", -10 * math.log10(max(error, 1e-10)), "dB"

    def extra_state(self) -> dict[str, Any]:
        """Which part of the grid is looked at next."""
        return {"grid_updates": self.grid.updates}

    def restore_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` gave."""
        self.grid.updates = int(state["grid_updates"])

    def _densities(self, positions: Tensor) -> Tensor:
        """Densities (n,) at positions (n, 3), scene coordinates, a part by each process."""
        mine = positions[distributed.process().rank_slice(len(positions))]
        return distributed.gather(self.field.density(mine).sigmas, len(positions))

    def _loss(self, whole: RayBatch, part: slice, rendering: TrainingRendering) -> tuple[Tensor, Tensor]:
        """Squared error and loss of a batch, or what a rendered part of it adds to them."""
        training, batch = self.config.training, whole.part(part)
        background = _background(training, len(whole.rgb), self.generator)[part]
        alpha = batch.alpha[:, None]
        target = batch.rgb * alpha + background * (1 - alpha)
        colour = self.corrections.colour(rendering.over(background), batch.views)
        share = len(batch.rgb) / len(whole.rgb)
        squared_error = (colour - target).square().mean() * share
        loss = squared_error
        if training.opacity_weight:
            loss = loss + training.opacity_weight * share * opacity_entropy(rendering.opacity)
        if training.distortion_weight:
            loss = loss + training.distortion_weight * share * distortion(rendering)
        if training.depth_weight and batch.depth is not None and whole.depth is not None:
            n_known = (whole.depth > 0).sum()
            loss = loss + training.depth_weight * depth_error(rendering, batch.depth, n_known)
        return squared_error, loss


def _background(training: RadianceTrainingConfig, n_rays: int, generator: torch.Generator) -> Tensor:
    if training.background == "random":
        return torch.rand(n_rays, 3, generator=generator, device=generator.device)
    value = 1.0 if training.background == "white" else 0.0
    return torch.full((1, 3), value, device=generator.device).expand(n_rays, 3)
