"""The configuration of a run: one frozen dataclass for each part of the method.

`omniseg.training.presets` chooses defaults from the scene and the device, the command line overrides any field by
name, and `config.yaml` in the run folder holds the result. Distances are in scene units (docs/conventions.md).
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml

from omniseg.errors import InputError
from omniseg.plain_values import from_plain
from omniseg_kernels.hash_encoding import HashLayout

_TRUE_OR_FALSE = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="{true,false}",
    choices=("true", "false"),
    instance_from_str=lambda words: words[0] == "true",
    is_instance=lambda value: isinstance(value, bool),
    str_from_instance=lambda value: [str(value).lower()],
)
"""Command line of a setting that is on by default and turned off by `--NAME false`."""


def _require(ok: bool, name: str, expected: str, got: object) -> None:
    if not ok:
        raise ValueError(f"{name}: expected {expected}, got {got}")


@dataclass(frozen=True, kw_only=True)
class MarchingConfig:
    """Ray marching: where samples lie along a ray, and which cells of the occupancy grid it skips."""

    near: float = 0.05
    """Distance from the camera at which rays begin."""
    cascades: int = 1
    """Number of nested occupancy grids; cascade k covers [-2^k, 2^k]^3."""
    box: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Half edges of the box around the origin; rays have no samples outside of it."""
    resolution: int = 128
    """Cells along each side of an occupancy grid, a power of two."""
    step: float = 3.4e-3
    """Length of the shortest step along a ray."""
    cone_angle: float = 0.0
    """Step length as a fraction of the distance from the camera, where that is more than `step`; 0: equal steps."""
    max_samples: int = 1024
    """Largest number of samples on a ray."""
    opacity_threshold: float = 0.01
    """A cell is empty if one shortest step through it has less opacity than this."""
    occupancy_decay: float = 0.95
    """Factor on the remembered opacity of every cell in each update of the occupancy grid."""
    occupancy_stride: int = 4
    """Each update of the occupancy grid evaluates one cell in this many."""
    frustum_margin: float = 0.1
    """Margin around an image in which cells still count as seen, as a fraction of the longest image side."""
    min_transmittance: float = 1e-3
    """Transmittance below which rendering stops following a ray; training follows every ray to its end."""
    min_colour_weight: float = 1e-4
    """Weight below which rendering leaves the colour of a sample out; training colours every sample."""

    def __post_init__(self) -> None:
        _require(0 <= self.near < math.inf, "near", ">= 0", self.near)
        _require(1 <= self.cascades <= 8, "cascades", "1 to 8", self.cascades)
        _require(all(0 < edge < math.inf for edge in self.box), "box", "lengths > 0", self.box)
        _require(self.resolution in (16, 32, 64, 128, 256), "resolution", "16, 32, 64, 128 or 256", self.resolution)
        _require(1e-4 <= self.step <= 1, "step", "1e-4 to 1", self.step)
        _require(0 <= self.cone_angle < 1, "cone_angle", "in [0, 1)", self.cone_angle)
        _require(self.max_samples >= 1, "max_samples", ">= 1", self.max_samples)
        _require(0 < self.opacity_threshold < 1, "opacity_threshold", "in (0, 1)", self.opacity_threshold)
        _require(0 <= self.occupancy_decay <= 1, "occupancy_decay", "0 to 1", self.occupancy_decay)
        _require(self.occupancy_stride >= 1, "occupancy_stride", ">= 1", self.occupancy_stride)
        _require(0 <= self.frustum_margin < math.inf, "frustum_margin", ">= 0", self.frustum_margin)
        for name in ("min_transmittance", "min_colour_weight"):
            _require(0 <= getattr(self, name) < 1, name, "in [0, 1)", getattr(self, name))

    @property
    def bound(self) -> float:
        """Half the edge of the outermost cube."""
        return 2.0 ** (self.cascades - 1)


@dataclass(frozen=True, kw_only=True)
class HashFieldConfig:
    """Sizes that every field on a hash grid has."""

    hidden: int = 64
    """Width of the hidden layers of the MLPs."""
    table_init: float = 1e-4
    """Largest absolute value of the hash table before training; its entries start uniformly distributed."""

    def __post_init__(self) -> None:
        _require(self.hidden >= 1, "hidden", ">= 1", self.hidden)
        _require(0 <= self.table_init < math.inf, "table_init", ">= 0", self.table_init)


