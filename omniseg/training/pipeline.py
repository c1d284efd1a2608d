"""Training of a capture: both stages, from photos and masks into a run folder, with resume.

With several processes, every one of them runs all of this; rank 0 alone writes files.
"""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from omniseg import distributed
from omniseg.cameras import Cameras
from omniseg.config import Config
from omniseg.data.images import ImageSet, load_images, view_cameras
from omniseg.data.normalisation import Placement, place
from omniseg.data.photo_depth import PhotoDepth
from omniseg.data.point_depth import point_depth
from omniseg.data.scene import Scene, View
from omniseg.data.splits import Splits, split_views
from omniseg.errors import InputError, NoSurfaces
from omniseg.masks.patches import PatchSet, load_patches, refuse_unmatched_masks
from omniseg.run_folder import (
    CONFIG,
    FEATURES,
    FEATURES_LOG,
    METRICS,
    PHOTO_DEPTH,
    RADIANCE,
    RADIANCE_LOG,
    RENDERS,
    Model,
    Viewpoints,
    load_model,
    load_photo_depth,
    read_metrics,
    save_features,
    save_photo_depth,
    save_radiance,
    update_metrics,
)
from omniseg.training.features import FeatureTrainer
from omniseg.training.photo_check import CAUSES, check_photos, save_depth_picture
from omniseg.training.radiance import RadianceTrainer
from omniseg.training.surface_agreement import NO_SURFACES, UNCERTAIN, surface_agreement
from omniseg.training.tensorboard import tensorboard_report
from omniseg.training.trainer import Trainer

Stage = Literal["all", "radiance", "features"]

_EARLY = 0.2
"""Fraction of stage 1 after which fog shows."""
_WORTH = 0.5
"""Gain of twice as many steps, dB, that is worth a longer training."""

_log = logging.getLogger("omniseg")


@dataclass(frozen=True, kw_only=True)
class Training:
    """A capture, how to train it, and the run folder for the result.

    Attributes:
        run: run folder.
        config: resolved configuration.
        scene: the capture.
        stage: "radiance", density and colour only; "features", the masks only, on the radiance field in `run`; "all".
        resume: continue the training that `run` holds.
        overwrite: replace the result that `run` holds.
        force: train features also where stage 1 found no surfaces.
        progress: show progress bars.
    """

    run: Path
    config: Config
    scene: Scene
    stage: Stage = "all"
    resume: bool = False
    overwrite: bool = False
    force: bool = False
    progress: bool = True

    @cached_property
    def placement(self) -> Placement:
        """Position and scale of the capture in scene coordinates."""
        return place(self.scene)

    @cached_property
    def splits(self) -> Splits:
        """Indices of training and held-out views."""
        return split_views(self.scene, self.config.test_every, self.config.capture.test_views)

    def views(self, indices: tuple[int, ...]) -> list[View]:
        """Return these views of the scene."""
        return [self.scene.views[v] for v in indices]

    def images(self, indices: tuple[int, ...]) -> ImageSet | None:
        """Load the photos of these views; None for no views."""
        if not indices:
            return None
        normalisation = self.placement.normalisation
        return load_images(self.views(indices), normalisation, self.config.downsample, progress=self.progress)

    @cached_property
    def replaces(self) -> bool:
        """True if the run folder holds a result that this training replaces."""
        return not self.resume and _holds_result(self.run, self.stage)


def check_run_folder(run: Path, stage: Stage, *, resume: bool, overwrite: bool) -> None:
    """Check that a run folder suits what is asked for, before any work.

    Raises:
        InputError: it holds a result and neither `resume` nor `overwrite` is given, or it lacks what they need.
    """
    if resume and overwrite:
        raise InputError("--resume continues a result, --overwrite replaces it: give one of them")
    holds = _holds_result(run, stage)
    if stage == "features" and not (run / RADIANCE).exists():
        raise InputError(f"{run}: holds no radiance field for features; check --run, or leave out --stage")
    if resume and not holds:
        raise InputError(f"{run}: holds no run to continue; check --run, or leave out --resume")
    if holds and not resume and not overwrite:
        what = "features" if stage == "features" else "a run"
        raise InputError(
            f"{run}: already holds {what}; --resume continues it, --overwrite replaces it, --run avoids it"
        )


