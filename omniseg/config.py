"""The configuration of a run: frozen dataclasses, one for each thing that takes one.

`omniseg.training.presets` makes the defaults from the scene and the device; the command line overrides any field by
name; `config.yaml` in the run folder holds the result. Distances are in scene units (docs/conventions.md).
"""

import math
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from omniseg.errors import InputError
from omniseg_kernels.hash_encoding import HashLayout


def _require(ok: bool, name: str, expected: str, got: object) -> None:
    if not ok:
        raise ValueError(f"{name}: expected {expected}, got {got}")


@dataclass(frozen=True, kw_only=True)
class MarchingConfig:
    """Where samples lie along a ray."""

    near: float = 0.05
    """Rays begin this far from the camera."""
    cascades: int = 1
    """Nested occupancy grids; cascade k covers [-2^k, 2^k]^3."""
    box: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Half edges of the box around the origin that rays are followed in."""
    resolution: int = 128
    """Cells a side of each occupancy grid, a power of two."""
    step: float = 3.4e-3
    """Shortest step along a ray."""
    cone_angle: float = 0.0
    """A step is at least this times the distance; 0: all steps are equal."""
    max_samples: int = 1024
    """Most samples on a ray."""
    opacity_threshold: float = 0.01
    """A cell counts as empty when one of the shortest steps through it is less opaque than this."""

    def __post_init__(self) -> None:
        _require(0 <= self.near < math.inf, "near", ">= 0", self.near)
        _require(1 <= self.cascades <= 8, "cascades", "1 to 8", self.cascades)
        _require(all(0 < edge < math.inf for edge in self.box), "box", "lengths > 0", self.box)
        _require(self.resolution in (16, 32, 64, 128, 256), "resolution", "16, 32, 64, 128 or 256", self.resolution)
        _require(1e-4 <= self.step <= 1, "step", "1e-4 to 1", self.step)
        _require(0 <= self.cone_angle < 1, "cone_angle", "in [0, 1)", self.cone_angle)
        _require(self.max_samples >= 1, "max_samples", ">= 1", self.max_samples)
        _require(0 < self.opacity_threshold < 1, "opacity_threshold", "in (0, 1)", self.opacity_threshold)

    @property
    def bound(self) -> float:
        """Half the edge of the outermost cube."""
        return 2.0 ** (self.cascades - 1)


@dataclass(frozen=True, kw_only=True)
class RadianceFieldConfig:
    """Density and colour: a hash grid and two small MLPs."""

    encoding: HashLayout = field(default_factory=HashLayout)
    """Sizes of the hash table."""
    hidden: int = 64
    """Width of the hidden layers."""
    geometry: int = 15
    """Channels that the density MLP hands to the colour MLP."""

    def __post_init__(self) -> None:
        _require(self.hidden >= 1, "hidden", ">= 1", self.hidden)
        _require(self.geometry >= 1, "geometry", ">= 1", self.geometry)


Background = Literal["random", "white", "black"]


@dataclass(frozen=True, kw_only=True)
class RadianceTrainingConfig:
    """Stage 1."""

    steps: int = 10_000
    """Optimisation steps, unless the run has a budget of seconds."""
    samples_per_step: int = 65_536
    """Samples along rays in one step; the number of rays adapts to it."""
    lr: float = 1e-2
    """Learning rate of Adam; falls to a thirtieth by a cosine."""
    background: Background = "random"
    """Behind what is not opaque, while training. Photos without transparency are learned best with "random"."""
    opacity_weight: float = 1e-3
    """Entropy of a ray's opacity: rays end on a surface or see none."""
    distortion_weight: float = 0.0
    """Compactness of the weights along a ray (mip-NeRF 360)."""
    depth_weight: float = 0.1
    """Squared error of the depth, where the scene has depth."""
    refine_poses: bool = False
    """Also learn a small correction of every camera pose."""
    exposure: bool = False
    """Also learn a gain and offset of colour for every image."""

    def __post_init__(self) -> None:
        _require(self.steps >= 1, "steps", ">= 1", self.steps)
        _require(self.samples_per_step >= 1024, "samples_per_step", ">= 1024", self.samples_per_step)
        _require(0 < self.lr < math.inf, "lr", "> 0", self.lr)
        for name in ("opacity_weight", "distortion_weight", "depth_weight"):
            _require(0 <= getattr(self, name) < math.inf, name, ">= 0", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class FeatureFieldConfig:
    """What belongs together: a hash grid of its own and a small MLP."""

    encoding: HashLayout = field(default_factory=lambda: HashLayout(log2_table=20))
    """Sizes of the hash table."""
    hidden: int = 64
    """Width of the hidden layer."""
    dim: int = 32
    """Channels of the feature."""
    min_weight: float = 5e-2
    """Samples that weigh less along their ray are left out: the geometry is fixed, so they will never count."""

    def __post_init__(self) -> None:
        _require(self.hidden >= 1, "hidden", ">= 1", self.hidden)
        _require(self.dim >= 1, "dim", ">= 1", self.dim)
        _require(0 <= self.min_weight < 1, "min_weight", "in [0, 1)", self.min_weight)


@dataclass(frozen=True, kw_only=True)
class FeatureTrainingConfig:
    """Stage 2."""

    steps: int = 10_000
    """Optimisation steps, unless the run has a budget of seconds."""
    rays_per_step: int = 8192
    """Rays in one step, all of one image and of pixels that are in some mask."""
    lr: float = 1e-2
    """Learning rate of Adam; falls to a thirtieth by a cosine."""
    loss_weight: float = 0.4
    """Of the contrastive loss, which is a sum over pixels: twice as many of them want half of it. Paper: 5e-4."""
    norm_weight: float = 100.0
    """Of the penalty on features whose length is not 1."""
    form: Literal["ranked", "raised"] = "ranked"
    """Of the contrastive loss: the paper's is "raised"; "ranked" tells groups and parts apart better."""
    level_divisor: float = 2.0
    """A level farther up the hierarchy of masks counts this many times less."""
    min_pixels: int = 3
    """A patch with fewer sampled pixels is left out of a step."""

    def __post_init__(self) -> None:
        _require(self.steps >= 1, "steps", ">= 1", self.steps)
        _require(self.rays_per_step >= 16, "rays_per_step", ">= 16", self.rays_per_step)
        _require(0 < self.lr < math.inf, "lr", "> 0", self.lr)
        for name in ("loss_weight", "norm_weight"):
            _require(0 <= getattr(self, name) < math.inf, name, ">= 0", getattr(self, name))
        _require(1 <= self.level_divisor < math.inf, "level_divisor", ">= 1", self.level_divisor)
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
    """A first click selects the smallest level at least this many times as wide as the widest one."""
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
    """A click is shown unless something is closer than it by more than this share of its distance."""

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
    """There is one point for at least this many rays that hit the surface, approximately."""
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
class Config:
    """Everything that decides the result of a run."""

    scene: str = ""
    """Folder or file of the capture."""
    seed: int = 0
    """Seed of all random numbers; on a CPU the same seed gives the same result."""
    downsample: float = 1.0
    """Photos are shrunk by this factor from the camera's full resolution."""
    test_every: int | None = None
    """Hold out every Nth view, by name, for testing; 0: none. Unset: the split that the format gives, else 8."""
    seconds: float = 0.0
    """A budget of training time for each stage instead of steps; the schedules follow it. 0: steps count."""
    marching: MarchingConfig = field(default_factory=MarchingConfig)
    radiance: RadianceFieldConfig = field(default_factory=RadianceFieldConfig)
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
    def load(cls, path: Path) -> "Config":
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, is no YAML, or holds unknown, missing or bad fields.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give the folder of a run") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is not a text file; give the folder of a run") from error
        try:
            return _read(cls, yaml.safe_load(text), "")
        except yaml.MarkedYAMLError as error:
            line = f" (line {error.problem_mark.line + 1}: {error.problem})" if error.problem_mark else ""
            raise InputError(f"{path}: is not a configuration{line}; train again") from error
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: not a configuration of this version ({reason}); train again") from error


def _read(kind: Any, value: Any, where: str) -> Any:
    """A value of YAML, which knows neither tuples nor dataclasses, as the type of a field."""
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        wanted, found = {f.name for f in fields(kind)}, set(map(str, value))
        for problem, names in (("unknown", found - wanted), ("missing", wanted - found)):
            if names:
                raise ValueError(f"{problem} fields: {', '.join(_join(where, name) for name in sorted(names))}")
        return kind(**{name: _read(hints[name], value[name], _join(where, name)) for name in hints})
    if get_origin(kind) is tuple and isinstance(value, list) and len(value) == len(get_args(kind)):
        return tuple(_read(of, item, where) for of, item in zip(get_args(kind), value))
    if not _fits(kind, value):
        expected = kind.__name__ if isinstance(kind, type) else str(kind).removeprefix("typing.")
        raise ValueError(f"{where or 'file'}: expected {expected}, got {value!r}")
    return value


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _fits(kind: Any, value: object) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool):  # also an int to Python
        return kind is bool
    return get_origin(kind) is not tuple and isinstance(value, (int, float) if kind is float else kind)
