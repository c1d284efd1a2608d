"""Training loop of both stages: budget, learning rate, optimiser, checkpoints, resume."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from omniseg import distributed
from omniseg.config import Config, OptimizationConfig
from omniseg.errors import InputError
from omniseg.profiling import span
from omniseg.run_folder import read_metadata, read_tensors, with_prefix, write_tensors
from omniseg.training.learning_curve import LearningCurve

FREE_ON_RESUME = ("scene", "seconds", "levels", "prompts", "segment_tree")
"""Fields of the configuration that may change on resume in either stage."""
_REPORT_EVERY = 0.5
"""Seconds between two updates of the progress bar."""
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} {unit} [{elapsed}<{remaining}{postfix}]"


@dataclass
class Progress:
    """State of a training that is saved and restored with it: steps and seconds done, rays of the next step."""

    step: int = 0
    seconds: float = 0.0
    n_rays: int = 0


@dataclass(frozen=True)
class StepReport:
    """Figures of one step.

    Attributes:
        loss: scalar on the device, so that the caller decides when to wait for it.
        error: scalar on the device, defined by the stage.
        n_rays, n_samples: numbers of rays and samples of all ranks.
    """

    loss: Tensor
    error: Tensor
    n_rays: int
    n_samples: int


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers on the CPU, and restore their state at the end: it is the host program's."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class Trainer(ABC):
    """Training of one stage.

    Args:
        config: resolved configuration.
        optimization: section of the configuration that holds steps, learning rate and Adam's parameters.
        device: device of the modules and of all random numbers.
        modules: modules that are trained or saved, by the prefix of their tensors in the resume file.
        groups: parameters of each optimiser group, and its learning rate as a factor on that of the stage.
        free: fields of the configuration, or whole sections, that may change on resume besides `FREE_ON_RESUME`.
    """

    stage: str
    """Name of the stage, for the progress bar."""
    resume_file: str
    """Path of the resume file in a run folder."""

    def __init__(
        self,
        config: Config,
        optimization: OptimizationConfig,
        device: torch.device,
        *,
        modules: Mapping[str, torch.nn.Module],
        groups: list[tuple[list[torch.nn.Parameter], float]],
        free: tuple[str, ...],
    ) -> None:
        self.config, self.optimization, self.device = config, optimization, device
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.progress = Progress()
        self.curve = LearningCurve(device)
        chosen: list[dict[str, Any]] = [{"params": params, "scale": scale} for params, scale in groups if params]
        self.optimizer = torch.optim.Adam(
            chosen, lr=optimization.lr, betas=optimization.adam_betas, eps=optimization.adam_eps, fused=True
        )
        self._modules, self._free = modules, (*FREE_ON_RESUME, *free)
        distributed.broadcast_modules(modules.values())

    @abstractmethod
    def step(self) -> StepReport:
        """Do one optimisation step."""

    @abstractmethod
    def figure(self, error: float) -> tuple[str, float, str]:
        """Return name, value and unit of the figure that the progress bar shows, from the error of a step."""

    @property
    def done(self) -> float:
        """Fraction of the budget that is used, in [0, 1]."""
        return _fraction(self.progress, self.config, self.optimization)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step: from `lr` to `lr * lr_floor` along a cosine."""
        floor = self.optimization.lr_floor
        return self.optimization.lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * self.done)))

    def descend(self, loss: Tensor) -> None:
        """Update the parameters by the gradient of `loss`, summed over the ranks."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * group["scale"]
        self.optimizer.zero_grad(set_to_none=True)
        with span("backward"):
            loss.backward()
        with span("all-reduce"):
            distributed.sum_gradients(p for group in self.optimizer.param_groups for p in group["params"])
        with span("optimiser"):
            self.optimizer.step()

    def extra_state(self) -> dict[str, Any]:
        """Return plain values that `resume` needs besides tensors, progress and configuration."""
        return {}

    def restore_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the values that `extra_state` returned."""
        assert not state

    def save_resume(self, run: Path) -> None:
        """Write everything that `resume` needs into a run folder."""
        tensors = {f"{name}.{k}": v for name, module in self._modules.items() for k, v in module.state_dict().items()}
        for k, state in enumerate(self.optimizer.state_dict()["state"].values()):
            tensors |= {f"optimizer.{k}.{name}": value for name, value in state.items()}
        tensors["generator"] = self.generator.get_state()
        values = {"config": asdict(self.config), "progress": asdict(self.progress), "extra": self.extra_state()}
        write_tensors(run / self.resume_file, tensors, values)

    def resume(self, run: Path) -> None:
        """Continue the training of a run folder, bit for bit as if it had not stopped.

        Raises:
            InputError: there is nothing to resume, or it was trained with another configuration; only the length
                of the training may differ.
        """
        path = run / self.resume_file
        tensors, state = read_tensors(path, self.device)
        try:
            saved = Config.from_dict(state["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a checkpoint of this version ({error}); train again") from error
        different = _differences(asdict(saved), asdict(self.config), self._free)
        if different:
            raise InputError(
                f"{path}: was trained with other values of {', '.join(different)}; "
                "resume without these options, or train into another --run"
            )
        try:
            for name, module in self._modules.items():
                module.load_state_dict(with_prefix(tensors, f"{name}."))
            groups = self.optimizer.state_dict()
            count = sum(len(group["params"]) for group in groups["param_groups"])
            groups["state"] = {k: with_prefix(tensors, f"optimizer.{k}.") for k in range(count)}
            self.optimizer.load_state_dict(groups)
            self.generator.set_state(tensors["generator"].cpu())
            self.progress = Progress(**state["progress"])
            self.restore_extra_state(state["extra"])
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: not a checkpoint of this configuration and version ({reason})") from error

    def run(
        self,
        *,
        save: Callable[[], None],
        save_every: float = 60.0,
        report: Callable[[int, dict[str, float]], None] | None = None,
        milestones: Mapping[float, Callable[[], None]] | None = None,
        progress: bool = True,
    ) -> None:
        """Train until the budget is used.

        Args:
            save: called about every `save_every`, at the end, and on an exception.
            save_every: time between two calls of `save`, seconds.
            report: called about twice a second with the step and named figures.
            milestones: fraction of the training -> function, called once when the training has come that far.
            progress: show a progress bar.
        """
        total, unit = (self.config.seconds, "s") if self.config.seconds else (self.optimization.steps, "steps")
        begin = time.perf_counter() - self.progress.seconds
        saved = shown = time.perf_counter()
        smooth, rays = math.nan, 0
        ahead = sorted(at for at in milestones or {} if at > self.done)
        try:
            with tqdm(total=total, unit=unit, disable=not progress, bar_format=_BAR, desc=self.stage) as bar:
                bar.update(self.done * total)
                while self.done < 1:
                    before, out = self.done, self.step()
                    self.curve.add(before, out.error)
                    rays += out.n_rays
                    now = time.perf_counter()
                    self.progress.seconds = now - begin
                    if self.config.seconds:  # all ranks stop at the same step
                        self.progress.seconds = distributed.broadcast_float(self.progress.seconds)
                    if now - shown > _REPORT_EVERY or self.done >= 1:
                        name, last, unit_of_figure = self.figure(float(out.error))
                        smooth = last if math.isnan(smooth) else 0.8 * smooth + 0.2 * last
                        rate = rays / (now - shown)
                        bar.set_postfix_str(f"{smooth:.3g} {unit_of_figure}, {rate / 1000:.0f}k rays/s")
                        bar.update(self.done * total - bar.n)
                        if report:
                            figures = {name: last, "loss": float(out.loss), "rays_per_second": rate}
                            report(self.progress.step, figures | {"n_rays": out.n_rays, "n_samples": out.n_samples})
                        shown, rays = now, 0
                    while milestones and ahead and self.done >= ahead[0]:
                        milestones[ahead.pop(0)]()
                        begin += time.perf_counter() - now  # neither this nor saving is training
                        now = time.perf_counter()
                    if now - saved > save_every:
                        save()
                        saved = time.perf_counter()
                        begin += saved - now
        finally:
            save()


def fraction_done(resume_file: Path, config: Config, optimization: OptimizationConfig) -> float:
    """Return the fraction of a budget that a saved training has used, in [0, 1].

    Args:
        resume_file: file that `Trainer.save_resume` wrote.
        config: configuration with the budget, which may be another than that of the training.
        optimization: its section for the stage.
    Raises:
        InputError: the file is damaged or foreign.
    """
    try:
        return _fraction(Progress(**read_metadata(resume_file)["progress"]), config, optimization)
    except (KeyError, TypeError) as error:
        raise InputError(f"{resume_file}: not a checkpoint of this version ({error}); train again") from error


def _fraction(progress: Progress, config: Config, optimization: OptimizationConfig) -> float:
    return min(progress.seconds / config.seconds if config.seconds else progress.step / optimization.steps, 1.0)


def _differences(saved: dict[str, Any], current: dict[str, Any], free: tuple[str, ...], prefix: str = "") -> list[str]:
    """Return the names of the fields that differ, without those that are free to."""
    names = []
    for name, value in current.items():
        path = f"{prefix}{name}"
        if path in free:
            continue
        if isinstance(value, dict):
            names += _differences(saved[name], value, free, f"{path}.")
        elif value != saved[name]:
            names.append(path)
    return names
