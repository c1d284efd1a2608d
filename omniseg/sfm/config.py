"""Settings of structure from motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from omniseg.config.require import require

Matching = Literal["auto", "exhaustive", "sequential", "similar"]
Mapper = Literal["incremental", "global"]
Lens = Literal["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"]


@dataclass(frozen=True, kw_only=True)
class SfmConfig:
    """Settings of structure from motion."""

    matching: Matching = "auto"
    """Pairs of photos that are compared. exhaustive: all; sequential: neighbours in time, and distant ones to close
    loops; similar: those that look alike; auto: sequential for a video, else exhaustive for few photos, similar for
    many."""
    mapper: Mapper = "incremental"
    """COLMAP's mapper. incremental adds photo after photo; global solves for all at once: faster for many photos."""
    lens: Lens = "OPENCV"
    """COLMAP's camera model. Photos of one camera and zoom share its parameters."""
    image_size: int = 1600
    """Longest side in pixels at which features are sought; larger photos are shrunk to it."""
    enlarge_below: int = 1000
    """Longest side in pixels below which photos are enlarged twice first: more features, at four times the cost."""
    max_features: int = 2500
    """Most features of a photo; the time of matching grows with its square."""
    exhaustive_limit: int = 100
    """Most photos for which auto compares all pairs."""
    overlap: int = 10
    """Number of following frames that sequential compares with each frame."""
    neighbours: int = 20
    """Number of the most alike photos that similar compares with each photo."""
    random_seed: int = 0
    """Seed of COLMAP's random numbers."""
    stall_seconds: float = 600.0
    """Seconds without progress after which COLMAP is taken to hang, and is ended."""

    def __post_init__(self) -> None:
        for name, least in (("image_size", 200), ("max_features", 200), ("overlap", 1), ("neighbours", 1)):
            require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        require(self.exhaustive_limit >= 0, "exhaustive_limit", "at least 0", self.exhaustive_limit)
        require(self.stall_seconds > 0, "stall_seconds", "more than 0", self.stall_seconds)