def _holds_result(run: Path, stage: Stage) -> bool:
    radiance_files = (CONFIG, RADIANCE, RadianceTrainer.resume_file)
    feature_files = (FEATURES, FeatureTrainer.resume_file)
    return any((run / name).exists() for name in (feature_files if stage == "features" else radiance_files))


def train(training: Training, device: torch.device) -> Model:
    """Train the stages that are asked for and save the results in the run folder.

    Without masks the radiance field alone is trained, and a warning logged. Where stage 1 found no surfaces, features
    are trained only with `force`: features of fog are worth nothing. `check_surfaces` reports it.

    Raises:
        InputError: a photo or mask does not open, the run folder cannot be written, or does not fit.
    """
    # Masks are read before stage 1, so that a damaged file does not show up after minutes.
    patches = None
    if training.stage != "radiance":
        patches = training_patches(training, required=training.stage == "features")
    if training.stage == "features":
        check_surfaces(training.run, force=training.force)
        model = trained_radiance(training, device)
    else:
        model = train_radiance(training, device)
        if not training.force and found_no_surfaces(training.run):
            return model
    return model if patches is None else train_features(training, model, patches)


def train_radiance(training: Training, device: torch.device) -> Model:
    """Train stage 1, from the start or from the last checkpoint."""
    images = training.images(training.splits.train)
    assert images is not None
    images = images.to(device)  # no second copy stays on the host
    depth = estimate_depth(training, images)
    trainer = RadianceTrainer(training.config, images, photo_depth=depth)
    viewpoints = _viewpoints(training)
    if training.resume:
        _refuse_other_views(training, load_model(training.run, device).viewpoints, viewpoints)
        trainer.resume(training.run)
        if trainer.done >= 1:
            _log.info("the radiance field is complete: a larger --training.steps or --seconds trains it longer")

    def model() -> Model:
        cameras = viewpoints.cameras.to(device)
        poses = cameras.c2w.clone()
        poses[: len(trainer.cameras)] = trainer.camera_optimizer.cameras(trainer.cameras).c2w.detach()
        corrected = replace(viewpoints, cameras=replace(cameras, c2w=poses))
        seconds = trainer.progress.seconds
        return Model(training.config, training.placement.normalisation, corrected, trainer.field, trainer.grid, seconds)

    def save() -> None:
        save_radiance(training.run, model())
        trainer.save_resume(training.run)

    replaces, first_step = training.replaces, trainer.progress.step

    def before() -> None:
        if replaces:
            _remove_results(training.run)
        if depth is not None:
            save_photo_depth(training.run, depth)

    _run(
        training, trainer, save, RADIANCE_LOG,
        before=before,
        milestones={_EARLY: lambda: _look_early(trainer, images)},
    )  # fmt: skip
    if trainer.progress.step > first_step and distributed.process().rank == 0:
        _remove_features(training.run)  # they belong to a geometry that no longer exists
    distributed.barrier()  # before another process looks for them
    _report(trainer, training.run / RADIANCE)
    _report_gain(trainer)
    agreement = surface_agreement(trainer.renderer, images)
    if distributed.process().rank == 0:
        update_metrics(training.run, {"surface_agreement": agreement})
        if depth is not None:
            save_depth_picture(training.run / RENDERS / "photo-depth.png", images, depth)
    distributed.barrier()
    return model()


