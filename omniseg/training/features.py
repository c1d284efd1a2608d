"""Stage 2: lift the masks of all views into one feature field, on a geometry that no longer changes."""

import numpy as np
import torch
from torch import Tensor

from omniseg import distributed
from omniseg.config import Config
from omniseg.fields import FeatureField
from omniseg.masks.patches import PatchSampler, PatchSet
from omniseg.rendering.renderer import Renderer, VisibleSamples
from omniseg.training.contrastive import Clusters, hierarchical_contrastive, norm_penalty
from omniseg.training.trainer import StepReport, Trainer

_KEPT_PIXELS = 1 << 23
"""What the pixels of the first views see is found once and kept, about 100 bytes each; finding it anew for each
step is the larger half of the step."""


class FeatureTrainer(Trainer):
    """Everything that one optimisation step of stage 2 needs. The error of a step is the contrastive loss of a pixel.

    Args:
        config: resolved configuration.
        patches: training views that have masks; the device of their cameras is that of the training.
        renderer: of the learned geometry, which is read and never changed.
    """

    stage = "features"
    resume_file = "resume/features.safetensors"

    def __init__(self, config: Config, patches: PatchSet, renderer: Renderer) -> None:
        device = patches.device
        torch.manual_seed(config.seed)
        self.features = FeatureField(config.features, config.marching.bound).to(device)
        self.renderer = Renderer(renderer.field, renderer.grid, renderer.config, self.features)
        training = config.feature_training
        super().__init__(
            config,
            device,
            modules={"features": self.features},
            groups=[(list(self.features.parameters()), 1.0)],
            steps=training.steps,
            lr=training.lr,
            free=("scene", "seconds", "training.steps", "feature_training.steps"),
        )
        self.sampler = PatchSampler(patches, self.generator)
        self._ends: list[int] = patches.offsets.tolist()
        self._kept: dict[int, VisibleSamples] = {}
        self.progress.n_rays = training.rays_per_step

    def step(self) -> StepReport:
        """One optimisation step."""
        training = self.config.feature_training
        # Drawn on the host, which would otherwise wait for the device to learn which view it is.
        view = np.random.default_rng((self.config.seed, self.progress.step)).integers(len(self.sampler.patches))
        batch = self.sampler.sample(int(view), training.rays_per_step)
        clusters = Clusters.of(batch.patches, batch.correlation, training.min_pixels)
        # Clusters are of the pixels of all processes: each renders its part, and all make the same loss of the whole.
        pixels = batch.pixels[clusters.kept]
        visible = self._visible(batch.view, pixels[distributed.process().rank_slice(len(pixels))])
        features = distributed.gather(self.renderer.composite_features(visible), len(pixels))
        contrastive = hierarchical_contrastive(features, clusters, training.level_divisor, training.form)
        loss = training.loss_weight * contrastive + training.norm_weight * norm_penalty(features)
        self.descend(loss)
        n_samples = distributed.count(len(visible.weights))
        self.progress.step += 1
        mean = contrastive.detach() / max(len(features), 1)
        return StepReport(loss.detach(), mean, training.rays_per_step, n_samples)

    def _visible(self, view: int, pixels: Tensor) -> VisibleSamples:
        """What pixels (n,) of a view see."""
        patches = self.sampler.patches
        begin, end = self._ends[view], self._ends[view + 1]
        if end > _KEPT_PIXELS:
            return self.renderer.visible(*self.sampler.rays(view, pixels))
        if view not in self._kept:
            every = torch.arange(end - begin, device=patches.device)
            self._kept[view] = self.renderer.visible(*self.sampler.rays(view, every))
        return self._kept[view].select(pixels)

    def figure(self, error: float) -> tuple[str, float, str]:
        """Contrastive loss of a pixel."""
        return "contrastive", error, "nats a pixel"
