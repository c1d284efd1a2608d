"""Measure a trained run on its held-out views."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from omniseg.commands import common
from omniseg.data.formats import read_scene
from omniseg.data.formats.folders import label_paths
from omniseg.data.images import load_images
from omniseg.data.splits import split_views
from omniseg.errors import InputError
from omniseg.evaluation.labels import evaluate_labels, table
from omniseg.evaluation.segmentation import PROMPTS
from omniseg.evaluation.views import evaluate_views
from omniseg.run_folder import METRICS, load_model
from omniseg.selection.tree_building import segment_everything


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Render the held-out views of a run and compare them with the photos, PSNR and SSIM, and, where the run has
    features and the capture labels, selections with these: click and prompt mIoU and recall, into metrics.json."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training."""
    scene: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """The capture, where it has moved since the training."""
    labels: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Labels of the held-out views, DIR/LEVEL/NAME.png, integer ids, 0 = ignore; unset: those of the capture."""
    prompts: int = PROMPTS
    """Most positive, and most negative, pixels of a prompt; OmniSeg3D takes 1024. 0 leaves prompt mIoU out."""
    everything: bool = False
    """Also segment everything, and measure how well the best segment fits each label."""
    device: common.Device = "auto"
    """Where to compute; auto is a GPU where there is one."""


def main() -> None:
    """Parse the command line and evaluate."""
    arguments = tyro.cli(Arguments)
    if arguments.prompts < 0:
        raise InputError(f"--prompts: expected at least 0, got {arguments.prompts}")
    device = common.start(arguments.device)
    model = load_model(arguments.run, device)
    path = arguments.scene or Path(model.config.scene)
    if not path.exists():
        raise InputError(f"{path}: does not exist; say with --scene where the capture of this run is now")
    scene = read_scene(path)
    views = split_views(scene, model.config.test_every).require_test(scene)
    chosen = [scene.views[v] for v in views]
    if arguments.labels is not None:
        if model.features is None:
            raise InputError(f"{arguments.run}: has no features to measure; add them with: train.py --stage features")
        chosen = [replace(view, label_paths=label_paths(arguments.labels, view.name)) for view in chosen]
        if not any(view.label_paths for view in chosen):
            raise InputError(f"{arguments.labels}: holds no LEVEL/{chosen[0].name}.png, nor one of another test view")
    images = load_images(chosen, model.normalisation, model.config.downsample).to(device)
    labelled = model.features is not None and any(view.label_paths for view in chosen)
    tree = segment_everything(arguments.run, model) if arguments.everything and labelled else None
    quality = evaluate_views(model, images, arguments.run)
    width = max(len(view.name) for view in quality.views)
    for view in quality.views:
        print(f"{view.name:<{width}}  {view.psnr:6.2f} dB  SSIM {view.ssim:.3f}")
    print(f"{'mean':<{width}}  {quality.psnr:6.2f} dB  SSIM {quality.ssim:.3f}")
    if labelled:
        print(table(evaluate_labels(model, chosen, images, arguments.run, arguments.prompts, tree)))
    print(f"figures in {arguments.run / METRICS}, pictures in {arguments.run / 'renders'}")
