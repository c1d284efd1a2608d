"""From photos or a video to a trained run with one call."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from omniseg import devices
from omniseg.api.run import Run, load
from omniseg.api.training import preset, train
from omniseg.config import Config
from omniseg.data.formats import READERS, read_scene
from omniseg.data.scene import SceneKind
from omniseg.devices import Device
from omniseg.distributed import Process
from omniseg.errors import BadArgument, InputError
from omniseg.masks.make import make_hierarchies, plan
from omniseg.masks.photos import find_photos
from omniseg.masks.segmenters import Segmenter
from omniseg.masks.segmenters.felzenszwalb import FelzenszwalbConfig, FelzenszwalbSegmenter
from omniseg.masks.segmenters.folder import FolderSegmenter
from omniseg.masks.segmenters.sam import SamSegmenter
from omniseg.run_folder import CONFIG, FEATURES, METRICS, RADIANCE, read_metrics
from omniseg.sfm.config import SfmConfig
from omniseg.sfm.poses import estimate_poses, find_report
from omniseg.sfm.source import find_source
from omniseg.training.features import FeatureTrainer
from omniseg.training.radiance import RadianceTrainer
from omniseg.training.trainer import fraction_done

_log = logging.getLogger("omniseg")


def capture(
    source: str | Path,
    out: str | Path,
    *,
    scene: str | Path | None = None,
    frames: int | None = None,
    sam: str | Path | None = None,
    masks: str | Path | None = None,
    segmenter: Literal["felzenszwalb"] | None = None,
    kind: SceneKind | None = None,
    downsample: float | None = None,
    test_every: int | None = None,
    config: Config | None = None,
    seconds: float | None = None,
    sfm: SfmConfig | None = None,
    device: Device = "auto",
    force: bool = False,
    progress: bool = True,
) -> Run:
    """Make a run of photos or a video: poses, masks, both stages of training, evaluation.

    Steps that are done are recognised and skipped, so the same call goes on after an interruption, adds masks and
    features to a run that had none, or trains longer. Poses and masks that a capture has are used as they are.

    Args:
        source: folder of photos, a video, or a capture with poses.
        out: run folder.
        scene: folder of the capture that is made; None: the parent of a folder `images`, else scenes/NAME.
        frames: most images: the sharpest of as many equal windows. None: all photos, 100 frames of a video.
        sam: checkpoint of segment-anything, for masks.
        masks: folder of masks made elsewhere, instead (docs/data.md).
        segmenter: "felzenszwalb" makes masks by colour, instead. Without any of the three, and without masks in the
            capture, the radiance field alone is trained.
        kind, downsample, test_every: as in `preset`, of a new run.
        config: settings of a new run; None: the preset.
        seconds: time for each stage instead of the number of steps.
        sfm: settings of structure from motion.
        device: "auto" is a GPU if there is one.
        force: train features also where stage 1 ended in fog.
        progress: show progress bars.
    Raises:
        NoSurfaces: stage 1 ended in fog; its result is saved, and features are not trained.
        InputError: a file does not open, poses cannot be estimated, or `out` holds the run of another capture.
    """
    masks_from = _MaskSource(sam, masks, segmenter)
    out, steps = Path(out), _Steps()
    with steps.step("poses"):
        root = _with_poses(Path(source), scene, frames, sfm, progress)
        _refuse_other_capture(out, root)
    with steps.step("masks"):
        has_masks = masks_from.make(root, device, progress)
    with steps.step("radiance field"):
        training = _Training(root, out, seconds, device, force, progress)
        if training.holds(RADIANCE, RadianceTrainer.resume_file) and training.is_complete("radiance"):
            _log.info("%s: is trained already", out / RADIANCE)
        else:
            new = config or preset(root, kind=kind, downsample=downsample, test_every=test_every, device=device)
            training.radiance(new)
    with steps.step("features"):
        if not has_masks:
            _log.info("left out: there are no masks")
        elif training.holds(FEATURES, FeatureTrainer.resume_file) and training.is_complete("features"):
            _log.info("%s: are trained already", out / FEATURES)
        else:
            training.features()
    with steps.step("evaluation"):
        run = load(out, device)
        if not run.held_out:
            _log.info("left out: no view is held out")
        elif training.has_trained or "psnr" not in read_metrics(out):
            _log.info("%s", run.evaluate(progress=progress))
        else:
            _log.info("%s holds the figures already", out / METRICS)
    _log.info("done in %s: %s", steps.summary(), out)
    return run


class _Steps:
    """Announcement and time of each step."""

    names = ("poses", "masks", "radiance field", "features", "evaluation")

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        _log.info("[%d/%d] %s", self.names.index(name) + 1, len(self.names), name)
        begin = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - begin

    def summary(self) -> str:
        """Return the seconds of all steps and of each."""
        parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self._seconds.items())
        return f"{sum(self._seconds.values()):.0f} s ({parts})"


def _with_poses(
    source: Path, scene: str | Path | None, frames: int | None, sfm: SfmConfig | None, progress: bool
) -> Path:
    """Return the capture, and estimate its poses if it has none."""
    if not source.exists():
        raise InputError(f"{source}: does not exist; give a folder of photos, a video, or a capture")
    if _has_poses(source):
        _log.info("%s: has poses already", source)
        return source
    found = find_source(source)
    folder = found.default_folder if scene is None else Path(scene)
    if _has_poses(folder) and find_report(folder) is None:
        _log.info("%s: has poses of its own, which are used", folder)
        return folder
    _log.info("%s", estimate_poses(source, folder, frames=frames, config=sfm, progress=progress))
    return folder


def _has_poses(path: Path) -> bool:
    return path.suffix.lower() == ".json" or (path.is_dir() and any(r.detect(path) for r in READERS.values()))


def _refuse_other_capture(out: Path, root: Path) -> None:
    if not (out / CONFIG).is_file():
        return
    known = Config.load(out / CONFIG).scene
    if Path(known) != root.resolve():
        raise InputError(f"{out}: holds a run of another capture, {known}; choose another --run")


class _MaskSource:
    """Source of masks, if there is one."""

    def __init__(
        self, sam: str | Path | None, masks: str | Path | None, segmenter: Literal["felzenszwalb"] | None
    ) -> None:
        self.sam, self.masks, self.segmenter = sam, masks, segmenter
        given = [name for name in ("sam", "masks", "segmenter") if getattr(self, name) is not None]
        if len(given) > 1:
            raise BadArgument(given[0], f"it and --{given[1]} are two sources of masks; give one")
        # Before the minutes that the poses take.
        if sam is not None and not Path(sam).is_file():
            raise BadArgument("sam", "does not exist; give the checkpoint of segment-anything", sam)
        if masks is not None and not Path(masks).is_dir():
            raise BadArgument("masks", "is no folder; give the folder of the masks", masks)

    def make(self, root: Path, device: Device, progress: bool) -> bool:
        """Make the masks that are missing, and return whether the capture has masks."""
        views = read_scene(root).views
        n_there = sum(view.hierarchy_path is not None for view in views)
        if n_there == len(views):
            _log.info("%s: all %d photos have masks already", root, n_there)
            return True
        segmenter = self._segmenter(device)
        if segmenter is None:
            if n_there:
                _log.info("%s: %d of %d photos have masks", root, n_there, len(views))
                return True
            _log.warning(
                "no masks, so nothing can be selected: the radiance field alone is trained. Start the same command "
                "again with --sam CHECKPOINT (weights of segment-anything), --masks DIR (masks of your own) or "
                "--segmenter felzenszwalb (by colour, rough) to add features"
            )
            return False
        process = Process.from_environment()
        found = find_photos(root)
        todo = plan(found.photos, segmenter, found.root, process)
        make_hierarchies(todo, segmenter, process, progress=progress)
        _log.info("%d mask hierarchies made; look at them in %s", len(todo.todo), found.root / "patches")
        return True

    def _segmenter(self, device: Device) -> Segmenter | None:
        if self.sam is not None:
            return SamSegmenter(Path(self.sam), device=devices.choose(device, Process()))
        if self.masks is not None:
            return FolderSegmenter(Path(self.masks))
        return None if self.segmenter is None else FelzenszwalbSegmenter(FelzenszwalbConfig())


class _Training:
    """The training of a run folder, as much of it as is left to do."""

    def __init__(
        self, root: Path, out: Path, seconds: float | None, device: Device, force: bool, progress: bool
    ) -> None:
        self.root, self.out, self.seconds = root, out, seconds
        self.device: Device = device
        self.force, self.progress = force, progress
        self.has_trained = False

    def holds(self, *files: str) -> bool:
        """Return whether the run folder holds these files."""
        return all((self.out / name).is_file() for name in files)

    def is_complete(self, stage: Literal["radiance", "features"]) -> bool:
        """Return whether a stage has used its budget."""
        config = self._known()
        file = RadianceTrainer.resume_file if stage == "radiance" else FeatureTrainer.resume_file
        section = config.training if stage == "radiance" else config.feature_training
        return fraction_done(self.out / file, config, section) >= 1

    def radiance(self, new: Config) -> None:
        """Train stage 1, from the start or from where it stopped."""
        resume = self.holds(CONFIG, RadianceTrainer.resume_file)
        self._train("radiance", self._known() if resume else new, resume)

    def features(self) -> None:
        """Train stage 2, from the start or from where it stopped."""
        self._train("features", self._known(), self.holds(FEATURES, FeatureTrainer.resume_file))

    def _known(self) -> Config:
        config = Config.load(self.out / CONFIG)
        return config if self.seconds is None else replace(config, seconds=self.seconds)

    def _train(self, stage: Literal["radiance", "features"], config: Config, resume: bool) -> None:
        self.has_trained = True
        train(
            self.root, self.out, config=config, seconds=self.seconds, stage=stage, device=self.device, resume=resume,
            force=self.force, measure=False, progress=self.progress,
        )  # fmt: skip