@dataclass(frozen=True, kw_only=True)
class RadianceFieldConfig(HashFieldConfig):
    """Radiance field: density and colour from a hash grid and two small MLPs."""

    encoding: HashLayout = field(default_factory=HashLayout)
    """Sizes of the hash grid."""
    geometry: int = 15
    """Channels that the density MLP passes to the colour MLP."""
    sh_degree: int = 4
    """Number of bands of spherical harmonics that encode a direction, 1 to 4."""
    log_density_bias: float = -1.0
    """Number added to the log density; below 0, space starts almost transparent."""
    max_log_density: float = 15.0
    """Log density at which the density and its gradient stop growing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.geometry >= 1, "geometry", ">= 1", self.geometry)
        _require(1 <= self.sh_degree <= 4, "sh_degree", "1 to 4", self.sh_degree)
        _require(math.isfinite(self.log_density_bias), "log_density_bias", "a finite number", self.log_density_bias)
        _require(0 < self.max_log_density <= 80, "max_log_density", "in (0, 80]", self.max_log_density)


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
        _require(self.steps >= 1, "steps", ">= 1", self.steps)
        _require(0 < self.lr < math.inf, "lr", "> 0", self.lr)
        _require(0 <= self.lr_floor <= 1, "lr_floor", "0 to 1", self.lr_floor)
        _require(all(0 <= beta < 1 for beta in self.adam_betas), "adam_betas", "in [0, 1)", self.adam_betas)
        _require(0 < self.adam_eps < math.inf, "adam_eps", "> 0", self.adam_eps)


Background = Literal["random", "white", "black"]


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
    depth_weight: float = 0.1
    """Weight of the squared error of depth, for scenes that have depth images."""
    photo_depth: Annotated[bool, _TRUE_OR_FALSE, tyro.conf.FlagConversionOff] = True
    """Estimate depth from the photos before training, for scenes without depth images."""
    photo_depth_weight: float = 0.3
    """Weight of the robust error of estimated depth at the start; it fades along a cosine."""
    photo_depth_fade: float = 0.5
    """Fraction of the training after which estimated depth no longer counts."""
    photo_depth_tolerance: float = 0.1
    """Relative error of estimated depth up to which the loss is quadratic, and linear beyond."""
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
        _require(self.samples_per_step >= 1024, "samples_per_step", ">= 1024", self.samples_per_step)
        _require(0 < self.fill <= 1, "fill", "in (0, 1]", self.fill)
        _require(1 <= self.min_rays <= self.max_rays, "min_rays", "1 to max_rays", self.min_rays)
        _require(1 <= self.max_rays_change < math.inf, "max_rays_change", ">= 1", self.max_rays_change)
        _require(0 < self.ramp <= 1, "ramp", "in (0, 1]", self.ramp)
        _require(1 <= self.coarseness < math.inf, "coarseness", ">= 1", self.coarseness)
        for name in ("initial_samples_per_ray", "grid_every", "grid_warmup_every"):
            _require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        _require(self.grid_warmup_steps >= 0, "grid_warmup_steps", ">= 0", self.grid_warmup_steps)
        _require(0 < self.photo_depth_fade <= 1, "photo_depth_fade", "in (0, 1]", self.photo_depth_fade)
        _require(0 < self.photo_depth_tolerance <= 1, "photo_depth_tolerance", "in (0, 1]", self.photo_depth_tolerance)
        for name in ("photo_depth_weight", "lens_weight"):
            _require(0 <= getattr(self, name) < math.inf, name, ">= 0", getattr(self, name))
        for name in ("opacity_weight", "distortion_weight", "depth_weight", "correction_lr"):
            _require(0 <= getattr(self, name) < math.inf, name, ">= 0", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class FeatureFieldConfig(HashFieldConfig):
    """Feature field: what belongs together, from a hash grid of its own and a small MLP."""

    encoding: HashLayout = field(default_factory=lambda: HashLayout(log2_table=20))
    """Sizes of the hash grid."""
    dim: int = 32
    """Channels of the feature."""
    min_weight: float = 5e-2
    """Weight below which a sample is left out when features are rendered."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.dim >= 1, "dim", ">= 1", self.dim)
        _require(0 <= self.min_weight < 1, "min_weight", "in [0, 1)", self.min_weight)


