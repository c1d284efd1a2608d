"""One training in several processes, on a GPU each: every process does its part of every step.

A step is the same as in one process. All processes draw the same random numbers for the whole batch of rays, and each
renders its part of them (`Process.rank_slice`). What it computes alone is scaled so that the whole is the sum over the
processes: losses, and therefore gradients. The optimiser then moves the parameters of all processes alike. So
rays and samples of a step are those of all processes together, their number changes the time and not the result, and a
run may go on with another number of them. Results agree up to rounding: sums are taken in another order.

torch.nn.parallel.DistributedDataParallel does the same for a module whose `forward` is called once a step. Here a step
calls several functions of several modules, and nearly all of the gradient is one table's, which is complete only at
the end of the backward pass: there would be nothing to overlap. `sum_gradients` does what DDP does with one bucket.

Outside of torchrun each function returns what it was given, and torch.distributed is not touched.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from omniseg.errors import InputError

MOST_PROCESSES = 64
"""A step never has fewer rays, so that every process has one."""

_ENVIRONMENT = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}


@dataclass(frozen=True)
class Process:
    """One of several processes, as `torchrun` numbers them; by default the only one.

    rank, world_size: number of this process, and how many there are.
    local_rank, local_world_size: the same of this machine.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @classmethod
    def from_environment(cls) -> "Process":
        """Read RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE; without them, all is done here.

        Raises:
            InputError: they are no numbers, or do not fit together.
        """
        values = {name: os.environ.get(name, default) for name, default in _ENVIRONMENT.items()}
        if not all(value.isdecimal() for value in values.values()):
            raise InputError(f"environment: expected numbers, got {values}; torchrun sets them, or none is set")
        process = cls(*(int(value) for value in values.values()))
        if process.rank >= process.world_size:
            raise InputError(f"environment: RANK {process.rank} must be less than WORLD_SIZE {process.world_size}")
        return process

    def rank_slice(self, n: int) -> slice:
        """This process's part of n things: one after another by rank, none larger by more than one."""
        each, more = divmod(n, self.world_size)
        begin = self.rank * each + min(self.rank, more)
        return slice(begin, begin + each + (self.rank < more))


_process = Process()


def start(process: Process, device: torch.device) -> None:
    """Join the processes that torchrun started together, each with its own GPU or all of them on CPUs.

    Raises:
        InputError: they are too many or cannot be reached.
    """
    global _process
    if process in (Process(), _process):
        return
    if process.world_size > MOST_PROCESSES:
        raise InputError(f"{process.world_size} processes are too many; start no more than {MOST_PROCESSES}")
    # What the host wants to know, it is told without waiting for its GPU: by gloo, also where tensors go by NCCL.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, rank=process.rank, world_size=process.world_size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the other processes cannot be reached ({reason}); start them with torchrun") from error
    _process = process


def stop() -> None:
    """Leave the others; this process may go on alone."""
    global _process
    if _process.world_size > 1:
        dist.destroy_process_group()
    _process = Process()


def process() -> Process:
    """This process among those that train together; the only one outside of `start` and `stop`."""
    return _process


def wait() -> None:
    """Return when every process has come here."""
    count(0)


def count(n: int) -> int:
    """Sum of a number over the processes."""
    return n if _process.world_size == 1 else int(_total(torch.tensor(n)))


def agreed(value: float) -> float:
    """The value that the first process has."""
    if _process.world_size == 1:
        return value
    theirs = torch.tensor(value, dtype=torch.float64)
    with _together():
        dist.broadcast(theirs, 0)
    return float(theirs)


def totals(*values: Tensor) -> tuple[Tensor, ...]:
    """Sums of scalars over the processes, without gradient."""
    return values if _process.world_size == 1 else _total(torch.stack(values).detach()).unbind()


def gather(mine: Tensor, n: int) -> Tensor:
    """All rows of something that every process has its part of.

    Differentiable: every process must make the same loss of all rows, and gets the gradient of its own.

    Args:
        mine: (part of n, ...) rows `process().rank_slice(n)`.
        n: rows of all processes.
    Returns:
        (n, ...)
    """
    return mine if _process.world_size == 1 else _Gather.apply(mine, _process.rank_slice(n), n)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mine: Tensor, part: slice, n: int) -> Tensor:
        ctx.part = part
        rows = mine.new_zeros(n, *mine.shape[1:])
        rows[part] = mine
        return _total(rows)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None, None]:
        return g[ctx.part], None, None


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace the gradient of each parameter by its sum over the processes."""
    if _process.world_size == 1:
        return
    parameters = list(parameters)
    # A process whose rays meet nothing may have no gradient where others have one.
    flat = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
    summed = _total(torch.cat(flat)).split([p.numel() for p in parameters])
    for parameter, gradient in zip(parameters, summed):
        parameter.grad = gradient.view_as(parameter)


def copy_from_first(modules: Iterable[torch.nn.Module]) -> None:
    """Give modules the parameters and buffers that they have in the first process."""
    if _process.world_size == 1:
        return
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            with _together():
                dist.broadcast(tensor.detach(), 0)


def _total(tensor: Tensor) -> Tensor:
    """Sum over the processes, in place."""
    with _together():
        dist.all_reduce(tensor)
    return tensor


@contextmanager
def _together() -> Iterator[None]:
    """A process that ends is noticed by the others when they wait for it; only that one knows why."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        # Without the place in gloo's source, and without its advice.
        reason = re.sub(r"^\[\S+\] ", "", str(error)).splitlines()[0].partition(". ")[0]
        raise InputError(f"lost another process of this training: it or torchrun says why ({reason})") from error
