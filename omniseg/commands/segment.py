"""Segment a trained run without a window: by clicks, strokes and boxes, by a selection file, or everything at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from omniseg.api.run import Run, load
from omniseg.commands import common
from omniseg.devices import Device
from omniseg.errors import InputError
from omniseg.export.masks import find_capture
from omniseg.files import require_writable
from omniseg.run_folder import SELECTIONS
from omniseg.selection.selections import Selection

Points = Annotated[tuple[tuple[float, float], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="X Y")]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Select in one view and write the selection in all views; or segment everything.

    OUT gets masks/SELECTION/VIEW.png, cutouts/SELECTION/VIEW.png (RGBA), overlays/VIEW.png and selections.json, which
    --selection, omniseg gui and omniseg export read; with --everything, ids/VIEW.png (16 bit, one id per segment in all
    views) and overlays/VIEW.png. Pixels count from 0, column then row, in pictures of --width.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the results."""
    view: Annotated[str | None, common.optional("NAME", "none")] = None
    """View to click in."""
    click: Points = ()
    """Pixel of something to select; may be given several times."""
    reject: Points = ()
    """Pixel of something to leave out; may be given several times."""
    scribble: Annotated[tuple[float, ...], common.optional("X Y X Y ...", "none")] = ()
    """Stroke over something to select, by its corners."""
    box: Annotated[tuple[float, float, float, float] | None, common.optional("X Y X Y", "none")] = None
    """Box around something to select, by two opposite corners."""
    threshold: Annotated[float | None, common.optional("SCORE", "the likeliest level")] = None
    """Lowest score that is selected, from 0 (everything) to 1."""
    level: Annotated[float | None, common.optional("LEVEL", "the likeliest")] = None
    """Level, 0 is the finest. Of clicks: a whole number; of --everything: also between two levels."""
    spatial_weight: float = 0.0
    """Rate at which the score falls with the distance from a click, 1 / scene unit; 0: not at all."""
    name: str = "selection 1"
    """Name of the selection."""
    selection: Annotated[Path | None, common.optional("FILE", "none")] = None
    """Selection file to write out, instead of clicks."""
    everything: common.Switch = False
    """Segment everything, instead of clicks."""
    width: Annotated[int | None, common.optional("PIXELS", "that of the training photos")] = None
    """Width of the pictures that are clicked in and written."""
    scene: Annotated[Path | None, common.optional("PATH", "its place at the training")] = None
    """The capture, if it has moved: cut-outs are cut from its photos; without it, from renderings."""
    device: Device = "auto"
    """Device to compute on; auto: a GPU if there is one."""


def main() -> None:
    """Parse the command line and segment."""
    arguments = common.parse(Arguments)
    _check(arguments)
    run = load(arguments.run, arguments.device)
    where = {"scene": arguments.scene, "width": arguments.width}
    n_views = len(run.view_names)
    if arguments.everything:
        segments = run.segments(arguments.level)
        run.export_segments(arguments.out, segments, **where)
        print(f"{len(segments)} segments: ids and overlays of {n_views} views in {arguments.out}")
        return
    if arguments.selection is not None:
        selections = run.load_selections(arguments.selection)
        if all(selection.is_empty for selection in selections):
            raise InputError(f"{arguments.selection}: selects nothing; click on something and save it again")
    else:
        selections = (_select(run, arguments),)
    totals = run.export_masks(arguments.out, selections, **where)
    for selection, total in zip(selections, totals):
        print(f"{selection.name}: {total} pixels in {n_views} views")
    print(f"masks, cut-outs, overlays and {SELECTIONS} in {arguments.out}")


def _check(arguments: Arguments) -> None:
    prompted = bool(arguments.click or arguments.reject or arguments.scribble or arguments.box)
    if prompted + (arguments.selection is not None) + arguments.everything != 1:
        raise InputError("expected either --view with --click, --scribble or --box, or --selection, or --everything")
    if prompted and arguments.view is None:
        raise InputError("--view: say in which view to click; omniseg render RUN --path views shows all of them")
    if len(arguments.scribble) % 2:
        raise InputError("--scribble: expected pairs of numbers, X Y X Y ...")
    if prompted and arguments.level is not None and not arguments.level.is_integer():
        raise InputError(f"--level: expected a whole number for clicks, got {arguments.level:g}")
    if not prompted:
        source = "--selection" if arguments.selection is not None else "--everything"
        unused = {"--threshold": arguments.threshold, "--spatial-weight": arguments.spatial_weight or None}
        unused |= {"--level": arguments.level} if arguments.selection is not None else {}
        given = [option for option, value in unused.items() if value is not None]
        if given:
            raise InputError(f"{given[0]}: is for clicks, strokes and boxes; leave it out with {source}")
    find_capture("", arguments.scene)
    require_writable(arguments.out)


def _select(run: Run, arguments: Arguments) -> Selection:
    assert arguments.view is not None
    view = run.view(arguments.view, width=arguments.width)
    stroke = tuple(zip(arguments.scribble[::2], arguments.scribble[1::2]))
    level = None if arguments.level is None else int(arguments.level)
    selection = run.select(
        view,
        arguments.click,
        reject=arguments.reject,
        stroke=stroke,
        box=arguments.box,
        level=level,
        threshold=arguments.threshold,
        spatial_weight=arguments.spatial_weight,
        name=arguments.name,
    )
    n_levels = run.n_levels(selection, view)
    at = "" if level is None else f"level {level} of 0 to {n_levels - 1}, "
    n_pixels = int(selection.mask(view).sum())
    print(f"{selection.name}: {n_pixels} pixels of view {view.name}, {at}threshold {selection.threshold:.3f}")
    return selection