ContrastiveLoss = Literal["ranking", "paper"]


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
        _require(self.rays_per_step >= 16, "rays_per_step", ">= 16", self.rays_per_step)
        for name in ("loss_weight", "norm_weight"):
            _require(0 <= getattr(self, name) < math.inf, name, ">= 0", getattr(self, name))
        _require(1 <= self.level_divisor < math.inf, "level_divisor", ">= 1", self.level_divisor)
        low, high = self.temperature_range
        _require(0 < low <= high < math.inf, "temperature_range", "0 < smallest <= largest", self.temperature_range)
        _require(self.min_pixels >= 1, "min_pixels", ">= 1", self.min_pixels)


@dataclass(frozen=True, kw_only=True)
class LevelConfig:
    """Levels of a click. As the threshold falls, a selection grows in leaps; a level is a plateau between two leaps."""

    bins: int = 1024
    """Number of bins that count points by the angle between their feature and the click's, from 0 to pi."""
    tolerance: float = 0.08
    """Along a plateau the number of selected points differs from that of its middle by at most this share."""
    min_width: float = 0.05
    """Shortest plateau that is a level, radians between features."""
    min_growth: float = 1.25
    """A level selects at least this many times as many points as the level below it."""
    min_share: float = 1 / 4000
    """A level selects at least this share of what the view shows."""
    max_share: float = 0.98
    """A level selects at most this share of what the view shows."""
    unrelated: float = 0.45
    """Below this score a pixel shares no mask with the click; plateaus are not searched there."""
    max_levels: int = 7
    """Most levels of a click; the widest plateaus are kept."""
    first_width: float = 0.5
    """A first click selects the smallest level whose width is at least this fraction of the widest level's."""
    min_step: float = 1.1
    """One level up or down changes the number of selected pixels by at least this factor."""

    def __post_init__(self) -> None:
        _require(self.bins >= 16, "bins", ">= 16", self.bins)
        _require(0 <= self.tolerance < 1, "tolerance", "in [0, 1)", self.tolerance)
        _require(0 <= self.min_width < math.pi, "min_width", "in [0, pi)", self.min_width)
        _require(1 < self.min_growth < math.inf, "min_growth", "> 1", self.min_growth)
        _require(
            0 <= self.min_share < self.max_share <= 1,
            "min_share, max_share",
            "0 <= min_share < max_share <= 1",
            (self.min_share, self.max_share),
        )
        _require(0 <= self.unrelated < 1, "unrelated", "in [0, 1)", self.unrelated)
        _require(self.max_levels >= 1, "max_levels", ">= 1", self.max_levels)
        _require(0 <= self.first_width <= 1, "first_width", "in [0, 1]", self.first_width)
        _require(1 <= self.min_step < math.inf, "min_step", ">= 1", self.min_step)


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """Prompts: how strokes and boxes become clicks, and which clicks a view shows."""

    scribble_clicks: int = 16
    """Most clicks along a stroke."""
    scribble_spacing: float = 2.0
    """Clicks along a stroke are at least this far apart, pixels."""
    box_grid: int = 8
    """Candidate clicks of a box lie on a grid with this many rows and columns."""
    box_pixels: int = 32_768
    """Candidates of a box are compared on about this many pixels of the view."""
    box_thresholds: int = 64
    """Number of thresholds that are tried for each candidate."""
    box_angles: tuple[float, float] = (0.05, 2.0)
    """Smallest and largest threshold that is tried, as an angle between features, radians."""
    box_cover: float = 0.25
    """Exponent of the share of the box that is covered; higher prefers larger selections, which fit it less well."""
    hidden_margin: float = 0.03
    """A click is hidden if the surface before it is nearer by more than this fraction of the surface's distance."""

    def __post_init__(self) -> None:
        for name in ("scribble_clicks", "box_grid", "box_pixels", "box_thresholds"):
            _require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        _require(0 < self.scribble_spacing < math.inf, "scribble_spacing", "> 0", self.scribble_spacing)
        low, high = self.box_angles
        _require(0 <= low <= high <= math.pi, "box_angles", "0 <= smallest <= largest <= pi", self.box_angles)
        _require(0 <= self.box_cover < math.inf, "box_cover", ">= 0", self.box_cover)
        _require(0 <= self.hidden_margin < math.inf, "hidden_margin", ">= 0", self.hidden_margin)


