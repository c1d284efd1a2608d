"""The two stages as a command trains them: from a scene into a run folder, going on where a run stopped.

Where several processes train together all of them do what follows, and the first alone writes and speaks.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from omniseg import distributed
from omniseg.cameras import Cameras
from omniseg.config import Config
from omniseg.data.images import ImageSet, load_images, view_cameras
from omniseg.data.normalisation import Placement
from omniseg.data.scene import Scene, View
from omniseg.data.splits import Splits
from omniseg.errors import InputError
from omniseg.masks.patches import PatchSet, load_patches
from omniseg.run_folder import FEATURES, METRICS, RADIANCE, Model, Viewpoints, load_model, save_features, save_radiance
from omniseg.training.features import FeatureTrainer
from omniseg.training.radiance import RadianceTrainer
from omniseg.training.tensorboard import tensorboard_report
from omniseg.training.trainer import Trainer


@dataclass(frozen=True)
class Job:
    """What is trained, on what, into which folder."""

    run: Path
    config: Config
    scene: Scene
    placement: Placement
    splits: Splits
    resume: bool

    def views(self, indices: tuple[int, ...]) -> list[View]:
        """These views of the scene."""
        return [self.scene.views[v] for v in indices]

    def images(self, indices: tuple[int, ...]) -> ImageSet | None:
        """The photos of these views; None of none."""
        if not indices:
            return None
        return load_images(self.views(indices), self.placement.normalisation, self.config.downsample)


def train_radiance(job: Job, device: torch.device, replaces: bool) -> Model:
    """Stage 1, from the start or from where it stopped.

    Args:
        job: what to train.
        device: where to.
        replaces: the run folder holds the result of another training, which goes.
    """
    images = job.images(job.splits.train)
    assert images is not None
    images = images.to(device)  # no second copy stays on the host
    trainer = RadianceTrainer(job.config, images)
    viewpoints = _viewpoints(job)
    if job.resume:
        trainer.resume(job.run)
        _refuse_other_views(job, load_model(job.run, device).viewpoints, viewpoints)
        if trainer.done >= 1:
            print("this training is complete: --training.steps N (or --seconds S) above what it had makes it longer")

    def model() -> Model:
        cameras = viewpoints.cameras.to(device)
        poses = cameras.c2w.clone()
        poses[: len(trainer.cameras)] = trainer.camera_optimizer.cameras(trainer.cameras).c2w.detach()
        corrected = replace(viewpoints, cameras=replace(cameras, c2w=poses))
        seconds = trainer.progress.seconds
        return Model(job.config, job.placement.normalisation, corrected, trainer.field, trainer.grid, seconds)

    def save() -> None:
        save_radiance(job.run, model())
        trainer.save_resume(job.run)

    begun = trainer.progress.step
    _run(trainer, save, job.run / "log", before=lambda: _remove_results(job.run) if replaces else None)
    if trainer.progress.step > begun and distributed.process().rank == 0:
        _remove_features(job.run)  # of a geometry that is no more
    distributed.barrier()  # before another process looks for them
    print(f"trained {trainer.progress.step} steps in {trainer.progress.seconds:.0f} s: {job.run / RADIANCE}")
    return model()


def train_features(job: Job, radiance: Model, patches: PatchSet) -> Model:
    """Stage 2, from the start or from where it stopped."""
    patches = replace(patches, cameras=_as_trained(radiance, patches)).to(radiance.grid.bits.device)
    trainer = FeatureTrainer(job.config, patches, radiance.renderer)
    if job.resume and (job.run / FeatureTrainer.resume_file).exists():
        trainer.resume(job.run)
        if trainer.done >= 1:
            print("the features are complete: --feature-training.steps N above what they had trains them longer")

    def model() -> Model:
        trained = {"features": trainer.features, "feature_seconds": trainer.progress.seconds}
        return replace(radiance, config=job.config, **trained)

    def save() -> None:
        save_features(job.run, model())
        trainer.save_resume(job.run)

    _run(trainer, save, job.run / "log" / "features")
    print(f"trained {trainer.progress.step} steps in {trainer.progress.seconds:.0f} s: {job.run / FEATURES}")
    return model()


def _run(trainer: Trainer, save: Callable[[], None], log: Path, before: Callable[[], None] = lambda: None) -> None:
    """Train; `before` is done after the first save."""
    distributed.barrier()  # for every process to have read what will be written over
    if distributed.process().rank:
        trainer.run(save=lambda: None, progress=False)
        return
    save()  # now, so that a folder that cannot be written is not found out after the training
    before()
    trainer.run(save=save, report=tensorboard_report(log))


def training_patches(job: Job, required: bool) -> PatchSet | None:
    """Masks of the training views, with cameras in scene coordinates."""
    views = job.views(job.splits.train)
    cameras = view_cameras(views, job.placement.normalisation, job.config.downsample)
    patches = load_patches(views, cameras)
    if patches is not None:
        return patches
    what = f"{job.scene.root}: has no masks (sam/NAME.npz)"
    how = f"make them with: python data_tools/run_sam.py {job.scene.root}"
    if required:
        raise InputError(f"{what}; {how}")
    print(f"{what}, so the radiance field alone is trained; {how}")
    return None


def trained_radiance(job: Job, device: torch.device) -> Model:
    """The radiance field that the run folder holds."""
    model = load_model(job.run, device)
    _refuse_other_views(job, model.viewpoints, _viewpoints(job))
    for name in ("marching", "radiance", "training", "downsample", "test_every"):
        if getattr(model.config, name) != getattr(job.config, name):
            raise InputError(
                f"--{name.replace('_', '-')}: is decided by the radiance field of {job.run}; leave it away"
            )
    return model


def _as_trained(model: Model, patches: PatchSet) -> Cameras:
    """The cameras of the masks in the poses that stage 1 ended with."""
    place = {name: k for k, name in enumerate(model.viewpoints.names)}
    return model.viewpoints.cameras[[place[name] for name in patches.names]].to(patches.device)


def _viewpoints(job: Job) -> Viewpoints:
    used = (*job.splits.train, *job.splits.test)
    views = job.views(used)
    return Viewpoints(
        names=tuple(view.name for view in views),
        cameras=view_cameras(views, job.placement.normalisation, job.config.downsample),
        held_out=tuple(v in job.splits.test for v in used),
    )


def _refuse_other_views(job: Job, then: Viewpoints, now: Viewpoints) -> None:
    """A capture may move between two sessions, but one with other photos would spoil what was learned."""
    poses = then.cameras.c2w.cpu(), now.cameras.c2w.cpu()
    same = then.names == now.names and (job.config.training.refine_poses or poses[0].allclose(poses[1], atol=1e-4))
    if not same:
        raise InputError(f"{job.scene.root}: has other views than {job.run} was trained on; train into another --run")


def _remove_results(run: Path) -> None:
    """Figures and pictures of the run that was here before."""
    (run / METRICS).unlink(missing_ok=True)
    for folder in ("renders", "log"):
        shutil.rmtree(run / folder, ignore_errors=True)
    _remove_features(run)


def _remove_features(run: Path) -> None:
    for name in (FEATURES, FeatureTrainer.resume_file):
        (run / name).unlink(missing_ok=True)
