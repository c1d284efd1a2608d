"""Configuration of the training of both stages."""

import math
from dataclasses import dataclass
from typing import Literal

from omniseg.config.require import require
from omniseg.config.true_or_false import TrueOrFalse

Background = Literal["random", "white", "black"]
ContrastiveLoss = Literal["ranking", "paper"]


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """Length of a training stage, and its Adam optimiser."""

    steps: int = 10_000
    """Number of optimisation steps, unless the run has a budget of seconds."""
    lr: float = 1e-2
    """Learning rate at the start; it falls along a cosine."""
    lr_floor: float = 1 / 30
    """Learning rate at the end, as a fraction of `lr`."""
    adam_betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates of Adam's moving averages of the gradient and of its square."""
    adam_eps: float = 1e-15
    """Number that Adam adds to its denominator."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, "steps", ">= 1", self.steps)
        require(0 < self.lr < math.inf, "lr", "> 0", self.lr)
        require(0 <= self.lr_floor <= 1, "lr_floor", "0 to 1", self.lr_floor)
        require(all(0 <= beta < 1 for beta in self.adam_betas), "adam_betas", "in [0, 1)", self.adam_betas)
        require(0 < self.adam_eps < math.inf, "adam_eps", "> 0", self.adam_eps)


@dataclass(frozen=True, kw_only=True)
class RadianceTrainingConfig(OptimizationConfig):
    """Stage 1: training of the radiance field."""

    samples_per_step: int = 65_536
    """Number of samples along rays in one step, which the number of rays adapts to."""
    fill: float = 0.97
    """Fraction of `samples_per_step` that is aimed at, so that few steps exceed it."""
    initial_samples_per_ray: int = 256
    """Number of samples that a ray is assumed to have in the first step."""
    min_rays: int = 64
    """Smallest number of rays in a step, at least one for each process."""
    max_rays: int = 1 << 18
    """Largest number of rays in a step."""
    max_rays_change: float = 2.0
    """Largest factor by which the number of rays changes from one step to the next."""
    ramp: float = 0.15
    """Fraction of the training over which steps shorten to `marching.step` and skipping of empty cells sets in."""
    coarseness: float = 3.0
    """Length of a step at the start, as a multiple of `marching.step`; 1: as long as at the end."""
    end_from: float = 1.0
    """Fraction of the training after which a ray ends soon behind what was opaque before; from 1 on: never."""
    end_tile: int = 8
    """Side of the tiles of a photo, pixels, whose rays end at the same distance."""
    end_transmittance: float = 1e-4
    """Transmittance below which a ray counts as opaque."""
    end_steps: float = 6.0
    """Number of marching steps by which a ray goes on behind what is opaque."""
    end_rate: float = 0.3
    """Fraction of the way that the end of a tile moves nearer in one update; it moves farther at once."""
    grid_every: int = 32
    """Number of steps between two updates of the occupancy grid."""
    grid_warmup_every: int = 16
    """Number of steps between two updates of the occupancy grid in the first `grid_warmup_steps`."""
    grid_warmup_steps: int = 256
    """Number of steps at the start in which the occupancy grid is updated every `grid_warmup_every` steps."""
    background: Background = "random"
    """Colour behind transparent space in training; "random" is best for photos without transparency."""
    opacity_weight: float = 1e-3
    """Weight of the entropy of each ray's opacity, which makes a ray either opaque or transparent."""
    distortion_weight: float = 0.0
    """Weight of the distortion loss (mip-NeRF 360), which makes the weights along a ray compact."""
    depth_weight: float = 0.3
    """Weight of the robust error of depth at the start, for scenes that have depth images; it fades along a cosine."""
    depth_fade: float = 1.0
    """Fraction of the training after which the depth of depth images counts no longer; above 1: to the end."""
    depth_tolerance: float = 0.1
    """Relative error of depth, measured or estimated, up to which the loss is quadratic, and linear beyond."""
    photo_depth: TrueOrFalse = True
    """Estimate depth from the photos before training, for scenes without depth images."""
    photo_depth_weight: float = 0.3
    """Weight of the robust error of estimated depth at the start; it fades along a cosine."""
    photo_depth_fade: float = 0.5
    """Fraction of the training after which estimated depth no longer counts."""
    lens_weight: float = 0.1
    """Weight of the penalty on matter before the nearest estimated depth, on rays without depth; it fades linearly."""
    refine_poses: bool = False
    """Learn a small correction of every camera pose as well."""
    exposure: bool = False
    """Learn a gain and an offset of every image's colours as well."""
    correction_lr: float = 0.05
    """Learning rate of poses and exposure, as a fraction of `lr`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.samples_per_step >= 1024, "samples_per_step", ">= 1024", self.samples_per_step)
        require(0 < self.fill <= 1, "fill", "in (0, 1]", self.fill)
        require(1 <= self.min_rays <= self.max_rays, "min_rays", "1 to max_rays", self.min_rays)
        require(1 <= self.max_rays_change < math.inf, "max_rays_change", ">= 1", self.max_rays_change)
        require(0 < self.ramp <= 1, "ramp", "in (0, 1]", self.ramp)
        require(1 <= self.coarseness < math.inf, "coarseness", ">= 1", self.coarseness)
        require(0 <= self.end_from < math.inf, "end_from", ">= 0", self.end_from)
        require(self.end_tile >= 1, "end_tile", ">= 1", self.end_tile)
        require(0 < self.end_transmittance < 1, "end_transmittance", "in (0, 1)", self.end_transmittance)
        require(0 <= self.end_steps < math.inf, "end_steps", ">= 0", self.end_steps)
        require(0 < self.end_rate <= 1, "end_rate", "in (0, 1]", self.end_rate)
        for name in ("initial_samples_per_ray", "grid_every", "grid_warmup_every"):
            require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        require(self.grid_warmup_steps >= 0, "grid_warmup_steps", ">= 0", self.grid_warmup_steps)
        require(0 < self.depth_fade < math.inf, "depth_fade", "> 0", self.depth_fade)
        for name in ("depth_tolerance", "photo_depth_fade"):
            require(0 < getattr(self, name) <= 1, name, "in (0, 1]", getattr(self, name))
        for name in ("photo_depth_weight", "lens_weight"):
            require(0 <= getattr(self, name) < math.inf, name, ">= 0", getattr(self, name))
        for name in ("opacity_weight", "distortion_weight", "depth_weight", "correction_lr"):
            require(0 <= getattr(self, name) < math.inf, name, ">= 0", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class FeatureTrainingConfig(OptimizationConfig):
    """Stage 2: training of the feature field from masks."""

    rays_per_step: int = 8192
    """Number of rays in one step, all through masked pixels of one image."""
    loss: ContrastiveLoss = "ranking"
    """Form of the contrastive loss; "ranking" separates parts and groups better than the paper's."""
    loss_weight: float = 0.4
    """Weight of the contrastive loss, a sum over pixels: halve it when you double `rays_per_step`. Paper: 5e-4."""
    norm_weight: float = 100.0
    """Weight of the penalty on features whose length is not 1."""
    level_divisor: float = 2.0
    """Each level farther up the mask hierarchy weighs this many times less than the one before."""
    temperature_range: tuple[float, float] = (0.1, 1.0)
    """Smallest and largest temperature of a cluster."""
    min_pixels: int = 3
    """Number of sampled pixels below which a patch is left out of a step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rays_per_step >= 16, "rays_per_step", ">= 16", self.rays_per_step)
        for name in ("loss_weight", "norm_weight"):
            require(0 <= getattr(self, name) < math.inf, name, ">= 0", getattr(self, name))
        require(1 <= self.level_divisor < math.inf, "level_divisor", ">= 1", self.level_divisor)
        low, high = self.temperature_range
        require(0 < low <= high < math.inf, "temperature_range", "0 < smallest <= largest", self.temperature_range)
        require(self.min_pixels >= 1, "min_pixels", ">= 1", self.min_pixels)
