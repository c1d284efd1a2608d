"""The configuration of a run: frozen dataclasses, one for each thing that takes one.

`omniseg.presets` makes the defaults from the scene and the device; the command line overrides any field by name;
`config.yaml` in the run folder holds the result. Distances are in scene units (docs/conventions.md).
"""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml
from omniseg_kernels.hash_encoding import HashLayout

from omniseg.errors import InputError


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
        _require(self.near >= 0, "near", ">= 0", self.near)
        _require(1 <= self.cascades <= 8, "cascades", "1 to 8", self.cascades)
        _require(
            self.resolution in (16, 32, 64, 128, 256), "resolution", "16, 32, 64, 128 or 256", self.resolution
        )
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
        _require(self.lr > 0, "lr", "> 0", self.lr)
        for name in ("opacity_weight", "distortion_weight", "depth_weight"):
            _require(getattr(self, name) >= 0, name, ">= 0", getattr(self, name))


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

    def __post_init__(self) -> None:
        _require(self.downsample >= 1, "downsample", "a factor >= 1", self.downsample)
        _require(self.test_every != 1 and (self.test_every or 0) >= 0, "test_every", "0, or >= 2", self.test_every)
        _require(self.seconds >= 0, "seconds", ">= 0", self.seconds)

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
            return _from_dict(cls, yaml.safe_load(path.read_text()))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); is this a run folder?") from error
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise InputError(f"{path}: not a configuration of this version ({error})") from error


def _from_dict(cls: type, values: Any) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__}: expected named fields, got {type(values).__name__}")
    hints = get_type_hints(cls)
    names = {f.name for f in fields(cls)}
    if set(values) != names:
        missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
        raise ValueError(f"{cls.__name__}: missing fields {missing}, unknown fields {unknown}")
    return cls(**{k: _from_dict(hints[k], v) if is_dataclass(hints[k]) else v for k, v in values.items()})
