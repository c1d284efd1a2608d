"""Run folders: what a training leaves behind, and how it is opened again.

    config.yaml                 the resolved configuration
    radiance.safetensors        field, occupancy grid and cameras; its metadata hold the normalisation of the scene
    features.safetensors        feature field, of the geometry beside it
    photo_depth.safetensors     depth that was estimated from the photos, on small pictures
    resume/STAGE.safetensors    what a stage learns, with optimiser, progress and random state, to go on training
    log/, log/features/         TensorBoard logs of the two stages
    metrics.json                figures of the held-out views
    renders/                    pictures of the held-out views: test/NAME.png, test.png, and LEVEL.png of the labels
    segments.safetensors        tree of the segments of everything
    selections.json             selections that a window saved
    screenshots/NUMBER.png      pictures that a window saved
    exports/NUMBER/             masks, cut-outs and selections that a window exported

Only safetensors, YAML and JSON: nothing is unpickled, so a run folder from a stranger is safe to open.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from omniseg.cameras import Cameras
from omniseg.config import Config
from omniseg.data.depth_maps import DepthMaps
from omniseg.data.normalisation import Normalisation
from omniseg.data.photo_depth import PhotoDepth
from omniseg.errors import InputError
from omniseg.fields import FeatureField, OccupancyGrid, RadianceField, Space
from omniseg.files import write_atomic
from omniseg.rendering.renderer import Renderer

CONFIG = "config.yaml"
RADIANCE = "radiance.safetensors"
FEATURES = "features.safetensors"
METRICS = "metrics.json"
RENDERS = "renders"
SEGMENTS = "segments.safetensors"
SELECTIONS = "selections.json"
PHOTO_DEPTH = "photo_depth.safetensors"
RADIANCE_LOG, FEATURES_LOG = "log", "log/features"
RADIANCE_RESUME, FEATURES_RESUME = "resume/radiance.safetensors", "resume/features.safetensors"
SCREENSHOTS, EXPORTS = "screenshots", "exports"

_CAMERA_TENSORS = ("c2w", "intrinsics", "distortion", "model", "size")
_DEPTH_FIGURES = ("coverage", "look_coverage", "texture", "near", "seconds", "from_points")


@dataclass(frozen=True, repr=False)
class Viewpoints:
    """Names and cameras of the photos of a run, in scene coordinates, and which were held out."""

    names: tuple[str, ...]
    cameras: Cameras
    held_out: tuple[bool, ...]

    def __repr__(self) -> str:
        return f"Viewpoints({len(self.names)} views, {sum(self.held_out)} held out)"


@dataclass(frozen=True, repr=False)
class Model:
    """A trained run, ready to render without the capture it was learned from.

    Attributes:
        config: configuration of the run.
        normalisation: from the capture's coordinates to the scene's.
        viewpoints: where the photos were taken.
        field, grid: what stage 1 learned.
        seconds: time spent training it.
        features: what stage 2 learned; None before it.
        feature_seconds: time spent training that.
    """

    config: Config
    normalisation: Normalisation
    viewpoints: Viewpoints
    field: RadianceField
    grid: OccupancyGrid
    seconds: float
    features: FeatureField | None = None
    feature_seconds: float = 0.0

    def __repr__(self) -> str:
        what = "no features" if self.features is None else f"features of {self.config.features.dim} channels"
        return f"Model({len(self.viewpoints.names)} views, {what}, {self.grid.bits.device})"

    @cached_property
    def renderer(self) -> Renderer:
        """Renderer of the fields, through their grid."""
        return Renderer(self.field, self.grid, self.config.marching, self.features, smoothing=self.config.smoothing)

    @property
    def train_seconds(self) -> dict[str, float]:
        """Time spent training, by stage."""
        seconds = {"radiance": self.seconds}
        return seconds if self.features is None else {**seconds, "features": self.feature_seconds}


def save_radiance(run: Path, model: Model) -> None:
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
    tensors = {f"cameras.{name}": getattr(views.cameras, name) for name in _CAMERA_TENSORS}
    for prefix, module in (("field", model.field), ("grid", model.grid)):
        tensors |= {f"{prefix}.{k}": v for k, v in module.state_dict().items()}
    _save(run, RADIANCE, model.config, tensors, metadata)


def save_features(run: Path, model: Model) -> None:
    """Write the configuration and the feature field into a run folder that holds the radiance field.

    Raises:
        InputError: the folder cannot be written.
    """
    assert model.features is not None
    tensors = {f"features.{k}": v for k, v in model.features.state_dict().items()}
    _save(run, FEATURES, model.config, tensors, {"seconds": model.feature_seconds})


def _save(run: Path, name: str, config: Config, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    def save(temporary: Path) -> None:
        config.save(temporary)
        # Inside, so that a full disk leaves both files of an earlier run, and never one of each.
        write_tensors(run / name, tensors, metadata)

    write_atomic(run / CONFIG, save)


def load_model(run: Path, device: torch.device) -> Model:
    """Open a run folder for rendering, with the feature field where it has one.

    Raises:
        InputError: no run folder, a damaged or foreign file, or a field of another configuration.
    """
    if not run.is_dir():
        raise InputError(f"{run}: no such run folder; train one with: omniseg train --run {run}")
    config = Config.load(run / CONFIG)
    tensors, metadata = read_tensors(run / RADIANCE, device)
    field = RadianceField(config.radiance, Space.from_config(config.marching))
    grid = OccupancyGrid(config.marching, device=device)
    for prefix, module in (("field.", field), ("grid.", grid)):
        _restore(run / RADIANCE, tensors, prefix, module)
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
    features, feature_seconds = None, 0.0
    if (run / FEATURES).exists():
        tensors, metadata = read_tensors(run / FEATURES, device)
        features = FeatureField(config.features, Space.from_config(config.marching))
        _restore(run / FEATURES, tensors, "features.", features)
        features = features.to(device)
        try:
            feature_seconds = float(metadata["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{run / FEATURES}: not a feature field of this version; train it again") from error
    return Model(
        config, normalisation, viewpoints, field.to(device), grid.to(device), seconds, features, feature_seconds
    )


def fingerprint(run: Path) -> str:
    """Return a hash that identifies the feature field of a run.

    Raises:
        InputError: the run has none.
    """
    try:
        return hashlib.sha256((run / FEATURES).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise InputError(
            f"{run}: has no features yet; add them with: omniseg train --run {run} --stage features"
        ) from error


def save_photo_depth(run: Path, depth: PhotoDepth) -> None:
    """Write the depth that was estimated from the photos into a run folder.

    Raises:
        InputError: the folder cannot be written.
    """
    maps = depth.maps
    tensors = {"distances": maps.distances, "sizes": maps.sizes, "intrinsics": maps.intrinsics}
    figures = {name: getattr(depth, name) for name in _DEPTH_FIGURES}
    write_tensors(run / PHOTO_DEPTH, tensors, {"names": maps.names, **figures})


def load_photo_depth(run: Path) -> PhotoDepth | None:
    """Read the depth from the photos that a run keeps, on the host.

    Returns:
        None where it keeps none: it had depth images, estimated none, or is of an earlier version.
    Raises:
        InputError: the file is damaged or foreign.
    """
    path = run / PHOTO_DEPTH
    if not path.exists():
        return None
    tensors, metadata = read_tensors(path, torch.device("cpu"))
    try:
        maps = DepthMaps(_names(metadata["names"]), tensors["distances"], tensors["sizes"], tensors["intrinsics"])
        return PhotoDepth(maps, **{name: float(metadata[name]) for name in _DEPTH_FIGURES})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the depth of a run of this version ({error!r}); remove it") from error


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """Check that view names are paths below a folder: a stranger's file must not overwrite others."""
    for name in names:
        path = PurePath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError(f"names: expected paths below a folder, got {name!r}")
    return tuple(names)


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _restore(path: Path, tensors: dict[str, Tensor], prefix: str, module: torch.nn.Module) -> None:
    """Copy the tensors of a file into a module, or raise InputError."""
    try:
        module.load_state_dict(with_prefix(tensors, prefix))
    except RuntimeError as error:
        raise InputError(
            f"{path}: does not fit the configuration beside it; it belongs to another run or version"
        ) from error


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
    return _read(path, str(device), tensors=True)


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the JSON values alone of what `write_tensors` wrote.

    Raises:
        InputError: the file is missing, damaged or foreign.
    """
    return _read(path, "cpu", tensors=False)[1]


def _read(path: Path, device: str, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt", device=device) as file:
            metadata = {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
            names = file.keys() if tensors else ()
            return {name: file.get_tensor(name) for name in names}, metadata
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; this run has not got that far") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged or not a checkpoint ({error}); copy it again, or train again") from error


def read_metrics(run: Path) -> dict[str, Any]:
    """Read the `metrics.json` of a run folder; empty where there is none.

    Raises:
        InputError: it is damaged.
    """
    path = run / METRICS
    try:
        figures = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); evaluate the run again") from error
    return figures if isinstance(figures, dict) else {}


def update_metrics(run: Path, figures: dict[str, Any]) -> None:
    """Replace these figures in the `metrics.json` of a run folder and keep the others, if they can be read."""
    try:
        known = read_metrics(run)
    except InputError:
        known = {}
    text = json.dumps({**known, **figures}, indent=2) + "\n"
    write_atomic(run / METRICS, lambda temporary: temporary.write_text(text))
