"""The configuration of a run: one frozen dataclass for each part of the method.

`omniseg.training.presets` chooses defaults from the scene and the device, the command line overrides any field by
name, and `config.yaml` in the run folder holds the result. Distances are in scene units (docs/conventions.md).
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml

from omniseg.config.capture import Alpha, CaptureConfig
from omniseg.config.fields import FeatureFieldConfig, HashFieldConfig, MarchingConfig, RadianceFieldConfig
from omniseg.config.photo_depth import NeighbourConfig, PhotoDepthConfig
from omniseg.config.require import require
from omniseg.config.selection import LevelConfig, MaskConfig, PromptConfig, SegmentTreeConfig, SmoothingConfig
from omniseg.config.training import (
    Background,
    ContrastiveLoss,
    FeatureTrainingConfig,
    OptimizationConfig,
    RadianceTrainingConfig,
)
from omniseg.errors import InputError
from omniseg.plain_values import from_plain

__all__ = [
    "Alpha",
    "Background",
    "CaptureConfig",
    "Config",
    "ContrastiveLoss",
    "FeatureFieldConfig",
    "FeatureTrainingConfig",
    "HashFieldConfig",
    "LevelConfig",
    "MarchingConfig",
    "MaskConfig",
    "NeighbourConfig",
    "OptimizationConfig",
    "PhotoDepthConfig",
    "PromptConfig",
    "RadianceFieldConfig",
    "RadianceTrainingConfig",
    "SegmentTreeConfig",
    "SmoothingConfig",
]

_RENAMED = {
    ("feature_training", "form"): ("loss", {"ranked": "ranking", "raised": "paper"}),
    ("training", "photo_depth_tolerance"): ("depth_tolerance", {}),
}
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
    capture: Annotated[CaptureConfig, tyro.conf.Suppress] = field(default_factory=CaptureConfig)
    seconds: float = 0.0
    """Seconds to train each stage; 0: train the given number of steps."""
    marching: MarchingConfig = field(default_factory=MarchingConfig)
    radiance: RadianceFieldConfig = field(default_factory=RadianceFieldConfig)
    photo_depth: PhotoDepthConfig = field(default_factory=PhotoDepthConfig)
    training: RadianceTrainingConfig = field(default_factory=RadianceTrainingConfig)
    features: FeatureFieldConfig = field(default_factory=FeatureFieldConfig)
    feature_training: FeatureTrainingConfig = field(default_factory=FeatureTrainingConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    levels: LevelConfig = field(default_factory=LevelConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    segment_tree: SegmentTreeConfig = field(default_factory=SegmentTreeConfig)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**63, "seed", "0 to 2^63 - 1", self.seed)
        require(1 <= self.downsample < math.inf, "downsample", "a factor >= 1", self.downsample)
        require(self.test_every != 1 and (self.test_every or 0) >= 0, "test_every", "0, or >= 2", self.test_every)
        require(0 <= self.seconds < math.inf, "seconds", ">= 0", self.seconds)

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
