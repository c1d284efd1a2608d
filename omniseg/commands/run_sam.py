"""Turn photos into mask hierarchies: which pixels belong together, from part to object to group."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from omniseg.commands import common
from omniseg.distributed import Process
from omniseg.masks.make import make_hierarchies, plan
from omniseg.masks.photos import find_photos
from omniseg.masks.segmenters import Segmenter
from omniseg.masks.segmenters.felzenszwalb import FelzenszwalbConfig, FelzenszwalbSegmenter
from omniseg.masks.segmenters.folder import FolderSegmenter
from omniseg.masks.segmenters.generator import SamConfig
from omniseg.masks.segmenters.sam import SamModel, SamSegmenter


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Turn photos into mask hierarchies, which stage two of the training learns from.

    Masks come from segment-anything (--checkpoint), from a folder of yours (--masks), or else from colour alone,
    which needs no weights. Writes sam/NAME.npz beside the folder of photos, and pictures into masks and patches.
    Photos that are finished are skipped, so an interrupted run is simply started again. On several GPUs:
    torchrun --nproc-per-node N data_tools/run_sam.py ...
    """

    images: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """Folder of photos, or of a capture (docs/data.md)."""
    checkpoint: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Weights of segment-anything, downloaded from its page; needs pip install -e '.[sam]'."""
    model: SamModel = "auto"
    """Which model the checkpoint is; auto sees it in the file."""
    segmenter: Literal["felzenszwalb"] | None = None
    """Masks from colour alone; so it is anyway without --checkpoint and --masks."""
    masks: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Masks of yours: DIR/NAME.json of segment-anything, or pictures DIR/NAME/*.png, for each photo."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder to write sam, masks and patches into; unset: beside the photos, where train.py looks."""
    downsample: Annotated[float, tyro.conf.arg(metavar="FACTOR")] = 1.0
    """Segment photos shrunk by this factor: faster, with coarser borders."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Do finished photos again."""
    device: common.Device = "auto"
    """Where segment-anything computes; auto is a GPU where there is one."""
    memory: Annotated[float, tyro.conf.arg(metavar="GB")] = 2.0
    """What segment-anything may use for points and masks, beside some 3.5 GB for its largest model."""
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
    arguments = tyro.cli(Arguments)
    process = Process.from_environment()
    say = print if process.rank == 0 else lambda *_: None
    found = find_photos(arguments.images)
    out = arguments.out or found.root
    segmenter = _segmenter(arguments, process)
    todo = plan(found.photos, segmenter, out, process, overwrite=arguments.overwrite)
    if not (arguments.checkpoint or arguments.masks or arguments.segmenter):
        say("no --checkpoint and no --masks: segmenting by colour (felzenszwalb); segment-anything does it better")
    others = f" ({found.left_out} other images are no views of this capture)" if found.left_out else ""
    say(f"{arguments.images}: {len(found.photos)} photos{others}")
    if process.world_size > 1:
        say(f"{process.world_size} processes; this one does {len(todo.todo) + todo.finished}")
    if todo.finished:
        say(f"{todo.finished} are finished already; --overwrite does them again")
    make_hierarchies(todo, segmenter, process, downsample=arguments.downsample)
    say(f"{len(todo.todo)} mask hierarchies made, in {out / 'sam'}; look at them in {out / 'patches'}")


def _segmenter(arguments: Arguments, process: Process) -> Segmenter:
    if arguments.masks is not None:
        return FolderSegmenter(arguments.masks)
    if arguments.checkpoint is None:
        return FelzenszwalbSegmenter(arguments.felzenszwalb)
    return SamSegmenter(
        arguments.checkpoint,
        model=arguments.model,
        device=common.choose(arguments.device, process),  # without the kernels
        config=arguments.sam,
        memory=arguments.memory,
    )
