"""Training a capture with one call."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from omniseg import devices, distributed
from omniseg.api.run import Run
from omniseg.config import CaptureConfig, Config
from omniseg.data.formats import read_scene
from omniseg.data.normalisation import place
from omniseg.data.scene import SceneKind
from omniseg.devices import Device
from omniseg.distributed import Process
from omniseg.evaluation.evaluate import check_evaluation, evaluate
from omniseg.run_folder import CONFIG
from omniseg.training import presets
from omniseg.training.photo_check import PhotoCheck, check_photos
from omniseg.training.pipeline import Stage, Training, check_run_folder, check_surfaces
from omniseg.training.pipeline import train as train_stages

_log = logging.getLogger("omniseg")


def preset(
    scene: str | Path,
    *,
    kind: SceneKind | None = None,
    downsample: float | None = None,
    test_every: int | None = None,
    capture: CaptureConfig | None = None,
    device: Device = "auto",
) -> Config:
    """Return the configuration that `train` uses for a capture on this device, to be changed by `dataclasses.replace`.

    Args:
        scene: folder or transforms.json of the capture.
        kind: kind of scene, where it is known better than the reader recognises it.
        downsample: factor that the photos are shrunk by; None follows the device.
        test_every: hold out every Nth view, 0 none; None: the split that the format gives, else every 8th.
        capture: what the files leave open: folder of the photos, meaning of alpha, names of test views.
        device: what the training runs on.
    Raises:
        InputError: the capture cannot be read, or there is no such device.
    """
    capture = _recorded(Path(scene), capture or CaptureConfig())
    captured = read_scene(scene, capture)
    chosen = devices.choose(device, Process())
    config = presets.preset(
        captured, place(captured), chosen, kind=kind, downsample=downsample, test_every=test_every, capture=capture
    )
    return replace(config, scene=str(Path(scene).resolve()))


def _recorded(scene: Path, capture: CaptureConfig) -> CaptureConfig:
    """Return the choices with a path of the images that holds from any folder: below the capture, or absolute."""
    images = Path(capture.images)
    if not capture.images or images.is_absolute() or (scene / images).is_dir() or not images.is_dir():
        return capture
    return replace(capture, images=str(images.resolve()))


def check(
    scene: str | Path, *, config: Config | None = None, device: Device = "auto", progress: bool = True
) -> PhotoCheck:
    """Estimate depth from the photos of a capture, which takes seconds, and judge its poses before a training.

    Args:
        scene: folder or transforms.json of the capture; depth images in it are not used.
        config: every setting; None: the preset for this capture and device.
        device: "auto" is a GPU if there is one.
        progress: show progress bars.
    Raises:
        InputError: the capture cannot be read, or there is no such device.
    """
    chosen = devices.start(device)
    config = preset(scene, device=device) if config is None else config
    training = Training(run=Path(), config=config, scene=read_scene(scene, config.capture), progress=progress)
    images = training.images(training.splits.train)
    assert images is not None
    return check_photos(replace(images.to(chosen), depths=None), config, progress=progress)


def train(
    scene: str | Path,
    out: str | Path,
    *,
    config: Config | None = None,
    seconds: float | None = None,
    stage: Stage = "all",
    device: Device = "auto",
    resume: bool = False,
    overwrite: bool = False,
    force: bool = False,
    measure: bool = True,
    progress: bool = True,
) -> Run:
    """Train a capture, both stages, and measure the result on the held-out views.

    Under torchrun, all processes train together; rank 0 writes.

    Args:
        scene: folder or transforms.json of the capture; masks lie in it as sam/NAME.npz.
        out: run folder of the result.
        config: settings; None: the preset for this capture and device or, with `resume` or stage "features", the
            configuration in `out`.
        seconds: time for each stage instead of the number of steps in `config`.
        stage: "radiance" for density and colour only; "features" adds features to the radiance field in `out`.
        device: "auto" is a GPU if there is one.
        resume: continue the training that `out` holds.
        overwrite: replace the result that `out` holds.
        force: train features also where stage 1 ended in fog.
        measure: measure the result on the held-out views.
        progress: show progress bars.
    Raises:
        NoSurfaces: stage 1 ended in fog; its result is saved and measured, and features are not trained.
        InputError: the capture or the run folder does not fit, a file does not open, or nothing can be written.
    """
    process = Process.from_environment()
    chosen = devices.start(device, process)
    out = Path(out)
    if process.rank == 0:  # rank 0 may already write when another rank looks
        check_run_folder(out, stage, resume=resume, overwrite=overwrite)
    if config is None:
        continues = resume or stage == "features"
        config = Config.load(out / CONFIG) if continues else preset(scene, device=device)
    if seconds is not None:
        config = replace(config, seconds=seconds)
    captured = read_scene(scene, config.capture)
    training = Training(
        run=out,
        config=replace(config, scene=str(Path(scene).resolve())),
        scene=captured,
        stage=stage,
        resume=resume,
        overwrite=overwrite,
        force=force,
        progress=progress and process.rank == 0,
    )
    n_train, n_test = len(training.splits.train), len(training.splits.test)
    _log.info("%s: %s, %s, %d views to train, %d to test", scene, captured.format, captured.kind, n_train, n_test)
    # Held-out photos and labels are read before the training, so that a damaged file does not show up after it.
    held_out = training.images(training.splits.test)
    if held_out is not None:
        check_evaluation(training.views(training.splits.test), held_out)
    model = train_stages(training, chosen)
    distributed.stop()
    run = Run(out, model)
    if process.rank:
        return run
    if held_out is None:
        _log.warning("no view is held out: no test figures (--test-every 8 holds some out)")
    elif measure:
        views = training.views(training.splits.test)
        _log.info("%s", evaluate(model, views, held_out.to(chosen), out, progress=progress))
    if stage != "features":
        check_surfaces(out, force=force)
    return run
