"""Turn photos into mask hierarchies, from part to object to group."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from omniseg import devices
from omniseg.commands import common
from omniseg.devices import Device
from omniseg.distributed import Process
from omniseg.masks.make import make_hierarchies, plan
from omniseg.masks.photos import find_photos
from omniseg.masks.segmenters import Segmenter
from omniseg.masks.segmenters.felzenszwalb import FelzenszwalbConfig, FelzenszwalbSegmenter
from omniseg.masks.segmenters.folder import FolderSegmenter
from omniseg.masks.segmenters.sam import SamModel, SamSegmenter
from omniseg.masks.segmenters.sam_generator import SamConfig


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Turn photos into mask hierarchies, which stage 2 of the training learns from.

    Masks come from segment-anything (--checkpoint), from your own folder (--masks), or else from colour alone, which
    needs no weights. Writes sam/NAME.npz beside the folder of photos, and pictures of them into masks/ and patches/.
    Finished photos are skipped, so after an interruption simply start again. On several GPUs:
    torchrun --nproc-per-node N --no-python -- omniseg run_sam ...
    """

    images: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """Folder of photos, or of a capture (docs/data.md)."""
    checkpoint: Annotated[Path | None, common.optional("FILE", "none")] = None
    """Weights of segment-anything, downloaded from its page; needs pip install 'omniseg3d[sam]'."""
    model: SamModel = "auto"
    """Model of the checkpoint; auto recognises it."""
    segmenter: Literal["felzenszwalb"] | None = None
    """Make masks from colour alone; the default without --checkpoint and --masks."""
    masks: Annotated[Path | None, common.optional("DIR", "none")] = None
    """Folder of your own masks: NAME.json of segment-anything, or NAME.png or NAME/*.png, black and white or ids, for
    each photo; or COCO's JSON for all photos, in DIR or in its place."""
    out: Annotated[Path | None, common.optional("DIR", "beside the photos, where omniseg train looks")] = None
    """Folder for sam/, masks/ and patches/."""
    downsample: Annotated[float, tyro.conf.arg(metavar="FACTOR")] = 1.0
    """Segment photos shrunk by this factor: faster, with coarser borders."""
    overwrite: common.Switch = False
    """Make the masks of finished photos again."""
    device: Device = "auto"
    """Device for segment-anything; auto: a GPU if there is one."""
    memory: Annotated[float, tyro.conf.arg(metavar="GB")] = 2.0
    """Memory for points and masks of segment-anything, beside about 3.5 GB for its largest model."""
    sam: SamConfig = field(default_factory=SamConfig)
    felzenszwalb: FelzenszwalbConfig = field(default_factory=FelzenszwalbConfig)

    def __post_init__(self) -> None:
        given = [name for name in ("checkpoint", "segmenter", "masks") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"--{given[0]} and --{given[1]} are two sources of masks: give one of them")
        if self.model != "auto" and self.checkpoint is None:
            raise ValueError("--model needs the weights: give --checkpoint FILE, too")
        if not 1 <= self.downsample < float("inf"):
            raise ValueError(f"--downsample: expected at least 1, got {self.downsample}")
        if not 0 < self.memory < float("inf"):
            raise ValueError(f"--memory: expected more than 0, got {self.memory}")


def main() -> None:
    """Parse the command line, find the photos, segment them."""
    arguments = common.parse(Arguments)
    process = Process.from_environment()
    found = find_photos(arguments.images)
    out = arguments.out or found.root
    segmenter = _segmenter(arguments, process)
    todo = plan(found.photos, segmenter, out, process, overwrite=arguments.overwrite)
    if not (arguments.checkpoint or arguments.masks or arguments.segmenter):
        common.say(
            "no --checkpoint and no --masks: segmenting by colour (felzenszwalb); segment-anything does it better"
        )
    others = f" ({found.left_out} other images are no views of this capture)" if found.left_out else ""
    common.say(f"{arguments.images}: {len(found.photos)} photos{others}")
    if process.world_size > 1:
        common.say(f"{process.world_size} processes; this one does {len(todo.todo) + todo.finished}")
    if todo.finished:
        common.say(f"{todo.finished} are finished already; --overwrite does them again")
    make_hierarchies(todo, segmenter, process, downsample=arguments.downsample)
    common.say(f"{len(todo.todo)} mask hierarchies made, in {out / 'sam'}; look at them in {out / 'patches'}")


def _segmenter(arguments: Arguments, process: Process) -> Segmenter:
    if arguments.masks is not None:
        return FolderSegmenter(arguments.masks)
    if arguments.checkpoint is None:
        return FelzenszwalbSegmenter(arguments.felzenszwalb)
    return SamSegmenter(
        arguments.checkpoint,
        model=arguments.model,
        device=devices.choose(arguments.device, process),  # without the kernels
        config=arguments.sam,
        memory=arguments.memory,
    )
