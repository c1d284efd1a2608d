"""Configuration of reading a capture: what its files do not say themselves."""

from dataclasses import dataclass
from typing import Literal

from omniseg.config.require import require

Alpha = Literal["transparent", "left-out"]
"""Meaning of an alpha channel: nothing is there (an object without surroundings), or the pixel says nothing."""


@dataclass(frozen=True, kw_only=True)
class CaptureConfig:
    """How the files of a capture are read, where they leave a choice."""

    images: str = ""
    """Folder of the photos, below the capture or anywhere; empty: `images`, `input`, `rgb` or `photos`, or as the pose
    file says."""
    alpha: Alpha = "transparent"
    """transparent: the surroundings are empty where a photo is transparent; left-out: pixels of an alpha below one half
    are neither trained on nor measured."""
    test_views: tuple[str, ...] = ()
    """Names of the views that are held out for testing; empty: as `test_every` says."""

    def __post_init__(self) -> None:
        require(self.alpha in ("transparent", "left-out"), "alpha", "transparent or left-out", self.alpha)