def estimate_depth(training: Training, images: ImageSet) -> PhotoDepth | None:
    """Estimate the depth of a capture that has none from its photos, and log how much was found.

    A training that continues takes the depth that its run keeps.

    Returns:
        None if the capture has depth images, `training.photo_depth` is off, or nothing is swept and no points are
        known.
    """
    if images.depths is not None or not training.config.training.photo_depth:
        return None
    kept = load_photo_depth(training.run) if training.resume else None
    if kept is not None and kept.maps.names == images.names:
        _log.info("depth from the photos: %.0f %% of pixels, kept in %s", 100 * kept.maps.known_share, training.run)
        return kept
    depth = None
    if training.config.photo_depth.sweep:
        found = check_photos(images, training.config, progress=training.progress)
        _log.info("%s", found)
        if found.warning:
            _log.warning("%s", found.warning)
        depth = found.depth
    points = [view.seen_points for view in training.views(training.splits.train)]
    if all(seen is None for seen in points):
        return depth
    placed = [None if p is None else torch.from_numpy(training.placement.normalisation.points(p)) for p in points]
    longest = training.config.photo_depth.longest if depth is None else int(depth.maps.sizes.max())
    sparse = point_depth(images, placed, longest)
    depth = PhotoDepth.from_points_alone(sparse) if depth is None else depth.filled(sparse)
    _log.info(
        "depth of COLMAP's points: %.0f %% of pixels%s", 100 * depth.from_points, " more" if depth.coverage else ""
    )
    return depth


def _look_early(trainer: RadianceTrainer, images: ImageSet) -> None:
    """Warn after a fifth of the training if it runs into fog."""
    agreement = surface_agreement(trainer.renderer, images)
    if agreement < NO_SURFACES:
        _log.warning(
            "after a fifth of the training only %.0f %% of what a photo sees is confirmed by another one: %s",
            100 * agreement, CAUSES,
        )  # fmt: skip


def found_no_surfaces(run: Path) -> bool:
    """Return whether the last training of stage 1 into a run folder ended in fog."""
    agreement = read_metrics(run).get("surface_agreement")
    return isinstance(agreement, float) and agreement < NO_SURFACES


def check_surfaces(run: Path, *, force: bool) -> None:
    """Judge the geometry of a run: log a warning if it is uncertain.

    Raises:
        NoSurfaces: it is fog, unless `force` is set.
    """
    agreement = read_metrics(run).get("surface_agreement")
    if not isinstance(agreement, float):
        return
    confirmed = f"{100 * agreement:.0f} % of what a photo sees is confirmed by another photo"
    if agreement < NO_SURFACES:
        message = f"no surfaces found: only {confirmed}. {CAUSES}"
        if not force:
            raise NoSurfaces(f"{message}. --force trains the features all the same")
        _log.warning("%s", message)
    elif agreement < UNCERTAIN:
        _log.warning("geometry is uncertain: %s; more steps or more photos may help", confirmed)
    else:
        _log.info("%s", confirmed)


def train_features(training: Training, radiance: Model, patches: PatchSet) -> Model:
    """Train stage 2, from the start or from the last checkpoint."""
    patches = replace(patches, cameras=_trained_cameras(radiance, patches)).to(radiance.grid.bits.device)
    trainer = FeatureTrainer(training.config, patches, radiance.renderer)
    if training.resume and (training.run / FeatureTrainer.resume_file).exists():
        trainer.resume(training.run)
        if trainer.done >= 1:
            _log.info("the features are complete: a larger --feature-training.steps or --seconds trains them longer")

    def model() -> Model:
        seconds = trainer.progress.seconds
        return replace(radiance, config=training.config, features=trainer.features, feature_seconds=seconds)

    def save() -> None:
        save_features(training.run, model())
        trainer.save_resume(training.run)

    _run(training, trainer, save, FEATURES_LOG)
    _report(trainer, training.run / FEATURES)
    return model()


def _report(trainer: Trainer, path: Path) -> None:
    _log.info("trained %d steps in %.0f s: %s", trainer.progress.step, trainer.progress.seconds, path)


def _report_gain(trainer: RadianceTrainer) -> None:
    """Log whether more steps would still pay, if enough of the training was seen to say so."""
    gain = trainer.curve.gain_of_doubling()
    if gain is None:
        return
    if gain >= _WORTH:
        _log.info("more steps would still pay: about %.1f dB for twice as many", gain)
    else:
        _log.info("more steps would hardly pay: less than %.1f dB for twice as many", _WORTH)


