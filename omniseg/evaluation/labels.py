"""Segmentation quality of a run, measured on the labels of its held-out views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from omniseg.cameras import Cameras
from omniseg.data.drawing import contact_sheet, mark_selection
from omniseg.data.image_io import decode, nearest, read_bytes, same_aspect, save_image
from omniseg.data.images import ImageSet
from omniseg.data.scene import View
from omniseg.errors import InputError
from omniseg.evaluation.segmentation import FeatureView, LabelQuality, LevelQuality, best_matches, measure_level
from omniseg.evaluation.views import photo_and_background
from omniseg.rendering.view import render_view
from omniseg.rendering.visualize import to_uint8
from omniseg.run_folder import RENDERS, Model, update_metrics
from omniseg.selection.mask_pieces import clean_mask
from omniseg.selection.query import similarity
from omniseg.selection.segment_tree import SegmentTree

MIN_SHARE = 1 / 300
"""A label counts in a view where it covers at least this share of the pixels: COCO's "medium", 32 x 32 of 640 x 480."""
_ORDER = ("part", "object", "group")
"""Levels that come first, in this order; others follow by name."""
_SHOWN = 3
"""Best labels, and worst labels, in the picture of a level."""


def load_labels(view: View, width: int, height: int) -> dict[str, np.ndarray]:
    """Return the labels (height, width) int32 of a view by level, resized to this size (nearest neighbour); 0 = ignore.

    Raises:
        InputError: a file is no image of integers with one channel, or has another aspect ratio.
    """
    labels = {}
    for level, path in view.label_paths.items():
        ids = decode(read_bytes(path))
        if ids is None or ids.ndim != 2 or ids.dtype.kind not in "ui":
            raise InputError(f"{path}: does not open as labels (grey PNG with 8 or 16 bits); export it again")
        if not same_aspect(ids.shape, (height, width)):
            raise InputError(
                f"{path}: is {ids.shape[1]} x {ids.shape[0]}, which does not fit a photo of {width} x {height}"
            )
        labels[level] = nearest(ids, width, height).astype(np.int32)
    return labels


def feature_view(model: Model, name: str, cameras: Cameras, view: int, labels: Mapping[str, np.ndarray]) -> FeatureView:
    """Render features, depth and positions of one view."""
    rendered = render_view(model.renderer, cameras, view)
    return FeatureView(
        name=name,
        features=rendered.unit_features,
        depth=rendered.rendering.distance,
        positions=rendered.positions,
        pixel=float(cameras.intrinsics[view, :2].prod() ** -0.5),
        labels=labels,
    )


