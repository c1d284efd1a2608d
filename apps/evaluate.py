"""Measure a trained run on its held-out views."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omniseg import cli
from omniseg.checkpoint import load_radiance
from omniseg.data import read_scene
from omniseg.data.images import load_images
from omniseg.data.splits import split_views
from omniseg.errors import InputError
from omniseg.evaluation import METRICS, evaluate_views


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Render the held-out views of a run and compare them with the photos: PSNR and SSIM into metrics.json."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training."""
    scene: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """The capture, where it has moved since the training."""
    device: cli.Device = "auto"
    """Where to compute; auto is a GPU where there is one."""


def main() -> None:
    """Parse the command line and evaluate."""
    arguments = tyro.cli(Arguments)
    device = cli.start(arguments.device)
    model = load_radiance(arguments.run, device)
    path = arguments.scene or Path(model.config.scene)
    if not path.exists():
        raise InputError(f"{path}: does not exist; say with --scene where the capture of this run is now")
    scene = read_scene(path)
    views = split_views(scene, model.config.test_every).require_test(scene)
    images = load_images([scene.views[v] for v in views], model.normalisation, model.config.downsample)
    quality = evaluate_views(model, images.to(device), arguments.run)
    width = max(len(view.name) for view in quality.views)
    for view in quality.views:
        print(f"{view.name:<{width}}  {view.psnr:6.2f} dB  SSIM {view.ssim:.3f}")
    print(f"{'mean':<{width}}  {quality.psnr:6.2f} dB  SSIM {quality.ssim:.3f}")
    print(f"figures in {arguments.run / METRICS}, pictures in {arguments.run / 'renders'}")


if __name__ == "__main__":
    cli.run(main)
