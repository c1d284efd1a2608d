"""Stage 1: train the radiance field on posed photos."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from omniseg import distributed
from omniseg.cameras import Cameras
from omniseg.config import Config, RadianceTrainingConfig
from omniseg.data.images import ImageSet
from omniseg.data.photo_depth import PhotoDepth
from omniseg.data.rays import RayBatch, RaySampler
from omniseg.errors import InputError
from omniseg.fields import KERNELS, OccupancyGrid, Operators, RadianceField, Space
from omniseg.profiling import span
from omniseg.rendering.renderer import Renderer, TrainingRendering
from omniseg.run_folder import RADIANCE_RESUME
from omniseg.training.camera_optimizer import CameraOptimizer
from omniseg.training.losses import depth_error, distortion, opacity_entropy, weight_before
from omniseg.training.ray_ends import RayEnds
from omniseg.training.trainer import StepReport, Trainer, seeded


class RadianceTrainer(Trainer):
    """Training of stage 1; the error of a step is the squared error of colour.

    Steps are coarse and no cell is skipped at first (`training.ramp`): so the colours of many rays settle the rough
    shape. Fine steps from the start would lock in fog near the cameras.

    Args:
        config: resolved configuration.
        images: training views; training runs on the device of their cameras.
        operators: implementation of the operators of a step.
        photo_depth: depth that was estimated from the photos, for images without depths.
    """

    stage = "radiance"
    resume_file = RADIANCE_RESUME

    def __init__(
        self,
        config: Config,
        images: ImageSet,
        operators: Operators = KERNELS,
        *,
        photo_depth: PhotoDepth | None = None,
    ) -> None:
        device, training = images.device, config.training
        ranks, rays = distributed.process().world_size, training.min_rays
        if rays < ranks:
            raise InputError(f"--training.min-rays: expected at least 1 for each of {ranks} processes, got {rays}")
        self.cameras: Cameras = images.cameras
        self.nearest = None if photo_depth is None else photo_depth.near
        with seeded(config.seed):
            self.field = RadianceField(config.radiance, Space.from_config(config.marching), operators).to(device)
        self.grid = OccupancyGrid(config.marching, images.cameras).to(device)
        self.ray_ends = RayEnds(images, training) if training.end_from < 1 else None
        self.renderer = Renderer(self.field, self.grid, config.marching, operators=operators)
        self.camera_optimizer = CameraOptimizer(
            len(images.names), poses=training.refine_poses, exposure=training.exposure
        ).to(device)
        modules: dict[str, nn.Module] = {
            "field": self.field,
            "grid": self.grid,
            "corrections": self.camera_optimizer,
        }
        if self.ray_ends is not None:
            modules["ray_ends"] = self.ray_ends
        super().__init__(
            config,
            training,
            device,
            modules=modules,
            groups=[
                (list(self.field.parameters()), 1.0),
                (list(self.camera_optimizer.parameters()), training.correction_lr),
            ],
            free=("training.steps", "features", "feature_training"),
        )
        maps = None if photo_depth is None else photo_depth.maps.to(device)
        self.sampler = RaySampler(images, self.generator, maps)
        self.progress.n_rays = max(training.samples_per_step // training.initial_samples_per_ray, training.min_rays)

    def step(self) -> StepReport:
        """Do one optimisation step."""
        training, progress = self.config.training, self.progress
        ramp = min(self.done / training.ramp, 1.0)
        warmup = progress.step < training.grid_warmup_steps
        if progress.step and progress.step % (training.grid_warmup_every if warmup else training.grid_every) == 0:
            with span("occupancy grid"):
                self.grid.update(self._densities, ramp, self.generator)
        n_rays = progress.n_rays
        # The whole batch, so that all ranks draw the same numbers as one process; then this rank's slice.
        with span("rays"):
            batch = self.sampler.sample(n_rays, self.camera_optimizer.cameras(self.cameras))
            jitter = torch.rand(n_rays, generator=self.generator, device=self.device)
        mine = distributed.process().rank_slice(n_rays)
        tiles = ends = cut = None
        if self.ray_ends is not None:
            tiles = self.ray_ends.tiles(batch.pixels, batch.views)
            ends = self.ray_ends.ends[tiles[mine]] if self.done >= training.end_from else None
        coarseness = training.coarseness ** (1 - ramp)
        rendering = self.renderer.train(
            batch.rays_o[mine], batch.rays_d[mine], jitter=jitter[mine], coarseness=coarseness, t_max=ends
        )
        if self.ray_ends is not None and tiles is not None:
            with span("ray ends"):
                cut = None if ends is None else self.ray_ends.cut(rendering, ends)
                self.ray_ends.update(tiles, rendering)
        n_samples = distributed.sum_int(rendering.samples.n_samples)
        with span("loss"):
            squared_error, loss = self._loss(batch, mine, rendering, cut)
        self.descend(loss)
        squared_error, loss = distributed.sum_scalars(squared_error, loss)

        target = n_rays * training.fill * training.samples_per_step / max(n_samples, 1)
        change = training.max_rays_change
        progress.n_rays = int(min(max(target, n_rays / change, training.min_rays), n_rays * change, training.max_rays))
        progress.step += 1
        return StepReport(loss.detach(), squared_error.detach(), n_rays, n_samples)

    def figure(self, error: float) -> tuple[str, float, str]:
        """Return the PSNR of the colours of a step."""
        return "psnr", -10 * math.log10(max(error, 1e-10)), "dB"

    def extra_state(self) -> dict[str, Any]:
        """Return the number of grid updates, which decides the cells that the next one evaluates."""
        return {"grid_updates": self.grid.updates}

    def restore_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the values that `extra_state` returned."""
        self.grid.updates = int(state["grid_updates"])

    def _densities(self, positions: Tensor) -> Tensor:
        """Return densities (n,) at positions (n, 3), scene coordinates, of which each rank computes a slice."""
        mine = positions[distributed.process().rank_slice(len(positions))]
        return distributed.all_gather(self.field.density(mine).sigmas, len(positions))

    def _loss(
        self, batch: RayBatch, mine: slice, rendering: TrainingRendering, cut: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what this rank's rays, but those that were `cut`, add to the squared error and the loss of a batch."""
        training, own = self.config.training, batch.part(mine)
        background = _background(training, len(batch.rgb), self.generator)[mine]
        alpha = own.alpha[:, None]
        target = own.rgb * alpha + background * (1 - alpha)
        colour, opacity = self.camera_optimizer.colour(rendering.over(background), own.views), rendering.opacity
        if cut is not None:
            target = torch.where(cut[:, None], colour.detach(), target)
            opacity = torch.where(cut, opacity.detach(), opacity)
        share = len(own.rgb) / len(batch.rgb)
        squared_error = (colour - target).square().mean() * share
        loss = squared_error
        if training.opacity_weight:
            loss = loss + training.opacity_weight * share * opacity_entropy(opacity)
        if training.distortion_weight:
            loss = loss + training.distortion_weight * share * distortion(rendering)
        if own.depth is not None and batch.depth is not None:
            n_known = (batch.depth > 0).sum()
            loss = loss + self._depth_loss(own.depth, n_known, rendering, len(batch.rgb))
        return squared_error, loss

    def _depth_loss(self, depth: Tensor, n_known: Tensor, rendering: TrainingRendering, n_rays: int) -> Tensor:
        """Return the loss of depth (own rays,), which fades: later the colours know better."""
        training, loss = self.config.training, rendering.weights.new_zeros(())
        weight, end = training.photo_depth_weight, training.photo_depth_fade
        if self.nearest is None:
            weight, end = training.depth_weight, training.depth_fade
        progress = self.done / end
        if progress >= 1:
            return loss
        if weight:
            fade = 0.5 + 0.5 * math.cos(math.pi * progress)
            loss = loss + weight * fade * depth_error(rendering, depth, training.depth_tolerance, n_known)
        if training.lens_weight and self.nearest:
            before = weight_before(rendering, self.nearest, depth == 0) / n_rays
            loss = loss + training.lens_weight * (1 - progress) * before
        return loss


def _background(training: RadianceTrainingConfig, n_rays: int, generator: torch.Generator) -> Tensor:
    """Return the background colour (n_rays, 3) of rays."""
    if training.background == "random":
        return torch.rand(n_rays, 3, generator=generator, device=generator.device)
    value = 1.0 if training.background == "white" else 0.0
    return torch.full((1, 3), value, device=generator.device).expand(n_rays, 3)
