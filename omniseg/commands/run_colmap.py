"""Turn photos or a video without poses into a capture with poses."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from omniseg.commands import common
from omniseg.sfm.config import SfmConfig
from omniseg.sfm.poses import estimate_poses


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Estimate the poses of photos, or of the sharpest frames of a video, by COLMAP (pip install 'omniseg3d[sfm]').

    Writes images/, sparse/0/ and poses.json, a report, into a folder that omniseg train reads. After an interruption
    the same command goes on. Photos are turned upright; the focal length is taken from their EXIF data.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS_OR_VIDEO")]
    """Folder of photos (JPEG, PNG, HEIC with pillow-heif...), or a video."""
    out: Annotated[Path | None, common.optional("DIR", "the parent of a folder images, else scenes/NAME")] = None
    """Folder of the capture."""
    frames: Annotated[int | None, common.optional("N", "100 of a video, all photos of a folder")] = None
    """Number of images to use: the sharpest of as many equal parts."""
    overwrite: common.Switch = False
    """Replace the poses that DIR holds."""
    sfm: SfmConfig = field(default_factory=SfmConfig)


def main() -> None:
    """Parse the command line and estimate poses."""
    arguments = common.parse(Arguments)
    report = estimate_poses(
        arguments.source,
        arguments.out,
        frames=arguments.frames,
        config=arguments.sfm,
        overwrite=arguments.overwrite,
    )
    common.say(report)
    common.say(f"train it with: omniseg train --scene {report.root}")
