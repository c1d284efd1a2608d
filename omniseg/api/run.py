"""A trained run, opened with one call: look, select, segment, measure, export.

    run = omniseg.load("runs/sample")
    view = run.view("0005")
    sofa = run.select(view, points=[(120, 88), (150, 65)], level=2)
    mask = sofa.mask(run.view("0030"))
    run.export_mesh("sofa.glb", selection=sofa)

A point (x, y) is a pixel, column and row from 0: (120, 88) is `view.rgb[88, 120]`. Levels count from 0, the finest.
Paths are strings or `Path`s. What cannot be done raises `InputError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from omniseg import devices
from omniseg.api.scene_segments import SceneSegments
from omniseg.cameras import Cameras
from omniseg.data.drawing import distinct_colours
from omniseg.devices import Device
from omniseg.errors import BadArgument, InputError, Refused
from omniseg.evaluation.evaluate import Evaluation, evaluate_run
from omniseg.evaluation.segmentation import PROMPTS
from omniseg.export import camera_paths, pictures, surface
from omniseg.export.masks import SourcePhotos, find_capture, write_segments, write_selections
from omniseg.export.pictures import Cut, Show
from omniseg.export.surface import ExportedSurface
from omniseg.files import require_writable
from omniseg.rendering.view import RenderedView, render_view
from omniseg.run_folder import SELECTIONS, Model, fingerprint, load_model, load_photo_depth, read_metrics
from omniseg.selection.query import plateaus
from omniseg.selection.segment_tree import SegmentTree, check_level
from omniseg.selection.selections import (
    Selection,
    Selections,
    load_selections,
    made_distinct,
    save_selections,
)
from omniseg.selection.session import SegmentationSession
from omniseg.selection.tree_building import segment_everything

_KEPT_VIEWS = 8
"""Number of rendered views that a run keeps."""

Point = tuple[float, float]


def load(path: str | Path, device: Device = "auto") -> Run:
    """Open a trained run and start the kernels.

    Args:
        path: run folder.
        device: "auto" is a GPU if there is one.
    Raises:
        InputError: no run folder, a damaged file in it, or no such device.
    """
    chosen = devices.start(device)
    return Run(Path(path), load_model(Path(path), chosen))


class Run:
    """A trained run, open for looking, selecting, segmenting and exporting.

    Attributes:
        path: run folder.
        model: configuration, cameras and fields.
    """

    def __init__(self, path: Path, model: Model) -> None:
        self.path, self.model = path, model
        self._views: dict[tuple[str, int | None], RenderedView] = {}

    def __repr__(self) -> str:
        what = "features" if self.model.features is not None else "no features"
        return f"Run({str(self.path)!r}, {len(self.view_names)} views, {what}, {self.device.type})"

    @property
    def device(self) -> torch.device:
        """Device that the run computes on."""
        return self.model.grid.bits.device

    @property
    def view_names(self) -> tuple[str, ...]:
        """Names of the photos: those trained on, then those held out."""
        return self.model.viewpoints.names

    @property
    def held_out(self) -> tuple[str, ...]:
        """Names of the photos that were held out for testing."""
        views = self.model.viewpoints
        return tuple(name for name, held_out in zip(views.names, views.held_out) if held_out)

    @property
    def metrics(self) -> dict[str, Any]:
        """Figures in metrics.json; empty before the first evaluation."""
        return read_metrics(self.path)

    # Looking

    def view(self, name: str, *, width: int | None = None) -> RenderedView:
        """Render the view of a photo; the last few are kept.

        Args:
            name: name of the photo, one of `view_names`.
            width: pixels per row; None: as many as the training photo had.
        Raises:
            InputError: there is no such view.
        """
        key = name, width
        if key not in self._views:
            if len(self._views) >= _KEPT_VIEWS:
                del self._views[next(iter(self._views))]
            self._views[key] = self._render(name, self._cameras(width))
        return self._views[key]

    def _render(self, name: str, cameras: Cameras) -> RenderedView:
        if name not in self.view_names:
            known = ", ".join(self.view_names[:3])
            raise BadArgument("view", f"this run has no such view; it has {known}, ...", name)
        return render_view(self.model.renderer, cameras, self.view_names.index(name), name=name)

    def _cameras(self, width: int | None) -> Cameras:
        if width is not None and width < 1:
            raise BadArgument("width", f"expected at least 1, got {width}")
        cameras = self.model.viewpoints.cameras
        return cameras if width is None else cameras.resized(width)

    # Selecting

    def session(self) -> SegmentationSession:
        """Begin an interactive session: clicks, strokes and boxes with undo, several selections, save and load.

        Raises:
            InputError: the run has no features.
        """
        self._require_features()
        return SegmentationSession(self.model, self._fingerprint)

    def select(
        self,
        view: RenderedView | str,
        points: Sequence[Point] = (),
        *,
        reject: Sequence[Point] = (),
        stroke: Sequence[Point] = (),
        box: tuple[float, float, float, float] | None = None,
        level: int | None = None,
        threshold: float | None = None,
        spatial_weight: float = 0.0,
        name: str | None = None,
    ) -> Selection:
        """Select in 3D what is shown at some points of a view; the selection holds in every view.

        Args:
            view: the view that is pointed at, or its name.
            points: pixels (x, y) of what to select.
            reject: pixels (x, y) of what to leave out.
            stroke: corners (x, y) of a line drawn over what to select.
            box: x, y of one corner and x, y of the opposite one, around what to select.
            level: number of the level, 0 the finest; how many there are depends on what was clicked.
            threshold: lowest score in [0, 1] that is selected, instead of a level; default: the likeliest level.
            spatial_weight: rate at which the score falls with the distance from a click, 1 / scene unit.
            name: name of the selection.
        Raises:
            NothingThere: a point shows nothing solid.
            Refused: a point lies outside the picture, or nothing is selected.
            InputError: the run has no features, or an argument is out of range.
        """
        if level is not None and threshold is not None:
            raise BadArgument("level", "it and a threshold both say how much is selected; give one")
        if threshold is not None and not 0 <= threshold <= 1:
            raise BadArgument("threshold", f"expected 0 to 1, got {threshold}")
        if spatial_weight < 0:
            raise BadArgument("spatial_weight", f"expected at least 0, got {spatial_weight}")
        session = self.session()
        view = self.view(view) if isinstance(view, str) else view
        session.show(view)
        session.mode = "multi"
        if name is not None and name != session.current.name:
            try:
                session.rename(name)
            except Refused as refused:
                raise BadArgument("name", str(refused)) from None
        session.set_spatial_weight(spatial_weight)
        if box is not None:
            _try(f"box {_numbers(box)}", lambda: session.box(*box))
        if stroke:
            _try("stroke", lambda: session.scribble([_centre(point) for point in stroke]))
        for accept, prompts in ((True, points), (False, reject)):
            for point in prompts:
                what = f"{'point' if accept else 'reject'} {_numbers(point)}"
                _try(what, lambda point=point, accept=accept: session.click(*_centre(point), accept))
        if session.current.is_empty:
            raise Refused("nothing is selected: give points, a stroke or a box of what to select")
        if threshold is not None:
            session.set_threshold(threshold)
        elif level is not None:
            most = len(session.levels()) - 1
            if most >= 0 and level not in range(most + 1):
                raise BadArgument("level", f"expected 0 to {most} for these clicks, got {level}")
            session.set_level(level)
        return session.current

    def n_levels(self, selection: Selection, view: RenderedView | str) -> int:
        """Return the number of levels that a selection has in a view; `select` takes them by number, from 0."""
        view = self.view(view) if isinstance(view, str) else view
        scores = selection.score(view.unit_features, view.positions)[view.solid]
        return len(plateaus(scores, self.model.config.levels))

    def load_selections(self, path: str | Path) -> tuple[Selection, ...]:
        """Read a selection file of this run.

        Raises:
            InputError: it is damaged or belongs to another run.
        """
        return load_selections(Path(path), self._fingerprint, self.model.config.features.dim).all

    def save_selections(self, path: str | Path, selections: Selection | Sequence[Selection]) -> None:
        """Write selections as a file that the window, the commands and `load_selections` read.

        Selections of equal names or colours get different ones, here and wherever several are exported.

        Raises:
            InputError: it cannot be written.
        """
        save_selections(Path(path), _some(selections), self._fingerprint)

    def _require_features(self) -> None:
        if self.model.features is None:
            raise InputError(
                f"{self.path}: has no features yet; add them with: omniseg train --run {self.path} --stage features"
            )

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.path)

    # Segmenting everything

    def segments(self, level: float | None = None, *, progress: bool = True) -> SceneSegments:
        """Segment the whole scene at one level; the tree of segments is made once and kept in the run folder.

        Args:
            level: 0 is the finest, `config.segment_tree.levels - 1` the coarsest; between whole levels too.
            progress: show progress bars.
        Raises:
            InputError: the run has no features, scikit-learn is missing, or there is no such level.
        """
        self._require_features()
        config = self.model.config.segment_tree
        chosen = config.default_level if level is None else level
        check_level(chosen, config)
        return SceneSegments(self.model, chosen, self.segment_tree(progress=progress).cut(chosen))

    def segment_tree(self, *, progress: bool = True) -> SegmentTree:
        """Return the segments of all levels as one tree over surface points.

        Raises:
            InputError: as `segments`.
        """
        return segment_everything(self.path, self.model, progress=progress)

    # Measuring

    def evaluate(
        self,
        *,
        scene: str | Path | None = None,
        labels: str | Path | None = None,
        prompts: int = PROMPTS,
        everything: bool = False,
        progress: bool = True,
    ) -> Evaluation:
        """Measure the held-out views against their photos and labels; writes metrics.json and renders/.

        Args:
            scene: the capture, where it has moved since the training.
            labels: folder LEVEL/NAME.png of integer ids, 0 = ignore; None: those of the capture.
            prompts: most positive, and most negative, pixels of a prompt; 0 leaves out the prompt figures.
            everything: also segment everything and measure its best match with each label.
            progress: show progress bars.
        Raises:
            InputError: the capture is gone, holds out no view, or a file does not open.
        """
        return evaluate_run(
            self.path, self.model, scene, labels, prompts=prompts, everything=everything, progress=progress
        )

    # Exporting

    def render(
        self,
        out: str | Path,
        path: str | Path = "orbit",
        *,
        show: Show = "rgb",
        level: float | None = None,
        frames: int = 120,
        width: int | None = None,
        rate: int = 30,
        background: float = 1.0,
        progress: bool = True,
    ) -> int:
        """Render pictures along a path of cameras, as an MP4 video or as PNG files.

        Args:
            out: file NAME.mp4, or a folder.
            path: "orbit", "spiral", "views" (all photos), "test" (the held-out ones), or a JSON file of cameras.
            show: "rgb", "depth", "features", "segments" of the whole scene, one colour each, or, along the path
                "views" alone, "photo-depth": the depth that the training estimated from the photos.
            level: level of the segments; None: the run's default.
            frames: pictures along an orbit or a spiral.
            width: pixels per row; None: as many as the training photos had.
            rate: frames per second of the video.
            background: grey level in [0, 1] behind transparent pixels.
            progress: show a progress bar.
        Returns:
            Number of pictures.
        Raises:
            InputError: an argument does not fit, or the result cannot be written.
        """
        if show == "photo-depth":
            return self._render_photo_depth(Path(out), str(path), width, rate, progress)
        names, cameras = camera_paths.cameras_along(self.model, str(path), frames, width)
        pictures.check_pictures(Path(out), self.model, cameras, show, rate)
        segments = self.segments(level, progress=progress).segments if show == "segments" else None
        pictures.export_pictures(
            Path(out), self.model, names, cameras,
            show=show, segments=segments, rate=rate, background=background, progress=progress,
        )  # fmt: skip
        return len(names)

    def _render_photo_depth(self, out: Path, path: str, width: int | None, rate: int, progress: bool) -> int:
        """Write the depth from the photos that the run keeps; arguments, result and errors as for `render`."""
        if path != "views":
            raise BadArgument("path", "photo-depth belongs to the photos; expected views", path)
        depth = load_photo_depth(self.path)
        if depth is None:
            raise InputError(
                f"{self.path}: keeps no depth from its photos: it has depth images, none was estimated, "
                "or the run is of an earlier version"
            )
        maps, cameras = depth.maps, self._cameras(width)
        place = {name: k for k, name in enumerate(self.view_names)}
        if not set(maps.names) <= set(place):
            raise InputError(f"{self.path}: its depth from the photos belongs to other photos; train again")
        cameras = cameras[[place[name] for name in maps.names]]
        pictures.check_pictures(out, self.model, cameras, "photo-depth", rate)
        pictures.export_photo_depth(out, maps.to(self.device), cameras, rate=rate, progress=progress)
        return len(maps)

    def export_mesh(
        self,
        out: str | Path,
        *,
        selection: Selection | Sequence[Selection] | Mapping[int, Selection] = (),
        segments: SceneSegments | None = None,
        resolution: int = 256,
        reach: float = 1.0,
        progress: bool = True,
    ) -> ExportedSurface:
        """Write the surface of the scene, or of selections, as NAME.glb or NAME.ply in the units of the capture.

        Args:
            out: file of the mesh; the features of its vertices are written beside it as NAME.features.npy.
            selection: keep only what this selects, or these; they number the segments, from 1 unless a mapping does.
            segments: label every face with its segment.
            resolution: cells along the longest edge: 128 is quick, 512 fine; memory grows with its cube.
            reach: half edge of the cube around the subject, in halves of the subject's size.
            progress: show progress bars.
        Raises:
            InputError: no surface is there or selected, an argument does not fit, or the file cannot be written.
        """
        return self._export_surface(out, "mesh", selection, segments, resolution, reach, progress)

    def export_points(
        self,
        out: str | Path,
        *,
        selection: Selection | Sequence[Selection] | Mapping[int, Selection] = (),
        segments: SceneSegments | None = None,
        resolution: int = 256,
        reach: float = 1.0,
        progress: bool = True,
    ) -> ExportedSurface:
        """Write the vertices of the mesh that `export_mesh` makes as a point cloud NAME.ply, with normals, colours and
        segment numbers; arguments and errors as there.
        """
        return self._export_surface(out, "points", selection, segments, resolution, reach, progress)

    def _export_surface(
        self,
        out: str | Path,
        kind: surface.SurfaceKind,
        selection: Selection | Sequence[Selection] | Mapping[int, Selection],
        segments: SceneSegments | None,
        resolution: int,
        reach: float,
        progress: bool,
    ) -> ExportedSurface:
        surface.check_surface(Path(out), kind, resolution, reach)
        numbered = selection if isinstance(selection, Mapping) else dict(enumerate(_several(selection), 1))
        labels = None if segments is None else segments.segments
        return surface.export_surface(
            Path(out), self.model, kind,
            selections=numbered, segments=labels, resolution=resolution, reach=reach, progress=progress,
        )  # fmt: skip

    def export_masks(
        self,
        out: str | Path,
        selection: Selection | Sequence[Selection],
        *,
        scene: str | Path | None = None,
        width: int | None = None,
        progress: bool = True,
    ) -> tuple[int, ...]:
        """Write what selections select in every view: masks, cut-outs of the photos, overlays, and a selection file.

        Args:
            out: folder for masks/SELECTION/VIEW.png, cutouts/SELECTION/VIEW.png, overlays/VIEW.png, selections.json.
            selection: one or several.
            scene: the capture, where it has moved; without its photos, renderings are cut out.
            width: pixels per row; None: as many as the training photos had.
            progress: show a progress bar.
        Returns:
            Number of selected pixels of each selection, over all views.
        Raises:
            InputError: a photo is damaged, or a file cannot be written.
        """
        selections, out, photos = _some(selection), Path(out), self._source_photos(scene)
        require_writable(out)
        save_selections(out / SELECTIONS, selections, self._fingerprint)
        totals = np.zeros(len(selections.all), np.int64)
        for view in self._all_views(width, progress):
            totals += write_selections(out, view.name, photos.picture(view.name, view), view, selections)
        return tuple(totals.tolist())

    def export_segments(
        self,
        out: str | Path,
        segments: SceneSegments,
        *,
        scene: str | Path | None = None,
        width: int | None = None,
        progress: bool = True,
    ) -> None:
        """Write the segments of every view: ids/VIEW.png, 16 bit, the same id in all views, and overlays/VIEW.png.

        Args:
            out: folder.
            segments: one level of the scene.
            scene, width, progress: as in `export_masks`.
        Raises:
            InputError: a photo is damaged, or a file cannot be written.
        """
        photos, colours = self._source_photos(scene), distinct_colours(len(segments))
        for view in self._all_views(width, progress):
            write_segments(Path(out), view.name, photos.picture(view.name, view), segments.ids(view), colours)

    def export_cut_pictures(
        self,
        out: str | Path,
        what: Cut,
        *,
        selection: Selection | Sequence[Selection] = (),
        path: str | Path = "views",
        frames: int = 120,
        width: int | None = None,
        progress: bool = True,
    ) -> tuple[int, int]:
        """Render pictures cut out by selections along a path of cameras, or their masks, as PNG files.

        Args:
            out: folder; each selection gets a folder of its own in it.
            what: "rgba", transparent outside of the selection; "masks", white inside and black outside.
            selection: one or several; none: everything solid.
            path, frames, width, progress: as in `render`.
        Returns:
            Number of pictures, and how many of them are not empty.
        Raises:
            InputError: an argument does not fit, or a file cannot be written.
        """
        require_writable(Path(out))
        names, cameras = camera_paths.cameras_along(self.model, str(path), frames, width)
        n_seen = pictures.export_cut_pictures(
            Path(out), self.model, names, cameras, what, selections=_several(selection), progress=progress
        )
        return len(names), n_seen

    def _source_photos(self, scene: str | Path | None) -> SourcePhotos:
        config = self.model.config
        return SourcePhotos(find_capture(config.scene, None if scene is None else Path(scene)), config.capture)

    def _all_views(self, width: int | None, progress: bool) -> Iterator[RenderedView]:
        cameras = self._cameras(width)
        for name in tqdm(self.view_names, desc="views", unit="view", disable=not progress):
            yield self._render(name, cameras)


def _several(selection: Selection | Sequence[Selection]) -> tuple[Selection, ...]:
    return (selection,) if isinstance(selection, Selection) else made_distinct(selection)


def _some(selection: Selection | Sequence[Selection]) -> Selections:
    """Return one or several selections.

    Raises:
        BadArgument: there is none.
    """
    several = _several(selection)
    if not several:
        raise BadArgument("selection", "expected at least one")
    return Selections(several)


def _centre(point: Point) -> Point:
    """Return the image coordinates of the centre of a pixel (docs/conventions.md)."""
    return point[0] + 0.5, point[1] + 0.5


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _try(what: str, edit: Callable[[], object]) -> None:
    """Make an edit; a refusal names the prompt."""
    try:
        edit()
    except Refused as refused:
        raise type(refused)(f"{what}: {refused}") from None
