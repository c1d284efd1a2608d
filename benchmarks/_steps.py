"""Whole training steps, whole pictures, and the time to a given quality, of a capture."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import _torch_forms as forms
from _timing import Spread, compare, wait
from _torch_step import in_torch
from omniseg.config import Config
from omniseg.data.formats import read_scene
from omniseg.data.images import ImageSet, load_images, view_cameras
from omniseg.data.normalisation import place
from omniseg.data.splits import split_views
from omniseg.evaluation.metrics import psnr
from omniseg.evaluation.views import photo_and_background
from omniseg.masks.patches import PatchSet, load_patches
from omniseg.rendering.renderer import Renderer
from omniseg.training.features import FeatureTrainer
from omniseg.training.presets import preset
from omniseg.training.radiance import RadianceTrainer

_SIZES, _QUICK_SIZES = ((200, 150), (800, 800)), ((20, 15),)
"""Pictures that are timed: a preview, and a full frame."""


@dataclass(frozen=True)
class Capture:
    """What is trained, with the defaults of the device.

    name: of its folder.
    images, held_out: photos to train and to test; None where nothing is held out.
    patches: masks; None where there are none.
    """

    name: str
    config: Config
    images: ImageSet
    held_out: ImageSet | None
    patches: PatchSet | None

    @classmethod
    def load(cls, path: Path, device: torch.device, downsample: float | None, quick: bool) -> "Capture":
        """Read a capture, with the cameras in scene coordinates; the steps of a quick look are small."""
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
    """Steps of both stages: time, what it is made of, and the same step in PyTorch; then pictures of what was learned.

    Args:
        capture: to train on.
        warm_up: steps of either stage before anything is measured: a short training of its own, as its grid decides
            what there is to march through.
        rounds: steps that are measured.
        compiled: `torch.compile` takes part (it takes a minute).
        quick: pictures are tiny.
    """
    trainer = RadianceTrainer(with_steps(capture.config, warm_up), capture.images)
    for _ in range(warm_up):
        trainer.step()
    radiance = _stage(trainer, rounds)
    rivals = {} if capture.config.marching.cone_angle else _rivals(trainer, rounds, compiled)
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
    """The configuration with so many steps in either stage: schedules follow them."""
    return replace(
        config,
        training=replace(config.training, steps=steps),
        feature_training=replace(config.feature_training, steps=steps),
    )


def _stage(trainer: RadianceTrainer | FeatureTrainer, rounds: int) -> dict:
    seconds, reports = [], []
    for _ in range(rounds):
        wait()
        begin = time.perf_counter()
        reports.append(trainer.step())
        wait()
        seconds.append(time.perf_counter() - begin)
    rays = statistics.mean(report.n_rays for report in reports)
    return {
        "step": asdict(Spread.of(seconds)),
        "rays": rays,
        "samples": statistics.mean(report.n_samples for report in reports),
        "rays_per_second": rays / statistics.mean(seconds),  # the steps that also look at the grid count
        "parts": _parts(trainer, rounds),
    }


def _parts(trainer: RadianceTrainer | FeatureTrainer, rounds: int) -> dict[str, float]:
    """Mean seconds of a step in each part, waiting for the device around each: what is left is "rest"."""
    spent: dict[str, float] = defaultdict(float)
    inside: list[str] = []

    def timed(name: str, function: Callable) -> Callable:
        def call(*args, **kwargs):
            if inside:  # a part within a part is counted once
                return function(*args, **kwargs)
            inside.append(name)
            wait()
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                wait()
                spent[inside.pop()] += time.perf_counter() - begin

        return call

    places: list[tuple[object, str, str]] = [
        (Tensor, "backward", "backward"),
        (trainer.optimizer, "step", "optimiser"),
        (trainer.sampler, "sample", "rays"),
    ]
    if isinstance(trainer, RadianceTrainer):
        places += [
            (trainer.grid, "update", "occupancy grid"),
            (trainer.renderer, "_march", "marching"),
            (trainer.renderer, "_density", "density"),
            (trainer.field, "colour", "colour"),
            (trainer, "_loss", "loss"),
        ]
    else:
        places += [(trainer, "_visible", "visible samples"), (trainer.renderer, "composite_features", "features")]
    with ExitStack() as stack:
        for owner, attribute, name in places:
            stack.enter_context(patch.object(owner, attribute, timed(name, getattr(owner, attribute))))
        begin = time.perf_counter()
        for _ in range(rounds):
            trainer.step()
        wait()
        whole = time.perf_counter() - begin
    spent["rest"] = whole - sum(spent.values())
    return {name: seconds / rounds for name, seconds in spent.items()}


def _rivals(trainer: RadianceTrainer, rounds: int, compiled: bool) -> dict:
    """The step in PyTorch, in turns with ours on the same field; which of its encodings is best is seen here."""
    layout, device = trainer.config.radiance.encoding, trainer.device
    fused = trainer.optimizer
    plain = torch.optim.Adam(trainer.field.parameters(), lr=fused.defaults["lr"], eps=1e-15, foreach=True)
    plain.param_groups[0]["scale"] = 1.0
    contexts = {
        "ours": (nullcontext, fused),
        "torch, bags": (lambda: in_torch(forms.bag_encoding, layout, device, half=True), fused),
        "torch, ordinary": (lambda: in_torch(forms.cornered_encoding, layout, device, half=False), plain),
    }
    if compiled:
        unrolled = torch.compile(forms.unrolled_encoding)
        contexts["torch, compiled"] = (lambda: in_torch(unrolled, layout, device, half=True), fused)

    def step(name: str) -> None:
        context, optimizer = contexts[name]
        with context(), patch.object(trainer, "optimizer", optimizer):
            trainer.step()

    _check_alike(trainer, {name: context for name, (context, _) in contexts.items()})
    spreads = compare({name: [lambda _, name=name: step(name)] for name in contexts}, rounds)
    ours = spreads["ours"][0].median
    return {name: asdict(spread) | {"times_ours": spread.median / ours} for name, (spread,) in spreads.items()}


def _check_alike(trainer: RadianceTrainer, contexts: dict[str, Callable]) -> None:
    """Exit unless all forms render the same rays alike. A sample may fall on either side of a cell's border."""
    batch = trainer.sampler.sample(trainer.progress.n_rays)
    seen = {}
    for name, context in contexts.items():
        with context(), torch.no_grad():
            rendering = trainer.renderer.train(batch.rays_o, batch.rays_d, jitter=torch.full_like(batch.alpha, 0.5))
        seen[name] = torch.cat([rendering.rgb, rendering.opacity[:, None]], dim=1)
    for name, picture in seen.items():
        error = (picture - seen["ours"]).abs().mean().item()
        if not error < 5e-3:
            raise SystemExit(f"step, {name}: the picture differs from ours by {error:.3g} on average")


