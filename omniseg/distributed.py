"""Training in several processes, one GPU each: every rank computes its part of every step.

A step is the same as in one process. All ranks draw the same random numbers for the whole batch of rays, and each
renders its slice of the batch (`Process.rank_slice`). Losses are scaled so that the whole loss, and therefore its
gradient, is the sum over the ranks. The optimiser then moves the parameters of all ranks alike. So the rays and samples
of a step are those of all ranks together, the world size changes the time and not the result, and a run may be resumed
with another world size. Results agree up to rounding, because sums are taken in another order.

torch.nn.parallel.DistributedDataParallel does this for a module whose `forward` is called once a step. Here a step
calls several functions of several modules, and nearly all of the gradient belongs to one hash table, whose gradient is
complete only at the end of the backward pass: there is nothing to overlap. `sum_gradients` does what DDP does with one
bucket.

Without torchrun each function returns its argument, and torch.distributed is not used.
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

MAX_WORLD_SIZE = 64
"""Largest number of processes that can train together."""

_ENVIRONMENT = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}


@dataclass(frozen=True)
class Process:
    """One process as `torchrun` numbers them; by default the only one.

    Attributes:
        rank: number of this process, from 0.
        local_rank: number of this process on its machine.
        world_size: number of processes.
        local_world_size: number of processes on this machine.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @classmethod
    def from_environment(cls) -> "Process":
        """Read RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE; without them this is the only process.

        Raises:
            InputError: they are not numbers, or contradict each other.
        """
        values = {name: os.environ.get(name, default) for name, default in _ENVIRONMENT.items()}
        if not all(value.isdecimal() for value in values.values()):
            raise InputError(f"environment: expected numbers, got {values}; torchrun sets them, or none is set")
        process = cls(*(int(value) for value in values.values()))
        if process.rank >= process.world_size:
            raise InputError(f"environment: RANK {process.rank} must be less than WORLD_SIZE {process.world_size}")
        return process

    def rank_slice(self, n: int) -> slice:
        """Return this rank's slice of n items; slices are ordered by rank, and their lengths differ by at most 1."""
        each, more = divmod(n, self.world_size)
        begin = self.rank * each + min(self.rank, more)
        return slice(begin, begin + each + (self.rank < more))


_process = Process()


def start(process: Process, device: torch.device) -> None:
    """Join the process group that torchrun started, whose ranks have a GPU each or all run on CPUs.

    Raises:
        InputError: there are more than `MAX_WORLD_SIZE` processes, or they cannot be reached.
    """
    global _process
    if process in (Process(), _process):
        return
    if process.world_size > MAX_WORLD_SIZE:
        raise InputError(f"{process.world_size} processes are too many; start no more than {MAX_WORLD_SIZE}")
    # Numbers for the host go by gloo, also beside NCCL, so that it need not wait for its GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, rank=process.rank, world_size=process.world_size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the other processes cannot be reached ({reason}); start them with torchrun") from error
    _process = process


def stop() -> None:
    """Leave the process group; this process may go on alone."""
    global _process
    if _process.world_size > 1:
        dist.destroy_process_group()
    _process = Process()


def process() -> Process:
    """Return this process: its rank between `start` and `stop`, else the only process."""
    return _process


def barrier() -> None:
    """Wait until every rank has called this."""
    sum_int(0)


def sum_int(n: int) -> int:
    """Return the sum of an integer over the ranks."""
    return n if _process.world_size == 1 else int(_all_reduce(torch.tensor(n)))


def broadcast_float(value: float) -> float:
    """Return the value that rank 0 has."""
    if _process.world_size == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64)
    with _lost_rank_explained():
        dist.broadcast(tensor, 0)
    return float(tensor)


def sum_scalars(*values: Tensor) -> tuple[Tensor, ...]:
    """Return the sum of each scalar tensor over the ranks, without gradient."""
    return values if _process.world_size == 1 else _all_reduce(torch.stack(values).detach()).unbind()


def all_gather(mine: Tensor, n: int) -> Tensor:
    """Return all n rows of a tensor of which every rank has a slice.

    Differentiable: every rank must compute the same loss of all rows, and gets the gradient of its own.

    Args:
        mine: (n_mine, ...) rows `process().rank_slice(n)`.
        n: number of rows of all ranks.
    Returns:
        (n, ...)
    """
    return mine if _process.world_size == 1 else _AllGather.apply(mine, _process.rank_slice(n), n)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mine: Tensor, rows_of_rank: slice, n: int) -> Tensor:
        ctx.rows_of_rank = rows_of_rank
        rows = mine.new_zeros(n, *mine.shape[1:])
        rows[rows_of_rank] = mine
        return _all_reduce(rows)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None, None]:
        return g[ctx.rows_of_rank], None, None


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace the gradient of each parameter by its sum over the ranks."""
    if _process.world_size == 1:
        return
    parameters = list(parameters)
    # A rank whose rays hit nothing may have no gradient where others have one.
    flat = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
    summed = _all_reduce(torch.cat(flat)).split([p.numel() for p in parameters])
    for parameter, gradient in zip(parameters, summed):
        parameter.grad = gradient.view_as(parameter)


def broadcast_modules(modules: Iterable[torch.nn.Module]) -> None:
    """Overwrite the parameters and buffers of modules with those of rank 0."""
    if _process.world_size == 1:
        return
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            with _lost_rank_explained():
                dist.broadcast(tensor.detach(), 0)


def _all_reduce(tensor: Tensor) -> Tensor:
    """Sum a tensor over the ranks in place, and return it."""
    with _lost_rank_explained():
        dist.all_reduce(tensor)
    return tensor


@contextmanager
def _lost_rank_explained() -> Iterator[None]:
    """Raise an InputError where a collective fails because another rank has ended; only that rank knows why."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        # The place in gloo's source and its advice are left out.
        reason = re.sub(r"^\[\S+\] ", "", str(error)).splitlines()[0].partition(". ")[0]
        raise InputError(f"lost another process of this training: it or torchrun says why ({reason})") from error
