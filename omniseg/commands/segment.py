"""Segment a trained run without a window: from clicks, strokes and boxes, a selection file, or everything at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from omniseg.commands import common
from omniseg.data.drawing import distinct_colours
from omniseg.errors import InputError, Refused
from omniseg.export.masks import SourcePhotos, find_capture, write_segments, write_selections
from omniseg.rendering.view import RenderedView, render_view
from omniseg.run_folder import Model, fingerprint, load_model
from omniseg.selection.segment_tree import check_level
from omniseg.selection.selections import SELECTIONS
from omniseg.selection.session import Edit, SegmentationSession
from omniseg.selection.tree_building import segment_everything

Points = Annotated[tuple[tuple[float, float], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="X Y")]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Select in one view and write what is selected in all of them; or segment everything.

    OUT gets masks/SELECTION/VIEW.png, cutouts/SELECTION/VIEW.png (RGBA), overlays/VIEW.png and selections.json, which
    --selection, gui.py and export.py read; with --everything, ids/VIEW.png (16 bit, one id per segment in all views)
    and overlays/VIEW.png. Pixels are counted from 0, column then row, in pictures of --width.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the results."""
    view: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The view that is clicked in."""
    click: Points = ()
    """A pixel of what is wanted; may be given several times."""
    reject: Points = ()
    """A pixel of what is not wanted; may be given several times."""
    scribble: Annotated[tuple[float, ...], tyro.conf.arg(metavar="X Y X Y ...")] = ()
    """A stroke over what is wanted, by its corners."""
    box: Annotated[tuple[float, float, float, float] | None, tyro.conf.arg(metavar="X Y X Y")] = None
    """A box around what is wanted, by two corners."""
    threshold: float | None = None
    """Of the score, from 0 (everything) to 1; unset: the likeliest level."""
    level: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    """0 is the finest level, of what was clicked or of everything (0 to 6, also in between, 3 unless given)."""
    spatial_weight: float = 0.0
    """How fast the score falls with the distance from a click, 1 / scene unit; 0: it does not."""
    name: str = "selection 1"
    """Of the selection."""
    selection: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write what a selection file selects, instead of clicks."""
    everything: bool = False
    """Segment everything, instead of clicks."""
    width: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Width of pictures, and of what clicks are counted in; that of the training photos unless given."""
    scene: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """The capture, where it has moved: cut-outs are cut from its photos; without it, from renderings."""
    device: common.Device = "auto"
    """Where to compute; auto is a GPU where there is one."""


def main() -> None:
    """Parse the command line and segment."""
    arguments = tyro.cli(Arguments)
    _check(arguments)
    model = load_model(arguments.run, common.start(arguments.device))
    of = fingerprint(arguments.run)
    if arguments.level is not None:
        check_level(arguments.level, model.config.segment_tree, "--level")
    photos = SourcePhotos(find_capture(model.config.scene, arguments.scene, "--scene"))
    if arguments.everything:
        _segment_everything(model, photos, arguments)
        return
    session = SegmentationSession(model, of)
    if arguments.selection is not None:
        session.load(arguments.selection)
    else:
        _click(session, arguments)
    if all(selection.is_empty for selection in session.selections.all):
        source = "--reject alone" if arguments.selection is None else f"{arguments.selection} without a click"
        raise InputError(f"{source}: nothing is selected; give something to select, too")
    session.save(arguments.out / SELECTIONS)
    totals = [0] * len(session.selections.all)
    for name, frame in _frames(model, arguments.width):
        counts = write_selections(arguments.out, name, photos.picture(name, frame), frame, session.selections)
        totals = [total + count for total, count in zip(totals, counts)]
    for selection, total in zip(session.selections.all, totals):
        print(f"{selection.name}: {total} pixels in {len(model.viewpoints.names)} views")
    print(f"masks, cut-outs, overlays and {SELECTIONS} in {arguments.out}")


def _check(arguments: Arguments) -> None:
    drawn = bool(arguments.click or arguments.reject or arguments.scribble or arguments.box)
    if drawn + (arguments.selection is not None) + arguments.everything != 1:
        raise InputError("expected either --view with --click, --scribble or --box, or --selection, or --everything")
    if drawn and arguments.view is None:
        raise InputError("--view: say in which view to click; apps/render.py RUN --path views shows all of them")
    if len(arguments.scribble) % 2:
        raise InputError("--scribble: expected pairs of numbers, X Y X Y ...")
    if arguments.threshold is not None and not 0 <= arguments.threshold <= 1:
        raise InputError(f"--threshold: expected 0 to 1, got {arguments.threshold}")
    if arguments.threshold is not None and arguments.level is not None:
        raise InputError("--threshold, --level: both say how much is selected; give one")
    if arguments.spatial_weight < 0:
        raise InputError(f"--spatial-weight: expected at least 0, got {arguments.spatial_weight}")
    if arguments.width is not None and arguments.width < 1:
        raise InputError(f"--width: expected at least 1, got {arguments.width}")


def _frames(model: Model, width: int | None) -> Iterator[tuple[str, RenderedView]]:
    """Every view of the run, by name."""
    views = model.viewpoints
    cameras = views.cameras if width is None else views.cameras.resized(width)
    for view, name in enumerate(tqdm(views.names, desc="views", unit="view")):
        yield name, render_view(model.renderer, cameras, view)


def _click(session: SegmentationSession, arguments: Arguments) -> None:
    views = session.model.viewpoints
    if arguments.view not in views.names:
        known = ", ".join(views.names[:3])
        raise InputError(f"--view {arguments.view}: this run has no such view; it has {known}, ...")
    cameras = views.cameras if arguments.width is None else views.cameras.resized(arguments.width)
    frame = session.look(cameras, views.names.index(arguments.view))
    session.mode = "multi"
    if arguments.name != session.current.name:
        try:
            session.rename(arguments.name)
        except Refused as error:
            raise InputError(f"--name: {error}") from error
    session.set_spatial_weight(arguments.spatial_weight)
    if arguments.box is not None:
        box = arguments.box
        _done(lambda: session.box(*box), "--box", frame)
    if arguments.scribble:
        corners = [(x + 0.5, y + 0.5) for x, y in zip(arguments.scribble[::2], arguments.scribble[1::2])]
        _done(lambda: session.scribble(corners), "--scribble", frame)
    for points, accept, option in ((arguments.click, True, "--click"), (arguments.reject, False, "--reject")):
        for x, y in points:
            _done(
                lambda x=x, y=y, accept=accept: session.click(x + 0.5, y + 0.5, accept), f"{option} {x:g} {y:g}", frame
            )
    if arguments.threshold is not None:
        session.set_threshold(arguments.threshold)
    elif arguments.level is not None:
        print(session.set_level(round(arguments.level)))


def _done(edit: Callable[[], Edit], what: str, frame: RenderedView) -> None:
    """Make an edit and print its result."""
    try:
        print(f"{what}: {edit()}")
    except Refused as error:
        raise InputError(f"{what}: {error} (the view is {frame.width} x {frame.height} pixels)") from error


def _segment_everything(model: Model, photos: SourcePhotos, arguments: Arguments) -> None:
    tree = segment_everything(arguments.run, model)
    segments = tree.cut(tree.config.default_level if arguments.level is None else arguments.level)
    colours = distinct_colours(len(segments))
    for name, frame in _frames(model, arguments.width):
        ids = segments.ids_in(frame)
        write_segments(arguments.out, name, photos.picture(name, frame), ids, colours)
    print(f"{len(segments)} segments: ids and overlays of {len(model.viewpoints.names)} views in {arguments.out}")