def _marched(trainer: FeatureTrainer) -> float:
    """Samples that the rays of a step of stage 2 have when they are marched to the end."""
    config, counts = trainer.config.feature_training, []
    views = len(trainer.sampler.patches)
    for view in range(0, views, -(-views // 16)):
        batch = trainer.sampler.sample(view, config.rays_per_step)
        rays_o, rays_d = trainer.sampler.rays(batch.view, batch.pixels)
        renderer = trainer.renderer
        spans = renderer._spans(rays_o, rays_d)
        samples = renderer._march(rays_o, rays_d, spans, renderer.rule(), renderer.config.max_samples)
        counts.append(samples.n_samples)
    return statistics.mean(counts)


def _pictures(renderer: Renderer, capture: Capture, sizes: tuple[tuple[int, int], ...], rounds: int) -> list[dict]:
    """Seconds of a picture, over three of the views."""
    with_features = renderer.features is not None
    rows = []
    for width, height in sizes:
        cameras = capture.images.cameras[[0, len(capture.images) // 3, 2 * len(capture.images) // 3]]
        cameras = cameras.resized(width)
        # As many pixels as asked for: rows are left out or taken twice where the photos have another shape.
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
    row = torch.arange(height, device=rays[0].device) * rows // height
    index = (row[:, None] * width + torch.arange(width, device=row.device)).flatten()
    return rays[0][index], rays[1][index]


def psnr_over_time(capture: Capture, seconds: float, marks: int = 12) -> list[dict]:
    """PSNR of the held-out views after equal shares of a budget of training time, evaluation not counted."""
    held_out = capture.held_out
    if held_out is None:
        raise SystemExit("--only psnr: the capture holds no view out")
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
