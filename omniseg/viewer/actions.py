"""Actions of keys and buttons on a viewer. Each returns a sentence or an edit, or raises InputError.

A window does them by `Controller.act`, which makes the message of either.
"""

from __future__ import annotations

from typing import Literal, get_args

from omniseg.errors import Refused
from omniseg.export.surface import SurfaceKind
from omniseg.selection.session import Edit
from omniseg.selection.tree_building import segment_everything
from omniseg.viewer.controller import TOOL_HELP, Controller, has_clicks
from omniseg.viewer.downloads import (
    Download,
    load_upload,
    selections_download,
    surface_download,
    view_download,
)
from omniseg.viewer.gestures import Tool
from omniseg.viewer.panels import SHOWN, Shown

Extent = Literal["this selection", "all selections", "whole scene"]
"""What of the scene a mesh or points hold."""
EXTENTS: tuple[Extent, ...] = get_args(Extent)


def show(controller: Controller, shown: Shown) -> str:
    """Show another kind of picture."""
    controller.live.shown = shown
    if shown != "segments":
        return shown
    layer = controller.live.segments
    return "the selections" if layer is None else f"automatic segments, level {layer.level}"


def show_next(controller: Controller) -> str:
    """Show the next kind of picture."""
    return show(controller, SHOWN[(SHOWN.index(controller.live.shown) + 1) % len(SHOWN)])


def toggle_mask(controller: Controller) -> str:
    """Show the mask, or the score as heat."""
    live = controller.live
    live.show_mask = not live.show_mask
    return "mask: what is selected" if live.show_mask else "heat: how well everything fits the clicks"


def toggle_tool(controller: Controller, tool: Tool) -> str:
    """Take a tool, or put it away if it is the current one."""
    controller.tool = "click" if controller.tool == tool else tool
    return TOOL_HELP[controller.tool]


def take_tool(controller: Controller, tool: Tool) -> str:
    """Take a tool."""
    controller.tool = tool
    return TOOL_HELP[tool]


def toggle_multi(controller: Controller) -> str:
    """Let a click add to the clicks before it, or replace them."""
    session = controller.session
    session.mode = "single" if session.mode == "multi" else "multi"
    return (
        "a click adds to the clicks before it" if session.mode == "multi" else "a click replaces the clicks before it"
    )


def toggle_help(controller: Controller) -> str:
    """Open or close the help."""
    controller.show_help = not controller.show_help
    return "click on the picture to close the help" if controller.show_help else TOOL_HELP[controller.tool]


def next_selection(controller: Controller) -> Edit:
    """Activate the next selection."""
    selections = controller.session.selections
    return controller.session.activate((selections.active + 1) % len(selections.all))


def step_photo(controller: Controller, by: int) -> str:
    """Move the camera to the viewpoint of the next (+1) or previous (-1) photo."""
    live = controller.live
    return go_to_photo(controller, (live.photo + by) % len(live.viewpoints.names))


def go_to_photo(controller: Controller, photo: int) -> str:
    """Move the camera to the viewpoint of a photo, by its index."""
    controller.live.go_to_photo(photo)
    names = controller.live.viewpoints.names
    return f"photo {photo + 1} of {len(names)}: {names[photo]}"


def segment_all(controller: Controller) -> str:
    """Show automatic segments of everything; the first time in a run they are computed, which takes a while."""
    if controller.live.segments is None:
        model, progress = controller.session.model, controller.progress
        controller.live.set_tree(segment_everything(controller.files.folder, model, progress=progress))
    return show(controller, "segments")


def set_segment_level(controller: Controller, level: int) -> str:
    """Show the automatic segments of another level, from 0, the finest.

    Raises:
        Refused: there are no automatic segments yet.
    """
    layer = controller.live.segments
    if layer is None:
        raise Refused("there are no automatic segments yet: press G to compute them")
    layer.level = level
    return f"automatic segments, level {level}"


def save(controller: Controller) -> str:
    """Write all selections to the run folder."""
    text = controller.files.save(controller.session)
    controller.exit_guard.saved = controller.session.selections
    return text


def load(controller: Controller) -> str:
    """Replace all selections by those saved in the run folder."""
    text = controller.files.load(controller.session)
    controller.exit_guard.saved = controller.session.selections
    return text


def screenshot(controller: Controller) -> str:
    """Write the picture that is shown to the run folder."""
    return controller.files.screenshot(controller.picture())


def export(controller: Controller) -> str:
    """Write masks and cut-outs of this view, and the selections, to the run folder once the picture is sharp.

    Raises:
        Refused: nothing is selected.
    """
    _require_clicks(controller)
    controller.pending = lambda controller: controller.files.export(controller.session)
    return "exporting as soon as the picture is sharp"


def download_view(controller: Controller) -> str:
    """Give masks and cut-outs of this view, and the selections, to the browser once the picture is sharp.

    Raises:
        Refused: nothing is selected.
    """
    _require_clicks(controller)
    controller.pending = lambda controller: _give(controller, view_download(controller.session))
    return "masks and cut-outs follow as soon as the picture is sharp"


def download_selections(controller: Controller) -> str:
    """Give all selections to the browser, as a file that `upload_selections`, the window and the commands read.

    Raises:
        Refused: nothing is selected.
    """
    _require_clicks(controller)
    return _give(controller, selections_download(controller.session))


def download_surface(controller: Controller, name: str, kind: SurfaceKind, extent: Extent, resolution: int) -> str:
    """Give a mesh or points to the browser, which takes a while.

    Args:
        controller: of the viewer.
        name: NAME.glb or NAME.ply.
        kind: "mesh" or "points".
        extent: what of the scene.
        resolution: cells along the longest edge; see `export_surface`.
    Raises:
        Refused: nothing is selected.
        InputError: no surface is there, or trimesh is missing.
    """
    session, selections = controller.session, {}
    if extent == "this selection":
        if session.current.is_empty:
            raise Refused("nothing is selected: click on something first, or take the whole scene")
        selections = {session.selections.active + 1: session.current}
    elif extent == "all selections":
        _require_clicks(controller)
        selections = {n: s for n, s in enumerate(session.selections.all, 1) if not s.is_empty}
    made = surface_download(session, name, kind, selections, resolution=resolution, progress=controller.progress)
    return _give(controller, made)


def upload_selections(controller: Controller, name: str, content: bytes) -> Edit:
    """Replace all selections by those of a file that the browser sent.

    Raises:
        InputError: it is too large, or not a selection file of this run.
    """
    return load_upload(controller.session, name, content)


def _give(controller: Controller, download: Download) -> str:
    controller.downloads.append(download)
    return str(download)


def _require_clicks(controller: Controller) -> None:
    if not has_clicks(controller.session.selections):
        raise Refused("nothing is selected: click on something first")


def close(controller: Controller) -> str:
    """Close the window.

    Raises:
        Refused: unsaved selections would be lost, for the first time.
    """
    controller.exit_guard.check(controller.session.selections)
    controller.should_close = True
    return "closing"
