"""Train a scene: posed photos in; a run folder with the trained field, figures and pictures out."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from omniseg import cli
from omniseg.checkpoint import (
    CONFIG,
    RADIANCE,
    RESUME,
    RadianceModel,
    Viewpoints,
    load_radiance,
    save_radiance,
)
from omniseg.config import Config, MarchingConfig, RadianceFieldConfig, RadianceTrainingConfig
from omniseg.curves import tensorboard_report
from omniseg.data import read_scene
from omniseg.data.images import load_images, view_cameras
from omniseg.data.normalisation import place
from omniseg.data.splits import split_views
from omniseg.errors import InputError
from omniseg.evaluation import METRICS, evaluate_views
from omniseg.presets import preset
from omniseg.sample.capture import make_sample
from omniseg.trainer import RadianceTrainer

SAMPLE_SCENE = Path("scenes/sample")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a scene from posed photos. Without --scene: the sample room that comes with the project.

    The defaults of the sections below are general ones. Those that depend on the scene and the device are chosen
    when it is read; config.yaml in the run folder says what was used.
    """

    scene: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Capture: a COLMAP, Replica, NeRF-synthetic or LLFF folder, or a transforms.json (docs/data.md)."""
    preset: Literal["auto", "synthetic", "forward", "unbounded", "replica"] = "auto"
    """Kind of scene; auto recognises it."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the result; runs/NAME of the scene unless given."""
    device: cli.Device = "auto"
    """Where to compute; auto is a GPU where there is one."""
    downsample: Annotated[float | None, tyro.conf.arg(metavar="FACTOR")] = None
    """Shrink the photos by this factor; unset: to about 400 pixels on a CPU, 1600 on a GPU."""
    test_every: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Hold out every Nth view for testing, 0 none; unset: the split that the format gives, else every 8th."""
    seconds: float = 0.0
    """A budget of training time instead of steps; schedules follow it. 0: steps count."""
    seed: int = 0
    """Seed of all random numbers."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with the training that --run holds."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace the result that --run holds."""
    marching: MarchingConfig = field(default_factory=MarchingConfig)
    radiance: RadianceFieldConfig = field(default_factory=RadianceFieldConfig)
    training: RadianceTrainingConfig = field(default_factory=RadianceTrainingConfig)

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise ValueError("--resume goes on with a result, --overwrite replaces it: give one of them")
        downsample = 1.0 if self.downsample is None else self.downsample
        Config(seed=self.seed, downsample=downsample, test_every=self.test_every, seconds=self.seconds)


def main() -> None:
    """Parse the command line, train, evaluate."""
    arguments = tyro.cli(Arguments)
    device = cli.start(arguments.device)
    run = arguments.run or Path("runs") / _name(arguments.scene or SAMPLE_SCENE)

    replaces = _holds_run(run) and not arguments.resume
    if arguments.resume:
        if not _holds_run(run):
            raise InputError(f"{run}: holds no run to go on with; check --run, or leave --resume away")
        base = Config.load(run / CONFIG)
        path = arguments.scene or Path(base.scene)
        if not path.exists():
            raise InputError(f"{path}: does not exist any more; say with --scene where the capture is now")
        scene = read_scene(path)
        placement = place(scene)
    else:
        if replaces and not arguments.overwrite:
            raise InputError(
                f"{run}: already holds a run; --resume goes on with it, --overwrite replaces it, --run avoids it"
            )
        path = arguments.scene or _sample_scene()
        scene = read_scene(path)
        placement = place(scene)
        kind = None if arguments.preset == "auto" else arguments.preset
        base = preset(
            scene,
            placement,
            device,
            kind=kind,
            downsample=arguments.downsample,
            test_every=arguments.test_every,
        )
    config = _override(base, path)
    splits = split_views(scene, config.test_every)
    print(f"{scene.root}: {scene.format}, {scene.kind}, {len(splits.train)} views to train, {len(splits.test)} to test")
    # All of them now, so that a photo that does not open is not found out after the training.
    images, held_out = (
        load_images([scene.views[v] for v in views], placement.normalisation, config.downsample) if views else None
        for views in (splits.train, splits.test)
    )
    assert images is not None
    used = [scene.views[v] for v in (*splits.train, *splits.test)]
    viewpoints = Viewpoints(
        names=tuple(view.name for view in used),
        cameras=view_cameras(used, placement.normalisation, config.downsample),
        held_out=tuple(v in splits.test for v in (*splits.train, *splits.test)),
    )
    trainer = RadianceTrainer(config, images.to(device))
    if arguments.resume:
        trainer.resume(run)
        _refuse_other_views(run, scene.root, viewpoints)
        if trainer.done >= 1:
            print("this training is complete: --training.steps N (or --seconds S) above what it had makes it longer")

    def model() -> RadianceModel:
        seconds = trainer.progress.seconds
        return RadianceModel(config, placement.normalisation, viewpoints, trainer.field, trainer.grid, seconds)

    def save() -> None:
        save_radiance(run, model())
        trainer.save_resume(run)

    save()  # now, so that a folder that cannot be written is not found out after the training
    if replaces:
        _remove_results(run)
    trainer.run(save=save, report=tensorboard_report(run / "log"))
    print(f"trained {trainer.progress.step} steps in {trainer.progress.seconds:.0f} s: {run / RADIANCE}")

    if held_out is None:
        print("no view is held out: no test figures (--test-every 8 holds some out)")
        return
    quality = evaluate_views(model(), held_out.to(device), run)
    print(f"test views: PSNR {quality.psnr:.2f} dB, SSIM {quality.ssim:.3f}")
    print(f"figures in {run / METRICS}, pictures in {run / 'renders'}")


def _name(scene: Path) -> str:
    scene = scene.resolve()
    return scene.parent.name if scene.suffix == ".json" else scene.name


def _sample_scene() -> Path:
    if not (SAMPLE_SCENE / "transforms_train.json").exists():
        print(f"no --scene given: making the sample room in {SAMPLE_SCENE}")
        make_sample(SAMPLE_SCENE)
    return SAMPLE_SCENE


def _holds_run(run: Path) -> bool:
    return any((run / name).exists() for name in (CONFIG, RADIANCE, RESUME))


def _refuse_other_views(run: Path, scene: Path, now: Viewpoints) -> None:
    """A capture may move between two sessions, but one with other photos would spoil what was learned."""
    then = load_radiance(run, now.cameras.c2w.device).viewpoints
    if then.names != now.names or not then.cameras.c2w.allclose(now.cameras.c2w, atol=1e-4):
        raise InputError(f"{scene}: has other views than {run} was trained on; train into another --run")


def _remove_results(run: Path) -> None:
    """Figures and pictures of the run that was here before."""
    (run / METRICS).unlink(missing_ok=True)
    for folder in ("renders", "log"):
        shutil.rmtree(run / folder, ignore_errors=True)


def _override(base: Config, scene: Path) -> Config:
    """The configuration with what the command line says of it."""
    default = Arguments(
        downsample=base.downsample, test_every=base.test_every, seconds=base.seconds, seed=base.seed,
        marching=base.marching, radiance=base.radiance, training=base.training,
    )  # fmt: skip
    chosen = tyro.cli(Arguments, default=default)
    assert chosen.downsample is not None
    return Config(
        scene=str(scene.resolve()), downsample=chosen.downsample, test_every=chosen.test_every, seconds=chosen.seconds,
        seed=chosen.seed, marching=chosen.marching, radiance=chosen.radiance, training=chosen.training,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