@dataclass(frozen=True, kw_only=True)
class SegmentTreeConfig:
    """Segments of everything: points of the surface, and the tree that joins them."""

    views: int = 40
    """Surface points are collected from at most this many photos' views, spread evenly."""
    rays: int = 250_000
    """About this many rays are rendered in all of these views."""
    max_points: int = 40_000
    """Most points of the tree, approximately."""
    rays_per_point: int = 6
    """Smallest number of surface rays for each point, approximately."""
    voxel: float = 0.025
    """First guess of the edge of the voxels that rays are averaged in, scene units; then fitted to `max_points`."""
    min_rays: int = 3
    """A voxel hit by fewer rays is dropped: it lies on an edge, where depth mixes the front with what is behind it."""
    neighbours: int = 20
    """Each point is smoothed over, and can be joined with, this many nearest points."""
    agreement: float = 40.0
    """Sharpness of smoothing: a neighbour weighs exp(agreement * (cosine - 1))."""
    position_weight: float = 0.1
    """Weight of positions beside features when points are joined; positions are in median distances from the middle."""
    min_points: int = 6
    """A segment of fewer points is not split off at any level."""
    candidates: int = 16
    """A pixel or vertex takes the segment of the most similar one of this many nearest points."""
    levels: int = 7
    """Number of levels. Level k cuts the tree at its largest height * 2^(k - levels)."""
    default_level: float = 3.0
    """Level that is shown and exported unless another one is given."""

    def __post_init__(self) -> None:
        for name in ("views", "rays", "max_points", "rays_per_point", "min_rays", "neighbours", "min_points"):
            _require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        for name in ("candidates", "levels"):
            _require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        _require(0 < self.voxel < math.inf, "voxel", "> 0", self.voxel)
        _require(0 <= self.agreement < math.inf, "agreement", ">= 0", self.agreement)
        _require(0 <= self.position_weight < math.inf, "position_weight", ">= 0", self.position_weight)
        top = self.levels - 1
        _require(0 <= self.default_level <= top, "default_level", f"0 to levels - 1 = {top}", self.default_level)


@dataclass(frozen=True, kw_only=True)
class NeighbourConfig:
    """Choice of neighbours: a photo's gain is the mean, over points on rays of another that both see, of

        min(angle / ideal, 1)^1.5 exp(-max(angle - ideal, 0)^2 / (2 spread^2)) exp(-ln(ratio)^2 / (2 ratio_spread^2))

    with the angle between both lines of sight and the ratio of both distances.
    """

    ideal_angle: float = 10.0
    """Angle between both lines of sight that is best, in degrees."""
    angle_spread: float = 15.0
    """Standard deviation of larger angles, in degrees."""
    ratio_spread: float = 0.5
    """Standard deviation of the logarithm of the ratio of distances."""
    probes: int = 6
    """Rows and columns of rays."""
    depths: tuple[float, ...] = (0.25, 0.5, 0.8)
    """Places of points on a ray, as fractions of its length in the box."""
    reach: float = 8.0
    """Longest length that counts, scene units."""
    candidates: int = 48
    """Photos that are looked at closely, by their gain at the points of the middle ray."""


