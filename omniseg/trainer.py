"""Stage 1: learn density and colour from posed photos."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from omniseg.cameras import Cameras
from omniseg.checkpoint import RESUME, read_tensors, restore_model, save_resume
from omniseg.config import Config, RadianceTrainingConfig
from omniseg.corrections import Corrections
from omniseg.data.images import ImageSet
from omniseg.data.rays import RayBatch, RaySampler
from omniseg.errors import InputError
from omniseg.fields import OccupancyGrid, RadianceField
from omniseg.losses import depth_error, distortion, opacity_entropy
from omniseg.rendering import Renderer, TrainingRendering

_GRID_EVERY = 16
_RAMP = 0.15
"""Share of the training over which steps shorten to their length and culling becomes as strict as configured.
Coarse steps and no culling at first let the colours of many rays settle the rough shape; fine steps from the
start lock in fog near the cameras."""
_COARSENESS = 3.0
_FIRST_SAMPLES_PER_RAY = 256
_FEWEST_RAYS, _MOST_RAYS = 64, 1 << 18
_CORRECTION_LR = 0.05


@dataclass
class Progress:
    """How far a training has come; saved and restored with it."""

    step: int = 0
    seconds: float = 0.0
    n_rays: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one step did: tensors on the device, so that reading them is the caller's decision."""

    loss: Tensor
    squared_error: Tensor
    n_rays: int
    n_samples: int


