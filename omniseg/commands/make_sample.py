"""Render the sample room: photos, exact depth, exact labels and imperfect masks of a furnished room."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omniseg import devices
from omniseg.commands import common
from omniseg.devices import Device
from omniseg_sample_scenes.capture import make_sample
from omniseg_sample_scenes.masks import DEFAULT_SEVERITY


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Render a furnished room into a folder that omniseg train reads: photos with exact depth and labels, and masks."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder to make."""
    views: int = 80
    """Number of photos to train on."""
    test_views: int = 12
    """Number of held-out photos between them."""
    width: int = 240
    """Width of the photos in pixels."""
    height: int = 180
    """Height of the photos in pixels."""
    seed: int = 0
    """Seed of colours and arrangement; the floor plan stays."""
    severity: float = DEFAULT_SEVERITY
    """Severity of the errors in the masks, 0 to 3: masks missing, at another granularity in each view, split, merged
    with neighbours, with bent borders. 1 is as bad as a segmenter's; 0 gives the true masks."""
    overwrite: common.Switch = False
    """Replace an earlier sample in OUT."""
    device: Device = "auto"
    """Device to render on; auto: a GPU if there is one."""


def main() -> None:
    """Parse the command line and render."""
    arguments = common.parse(Arguments)
    devices.start(arguments.device)
    out = make_sample(
        arguments.out,
        seed=arguments.seed,
        train_views=arguments.views,
        test_views=arguments.test_views,
        width=arguments.width,
        height=arguments.height,
        severity=arguments.severity,
        overwrite=arguments.overwrite,
    )
    print(f"{arguments.views} train and {arguments.test_views} test views in {out}")