def _run(
    training: Training,
    trainer: Trainer,
    save: Callable[[], None],
    log: str,
    before: Callable[[], None] = lambda: None,
    milestones: Mapping[float, Callable[[], None]] | None = None,
) -> None:
    """Train; `before` is called after the first save, `milestones` as `Trainer.run` says."""
    distributed.barrier()  # until every process has read what will be overwritten
    if distributed.process().rank:
        trainer.run(save=lambda: None, milestones=milestones, progress=False)
        return
    save()  # first, so that a folder that cannot be written does not show up after the training
    before()
    report = tensorboard_report(training.run / log)
    trainer.run(save=save, report=report, milestones=milestones, progress=training.progress)


def training_patches(training: Training, required: bool) -> PatchSet | None:
    """Load the masks of the training views, with cameras in scene coordinates.

    Returns:
        None where the capture has no masks.
    Raises:
        InputError: it has none although they are `required`, or one is damaged.
    """
    views = training.views(training.splits.train)
    cameras = view_cameras(views, training.placement.normalisation, training.config.downsample)
    patches = load_patches(views, cameras, progress=training.progress)
    if patches is not None:
        return patches
    refuse_unmatched_masks(training.scene)
    what = f"{training.scene.root}: has no masks (sam/NAME.npz)"
    how = f"make them with: omniseg run_sam {training.scene.root}"
    if required:
        raise InputError(f"{what}; {how}")
    _log.warning("%s, so the radiance field alone is trained; %s", what, how)
    return None


def trained_radiance(training: Training, device: torch.device) -> Model:
    """Load the radiance field of the run folder and check that it fits the training.

    Raises:
        InputError: it was trained on other views or with another configuration.
    """
    model = load_model(training.run, device)
    _refuse_other_views(training, model.viewpoints, _viewpoints(training))
    for name in ("marching", "radiance", "training", "downsample", "test_every", "capture"):
        if getattr(model.config, name) != getattr(training.config, name):
            raise InputError(
                f"--{name.replace('_', '-')}: is fixed by the radiance field in {training.run}; leave it out"
            )
    return model


def _trained_cameras(model: Model, patches: PatchSet) -> Cameras:
    """Return the cameras of the masks in the poses that stage 1 ended with."""
    place = {name: k for k, name in enumerate(model.viewpoints.names)}
    return model.viewpoints.cameras[[place[name] for name in patches.names]].to(patches.device)


def _viewpoints(training: Training) -> Viewpoints:
    used = (*training.splits.train, *training.splits.test)
    views = training.views(used)
    return Viewpoints(
        names=tuple(view.name for view in views),
        cameras=view_cameras(views, training.placement.normalisation, training.config.downsample),
        held_out=tuple(v in training.splits.test for v in used),
    )


def _refuse_other_views(training: Training, then: Viewpoints, now: Viewpoints) -> None:
    """Raise InputError if the capture has changed: it may move, but other photos would spoil the result."""
    poses = then.cameras.c2w.cpu(), now.cameras.c2w.cpu()
    same = then.names == now.names and (training.config.training.refine_poses or poses[0].allclose(poses[1], atol=1e-4))
    if not same:
        raise InputError(
            f"{training.scene.root}: has other views than {training.run} was trained on; train into another --run"
        )


def _remove_results(run: Path) -> None:
    """Remove figures and pictures of the run that was here before."""
    (run / METRICS).unlink(missing_ok=True)
    (run / PHOTO_DEPTH).unlink(missing_ok=True)
    for folder in (RENDERS, RADIANCE_LOG):
        shutil.rmtree(run / folder, ignore_errors=True)
    _remove_features(run)


def _remove_features(run: Path) -> None:
    for name in (FEATURES, FeatureTrainer.resume_file):
        (run / name).unlink(missing_ok=True)
