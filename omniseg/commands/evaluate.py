"""Measure a trained run on its held-out views."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omniseg.api.run import load
from omniseg.commands import common
from omniseg.devices import Device
from omniseg.evaluation.segmentation import PROMPTS


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Render the held-out views of a run and compare them with the photos (PSNR, SSIM) and, if the run has features and
    the capture has labels, measure segmentation (click and prompt mIoU, recall). Writes metrics.json and renders/."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training."""
    scene: Annotated[Path | None, common.optional("PATH", "its place at the training")] = None
    """The capture, if it has moved."""
    labels: Annotated[Path | None, common.optional("DIR", "those of the capture")] = None
    """Labels of the held-out views, DIR/LEVEL/NAME.png, integer ids, 0 = ignore."""
    prompts: int = PROMPTS
    """Maximum number of positive, and of negative, pixels of a prompt; OmniSeg3D uses 1024. 0 skips the prompt mIoU."""
    everything: common.Switch = False
    """Also segment everything, and measure how well the best segment fits each label."""
    device: Device = "auto"
    """Device to compute on; auto: a GPU if there is one."""


def main() -> None:
    """Parse the command line and evaluate."""
    arguments = common.parse(Arguments)
    run = load(arguments.run, arguments.device)
    result = run.evaluate(
        scene=arguments.scene,
        labels=arguments.labels,
        prompts=arguments.prompts,
        everything=arguments.everything,
    )
    width = max(len(view.name) for view in result.images.views)
    for view in result.images.views:
        print(f"{view.name:<{width}}  {view.psnr:6.2f} dB  SSIM {view.ssim:.3f}")
    print(result)
