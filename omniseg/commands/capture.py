"""Photos or a video in, a trained run out: poses, masks, both stages of training, evaluation."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from omniseg.api.capture import capture
from omniseg.commands import common
from omniseg.config import Config
from omniseg.data.scene import SceneKind
from omniseg.devices import Device
from omniseg.run_folder import RENDERS
from omniseg.sfm.config import SfmConfig


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Make a run of photos or a video in one go: poses, masks, training, evaluation.

    Poses are estimated by COLMAP (pip install 'omniseg3d[sfm]'), masks by segment-anything (pip install
    'omniseg3d[sam]', and --sam). Steps that are done are skipped: after an interruption the same command goes on, and
    poses or masks that the capture has are used as they are. For more settings run the steps one by one: omniseg
    run_colmap, run_sam, train, evaluate.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTOS_OR_VIDEO")]
    """Folder of photos, a video, or a capture that has poses."""
    run: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the result."""
    scene: Annotated[Path | None, common.optional("DIR", "the parent of a folder images, else scenes/NAME")] = None
    """Folder for the images and their poses and masks."""
    frames: Annotated[int | None, common.optional("N", "100 of a video, all photos of a folder")] = None
    """Number of images to use: the sharpest of as many equal parts."""
    sam: Annotated[Path | None, common.optional("CHECKPOINT", "none")] = None
    """Weights of segment-anything, for masks."""
    masks: Annotated[Path | None, common.optional("DIR", "none")] = None
    """Folder of your own masks: DIR/NAME.json of segment-anything, or pictures DIR/NAME/*.png, for each photo."""
    segmenter: Literal["felzenszwalb"] | None = None
    """Make masks by colour alone: rough, but without weights."""
    preset: Literal["auto", "synthetic", "forward", "unbounded", "replica"] = "auto"
    """Kind of scene; auto recognises it."""
    downsample: Annotated[
        float | None, common.optional("FACTOR", "about 400 pixels a side on a CPU, 1600 on a GPU")
    ] = None
    """Factor to shrink the photos by, for the training."""
    test_every: Annotated[int | None, common.optional("N", "8")] = None
    """Hold out every Nth photo for testing; 0 holds out none."""
    seconds: Annotated[float | None, common.optional("S", "a number of steps that follows from the device")] = None
    """Time for each stage of the training."""
    force: common.Switch = False
    """Train features also where stage 1 found no surfaces."""
    device: Device = "auto"
    """Device to compute on; auto: a GPU if there is one."""
    sfm: SfmConfig = field(default_factory=SfmConfig)

    def __post_init__(self) -> None:
        given = {"downsample": self.downsample, "test_every": self.test_every, "seconds": self.seconds}
        Config(**{name: value for name, value in given.items() if value is not None})  # refuses what is out of range

    @property
    def kind(self) -> SceneKind | None:
        """Kind of scene that was chosen; None leaves it to the reader."""
        return None if self.preset == "auto" else self.preset


def main() -> None:
    """Parse the command line and make the run."""
    arguments = common.parse(Arguments)
    run = capture(
        arguments.source,
        arguments.run,
        scene=arguments.scene,
        frames=arguments.frames,
        sam=arguments.sam,
        masks=arguments.masks,
        segmenter=arguments.segmenter,
        kind=arguments.kind,
        downsample=arguments.downsample,
        test_every=arguments.test_every,
        seconds=arguments.seconds,
        sfm=arguments.sfm,
        device=arguments.device,
        force=arguments.force,
    )
    if run.model.features is None:
        common.say(f"look at the pictures in {run.path / RENDERS}, or render a video: omniseg render {run.path}")
    else:
        common.say(f"open it and click: omniseg gui {run.path}")
