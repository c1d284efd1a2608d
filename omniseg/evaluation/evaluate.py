"""Evaluation of a run on its held-out views: image quality, and segmentation where there are labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omniseg.data.formats import read_scene
from omniseg.data.formats.sidecars import label_paths
from omniseg.data.images import ImageSet, load_images
from omniseg.data.scene import View
from omniseg.data.splits import split_views
from omniseg.errors import BadArgument, InputError
from omniseg.evaluation.labels import evaluate_labels, load_labels, table
from omniseg.evaluation.segmentation import PROMPTS, LevelQuality
from omniseg.evaluation.views import ImageQuality, check_sizes, evaluate_views
from omniseg.run_folder import METRICS, RENDERS, Model
from omniseg.selection.segment_tree import SegmentTree
from omniseg.selection.tree_building import segment_everything


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Figures of a run.

    Attributes:
        run: its folder, which holds the figures as metrics.json and pictures in renders/.
        images: PSNR and SSIM of the held-out views.
        levels: segmentation quality by level of the labels; empty without labels or features.
    """

    run: Path
    images: ImageQuality
    levels: Mapping[str, LevelQuality]

    def __repr__(self) -> str:
        figures = f"PSNR {self.images.psnr:.2f} dB, SSIM {self.images.ssim:.3f}"
        levels = f"levels {', '.join(self.levels)}" if self.levels else "no levels"
        return f"Evaluation({str(self.run)!r}, {len(self.images.views)} views, {figures}, {levels})"

    def __str__(self) -> str:
        lines = [f"test views: PSNR {self.images.psnr:.2f} dB, SSIM {self.images.ssim:.3f}"]
        lines += [table(self.levels)] if self.levels else []
        return "\n".join([*lines, f"figures in {self.run / METRICS}, pictures in {self.run / RENDERS}"])


def evaluate(
    model: Model,
    views: Sequence[View],
    images: ImageSet,
    run: Path,
    *,
    prompts: int = PROMPTS,
    tree: SegmentTree | None = None,
    progress: bool = True,
) -> Evaluation:
    """Measure held-out views against their photos and labels.

    Args:
        model: trained model.
        views: held-out views of the capture, with the paths of their labels.
        images: photos of these views.
        run: run folder for metrics.json and renders/.
        prompts: most positive, and most negative, pixels of a prompt; 0 leaves out the prompt figures.
        tree: segments of the whole scene, to be measured too.
        progress: show progress bars.
    Raises:
        InputError: the photos are too small to measure, a label does not open, or the run folder cannot be written.
    """
    quality = evaluate_views(model, images, run, progress=progress)
    levels: Mapping[str, LevelQuality] = {}
    if model.features is not None and any(view.label_paths for view in views):
        levels = evaluate_labels(model, views, images, run, prompts, tree, progress=progress)
    return Evaluation(run, quality, levels)


def check_evaluation(views: Sequence[View], images: ImageSet) -> None:
    """Check that held-out views can be measured, before a training: their size, and that their labels open.

    Raises:
        InputError: they cannot.
    """
    check_sizes(images)
    for view, source in enumerate(views):
        load_labels(source, *images.sizes[view].tolist())


def evaluate_run(
    run: Path,
    model: Model,
    scene: str | Path | None = None,
    labels: str | Path | None = None,
    *,
    prompts: int = PROMPTS,
    everything: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Find the held-out views of a run in its capture and measure them; see `evaluate`.

    Args:
        run: run folder.
        model: its trained model.
        scene: the capture, where it has moved since the training.
        labels: folder LEVEL/NAME.png of integer ids, 0 = ignore; None: those of the capture.
        prompts: as in `evaluate`.
        everything: also segment the whole scene and measure its segments.
        progress: show progress bars.
    Raises:
        InputError: the capture is gone or holds out no view, there are no labels, or as `evaluate`.
    """
    if prompts < 0:
        raise BadArgument("prompts", f"expected at least 0, got {prompts}")
    path = Path(scene or model.config.scene)
    if not path.exists():
        raise InputError(f"{path}: does not exist; give with --scene the place of this run's capture")
    config = model.config
    captured = read_scene(path, config.capture)
    splits = split_views(captured, config.test_every, config.capture.test_views)
    views = [captured.views[v] for v in splits.require_test(captured)]
    if labels is not None:
        if model.features is None:
            raise InputError(
                f"{run}: has no features to measure; add them with: omniseg train --run {run} --stage features"
            )
        views = [replace(view, label_paths=label_paths(Path(labels), view.name)) for view in views]
        if not any(view.label_paths for view in views):
            raise InputError(f"{labels}: holds no LEVEL/{views[0].name}.png, nor one of another test view")
    images = load_images(views, model.normalisation, model.config.downsample, progress=progress)
    images = images.to(model.grid.bits.device)
    check_evaluation(views, images)
    tree = segment_everything(run, model, progress=progress) if everything else None
    return evaluate(model, views, images, run, prompts=prompts, tree=tree, progress=progress)
