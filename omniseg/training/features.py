"""Stage 2: train one feature field on the masks of all views, on the fixed geometry of stage 1."""

import numpy as np
import torch
from torch import Tensor

from omniseg import distributed
from omniseg.config import Config
from omniseg.fields import KERNELS, FeatureField, Operators, Space
from omniseg.masks.patches import PatchSampler, PatchSet
from omniseg.profiling import span
from omniseg.rendering.renderer import Renderer, VisibleSamples
from omniseg.run_folder import FEATURES_RESUME
from omniseg.training.contrastive import Clusters, hierarchical_contrastive, norm_penalty
from omniseg.training.trainer import StepReport, Trainer, seeded

_CACHED_PIXELS = 1 << 23
"""Number of pixels, those of the first views, whose visible samples are found once and cached, about 100 bytes each.
Finding them anew is the larger half of a step. It changes results by rounding alone."""


class FeatureTrainer(Trainer):
    """Training of stage 2; the error of a step is the contrastive loss per pixel.

    Args:
        config: resolved configuration.
        patches: training views that have masks; training runs on the device of their cameras.
        renderer: renderer of the trained radiance field, which stays as it is.
        operators: implementation of the operators of a step.
    """

    stage = "features"
    resume_file = FEATURES_RESUME

    def __init__(self, config: Config, patches: PatchSet, renderer: Renderer, operators: Operators = KERNELS) -> None:
        device, training = patches.device, config.feature_training
        with seeded(config.seed):
            self.features = FeatureField(config.features, Space.from_config(config.marching), operators).to(device)
        self.renderer = Renderer(renderer.field, renderer.grid, renderer.config, self.features, operators)
        super().__init__(
            config,
            training,
            device,
            modules={"features": self.features},
            groups=[(list(self.features.parameters()), 1.0)],
            free=("training.steps", "feature_training.steps"),
        )
        self.sampler = PatchSampler(patches, self.generator)
        self._ends: list[int] = patches.offsets.tolist()
        self._cache: dict[int, VisibleSamples] = {}
        self.progress.n_rays = training.rays_per_step

    def step(self) -> StepReport:
        """Do one optimisation step."""
        training = self.config.feature_training
        # Drawn on the host, which would otherwise wait for the device to know which view it is.
        view = np.random.default_rng((self.config.seed, self.progress.step)).integers(len(self.sampler.patches))
        with span("rays"):
            batch = self.sampler.sample(int(view), training.rays_per_step)
        with span("clusters"):
            clusters = Clusters.from_patches(batch.patches, batch.correlation, training.min_pixels)
        # Each rank renders its slice of the pixels; then all compute the same loss of all pixels.
        pixels = batch.pixels[clusters.kept]
        with span("visible samples"):
            visible = self._visible(batch.view, pixels[distributed.process().rank_slice(len(pixels))])
        with span("features"):
            features = self.renderer.composite_features(visible)
        features = distributed.all_gather(features, len(pixels))
        with span("loss"):
            contrastive = hierarchical_contrastive(
                features, clusters, training.level_divisor, training.loss, training.temperature_range
            )
            loss = training.loss_weight * contrastive + training.norm_weight * norm_penalty(features)
        self.descend(loss)
        n_samples = distributed.sum_int(len(visible.weights))
        self.progress.step += 1
        mean = contrastive.detach() / max(len(features), 1)
        return StepReport(loss.detach(), mean, training.rays_per_step, n_samples)

    def _visible(self, view: int, pixels: Tensor) -> VisibleSamples:
        """Return the visible samples of pixels (n,) of a view."""
        patches = self.sampler.patches
        begin, end = self._ends[view], self._ends[view + 1]
        if end > _CACHED_PIXELS:
            return self.renderer.visible(*self.sampler.rays(view, pixels))
        if view not in self._cache:
            all_pixels = torch.arange(end - begin, device=patches.device)
            self._cache[view] = self.renderer.visible(*self.sampler.rays(view, all_pixels))
        return self._cache[view].select(pixels)

    def figure(self, error: float) -> tuple[str, float, str]:
        """Return the contrastive loss per pixel."""
        return "contrastive", error, "nats a pixel"
