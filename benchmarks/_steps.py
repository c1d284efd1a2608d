"""Whole training steps, whole pictures, and quality over training time, on one capture."""

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import _torch_forms as forms
from _timing import Spread, compare, wait
from _torch_step import torch_operators
from omniseg.config import Config
from omniseg.data.formats import read_scene
from omniseg.data.images import ImageSet, load_images, view_cameras
from omniseg.data.normalisation import place
from omniseg.data.splits import split_views
from omniseg.errors import InputError
from omniseg.evaluation.image_metrics import psnr
from omniseg.evaluation.views import photo_and_background
from omniseg.masks.patches import PatchSet, load_patches
from omniseg.profiling import SpanTimer
from omniseg.rendering.renderer import Renderer
from omniseg.training.features import FeatureTrainer
from omniseg.training.presets import preset
from omniseg.training.radiance import RadianceTrainer

_SIZES, _QUICK_SIZES = ((200, 150), (800, 800)), ((20, 15),)
"""Width and height of the pictures that are timed: a preview, and a full frame."""


@dataclass(frozen=True)
class Capture:
    """Photos and masks that are trained on, with the default configuration of the device.

    Attributes:
        name: name of the folder.
        config: configuration of the training.
        images, held_out: photos to train and to test on; None if no view is held out.
        patches: masks; None if there are none.
    """

    name: str
    config: Config
    images: ImageSet
    held_out: ImageSet | None
    patches: PatchSet | None

    @classmethod
    def load(cls, path: Path, device: torch.device, downsample: float | None, quick: bool) -> "Capture":
        """Read a capture, with its cameras in scene coordinates; with `quick`, steps are small."""
        scene = read_scene(path)
        placement = place(scene)
        config = preset(scene, placement, device, downsample=downsample)
        if quick:
            small = replace(config.training, samples_per_step=4096)
            lifting = replace(config.feature_training, rays_per_step=256)
            config = replace(config, training=small, feature_training=lifting)
        splits = split_views(scene, config.test_every)
        train, test = ([scene.views[v] for v in chosen] for chosen in (splits.train, splits.test))
        images, held_out = (
            load_images(views, placement.normalisation, config.downsample).to(device) if views else None
            for views in (train, test)
        )
        assert images is not None
        patches = load_patches(train, view_cameras(train, placement.normalisation, config.downsample))
        patches = None if patches is None else patches.to(device)
        return cls(scene.root.name, config, images, held_out, patches)