class RadianceTrainer:
    """Everything that one optimisation step needs, and the loop around it.

    Args:
        config: resolved configuration.
        images: training views; their device is that of the training.
    """

    def __init__(self, config: Config, images: ImageSet) -> None:
        device = images.pixels.device
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.cameras: Cameras = images.cameras
        self.field = RadianceField(config.radiance, config.marching.bound).to(device)
        self.grid = OccupancyGrid(config.marching, images.cameras).to(device)
        self.renderer = Renderer(self.field, self.grid, config.marching)
        self.corrections = Corrections(
            len(images.names), poses=config.training.refine_poses, exposure=config.training.exposure
        ).to(device)
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.sampler = RaySampler(images, self.generator)
        groups = [
            {"params": list(self.field.parameters()), "scale": 1.0},
            {"params": list(self.corrections.parameters()), "scale": _CORRECTION_LR},
        ]
        groups = [group for group in groups if group["params"]]
        self.optimizer = torch.optim.Adam(groups, lr=config.training.lr, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self.progress = Progress(n_rays=max(config.training.samples_per_step // _FIRST_SAMPLES_PER_RAY, _FEWEST_RAYS))

    @property
    def done(self) -> float:
        """Share of the budget that is used, in [0, 1]."""
        budget = self.config.seconds
        used = self.progress.seconds / budget if budget else self.progress.step / self.config.training.steps
        return min(used, 1.0)

    def step(self) -> StepReport:
        """One optimisation step."""
        training, done = self.config.training, self.done
        for group in self.optimizer.param_groups:
            group["lr"] = training.lr * group["scale"] * _cosine(done, 1 / 30)
        ramp = min(done / _RAMP, 1.0)
        if self.progress.step % _GRID_EVERY == 0 and self.progress.step:
            self.grid.update(lambda x: self.field.density(x).sigmas, ramp, self.generator)
        cameras = self.corrections.cameras(self.cameras)
        batch = self.sampler.sample(self.progress.n_rays, cameras)
        rendering = self.renderer.train(
            batch.rays_o, batch.rays_d, generator=self.generator, coarseness=_COARSENESS ** (1 - ramp)
        )
        squared_error, loss = self._loss(batch, rendering)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

        n_rays, n_samples = self.progress.n_rays, rendering.samples.n_samples
        wanted = n_rays * training.samples_per_step / max(n_samples, 1)
        self.progress.n_rays = int(min(max(wanted, n_rays / 2, _FEWEST_RAYS), n_rays * 2, _MOST_RAYS))
        self.progress.step += 1
        return StepReport(loss.detach(), squared_error.detach(), n_rays, n_samples)

    def save_resume(self, run: Path) -> None:
        """Write everything that `resume` needs into a run folder."""
        tensors = {f"corrections.{name}": value for name, value in self.corrections.state_dict().items()}
        for k, state in enumerate(self.optimizer.state_dict()["state"].values()):
            tensors |= {f"optimizer.{k}.{name}": value for name, value in state.items()}
        tensors["generator"] = self.generator.get_state()
        state = {
            "config": asdict(self.config),
            "progress": asdict(self.progress),
            "grid_updates": self.grid.updates,
        }
        save_resume(run, self.field, self.grid, tensors, state)

    def resume(self, run: Path) -> None:
        """Go on where the run of this folder stopped, bit for bit as if it had not.

        Raises:
            InputError: there is nothing to resume, or it was trained with another configuration; the length
                of the training alone may differ.
        """
        path = run / RESUME
        tensors, state = read_tensors(path, self.device)
        different = _differences(state.get("config", {}), asdict(self.config))
        if different:
            raise InputError(
                f"{path}: was trained with other values of {', '.join(different)}; "
                "resume without these options, or train into another --run"
            )
        restore_model(path, tensors, self.field, self.grid)
        try:
            self.corrections.load_state_dict(_with_prefix(tensors, "corrections."))
            groups = self.optimizer.state_dict()
            count = sum(len(group["params"]) for group in groups["param_groups"])
            groups["state"] = {k: _with_prefix(tensors, f"optimizer.{k}.") for k in range(count)}
            self.optimizer.load_state_dict(groups)
            self.generator.set_state(tensors["generator"].cpu())
            self.progress = Progress(**state["progress"])
            self.grid.updates = int(state["grid_updates"])
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: not a checkpoint of this version ({error!r})") from error

    def _loss(self, batch: RayBatch, rendering: TrainingRendering) -> tuple[Tensor, Tensor]:
        training = self.config.training
        background = _background(training, len(batch.rgb), self.generator)
        alpha = batch.alpha[:, None]
        target = batch.rgb * alpha + background * (1 - alpha)
        colour = self.corrections.colour(rendering.over(background), batch.views)
        squared_error = (colour - target).square().mean()
        loss = squared_error
        if training.opacity_weight:
            loss = loss + training.opacity_weight * opacity_entropy(rendering.opacity)
        if training.distortion_weight:
            loss = loss + training.distortion_weight * distortion(rendering)
        if training.depth_weight and batch.depth is not None:
            loss = loss + training.depth_weight * depth_error(rendering, batch.depth)
        return squared_error, loss

    def run(
        self,
        *,
        save: Callable[[], None],
        save_every: float = 60.0,
        report: Callable[[int, dict[str, float]], None] | None = None,
        quiet: bool = False,
    ) -> None:
        """Train until the budget is used.

        Args:
            save: called about every `save_every` seconds, at the end, and when interrupted.
            report: called about twice a second with the step and named figures.
            quiet: no progress bar.
        """
        total, unit = (self.config.seconds, "s") if self.config.seconds else (self.config.training.steps, "steps")
        begin = time.perf_counter() - self.progress.seconds
        saved = shown = time.perf_counter()
        psnr, rays = math.nan, 0
        try:
            with tqdm(total=total, unit=unit, disable=quiet, bar_format=_BAR, desc="radiance") as bar:
                bar.update(self.done * total)
                while self.done < 1:
                    out = self.step()
                    rays += out.n_rays
                    now = time.perf_counter()
                    self.progress.seconds = now - begin
                    if now - shown > 0.5 or self.done >= 1:
                        last = -10 * math.log10(max(float(out.squared_error), 1e-10))
                        psnr = last if math.isnan(psnr) else 0.8 * psnr + 0.2 * last
                        rate = rays / (now - shown)
                        bar.set_postfix_str(f"{psnr:.1f} dB, {rate / 1000:.0f}k rays/s")
                        bar.update(self.done * total - bar.n)
                        if report:
                            figures = {"psnr": last, "loss": float(out.loss), "rays_per_second": rate}
                            report(
                                self.progress.step,
                                figures | {"n_rays": out.n_rays, "n_samples": out.n_samples},
                            )
                        shown, rays = now, 0
                    if now - saved > save_every:
                        save()
                        saved = time.perf_counter()
                        begin += saved - now  # writing is not training
        finally:
            save()


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} {unit} [{elapsed}<{remaining}{postfix}]"


def _cosine(done: float, lowest: float) -> float:
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * done))


def _background(training: RadianceTrainingConfig, n_rays: int, generator: torch.Generator) -> Tensor:
    if training.background == "random":
        return torch.rand(n_rays, 3, generator=generator, device=generator.device)
    value = 1.0 if training.background == "white" else 0.0
    return torch.full((1, 3), value, device=generator.device)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _differences(saved: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """Names of the fields that differ, the length of the training and the place of the capture aside."""
    names = []
    for name in wanted:
        path, ours, theirs = f"{prefix}{name}", wanted[name], saved.get(name)
        ours = list(ours) if isinstance(ours, tuple) else ours  # as JSON has it
        if isinstance(ours, dict) and isinstance(theirs, dict):
            names += _differences(theirs, ours, f"{path}.")
        elif ours != theirs and path not in ("scene", "training.steps", "seconds"):
            names.append(path)
    return names
