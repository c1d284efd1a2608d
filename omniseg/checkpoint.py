"""Run folders: what a training leaves behind, and how it is opened again.

    config.yaml             the resolved configuration
    radiance.safetensors    field, occupancy grid and cameras; its metadata hold the normalisation of the scene
    resume/radiance.safetensors    the same plus optimiser, progress and random state, to go on training

Only safetensors, YAML and JSON: nothing is unpickled, so a run folder from a stranger is safe to open.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from omniseg.cameras import Cameras
from omniseg.config import Config
from omniseg.data.normalisation import Normalisation
from omniseg.errors import InputError
from omniseg.fields import OccupancyGrid, RadianceField
from omniseg.files import write_atomic
from omniseg.rendering import Renderer

CONFIG = "config.yaml"
RADIANCE = "radiance.safetensors"
RESUME = "resume/radiance.safetensors"

_CAMERA_TENSORS = ("c2w", "intrinsics", "distortion", "model", "size")


@dataclass(frozen=True)
class Viewpoints:
    """Names and cameras of the photos of a run, in scene coordinates, and which were held out."""

    names: tuple[str, ...]
    cameras: Cameras
    held_out: tuple[bool, ...]


@dataclass(frozen=True)
class RadianceModel:
    """A trained radiance field, ready to render without the capture it was learned from.

    Attributes:
        config: configuration of the run.
        normalisation: from the capture's coordinates to the scene's.
        viewpoints: where the photos were taken.
        field, grid: what was learned.
        seconds: time spent training.
    """

    config: Config
    normalisation: Normalisation
    viewpoints: Viewpoints
    field: RadianceField
    grid: OccupancyGrid
    seconds: float

    @property
    def renderer(self) -> Renderer:
        """Renders the field through its grid."""
        return Renderer(self.field, self.grid, self.config.marching)


def save_radiance(run: Path, model: RadianceModel) -> None:
    """Write the configuration and the radiance field into a run folder.

    Raises:
        InputError: the folder cannot be written.
    """
    views = model.viewpoints
    metadata = {
        "normalisation": model.normalisation.to_dict(),
        "seconds": model.seconds,
        "names": views.names,
        "held_out": views.held_out,
    }
    cameras = {f"cameras.{name}": getattr(views.cameras, name) for name in _CAMERA_TENSORS}

    def save(temporary: Path) -> None:
        model.config.save(temporary)
        # Inside, so that a full disk leaves both files of an earlier run, and never one of each.
        write_tensors(run / RADIANCE, _model_tensors(model.field, model.grid) | cameras, metadata)

    write_atomic(run / CONFIG, save)


def load_radiance(run: Path, device: torch.device) -> RadianceModel:
    """Open the radiance field of a run folder for rendering.

    Raises:
        InputError: no run folder, a damaged or foreign file, or a field of another configuration.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder; train one with: python apps/train.py --run {run}")
    config = Config.load(run / CONFIG)
    tensors, metadata = read_tensors(run / RADIANCE, device)
    field = RadianceField(config.radiance, config.marching.bound)
    grid = OccupancyGrid(config.marching)
    restore_model(run / RADIANCE, tensors, field, grid)
    try:
        normalisation = Normalisation.from_dict(metadata["normalisation"])
        seconds = float(metadata["seconds"])
        parts: dict[str, Any] = {name: tensors[f"cameras.{name}"] for name in _CAMERA_TENSORS}
        cameras = Cameras(**parts)
        viewpoints = Viewpoints(_names(metadata["names"]), cameras, tuple(map(bool, metadata["held_out"])))
        if not len(viewpoints.names) == len(viewpoints.held_out) == len(cameras) > 0:
            raise ValueError("names, held_out, cameras: expected one for each view")
        if not bool(cameras.c2w.isfinite().all() & cameras.intrinsics.isfinite().all() & (cameras.size > 0).all()):
            raise ValueError("cameras: expected finite numbers and sizes above 0")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run / RADIANCE}: not a radiance field of this version ({error!r}); train again") from error
    return RadianceModel(config, normalisation, viewpoints, field.to(device), grid.to(device), seconds)


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """Names become files below a folder: one that leads elsewhere could overwrite what a stranger likes."""
    for name in names:
        path = PurePath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError(f"names: expected paths below a folder, got {name!r}")
    return tuple(names)


def _model_tensors(field: RadianceField, grid: OccupancyGrid) -> dict[str, Tensor]:
    return {f"field.{k}": v for k, v in field.state_dict().items()} | {
        f"grid.{k}": v for k, v in grid.state_dict().items()
    }


def restore_model(path: Path, tensors: dict[str, Tensor], field: RadianceField, grid: OccupancyGrid) -> None:
    """Copy the tensors of a file into a field and a grid.

    Raises:
        InputError: names or shapes are those of another configuration.
    """
    for prefix, module in (("field.", field), ("grid.", grid)):
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(
                f"{path}: does not fit the configuration beside it; it belongs to another run or version"
            ) from error


def save_resume(
    run: Path, field: RadianceField, grid: OccupancyGrid, tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Write what a training needs to go on: the model, more tensors by name, and plain values."""
    write_tensors(run / RESUME, _model_tensors(field, grid) | tensors, state)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and JSON values as one safetensors file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = {name: json.dumps(value) for name, value in metadata.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(tensors, temporary, metadata=text)
        except SafetensorError as error:
            raise OSError(str(error)) from error

    write_atomic(path, write)


def read_tensors(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        InputError: the file is missing, damaged or foreign.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; this run has not got that far") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged or not a checkpoint ({error}); copy it again, or train again") from error
