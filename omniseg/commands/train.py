"""Train a scene: posed photos and their masks in; a run folder with the trained fields, figures and pictures out."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

# torch's threads wait busily for their next work; for too long, and they take the kernels' cores.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import tyro

from omniseg import distributed
from omniseg.commands import common
from omniseg.config import (
    Config,
    FeatureFieldConfig,
    FeatureTrainingConfig,
    MarchingConfig,
    RadianceFieldConfig,
    RadianceTrainingConfig,
)
from omniseg.data.formats import read_scene
from omniseg.data.normalisation import place
from omniseg.data.splits import split_views
from omniseg.distributed import Process
from omniseg.errors import InputError
from omniseg.evaluation.labels import evaluate_labels, table
from omniseg.evaluation.segmentation import PROMPTS
from omniseg.evaluation.views import evaluate_views
from omniseg.run_folder import CONFIG, FEATURES, METRICS, RADIANCE
from omniseg.training.features import FeatureTrainer
from omniseg.training.pipeline import Job, train_features, train_radiance, trained_radiance, training_patches
from omniseg.training.presets import preset
from omniseg.training.radiance import RadianceTrainer
from omniseg_sample_room.capture import make_sample

SAMPLE_SCENE = Path("scenes/sample")

Stage = Literal["all", "radiance", "features"]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Train a scene from posed photos and their masks. Without --scene: the sample room that comes with the project.

    Masks are those that data_tools/run_sam.py wrote beside the photos; without them only the radiance field is
    trained. The defaults of the sections below are general ones. Those that depend on the scene and the device are
    chosen when it is read; config.yaml in the run folder says what was used. On several GPUs:
    torchrun --nproc-per-node N -- apps/train.py ...
    """

    scene: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Capture: a COLMAP, Replica, NeRF-synthetic or LLFF folder, or a transforms.json (docs/data.md)."""
    preset: Literal["auto", "synthetic", "forward", "unbounded", "replica"] = "auto"
    """Kind of scene; auto recognises it."""
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the result; runs/NAME of the scene unless given."""
    stage: Stage = "all"
    """radiance: density and colour alone; features: masks into the features of a run that has a radiance field."""
    device: common.Device = "auto"
    """Where to compute; auto is a GPU where there is one."""
    downsample: Annotated[float | None, tyro.conf.arg(metavar="FACTOR")] = None
    """Shrink the photos by this factor; unset: to about 400 pixels on a CPU, 1600 on a GPU."""
    test_every: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Hold out every Nth view for testing, 0 none; unset: the split that the format gives, else every 8th."""
    seconds: float = 0.0
    """A budget of training time for each stage instead of steps; schedules follow it. 0: steps count."""
    seed: int = 0
    """Seed of all random numbers."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with the training that --run holds."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace the result that --run holds; with --stage features, its features."""
    marching: MarchingConfig = field(default_factory=MarchingConfig)
    radiance: RadianceFieldConfig = field(default_factory=RadianceFieldConfig)
    training: RadianceTrainingConfig = field(default_factory=RadianceTrainingConfig)
    features: FeatureFieldConfig = field(default_factory=FeatureFieldConfig)
    feature_training: FeatureTrainingConfig = field(default_factory=FeatureTrainingConfig)

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise ValueError("--resume goes on with a result, --overwrite replaces it: give one of them")
        downsample = 1.0 if self.downsample is None else self.downsample
        Config(seed=self.seed, downsample=downsample, test_every=self.test_every, seconds=self.seconds)


def main() -> None:
    """Parse the command line, train, evaluate."""
    process = Process.from_environment()
    common.leave_the_word(process)
    arguments = tyro.cli(Arguments)
    device = common.start(arguments.device, process)
    run = arguments.run or Path("runs") / _name(arguments.scene or SAMPLE_SCENE)
    # The first process alone looks: it may be writing when another does.
    replaces = process.rank == 0 and _replaces(run, arguments)
    if arguments.resume or arguments.stage == "features":
        base = Config.load(run / CONFIG)
        path = arguments.scene or Path(base.scene)
        if not path.exists():
            raise InputError(f"{path}: does not exist any more; say with --scene where the capture is now")
        scene = read_scene(path)
        placement = place(scene)
    else:
        path = arguments.scene or _sample_scene()
        scene = read_scene(path)
        placement = place(scene)
        kind = None if arguments.preset == "auto" else arguments.preset
        choice = {"kind": kind, "downsample": arguments.downsample, "test_every": arguments.test_every}
        base = preset(scene, placement, device, **choice)
    config = _override(base, path)
    splits = split_views(scene, config.test_every)
    print(f"{scene.root}: {scene.format}, {scene.kind}, {len(splits.train)} views to train, {len(splits.test)} to test")
    job = Job(run, config, scene, placement, splits, arguments.resume)
    # All files now, so that one that does not open is not found out after the training.
    held_out = job.images(splits.test)
    patches = None if arguments.stage == "radiance" else training_patches(job, required=arguments.stage == "features")
    if arguments.stage == "features":
        model = trained_radiance(job, device)
    else:
        model = train_radiance(job, device, replaces)
    if patches is not None:
        model = train_features(job, model, patches)
    distributed.stop()
    if process.rank:
        return
    if held_out is None:
        print("no view is held out: no test figures (--test-every 8 holds some out)")
        return
    held_out, views = held_out.to(device), job.views(splits.test)
    quality = evaluate_views(model, held_out, run)
    print(f"test views: PSNR {quality.psnr:.2f} dB, SSIM {quality.ssim:.3f}")
    if model.features is not None and any(view.label_paths for view in views):
        print(table(evaluate_labels(model, views, held_out, run, PROMPTS)))
    print(f"figures in {run / METRICS}, pictures in {run / 'renders'}")


def _name(scene: Path) -> str:
    scene = scene.resolve()
    return scene.parent.name if scene.suffix == ".json" else scene.name


def _sample_scene() -> Path:
    if distributed.process().rank == 0 and not (SAMPLE_SCENE / "sam").is_dir():
        print(f"no --scene given: making the sample room in {SAMPLE_SCENE}")
        make_sample(SAMPLE_SCENE, overwrite=True)  # of an earlier version, which had no masks
    distributed.barrier()
    return SAMPLE_SCENE


def _replaces(run: Path, arguments: Arguments) -> bool:
    """Whether a result will be replaced; raises InputError where the command line and the folder do not agree."""
    resume, features = arguments.resume, arguments.stage == "features"
    radiance_files = (CONFIG, RADIANCE, RadianceTrainer.resume_file)
    feature_files = (FEATURES, FeatureTrainer.resume_file)
    holds = any((run / name).exists() for name in (feature_files if features else radiance_files))
    if features and not (run / RADIANCE).exists():
        raise InputError(f"{run}: holds no radiance field to put features on; check --run, or leave --stage away")
    if resume and not holds:
        raise InputError(f"{run}: holds no run to go on with; check --run, or leave --resume away")
    if holds and not resume and not arguments.overwrite:
        what = "features" if features else "a run"
        raise InputError(
            f"{run}: already holds {what}; --resume goes on with it, --overwrite replaces it, --run avoids it"
        )
    return holds and not resume


def _override(base: Config, scene: Path) -> Config:
    """The configuration with what the command line says of it."""
    default = Arguments(
        downsample=base.downsample, test_every=base.test_every, seconds=base.seconds, seed=base.seed,
        marching=base.marching, radiance=base.radiance, training=base.training,
        features=base.features, feature_training=base.feature_training,
    )  # fmt: skip
    chosen = tyro.cli(Arguments, default=default)
    assert chosen.downsample is not None
    return Config(
        scene=str(scene.resolve()), downsample=chosen.downsample, test_every=chosen.test_every, seconds=chosen.seconds,
        seed=chosen.seed, marching=chosen.marching, radiance=chosen.radiance, training=chosen.training,
        features=chosen.features, feature_training=chosen.feature_training,
    )  # fmt: skip
