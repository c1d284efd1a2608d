"""Parts of `gpu_report.py`, each run in a process of its own.

A part writes its figures to its file as it goes, so that one that is cut off leaves those it has.
"""

import argparse
import importlib.util
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from _timing import ROOT, Spread, save
from omniseg import devices
from omniseg.cameras import Camera, Cameras
from omniseg.commands import common, train
from omniseg.data.formats import read_scene
from omniseg.data.images import ImageSet, load_images
from omniseg.data.normalisation import place
from omniseg.data.splits import split_views
from omniseg.evaluation.image_metrics import psnr
from omniseg.evaluation.views import photo_and_background
from omniseg.rendering.renderer import Renderer
from omniseg.rendering.view import render_view
from omniseg.run_folder import METRICS, Model, load_model, read_tensors
from omniseg.training.features import FeatureTrainer
from omniseg.training.presets import preset
from omniseg.training.radiance import RadianceTrainer
from omniseg_sample_scenes.capture import make_sample
from quality import QUICK

RAYS, STEPS, MINUTE = 8192, 20_000, 60.0
_FEW_VIEWS = 5


@dataclass(frozen=True)
class Job:
    """Input of a part.

    Attributes:
        folder: folder for runs, which later parts read.
        captures: folder that holds the capture lego.
        quick: run at tiny size.
        begin: `time.monotonic()` at the start.
        limit: seconds after which the part is ended.
        out: file of its figures.
    """

    device: torch.device
    folder: Path
    captures: Path
    quick: bool
    begin: float
    limit: float
    out: Path

    @property
    def left(self) -> float:
        """Seconds until the part is ended."""
        return self.begin + self.limit - time.monotonic()

    def report(self, figures: dict) -> None:
        """Write the figures measured so far."""
        save(self.out, figures)

    def wait(self) -> None:
        """Wait until the device has done its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def memory(self) -> dict[str, float]:
        """Return the peak memory of PyTorch, and that in use on the device now, kernels included, in GiB."""
        if self.device.type == "cpu":
            return {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
        free, total = torch.cuda.mem_get_info()
        return {"torch_peak": torch.cuda.max_memory_reserved() / 2**30, "device_now": (total - free) / 2**30}


def speed(job: Job) -> None:
    """Time kernels against torch and the limits of the machine, by speed.py; the figures are its JSON."""
    command = [sys.executable, str(ROOT / "benchmarks/speed.py"), "--arch", job.device.type, "--out", str(job.out)]
    # torch.compile would take a minute of the few there are; the other parts of speed.py run on the CPU.
    parts = ["spherical"] if job.quick else ["operators", "steps", "growth"]
    command += ["--quick" if job.quick else "--no-compile", "--only", *parts]
    subprocess.run(command, check=True)


def lego_minute(job: Job) -> None:
    """Train lego for a minute as train.py does, and measure all its test views."""
    run = job.folder / "lego"
    budget = QUICK if job.quick else ("--seconds", str(MINUTE))
    _train(job, "--scene", job.captures / "lego", "--run", run, "--downsample", 1, "--stage", "radiance", *budget)
    job.report(_read_figures(run) | {"memory_gib": job.memory()})


def lego_steps(job: Job) -> None:
    """Train lego with a fixed number of rays a step; measure time of a step, PSNR after a minute and at the end."""
    scene = read_scene(job.captures / "lego")
    placement = place(scene)
    config, splits = preset(scene, placement, job.device, downsample=1.0), split_views(scene)
    steps, chunk, rays = (4, 2, 64) if job.quick else (STEPS, 500, RAYS)
    marching = replace(config.marching, resolution=16, step=0.1) if job.quick else config.marching
    config = replace(config, marching=marching, training=replace(config.training, steps=steps))
    sets = [
        [scene.views[v] for v in views] for views in (splits.train, splits.test[:: -(-len(splits.test) // _FEW_VIEWS)])
    ]
    images, held_out = (load_images(views, placement.normalisation, 1.0).to(job.device) for views in sets)
    trainer = RadianceTrainer(config, images)
    found: dict = {"rays": rays, "of_steps": steps, "step": 0, "seconds": 0.0, "chunks": []}
    longest = 0.0
    while trainer.progress.step < steps and job.left > 2 * longest + (0 if job.quick else 15):
        samples, begin = 0, time.monotonic()
        for _ in range(chunk):
            trainer.progress.n_rays = rays
            samples += trainer.step().n_samples
        job.wait()
        longest = max(longest, seconds := time.monotonic() - begin)
        found["step"], found["seconds"] = trainer.progress.step, found["seconds"] + seconds
        found["chunks"].append({"ms_per_step": 1e3 * seconds / chunk, "samples_per_step": samples / chunk})
        if found["seconds"] >= MINUTE and "psnr_after_a_minute" not in found:
            found["psnr_after_a_minute"] = _psnr(trainer.renderer, held_out)
        job.report(found | {"memory_gib": job.memory()})
    half = sorted(chunk["ms_per_step"] for chunk in found["chunks"][len(found["chunks"]) // 2 :])
    found["ms_per_step"] = half[len(half) // 2]
    job.report(found | {"psnr": _psnr(trainer.renderer, held_out), "memory_gib": job.memory()})


def sample(job: Job) -> None:
    """Train both stages of the sample room with the defaults of the device, and measure its labels."""
    scene, run = job.folder / "scenes" / "sample", job.folder / "sample"
    if job.quick:
        make_sample(scene, train_views=6, test_views=2, width=32, height=24)
    else:
        make_sample(scene)
    budget = QUICK if job.quick else ("--seconds", "20")
    _train(job, "--scene", scene, "--run", run, *budget)
    job.report(_read_figures(run) | {"memory_gib": job.memory()})


def frames(job: Job) -> None:
    """Measure frames a second from the views of lego, in colour, and of the sample room, also with features."""
    found: dict = {}
    side, count = (16, 3) if job.quick else (800, 32)
    for name in ("lego", "sample"):
        if not (job.folder / name / METRICS).exists():
            found[name] = None  # its part failed
            continue
        found[name] = {"side": side, **_rates(job, load_model(job.folder / name, job.device), side, count)}
        job.report(found | {"memory_gib": job.memory()})
    if not any(found.values()):
        sys.exit("no trained run to render: the parts before this one left none")


def tests(job: Job) -> None:
    """Run the test suite, without the tests of benchmarks, on the device."""
    import pytest

    recorder = _Recorder(job)
    which = ["tests/kernels/test_ray_aabb.py"] if job.quick else ["tests", "--ignore=tests/benchmarks"]
    spread = ["-n", "4"] if not job.quick and importlib.util.find_spec("xdist") else []
    status = pytest.main([*which, "--arch", job.device.type, "-q", "-p", "no:cacheprovider", *spread], [recorder])
    recorder.report(complete=True)
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"pytest ended with status {int(status)}")


class _Recorder:
    """Pytest plugin that reports counts of outcomes, failures, and reasons to skip."""

    def __init__(self, job: Job) -> None:
        self.job, self.reported = job, 0.0
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.failed: dict[str, str] = {}
        self.reasons: dict[str, int] = {}

    def pytest_runtest_logreport(self, report) -> None:
        if report.skipped:
            self.counts["skipped"] += 1
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        elif report.failed:
            self._fail(report)
        elif report.when == "call":
            self.counts["passed"] += 1
        if time.monotonic() - self.reported > 2:
            self.report(complete=False)

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self._fail(report)

    def _fail(self, report) -> None:
        self.counts["failed"] += 1
        lines = str(report.longrepr).strip().splitlines()
        self.failed[report.nodeid] = next((line for line in lines if line.startswith("E ")), lines[-1] if lines else "")

    def report(self, *, complete: bool) -> None:
        self.reported = time.monotonic()
        self.job.report(
            {"complete": complete, **self.counts, "failures": self.failed, "reasons_to_skip": self.reasons},
        )


def _train(job: Job, *options: object) -> None:
    """Run `apps/train.py` in this process, so that its peak memory can be read."""
    before, sys.argv = sys.argv, ["train.py", *map(str, options), "--device", job.device.type]
    try:
        train.main()
    finally:
        sys.argv = before


def _read_figures(run: Path) -> dict:
    """Read the metrics of a run folder, and number and time of the steps of each stage."""
    metrics = json.loads((run / METRICS).read_text())
    found = {name: metrics[name] for name in ("psnr", "ssim", "train_seconds")}
    names = ("click_miou", "prompt_miou", "recall_50", "recall_75")
    found["levels"] = {
        level: {name: figures[name] for name in names} for level, figures in metrics.get("levels", {}).items()
    }
    for trainer in (RadianceTrainer, FeatureTrainer):
        if (run / trainer.resume_file).exists():
            progress = read_tensors(run / trainer.resume_file, torch.device("cpu"))[1]["progress"]
            steps, seconds = progress["step"], progress["seconds"]
            each, rays = 1e3 * seconds / max(steps, 1), progress["n_rays"]
            found[trainer.stage] = {"steps": steps, "seconds": seconds, "ms_per_step": each, "rays": rays}
    return found


def _psnr(renderer: Renderer, images: ImageSet) -> float:
    """Return the mean PSNR over some views."""
    values = []
    for view in range(len(images)):
        photo, background = photo_and_background(images, view)
        values.append(psnr(renderer.render_image(images.cameras, view).over(background).view_as(photo), photo))
    return math.fsum(values) / len(values)


def _rates(job: Job, model: Model, side: int, count: int) -> dict[str, dict[str, float]]:
    """Measure frames a second in colour and, if there are features, as the viewer renders them."""
    cameras, renderer = _cameras(model, side, count), model.renderer
    found = {"colour": _rate(job, lambda view: renderer.render_image(cameras, view), count)}
    if model.features is not None:
        found["colour_and_features"] = _rate(job, lambda view: render_view(renderer, cameras, view), count)
    return found


def _cameras(model: Model, side: int, count: int) -> Cameras:
    """Return square cameras at some of the photos' viewpoints, with the photos' field of view."""
    known = model.viewpoints.cameras
    chosen = torch.linspace(0, len(known) - 1, count).round().long().tolist()
    focal = float(known.intrinsics[0, 0]) * side / int(known.size[0, 0])
    camera = Camera(width=side, height=side, fx=focal, fy=focal, cx=side / 2, cy=side / 2)
    return Cameras.stack([camera] * count, known.c2w[chosen].cpu()).to(known.c2w.device)


def _rate(job: Job, look: Callable[[int], object], count: int) -> dict[str, float]:
    """Return median and quartiles of the frames a second of `look(view)`, waiting for each."""
    seconds = []
    for k in (0, 1, *range(count)):
        job.wait()
        begin = time.perf_counter()
        look(k)
        job.wait()
        seconds.append(time.perf_counter() - begin)
    spread = Spread.from_seconds(seconds[2:])
    return {"median": 1 / spread.median, "low": 1 / spread.high, "high": 1 / spread.low}


PARTS: dict[str, Callable[[Job], None]] = {
    part.__name__: part for part in (speed, lego_minute, lego_steps, sample, frames, tests)
}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--arch", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--captures", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    begin, part = time.monotonic(), PARTS[options.part]
    # These two start the device in a process or a fixture of their own.
    device = torch.device(options.arch) if part in (speed, tests) else devices.start(options.arch)
    out = options.folder / f"{options.part}.json"
    part(Job(device, options.folder, options.captures, options.quick, begin, options.limit, out))


if __name__ == "__main__":
    common.run(main)
