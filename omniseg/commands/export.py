"""Take a trained run, or what was selected in it, away: as a mesh, as points, as cut-outs or as masks."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from tqdm import tqdm

from omniseg.commands import common
from omniseg.data.drawing import distinct_colours
from omniseg.data.image_io import save_image
from omniseg.errors import InputError
from omniseg.export import camera_paths as paths
from omniseg.export import mesh_files
from omniseg.export.masks import folder_names
from omniseg.export.mesh import extract_mesh
from omniseg.rendering.renderer import Rendering
from omniseg.rendering.view import RenderedView, render_view
from omniseg.rendering.visualize import to_uint8
from omniseg.run_folder import Model, fingerprint, load_model
from omniseg.selection.segment_tree import check_level
from omniseg.selection.selections import Selection, load_selections
from omniseg.selection.tree_building import segment_everything

_FINEST = 1024


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Take a trained run, or what a selection file selects in it, away.

    mesh: .ply or .glb; vertices have colours and normals. In a .ply, each face also has `segment`, the number of its
    selection or segment from 1, and its colour. points: .ply, the vertices of that mesh, x y z nx ny nz red green blue
    segment. Both are in the coordinates and units of the capture, and beside them lies NAME.features.npy, the feature
    of each vertex. rgba, masks: a folder of PNG files, renderings cut out by the selection or white where it is, of
    cameras along --path; one folder for each selection.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a training."""
    what: Literal["mesh", "points", "rgba", "masks"]
    """What to export."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE|DIR")]
    """A file .ply or .glb for a mesh, .ply for points; a folder for rgba and masks."""
    selection: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A selection file of this run, from gui.py or segment.py; without it, the whole scene."""
    everything: bool = False
    """Of a mesh or points: label the whole scene with the segments of everything."""
    level: float | None = None
    """Of these segments: 0 is the finest, 6 the coarsest; between whole levels, too."""
    name: Annotated[str | None, tyro.conf.arg(metavar="SELECTION")] = None
    """Only this selection of the file."""
    resolution: int = 256
    """Cells along the longest edge of the mesh's box: 128 is quick, 512 fine."""
    reach: float = 1.0
    """How far from the middle the mesh reaches, in halves of the subject's size; more takes surroundings along."""
    path: Annotated[str, tyro.conf.arg(metavar="orbit|spiral|views|test|FILE")] = "views"
    """Cameras of rgba and masks: views: all photos; test: the held-out ones; orbit: around the scene; spiral: before
    it; or a JSON file like transforms.json, which needs no images."""
    frames: int = 120
    """Pictures along an orbit or a spiral."""
    width: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Width of the pictures; that of the training photos unless given."""
    device: common.Device = "auto"
    """Where to compute; auto is a GPU where there is one."""


def main() -> None:
    """Parse the command line and export."""
    arguments = tyro.cli(Arguments)
    _check(arguments)
    model = load_model(arguments.run, common.start(arguments.device))
    if arguments.level is not None:
        check_level(arguments.level, model.config.segment_tree, "--level")
    selections = _selections(model, arguments)
    if arguments.what in ("mesh", "points"):
        _export_surface(model, selections, arguments)
    else:
        _export_pictures(model, selections, arguments)


def _check(arguments: Arguments) -> None:
    if arguments.everything and (arguments.selection is not None or arguments.what not in ("mesh", "points")):
        raise InputError("--everything: labels a mesh or points of the whole scene; it goes without --selection")
    if arguments.name is not None and arguments.selection is None:
        raise InputError("--name: say with --selection FILE in which file that selection is")
    if not 16 <= arguments.resolution <= _FINEST:
        raise InputError(f"--resolution: expected 16 to {_FINEST}, got {arguments.resolution}")
    if not 0 < arguments.reach < float("inf"):
        raise InputError(f"--reach: expected a number above 0, got {arguments.reach}")
    paths.check(arguments.frames, arguments.width)
    known = {"mesh": mesh_files.MESH_SUFFIXES, "points": mesh_files.POINT_SUFFIXES}.get(arguments.what, ("",))
    if arguments.out.suffix not in known:
        expected = f"a file that ends in {' or '.join(known)}" if known != ("",) else "a folder"
        raise InputError(f"--out {arguments.out}: expected {expected} for --what {arguments.what}")
    if arguments.out.suffix == ".glb":
        mesh_files.require_trimesh()
    _check_writable(arguments.out, is_file=bool(arguments.out.suffix))


def _check_writable(out: Path, is_file: bool) -> None:
    """Now rather than after minutes."""
    folder = out.parent if is_file else out
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or (is_file and out.is_dir()):
        raise InputError(f"--out {out}: cannot be written; choose a writable folder")


def _selections(model: Model, arguments: Arguments) -> dict[int, Selection]:
    """Those to export, by their number from 1 in the file."""
    path, name = arguments.selection, arguments.name
    if path is None:
        return {}
    of = fingerprint(arguments.run)
    every = dict(enumerate(load_selections(path, of, model.config.features.dim).all, 1))
    chosen = {number: selection for number, selection in every.items() if name in (None, selection.name)}
    if not chosen:
        known = ", ".join(selection.name for selection in every.values())
        raise InputError(f"--name {name}: {path} has no such selection; it has {known}")
    chosen = {n: selection for n, selection in chosen.items() if any(click.accept for click in selection.clicks)}
    if not chosen:
        raise InputError(f"{path}: {name or 'it'} has no click, so that it selects nothing; click and save it again")
    return chosen


def _export_surface(model: Model, selections: Mapping[int, Selection], arguments: Arguments) -> None:
    tree = segment_everything(arguments.run, model) if arguments.everything else None
    mesh = extract_mesh(model, arguments.resolution, reach=arguments.reach)
    segments, colours = mesh.segments(selections), {n: selection.colour for n, selection in selections.items()}
    if tree is not None and mesh.features is not None:
        cut = tree.cut(tree.config.default_level if arguments.level is None else arguments.level)
        segments = cut.ids_at(mesh.features.to(cut.ids.device), mesh.vertices.to(cut.ids.device)).cpu()
        segments = segments[mesh.faces].mode(1).values
        colours = dict(enumerate(distinct_colours(len(cut)).tolist(), 1))
    if selections:
        kept = segments > 0
        if not kept.any():
            raise InputError(
                f"{arguments.selection}: selects nothing on the surface; lower its threshold, "
                "or give a finer --resolution or a larger --reach"
            )
        mesh, segments = mesh.keep(kept), segments[kept]
    if arguments.what == "mesh":
        mesh_files.save_mesh(arguments.out, mesh, model.normalisation, segments, colours)
    else:
        mesh_files.save_points(arguments.out, mesh, model.normalisation, segments)
    for number, selection in selections.items():
        print(f"segment {number}: {selection.name}, {int((segments == number).sum())} faces")
    if tree is not None:
        print(f"{len(segments.unique())} segments of everything")
    count = f"{len(mesh.faces)} faces" if arguments.what == "mesh" else f"{len(mesh.vertices)} points"
    print(f"{count} in {arguments.out}")


def _export_pictures(model: Model, selections: Mapping[int, Selection], arguments: Arguments) -> None:
    names, cameras = paths.cameras_along(model, arguments.path, arguments.frames, arguments.width)
    shown = 0
    for view, name in enumerate(tqdm(names, desc="rendering", unit="picture")):
        width, height = cameras.size[view].tolist()
        if selections:
            frame = render_view(model.renderer, cameras, view, colour=arguments.what == "rgba")
            rendering, masks = frame.rendering, _masks(frame, selections)
        else:
            rendering = model.renderer.render_image(cameras, view, colour=arguments.what == "rgba")
            masks = {"": rendering.solid.view(height, width).cpu().numpy()}
        for folder, mask in masks.items():
            path = arguments.out / folder / f"{name}.png"
            if arguments.what == "rgba":
                save_image(path, _cut_out(rendering, mask))
            else:
                save_image(path, mask * np.uint8(255))
        shown += any(mask.any() for mask in masks.values())
    print(f"{len(names)} pictures in {arguments.out}, {shown} of them not empty")


def _masks(frame: RenderedView, selections: Mapping[int, Selection]) -> dict[str, np.ndarray]:
    """Mask (height, width) of each selection, by the name of its folder."""
    folders = folder_names([selection.name for selection in selections.values()])
    return dict(zip(folders, [selection.mask(frame) for selection in selections.values()]))


def _cut_out(rendering: Rendering, mask: np.ndarray) -> np.ndarray:
    """Picture (height, width, 4), transparent where the mask is not."""
    selected = torch.from_numpy(mask.reshape(-1)).to(rendering.rgb.device)
    rgba = rendering.rgb.new_zeros(len(selected), 4)
    rgba[selected, :3], rgba[selected, 3] = rendering.straight_rgb[selected], rendering.opacity[selected]
    return to_uint8(rgba.view(*mask.shape, 4))
