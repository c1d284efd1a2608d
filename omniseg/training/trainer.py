"""What training a stage takes, whichever it is: a budget, an optimiser, a loop, and going on after a stop."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from omniseg import distributed
from omniseg.config import Config
from omniseg.errors import InputError
from omniseg.run_folder import read_tensors, with_prefix, write_tensors

_LOWEST_LR = 1 / 30
_REPORT_EVERY = 0.5
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} {unit} [{elapsed}<{remaining}{postfix}]"


@dataclass
class Progress:
    """How far a training has come; saved and restored with it."""

    step: int = 0
    seconds: float = 0.0
    n_rays: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    loss, error: tensors on the device, so that reading them is the caller's decision; what `error` is, the
        stage says.
    n_rays, n_samples: how many were looked at.
    """

    loss: Tensor
    error: Tensor
    n_rays: int
    n_samples: int


class Trainer(ABC):
    """A training of one stage.

    Args:
        config: resolved configuration.
        device: where everything lies.
        modules: what is learned or kept, by the names that its tensors have on disk.
        groups: parameters of the optimiser and the share of the learning rate that each group gets.
        steps: optimisation steps, unless the configuration has a budget of seconds.
        lr: learning rate of Adam at the start; falls to a thirtieth by a cosine.
        free: prefixes of the configuration's fields that may change between two sessions.
    """

    stage: str
    """Name of the stage, for the progress bar."""
    resume_file: str
    """Where in a run folder the state is kept."""

    def __init__(
        self,
        config: Config,
        device: torch.device,
        *,
        modules: Mapping[str, torch.nn.Module],
        groups: list[tuple[list[torch.nn.Parameter], float]],
        steps: int,
        lr: float,
        free: tuple[str, ...],
    ) -> None:
        self.config, self.device, self.steps, self.lr = config, device, steps, lr
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.progress = Progress()
        chosen: list[dict[str, Any]] = [{"params": params, "scale": scale} for params, scale in groups if params]
        self.optimizer = torch.optim.Adam(chosen, lr=lr, betas=(0.9, 0.99), eps=1e-15, fused=True)
        self._modules, self._free = modules, free
        distributed.copy_from_first(modules.values())

    @abstractmethod
    def step(self) -> StepReport:
        """One optimisation step."""

    @abstractmethod
    def figure(self, error: float) -> tuple[str, float, str]:
        """Name, value and unit of what a person watches, from the error of a step."""

    @property
    def done(self) -> float:
        """Share of the budget that is used, in [0, 1]."""
        budget = self.config.seconds
        return min(self.progress.seconds / budget if budget else self.progress.step / self.steps, 1.0)

    def descend(self, loss: Tensor) -> None:
        """Move the parameters against the gradient of `loss`, at the learning rate of the moment.

        Where several processes train, against the sum of their gradients.
        """
        rate = self.lr * (_LOWEST_LR + (1 - _LOWEST_LR) * 0.5 * (1 + math.cos(math.pi * self.done)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        distributed.sum_gradients(p for group in self.optimizer.param_groups for p in group["params"])
        self.optimizer.step()

    def extra_state(self) -> dict[str, Any]:
        """Plain values that `resume` needs beyond tensors, progress and configuration."""
        return {}

    def restore_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `extra_state` gave."""
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
        """Go on where the run of this folder stopped, bit for bit as if it had not.

        Raises:
            InputError: there is nothing to resume, or it was trained with another configuration; the length
                of the training alone may differ.
        """
        path = run / self.resume_file
        tensors, state = read_tensors(path, self.device)
        different = _differences(state.get("config", {}), asdict(self.config), self._free)
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
        quiet: bool = False,
    ) -> None:
        """Train until the budget is used.

        Args:
            save: called about every `save_every` seconds, at the end, and when interrupted.
            report: called about twice a second with the step and named figures.
            quiet: no progress bar.
        """
        total, unit = (self.config.seconds, "s") if self.config.seconds else (self.steps, "steps")
        begin = time.perf_counter() - self.progress.seconds
        saved = shown = time.perf_counter()
        smooth, rays = math.nan, 0
        try:
            with tqdm(total=total, unit=unit, disable=quiet, bar_format=_BAR, desc=self.stage) as bar:
                bar.update(self.done * total)
                while self.done < 1:
                    out = self.step()
                    rays += out.n_rays
                    now = time.perf_counter()
                    self.progress.seconds = now - begin
                    if self.config.seconds:  # all processes stop at the same step
                        self.progress.seconds = distributed.agreed(self.progress.seconds)
                    if now - shown > _REPORT_EVERY or self.done >= 1:
                        name, last, unit = self.figure(float(out.error))
                        smooth = last if math.isnan(smooth) else 0.8 * smooth + 0.2 * last
                        rate = rays / (now - shown)
                        bar.set_postfix_str(f"{smooth:.3g} {unit}, {rate / 1000:.0f}k rays/s")
                        bar.update(self.done * total - bar.n)
                        if report:
                            figures = {name: last, "loss": float(out.loss), "rays_per_second": rate}
                            report(self.progress.step, figures | {"n_rays": out.n_rays, "n_samples": out.n_samples})
                        shown, rays = now, 0
                    if now - saved > save_every:
                        save()
                        saved = time.perf_counter()
                        begin += saved - now  # writing is not training
        finally:
            save()


def _differences(saved: dict[str, Any], wanted: dict[str, Any], free: tuple[str, ...], prefix: str = "") -> list[str]:
    """Names of the fields that differ, those aside that are free to."""
    names = []
    for name in wanted:
        path, ours, theirs = f"{prefix}{name}", wanted[name], saved.get(name)
        ours = list(ours) if isinstance(ours, tuple) else ours  # as JSON has it
        if path in free:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            names += _differences(theirs, ours, free, f"{path}.")
        elif ours != theirs:
            names.append(path)
    return names
