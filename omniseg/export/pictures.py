"""Rendered pictures of a run along a path of cameras: videos, PNG files, cut-outs and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from torch import Tensor
from tqdm import tqdm

from omniseg.cameras import Cameras
from omniseg.data.depth_maps import DepthMaps
from omniseg.data.drawing import distinct_colours, paint_ids
from omniseg.data.image_io import save_image
from omniseg.errors import BadArgument
from omniseg.export.masks import folder_names
from omniseg.export.video import save_frames
from omniseg.files import require_writable
from omniseg.rendering.renderer import Rendering
from omniseg.rendering.view import render_view
from omniseg.rendering.visualize import depth_picture, distance_picture, to_uint8
from omniseg.run_folder import Model
from omniseg.selection.segment_tree import Segments
from omniseg.selection.selections import Selection
from omniseg.selection.survey import feature_colours

Show = Literal["rgb", "depth", "features", "segments", "photo-depth"]
Cut = Literal["rgba", "masks"]


def check_pictures(out: Path, model: Model, cameras: Cameras, show: Show, rate: int) -> None:
    """Check the arguments of `export_pictures`, and that its file can be written, before anything is rendered.

    Raises:
        InputError: one does not fit.
    """
    if show not in get_args(Show):
        raise BadArgument("show", f"expected {', '.join(get_args(Show))}", show)
    if show in ("features", "segments") and model.features is None:
        raise BadArgument(
            "show", "this run has no features; add them with: omniseg train --run RUN --stage features", show
        )
    if rate < 1:
        raise BadArgument("rate", f"expected at least 1, got {rate}")
    if out.suffix not in ("", ".mp4"):
        raise BadArgument("out", "expected a file that ends in .mp4, or a folder", out)
    if out.suffix and len({tuple(size) for size in cameras.size.tolist()}) > 1:
        raise BadArgument("out", "these cameras have several sizes, a video only one; give a folder for PNG files")
    require_writable(out.parent if out.suffix else out)


def export_pictures(
    out: Path,
    model: Model,
    names: Sequence[str],
    cameras: Cameras,
    *,
    show: Show = "rgb",
    segments: Segments | None = None,
    rate: int = 30,
    background: float = 1.0,
    progress: bool = True,
) -> None:
    """Render cameras to an MP4 video or a folder of PNG files.

    Args:
        out: a file NAME.mp4, or a folder.
        model: trained model.
        names: name of each picture.
        cameras: one for each picture, scene coordinates.
        show: what to show; "features" as colours, by their three main directions.
        segments: to show, for "segments", one colour each.
        rate: frames per second of the video.
        background: grey level in [0, 1] behind transparent pixels.
        progress: show a progress bar.
    Raises:
        InputError: the cameras of a video differ in size, there are no features to show, or nothing can be written.
    """
    frames = _pictures(model, cameras, show, segments, background, progress)
    bar = tqdm(frames, total=len(cameras), desc="rendering", unit="frame", disable=not progress)
    save_frames(out, bar, list(names), rate)


def _pictures(
    model: Model, cameras: Cameras, show: Show, segments: Segments | None, background: float, progress: bool
) -> Iterator[np.ndarray]:
    colours = feature_colours(model, progress=progress) if show == "features" else None
    palette = distinct_colours(len(segments) if segments else 0)
    for k, (width, height) in enumerate(cameras.size.tolist()):
        if segments is not None:
            view = render_view(model.renderer, cameras, k)
            picture = to_uint8(view.rendering.over(background).view(height, width, 3))
            yield paint_ids(picture, segments.ids_in(view), palette)
            continue
        rendering = model.renderer.render_image(cameras, k, colour=show == "rgb", features=colours is not None)
        if colours is not None and rendering.features is not None:
            yield colours.picture(rendering.features, rendering.solid, width)
        elif show == "depth":
            yield depth_picture(rendering, width)
        else:
            yield to_uint8(rendering.over(background).view(height, width, 3))


def export_photo_depth(out: Path, maps: DepthMaps, cameras: Cameras, *, rate: int = 30, progress: bool = True) -> None:
    """Write the depth that was estimated from photos as an MP4 video or a folder of PNG files; unknown is black.

    Args:
        out: a file NAME.mp4, or a folder.
        maps: depth of the photos, on the device of the cameras.
        cameras: cameras of the photos in `maps`, in that order.
        rate: frames per second of the video.
        progress: show a progress bar.
    Raises:
        InputError: nothing can be written.
    """
    distances = (maps.image(cameras, k).cpu().numpy() for k in range(len(maps)))
    frames = (distance_picture(distance, distance > 0) for distance in distances)
    bar = tqdm(frames, total=len(maps), desc="depth from the photos", unit="frame", disable=not progress)
    save_frames(out, bar, list(maps.names), rate)


def export_cut_pictures(
    out: Path,
    model: Model,
    names: Sequence[str],
    cameras: Cameras,
    kind: Cut,
    *,
    selections: Sequence[Selection] = (),
    progress: bool = True,
) -> int:
    """Render cameras, cut out by selections: RGBA pictures or masks, as PNG files.

    Args:
        out: folder; each selection gets a folder of its own in it.
        model: trained model.
        names: name of each picture.
        cameras: one for each picture, scene coordinates.
        kind: "rgba", renderings that are transparent outside; "masks", white inside and black outside.
        selections: what to cut out; none: everything solid.
        progress: show a progress bar.
    Returns:
        Number of cameras that see anything of it.
    Raises:
        InputError: a file cannot be written.
    """
    if kind not in get_args(Cut):
        raise BadArgument("what", f"expected {' or '.join(get_args(Cut))}", kind)
    n_seen = 0
    for k, name in enumerate(tqdm(names, desc="rendering", unit="picture", disable=not progress)):
        rendering, masks = _cut(model, cameras, k, selections, colour=kind == "rgba")
        for folder, mask in masks.items():
            picture = _cut_out(rendering, mask) if kind == "rgba" else mask * np.uint8(255)
            save_image(out / folder / f"{name}.png", picture)
        n_seen += any(mask.any() for mask in masks.values())
    return n_seen


def _cut(
    model: Model, cameras: Cameras, k: int, selections: Sequence[Selection], *, colour: bool
) -> tuple[Rendering, dict[str, np.ndarray]]:
    """Render one camera; masks (height, width) bool by folder."""
    if selections:
        view = render_view(model.renderer, cameras, k)
        folders = folder_names([selection.name for selection in selections])
        return view.rendering, {folder: selection.mask(view) for folder, selection in zip(folders, selections)}
    rendering = model.renderer.render_image(cameras, k, colour=colour)
    width, height = cameras.size[k].tolist()
    return rendering, {"": _array(rendering.solid.view(height, width))}


def _cut_out(rendering: Rendering, mask: np.ndarray) -> np.ndarray:
    """Return a picture (height, width, 4) uint8, transparent outside the mask."""
    height, width = mask.shape
    rgb = to_uint8(rendering.straight_rgb.view(height, width, 3))
    alpha = to_uint8(rendering.opacity.view(height, width, 1))
    return np.where(mask[..., None], np.concatenate([rgb, alpha], axis=2), 0).astype(np.uint8)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