def evaluate_labels(
    model: Model,
    views: Sequence[View],
    images: ImageSet,
    run: Path,
    prompts: int,
    tree: SegmentTree | None = None,
    *,
    progress: bool = True,
) -> dict[str, LevelQuality]:
    """Measure every level of labels, write the label part of `metrics.json` and a picture of each level.

    Args:
        model: with a feature field.
        views: held-out views of the capture; those without labels are skipped.
        images: photos of these views.
        run: run folder, for `metrics.json` and `renders/LEVEL.png`.
        prompts: most positive, and most negative, pixels of a prompt; 0 leaves that measure out.
        tree: segments of everything, to be measured too.
        progress: show bars.
    Raises:
        InputError: no label is large enough in any view, a label image is damaged, or the run cannot be written.
    """
    rendered = []
    for view, source in enumerate(tqdm(views, desc="features of test views", unit="view", disable=not progress)):
        labels = load_labels(source, *images.sizes[view].tolist())
        valid = images.valid_mask(view)
        if valid is not None:
            labels = {level: np.where(valid.cpu().numpy(), ids, 0) for level, ids in labels.items()}
        if labels:
            rendered.append(feature_view(model, source.name, images.cameras, view, labels))
    levels = {level for view in rendered for level in view.labels}
    min_pixels = max(round(MIN_SHARE * int(images.sizes.prod(1).min())), 1)
    found = {
        level: measure_level(
            rendered,
            level,
            min_pixels=min_pixels,
            prompts=prompts,
            min_piece=model.config.masks.min_piece,
            progress=progress,
        )
        for level in sorted(levels, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    }
    qualities = {level: quality for level, quality in found.items() if quality is not None}
    if not qualities:
        raise InputError(f"{run}: no held-out view shows a label of at least {min_pixels} pixels; check labels/")
    if tree is not None:
        matches = _measure_tree(tree, rendered, qualities, min_pixels, progress)
        qualities = {level: replace(quality, everything_miou=matches[level]) for level, quality in qualities.items()}
    for level, quality in qualities.items():
        save_image(
            run / RENDERS / f"{level}.png", _picture(level, quality, rendered, images, model.config.masks.min_piece)
        )
    update_metrics(run, {"levels": {level: asdict(quality) for level, quality in qualities.items()}})
    return qualities


def _measure_tree(
    tree: SegmentTree, views: Sequence[FeatureView], levels: Iterable[str], min_pixels: int, progress: bool
) -> dict[str, float]:
    """Return the IoU of the best match among cuts at all levels and halfway between, by level of labels.

    The mean over views is taken for each label, then the mean over labels.
    """
    found: dict[str, dict[int, list[float]]] = {level: defaultdict(list) for level in levels}
    cuts = [tree.cut(level) for level in np.arange(0, tree.config.levels, 0.5)]
    for view in tqdm(views, desc="segments of test views", unit="view", delay=2, leave=False, disable=not progress):
        nearest = tree.nearest(view.features, view.positions)
        ids = [cut.ids[nearest].cpu().numpy() for cut in cuts]
        for level in set(found) & set(view.labels):
            shape = view.labels[level].shape
            matches = best_matches(view.labels[level], [each.reshape(shape) for each in ids], min_pixels)
            for label, value in matches.items():
                found[level][label].append(value)
    return {
        level: float(np.mean([np.mean(values) for values in by_label.values()])) for level, by_label in found.items()
    }


def table(qualities: Mapping[str, LevelQuality]) -> str:
    """Return the figures of all levels as a table for a person to read."""
    head = f"{'level':<10}{'labels':>8}{'click':>8}{'prompt':>8}{'boundary':>10}{'specks':>8}{'holes':>7}"
    lines = [f"{head}{'recall 50':>11}{'recall 75':>11}"]
    everything = any(q.everything_miou is not None for q in qualities.values())
    lines[0] += f"{'everything':>12}" * everything
    for level, q in qualities.items():
        shape = f"{q.boundary_iou:10.3f}{q.specks:8.1f}{q.holes:7.1f}"
        figures = f"{q.click_miou:8.3f}{q.prompt_miou:8.3f}{shape}{q.recall_50:11.3f}{q.recall_75:11.3f}"
        figures += "" if q.everything_miou is None else f"{q.everything_miou:12.3f}"
        lines.append(f"{level:<10}{len(q.labels):8d}{figures}")
    return "\n".join(lines)


def _picture(
    level: str, quality: LevelQuality, views: Sequence[FeatureView], images: ImageSet, min_piece: float
) -> np.ndarray:
    """Return the picture of a level: a few best labels above the worst, each with the click and with another view.

    The other view is the one that shows most of the label.
    """
    by_iou = sorted((q for q in quality.labels if q.click is not None), key=lambda q: -(q.click or 0.0))
    chosen = by_iou if len(by_iou) <= 2 * _SHOWN else [*by_iou[:_SHOWN], *by_iou[-_SHOWN:]]
    chosen = chosen or list(quality.labels[: 2 * _SHOWN])
    tiles = [_tiles(level, q, views, images, min_piece) for q in chosen]
    rows = [[tile for pair in tiles[k : k + _SHOWN] for tile in pair] for k in range(0, len(tiles), _SHOWN)]
    height = min(tile.shape[0] for row in rows for tile in row)
    return contact_sheet([[tile[:height] for tile in row] for row in rows])


def _tiles(
    level: str, quality: LabelQuality, views: Sequence[FeatureView], images: ImageSet, min_piece: float
) -> list[np.ndarray]:
    """Return a label's click in its own view, and what it selects in the other view that shows most of the label."""
    by_name = {view.name: view for view in views}
    click = by_name[quality.view].features[[quality.clicked]]
    others = [view for view in views if view.name != quality.view and level in view.labels]
    most = max(others, key=lambda view: int((view.labels[level] == quality.id).sum()), default=None)
    tiles = []
    for view in (by_name[quality.view], most):
        if view is None:
            continue
        photo, _ = photo_and_background(images, images.names.index(view.name))
        truth = view.labels[level] == quality.id
        selected = (similarity(view.features, click)[:, 0] >= quality.threshold).view(truth.shape).cpu().numpy()
        at = divmod(quality.clicked, truth.shape[1]) if view.name == quality.view else None
        tiles.append(mark_selection(to_uint8(photo), clean_mask(selected, min_piece), truth, at))
    return tiles
