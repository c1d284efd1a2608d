"""Render a sample scene: photos, exact labels, imperfect masks and, where wanted, exact depth and sparse points."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omniseg import devices
from omniseg.commands import common
from omniseg.config.true_or_false import TrueOrFalse
from omniseg.data.formats import read_scene
from omniseg.data.splits import split_views
from omniseg.devices import Device
from omniseg_sample_scenes.capture import make_sample
from omniseg_sample_scenes.kinds import KindName
from omniseg_sample_scenes.masks import DEFAULT_SEVERITY


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Render a scene into a folder that omniseg train reads: photos with exact depth and labels, and masks."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder to make."""
    scene: KindName = "room"
    """Kind of scene: a living room; objects on a table, seen from all around; a workshop full of small things; a wide
    hall of plain surfaces; a sunny yard before far hills and houses."""
    views: Annotated[int | None, common.optional("N", "80 in rooms, 72 of the table, 64 of the yard")] = None
    """Number of photos to train on."""
    test_views: Annotated[int | None, common.optional("N", "12, 10 of the table; with points every eighth of all")] = (
        None
    )
    """Number of held-out photos between them."""
    width: int = 240
    """Width of the photos in pixels."""
    height: int = 180
    """Height of the photos in pixels."""
    seed: int = 0
    """Seed of arrangement, colours, sizes and camera path; the room's floor plan and path stay."""
    severity: float = DEFAULT_SEVERITY
    """Severity of the errors in the masks, 0 to 3: masks missing, at another granularity in each view, split, merged
    with neighbours, with bent borders. 1 is as bad as a segmenter's; 0 gives the true masks."""
    depth: TrueOrFalse = True
    """Write exact depth images."""
    points: Annotated[int | None, common.optional("N", "4000 of the yard, else none")] = None
    """Number of sparse surface points; with any, the folder is written as COLMAP would: images, sparse/0, and the exact
    depth in true_depth, where training does not look."""
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
        scene=arguments.scene,
        seed=arguments.seed,
        train_views=arguments.views,
        test_views=arguments.test_views,
        width=arguments.width,
        height=arguments.height,
        severity=arguments.severity,
        depth=arguments.depth,
        points=arguments.points,
        overwrite=arguments.overwrite,
    )
    splits = split_views(read_scene(out))
    print(f"{len(splits.train)} train and {len(splits.test)} test views in {out}")