def steps(capture: Capture, warm_up: int, rounds: int, compiled: bool, quick: bool) -> dict:
    """Time steps of both stages, their spans, and the same step in PyTorch; then pictures of the trained field.

    Args:
        capture: capture to train on.
        warm_up: number of steps of either stage before anything is measured, a short training of its own: its
            occupancy grid decides how many samples there are.
        rounds: number of steps that are measured.
        compiled: measure `torch.compile` too, which takes a minute.
        quick: render tiny pictures.
    """
    trainer = RadianceTrainer(with_steps(capture.config, warm_up), capture.images)
    for _ in range(warm_up):
        trainer.step()
    radiance = _stage(trainer, rounds)
    rivals = {} if capture.config.marching.cone_angle else _rivals(trainer, capture.images, rounds, compiled)
    result: dict[str, Any] = {
        "capture": capture.name,
        "config": asdict(capture.config),
        "radiance": radiance | {"rivals": rivals},
    }
    renderer = trainer.renderer
    if capture.patches is not None:
        features = FeatureTrainer(with_steps(capture.config, warm_up), capture.patches, trainer.renderer)
        for _ in range(warm_up):
            features.step()
        lifted, marched = _stage(features, rounds), _marched(features)
        per_sample = lifted["step"]["median"] / marched * radiance["samples"] / radiance["step"]["median"]
        result["features"] = lifted | {"marched": marched, "share_of_radiance_per_marched_sample": per_sample}
        renderer = features.renderer
    result["pictures"] = _pictures(renderer, capture, _QUICK_SIZES if quick else _SIZES, max(rounds // 8, 1))
    return result


def with_steps(config: Config, steps: int) -> Config:
    """Return the configuration with this number of steps in either stage; schedules follow it."""
    return replace(
        config,
        training=replace(config.training, steps=steps),
        feature_training=replace(config.feature_training, steps=steps),
    )


def _stage(trainer: RadianceTrainer | FeatureTrainer, rounds: int) -> dict:
    """Time the steps of a stage, whole and by span."""
    seconds, reports = [], []
    for _ in range(rounds):
        wait()
        begin = time.perf_counter()
        reports.append(trainer.step())
        wait()
        seconds.append(time.perf_counter() - begin)
    rays = statistics.mean(report.n_rays for report in reports)
    return {
        "step": asdict(Spread.from_seconds(seconds)),
        "rays": rays,
        "samples": statistics.mean(report.n_samples for report in reports),
        "rays_per_second": rays / statistics.mean(seconds),  # steps that also update the occupancy grid count
        "parts": _parts(trainer, rounds),
    }


def _parts(trainer: RadianceTrainer | FeatureTrainer, rounds: int) -> dict[str, float]:
    """Return the mean seconds of a step by span, waiting for the device around each; what is left is "rest"."""
    begin = time.perf_counter()
    with SpanTimer(wait) as timer:
        for _ in range(rounds):
            trainer.step()
        wait()
    whole = time.perf_counter() - begin
    seconds = {**timer.seconds, "rest": whole - sum(timer.seconds.values())}
    return {name: value / rounds for name, value in seconds.items()}


def _rivals(ours: RadianceTrainer, images: ImageSet, rounds: int, compiled: bool) -> dict:
    """Time the step in PyTorch, with several encodings, in turns with ours; all continue the same training."""
    layout, device = ours.config.radiance.encoding, ours.device
    operators = {
        "torch, bags": torch_operators(forms.bag_encoding, layout, device, half=True),
        "torch, ordinary": torch_operators(forms.cornered_encoding, layout, device, half=False),
    }
    if compiled:
        unrolled = torch.compile(forms.unrolled_encoding)
        operators["torch, compiled"] = torch_operators(unrolled, layout, device, half=True)
    trainers = {"ours": ours}
    with tempfile.TemporaryDirectory() as folder:
        ours.save_resume(Path(folder))
        for name, chosen in operators.items():
            trainers[name] = RadianceTrainer(ours.config, images, chosen)
            trainers[name].resume(Path(folder))
    ordinary = trainers["torch, ordinary"]
    parameters, adam = ordinary.field.parameters(), ours.optimizer.defaults
    ordinary.optimizer = torch.optim.Adam(parameters, lr=adam["lr"], eps=adam["eps"], foreach=True)
    ordinary.optimizer.param_groups[0]["scale"] = 1.0
    _check_alike(trainers)
    spreads = compare({name: [lambda _, t=trainer: t.step()] for name, trainer in trainers.items()}, rounds)
    median = spreads["ours"][0].median
    return {name: asdict(spread) | {"times_ours": spread.median / median} for name, (spread,) in spreads.items()}


def _check_alike(trainers: dict[str, RadianceTrainer]) -> None:
    """Exit unless all render the same rays alike; a sample may fall on either side of a cell's border."""
    ours, pictures = trainers["ours"], {}
    batch = ours.sampler.sample(ours.progress.n_rays)
    for name, trainer in trainers.items():
        with torch.no_grad():
            jitter = torch.full_like(batch.alpha, 0.5)
            rendering = trainer.renderer.train(batch.rays_o, batch.rays_d, jitter=jitter)
        pictures[name] = torch.cat([rendering.rgb, rendering.opacity[:, None]], dim=1)
    for name, picture in pictures.items():
        error = (picture - pictures["ours"]).abs().mean().item()
        if not error < 5e-3:
            raise SystemExit(f"step, {name}: the picture differs from ours by {error:.3g} on average")


def _marched(trainer: FeatureTrainer) -> float:
    """Return the mean number of samples that the rays of a step of stage 2 have when marched to their ends."""
    config, counts = trainer.config.feature_training, []
    views = len(trainer.sampler.patches)
    for view in range(0, views, -(-views // 16)):
        batch = trainer.sampler.sample(view, config.rays_per_step)
        rays_o, rays_d = trainer.sampler.rays(batch.view, batch.pixels)
        with torch.no_grad():
            rendering = trainer.renderer.train(rays_o, rays_d, jitter=rays_o.new_zeros(len(rays_o)))
        counts.append(rendering.samples.n_samples)
    return statistics.mean(counts)


def _pictures(renderer: Renderer, capture: Capture, sizes: tuple[tuple[int, int], ...], rounds: int) -> list[dict]:
    """Time pictures of three of the views."""
    with_features = renderer.features is not None
    rows = []
    for width, height in sizes:
        cameras = capture.images.cameras[[0, len(capture.images) // 3, 2 * len(capture.images) // 3]]
        cameras = cameras.resized(width)
        # Rows are left out or repeated where photos have another aspect ratio, so that sizes are comparable.
        rays = [_fit(cameras.image_rays(view), width, height, int(cameras.size[view, 1])) for view in range(3)]
        run = [lambda _, ray=ray: renderer.render(*ray, features=with_features) for ray in rays]
        spreads = compare({"": run}, rounds, warm_up=1)[""]
        rows.append(
            {
                "size": [width, height],
                "features": with_features,
                "seconds": [spread.median for spread in spreads],
            }
        )
    return rows


def _fit(rays: tuple[Tensor, Tensor], width: int, height: int, rows: int) -> tuple[Tensor, Tensor]:
    """Return the rays of `height` rows out of `rows`."""
    row = torch.arange(height, device=rays[0].device) * rows // height
    index = (row[:, None] * width + torch.arange(width, device=row.device)).flatten()
    return rays[0][index], rays[1][index]


def psnr_over_time(capture: Capture, seconds: float, marks: int = 12) -> list[dict]:
    """Measure the PSNR of held-out views after equal shares of a training time, in which evaluation does not count."""
    held_out = capture.held_out
    if held_out is None:
        raise InputError("--only psnr: the capture holds no view out; choose another --scene")
    RadianceTrainer(capture.config, capture.images).step()  # compiles the kernels, which is not training
    trainer = RadianceTrainer(replace(capture.config, seconds=seconds), capture.images)
    rows = []
    for mark in range(1, marks + 1):
        _train_until(trainer, seconds * mark / marks)
        mean = statistics.mean(_psnr(trainer.renderer, held_out, view) for view in range(len(held_out)))
        rows.append({"seconds": trainer.progress.seconds, "steps": trainer.progress.step, "psnr": mean})
        print(f"{rows[-1]['seconds']:6.1f} s, {rows[-1]['steps']} steps: {mean:.2f} dB", flush=True)
    return rows


def _train_until(trainer: RadianceTrainer, seconds: float) -> None:
    begin = time.perf_counter() - trainer.progress.seconds
    while trainer.progress.seconds < seconds:
        trainer.step()
        wait()
        trainer.progress.seconds = time.perf_counter() - begin


def _psnr(renderer: Renderer, images: ImageSet, view: int) -> float:
    photo, background = photo_and_background(images, view)
    return psnr(renderer.render_image(images.cameras, view).over(background).clamp(0, 1).view_as(photo), photo)
