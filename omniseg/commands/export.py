"""Export a trained run or a selection of it: as a mesh, a point cloud, cut-outs or masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from omniseg.api.run import Run, load
from omniseg.commands import common
from omniseg.devices import Device
from omniseg.errors import InputError
from omniseg.export.surface import check_surface
from omniseg.files import require_writable
from omniseg.selection.selections import Selection


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Export a trained run, or what a selection file selects in it.

    mesh: .ply or .glb; vertices have colours and normals. In a .ply, each face also has `segment`, the number of its
    selection or segment from 1, and its colour. points: .ply, the vertices of that mesh, x y z nx ny nz red green blue
    segment. Both are in the coordinates and units of the capture; NAME.features.npy beside them holds the feature of
    each vertex. rgba, masks: a folder of PNG files of cameras along --path: renderings that are transparent outside the
    selection, or masks of it; one folder for each selection.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training."""
    what: Literal["mesh", "points", "rgba", "masks"]
    """Kind of result."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE|DIR")]
    """A file .ply or .glb for a mesh, .ply for points; a folder for rgba and masks."""
    selection: Annotated[Path | None, common.optional("FILE", "the whole scene")] = None
    """Selection file of this run, from omniseg gui or omniseg segment."""
    everything: common.Switch = False
    """Label a mesh or points of the whole scene with the segments of everything."""
    level: Annotated[float | None, common.optional("LEVEL", "the run's default, usually 3")] = None
    """Level of these segments, 0 is the finest; values between two levels too."""
    name: Annotated[str | None, common.optional("SELECTION", "all")] = None
    """Only this selection of the file."""
    resolution: int = 256
    """Cells along the longest edge of the mesh's box: 128 is quick, 512 fine."""
    reach: float = 1.0
    """Half edge of the cube that the mesh is cut to, in halves of the subject's size; more includes surroundings."""
    path: Annotated[str, tyro.conf.arg(metavar="orbit|spiral|views|test|FILE")] = "views"
    """Cameras of rgba and masks. views: all photos; test: the held-out ones; orbit: around the scene; spiral: in front
    of it; or a JSON file like transforms.json, which needs no images."""
    frames: int = 120
    """Number of pictures along an orbit or a spiral."""
    width: Annotated[int | None, common.optional("PIXELS", "that of the training photos")] = None
    """Width of the pictures."""
    device: Device = "auto"
    """Device to compute on; auto: a GPU if there is one."""


def main() -> None:
    """Parse the command line and export."""
    arguments = common.parse(Arguments)
    _check(arguments)
    run = load(arguments.run, arguments.device)
    selections = _selections(run, arguments)
    if arguments.what in ("mesh", "points"):
        _export_surface(run, selections, arguments)
        return
    assert arguments.what in ("rgba", "masks")
    n_pictures, n_seen = run.export_cut_pictures(
        arguments.out,
        arguments.what,
        selection=tuple(selections.values()),
        path=arguments.path,
        frames=arguments.frames,
        width=arguments.width,
    )
    print(f"{n_pictures} pictures in {arguments.out}, {n_seen} of them not empty")


def _check(arguments: Arguments) -> None:
    if arguments.everything and (arguments.selection is not None or arguments.what not in ("mesh", "points")):
        raise InputError("--everything: labels a mesh or points of the whole scene; leave out --selection")
    if arguments.level is not None and not arguments.everything:
        raise InputError("--level: is a level of --everything; give both")
    if arguments.name is not None and arguments.selection is None:
        raise InputError("--name: give with --selection FILE the file that holds this selection")
    if arguments.what in ("mesh", "points"):
        check_surface(arguments.out, arguments.what, arguments.resolution, arguments.reach)
    elif arguments.out.suffix:
        raise InputError(f"--out {arguments.out}: expected a folder for --what {arguments.what}")
    else:
        require_writable(arguments.out)


def _selections(run: Run, arguments: Arguments) -> dict[int, Selection]:
    """Return the selections to export, by their number from 1 in the file."""
    path, name = arguments.selection, arguments.name
    if path is None:
        return {}
    known = dict(enumerate(run.load_selections(path), 1))
    chosen = {number: selection for number, selection in known.items() if name in (None, selection.name)}
    if not chosen:
        names = ", ".join(selection.name for selection in known.values())
        raise InputError(f"--name {name}: {path} has no such selection; it has {names}")
    chosen = {n: selection for n, selection in chosen.items() if not selection.is_empty}
    if not chosen:
        raise InputError(f"{path}: {name or 'it'} has no click and selects nothing; click and save it again")
    return chosen


def _export_surface(run: Run, selections: dict[int, Selection], arguments: Arguments) -> None:
    segments = run.segments(arguments.level) if arguments.everything else None
    export = run.export_mesh if arguments.what == "mesh" else run.export_points
    result = export(
        arguments.out,
        selection=selections,
        segments=segments,
        resolution=arguments.resolution,
        reach=arguments.reach,
    )
    for number, selection in selections.items():
        print(f"segment {number}: {selection.name}, {result.segment_faces.get(number, 0)} faces")
    if segments is not None:
        print(f"{len(result.segment_faces)} segments of everything")
    count = f"{result.n_faces} faces" if arguments.what == "mesh" else f"{result.n_vertices} points"
    print(f"{count} in {arguments.out}")