@dataclass(frozen=True, kw_only=True)
class PhotoDepthConfig:
    """Depth from the photos: size and planes of the sweep, and what counts as known."""

    longest: int = 80
    """Longest side of the small pictures, in pixels."""
    shortest: int = 64
    """Longest side of the quick look's pictures, and of all where there are too many for `budget`."""
    planes: int = 48
    """Planes of the sweep, even in inverse distance."""
    neighbours: int = 3
    """Photos that each is compared with."""
    best: int = 2
    """Neighbours that agree best, whose mean is the score."""
    radius: int = 2
    """Radius of the compared window, in pixels of the small pictures."""
    contrast: float = 2.5 / 255
    """Standard deviation, in [0, 1], below which texture hardly counts."""
    min_score: float = 0.5
    """Score above which a distance may be known."""
    tolerance: float = 0.05
    """Relative difference of distances up to which another photo agrees."""
    min_agreeing: int = 2
    """Other photos that must agree."""
    look_planes: int = 40
    """Planes of the quick look, even in the logarithm of the distance."""
    look_min_score: float = 0.6
    """Same as `min_score`, of the quick look."""
    look_tolerance: float = 0.15
    """Same as `tolerance`, of the quick look."""
    look_min_pixels: int = 200
    """Known pixels below which the quick look says nothing about the nearest distance."""
    near_quantile: float = 0.01
    """Share of the quick look's known distances that is nearer than what counts as nearest."""
    near_factor: float = 0.75
    """Distance of the first plane, as a fraction of the nearest one."""
    budget: int = 200_000_000
    """Most comparisons of a pixel with a neighbour on a plane; with more photos, pictures shrink, then photos are
    left out evenly. One takes about 15 ns of a CPU core."""
    choice: NeighbourConfig = field(default_factory=NeighbourConfig)
    """How neighbours are chosen."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("shortest", 8, self.longest),
            ("planes", 2, 4096),
            ("look_planes", 2, 4096),
            ("neighbours", 1, 8),
            ("best", 1, 8),
            ("radius", 1, 4),
            ("min_agreeing", 0, 10**6),
            ("budget", 1, 10**12),
            ("tolerance", 1e-6, 1),
            ("look_tolerance", 1e-6, 1),
            ("contrast", 1e-6, 1),
            ("near_quantile", 0, 1),
            ("near_factor", 1e-6, 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: expected {low} to {high}, got {value}")


_RENAMED = {("feature_training", "form"): ("loss", {"ranked": "ranking", "raised": "paper"})}
"""Fields that an older version wrote by another name: (section, old name) -> new name, and new names of its values."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of a run: training, fields, clicks and the segments of everything."""

    scene: Annotated[str, tyro.conf.Suppress] = ""
    """Folder or file of the capture."""
    seed: int = 0
    """Seed of all random numbers; on a CPU the same seed gives the same result."""
    downsample: Annotated[float, tyro.conf.Suppress] = 1.0
    """Factor by which photos are shrunk from the camera's full resolution."""
    test_every: Annotated[int | None, tyro.conf.Suppress] = None
    """Hold out every Nth view, by name, for testing; 0: none. Unset: the split of the capture, else every 8th."""
    seconds: float = 0.0
    """Seconds to train each stage; 0: train the given number of steps."""
    marching: MarchingConfig = field(default_factory=MarchingConfig)
    radiance: RadianceFieldConfig = field(default_factory=RadianceFieldConfig)
    photo_depth: PhotoDepthConfig = field(default_factory=PhotoDepthConfig)
    training: RadianceTrainingConfig = field(default_factory=RadianceTrainingConfig)
    features: FeatureFieldConfig = field(default_factory=FeatureFieldConfig)
    feature_training: FeatureTrainingConfig = field(default_factory=FeatureTrainingConfig)
    levels: LevelConfig = field(default_factory=LevelConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    segment_tree: SegmentTreeConfig = field(default_factory=SegmentTreeConfig)

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**63, "seed", "0 to 2^63 - 1", self.seed)
        _require(1 <= self.downsample < math.inf, "downsample", "a factor >= 1", self.downsample)
        _require(self.test_every != 1 and (self.test_every or 0) >= 0, "test_every", "0, or >= 2", self.test_every)
        _require(0 <= self.seconds < math.inf, "seconds", ">= 0", self.seconds)

    def save(self, path: Path) -> None:
        """Write the configuration as YAML."""
        path.write_text(yaml.safe_dump(asdict(self), sort_keys=False))

    @classmethod
    def from_dict(cls, values: object) -> "Config":
        """Make a configuration from the nested dictionaries of `dataclasses.asdict`.

        Fields that an older version did not have get their defaults; those it called otherwise are understood.

        Raises:
            ValueError, TypeError: a field is unknown, or its value is bad.
        """
        return from_plain(cls, _with_new_names(values))

    @classmethod
    def load(cls, path: Path) -> "Config":
        """Read a file that `save` of this version or an older one wrote; see `from_dict`.

        Raises:
            InputError: the file is missing, is no YAML, or holds unknown or bad fields.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give the folder of a run") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is not a text file; give the folder of a run") from error
        try:
            return cls.from_dict(yaml.safe_load(text))
        except yaml.MarkedYAMLError as error:
            line = f" (line {error.problem_mark.line + 1}: {error.problem})" if error.problem_mark else ""
            raise InputError(f"{path}: is not a configuration{line}; train again") from error
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: not a configuration of this version ({reason}); train again") from error


def _with_new_names(values: Any) -> Any:
    """Return the sections with renamed fields under their new names."""
    if not isinstance(values, dict):
        return values
    for (section, old), (new, meanings) in _RENAMED.items():
        known = values.get(section)
        if isinstance(known, dict) and old in known and new not in known:
            value = known[old]
            rest = {name: other for name, other in known.items() if name != old}
            value = meanings.get(value, value) if isinstance(value, str) else value
            values = {**values, section: {**rest, new: value}}
    return values
