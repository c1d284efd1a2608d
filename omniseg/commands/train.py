"""Train a scene: posed photos and their masks in; a run folder with the trained fields, figures and pictures out."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from omniseg import devices, distributed
from omniseg.api.training import check, preset, train
from omniseg.commands import common
from omniseg.config import Alpha, CaptureConfig, Config
from omniseg.data.scene import SceneKind
from omniseg.devices import Device
from omniseg.distributed import Process
from omniseg.errors import InputError
from omniseg.run_folder import CONFIG
from omniseg.training.pipeline import Stage, check_run_folder
from omniseg.training.presets import settings_for

SAMPLE_SCENE = Path("scenes/sample")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a scene from posed photos and their masks. Without --scene: the sample room that comes with the project.

    Masks are those that omniseg run_sam wrote beside the photos; without them only the radiance field is
    trained. The settings below are those that will be used for the given --scene on this device; any of them can be
    changed by name. config.yaml in the run folder records them. On several GPUs:
    torchrun --nproc-per-node N --no-python -- omniseg train ...
    """

    scene: Annotated[Path | None, common.optional("PATH", "the sample room")] = None
    """Capture: a COLMAP, Replica, NeRF-synthetic or LLFF folder, or a transforms.json (docs/data.md)."""
    preset: Literal["auto", "synthetic", "forward", "unbounded", "replica"] = "auto"
    """Kind of scene; auto recognises it."""
    run: Annotated[Path | None, common.optional("DIR", "runs/NAME of the scene")] = None
    """Folder of the result."""
    stage: Stage = "all"
    """radiance: density and colour only; features: learn features from masks, in a run with a radiance field."""
    device: Device = "auto"
    """Device to compute on; auto: a GPU if there is one."""
    downsample: Annotated[
        float | None, common.optional("FACTOR", "about 400 pixels a side on a CPU, 1600 on a GPU")
    ] = None
    """Factor to shrink the photos by."""
    test_every: Annotated[int | None, common.optional("N", "the split that the format gives, else 8")] = None
    """Hold out every Nth view for testing; 0 holds out none."""
    test_views: Annotated[tuple[str, ...], common.optional("NAME [NAME ...]", "as --test-every says")] = ()
    """Hold out the views of these names for testing, and train on all others."""
    images: Annotated[Path | None, common.optional("DIR", "images, input, rgb, photos, or as the poses say")] = None
    """Folder of the photos, below the capture or anywhere."""
    alpha: Annotated[Alpha | None, common.optional("{transparent,left-out}", "transparent")] = None
    """Meaning of an alpha channel: nothing is there, or its pixels are neither trained on nor measured."""
    resume: common.Switch = False
    """Continue the training that --run holds."""
    overwrite: common.Switch = False
    """Replace the result that --run holds; with --stage features, its features."""

    def __post_init__(self) -> None:
        given = {"downsample": self.downsample, "test_every": self.test_every}
        Config(**{name: value for name, value in given.items() if value is not None})  # refuses what is out of range
        if self.test_views and self.test_every is not None:
            raise ValueError("--test-views and --test-every both choose the views to hold out: give one of them")

    force: common.Switch = False
    """Train features also where stage 1 found no surfaces."""

    check: common.Switch = False
    """Only judge the poses, by the depth that the photos show, and stop before the training."""

    def capture(self, base: CaptureConfig) -> CaptureConfig:
        """Return the choices of reading the capture, with what was given in place of `base`."""
        given = {"images": str(self.images or ""), "alpha": self.alpha, "test_views": self.test_views}
        return replace(base, **{name: value for name, value in given.items() if value})

    @property
    def kind(self) -> SceneKind | None:
        """Kind of scene that was chosen; None leaves it to the reader."""
        return None if self.preset == "auto" else self.preset


@dataclass(frozen=True, kw_only=True)
class _Help(Options):
    __doc__ = Options.__doc__

    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


def main() -> None:
    """Parse the command line and train.

    Options are parsed in two parts: first what is trained, where and on what, then, with the defaults that follow from
    it, the settings of the configuration.
    """
    options, rest = common.parse_known(Options)
    if {"-h", "--help"} & set(rest):
        common.parse(_Help, args=["--help"], default=_Help(**vars(options), config=_shown_config(options)))
    process = Process.from_environment()
    run = options.run or Path("runs") / _name(options.scene or SAMPLE_SCENE)
    continues = options.resume or options.stage == "features"
    makes_sample = not continues and options.scene is None and not SAMPLE_SCENE.is_dir()
    if makes_sample:
        common.parse(Config, args=rest)  # a mistake in an option shows before the sample room is rendered
    # Rank 0 alone: it may already write when another rank looks.
    if (continues or makes_sample) and not options.check and process.rank == 0:
        check_run_folder(run, options.stage, resume=options.resume, overwrite=options.overwrite)
    device = devices.start(options.device, process)
    if continues:
        base = Config.load(run / CONFIG)
        scene = options.scene or Path(base.scene)
        given = {"downsample": options.downsample, "test_every": options.test_every}
        base = replace(base, **{name: value for name, value in given.items() if value is not None})
        base = replace(base, capture=options.capture(base.capture))
        if not scene.exists():
            raise InputError(f"{scene}: does not exist any more; give with --scene the place of the capture")
    else:
        scene = options.scene or _make_sample_scene()
        base = _preset(options, scene)
    config = common.parse(Config, args=rest, default=base)
    if options.check:
        result = check(scene, config=config, device=options.device)
        common.say(result)
        if result.warning:
            raise InputError(result.warning)
        return
    train(
        scene,
        run,
        config=config,
        stage=options.stage,
        device="cuda" if device.type == "cuda" else "cpu",
        resume=options.resume,
        overwrite=options.overwrite,
        force=options.force,
    )


def _preset(options: Options, scene: Path) -> Config:
    return preset(
        scene,
        kind=options.kind,
        downsample=options.downsample,
        test_every=options.test_every,
        capture=options.capture(CaptureConfig()),
        device=options.device,
    )


def _shown_config(options: Options) -> Config:
    """Return the settings for `--help`: those of the scene, or those of the sample room where there is none."""
    try:
        if options.run is not None and (options.resume or options.stage == "features"):
            return Config.load(options.run / CONFIG)
        if options.scene is not None or SAMPLE_SCENE.is_dir():
            return _preset(options, options.scene or SAMPLE_SCENE)
    except InputError as error:
        print(f"(settings of another scene: {error})", file=sys.stderr)
    device = devices.choose(options.device, Process())
    return settings_for("replica", device, n_pixels=80 * 240 * 180, longest_side=240)  # of the sample room


def _name(scene: Path) -> str:
    scene = scene.resolve()
    scene = scene.parent if scene.is_file() else scene
    if scene.name.isdecimal() and scene.parent.name == "sparse":  # one of several models in a capture
        scene = scene.parents[1]
    return scene.name


def _make_sample_scene() -> Path:
    if distributed.process().rank == 0 and not (SAMPLE_SCENE / "sam").is_dir():
        from omniseg_sample_scenes.capture import make_sample

        common.say(f"no --scene given: making the sample room in {SAMPLE_SCENE}")
        make_sample(SAMPLE_SCENE, overwrite=True)  # replaces one of an earlier version, which had no masks
    distributed.barrier()
    return SAMPLE_SCENE
