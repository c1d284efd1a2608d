"""The device of a process: choose it, and start the kernels on it."""

from __future__ import annotations

import ctypes
import os
from typing import Literal

import torch

from omniseg import distributed
from omniseg.distributed import Process
from omniseg.errors import BadArgument, InputError
from omniseg_kernels import launch

Device = Literal["auto", "cpu", "cuda"]

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def start(device: Device = "auto", process: Process | None = None) -> torch.device:
    """Choose the device and start the kernels on it; further calls return the same device.

    Args:
        device: "auto" is the device that the kernels already run on, else a GPU if there is one, else the CPU.
        process: this process among those that `torchrun` started; joins them. None: this process works alone.
    Raises:
        InputError: there is no GPU, the kernels already run on the other device, or another process is out of reach.
    """
    process = process or Process()
    chosen = choose(device, process)
    threads = None if process.local_world_size == 1 else max((os.cpu_count() or 1) // process.local_world_size, 1)
    try:
        launch.init("cuda" if chosen.type == "cuda" else "cpu", threads=threads)
    except RuntimeError as error:
        raise BadArgument("device", str(error), chosen.type) from error
    if chosen.type == "cpu":
        _keep_freed_memory()
    distributed.start(process, chosen)
    return chosen


def choose(device: Device, process: Process) -> torch.device:
    """Return the device for this process, without starting anything on it.

    Once the kernels run, "auto" is their device.

    With several processes on one machine, each gets a GPU of its own and from then on sees no other: Taichi and
    PyTorch need not agree on a number.

    Raises:
        InputError: there is no GPU, or none for this process.
    """
    current = launch.current_arch()
    if current is not None and device in ("auto", current):
        return torch.device(current)
    if process.world_size > 1 and device != "cpu":
        # torch.cuda.is_available would start CUDA, and a process keeps the list of GPUs that it saw at that time.
        count = torch.cuda.device_count()
        if count and process.local_rank >= count:
            raise InputError(
                f"process {process.local_rank} of this machine has no GPU of its own: "
                f"start no more than {count} (--nproc-per-node)"
            )
        if count:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            names = visible.split(",") if visible else list(map(str, range(count)))
            os.environ["CUDA_VISIBLE_DEVICES"] = names[process.local_rank].strip()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise BadArgument("device", "PyTorch sees no CUDA device here; use cpu", "cuda")
    return torch.device(device)


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step instead of returning it to the system.

    Left alone it settles either way: in some runs every step got its 30 MB of buffers as new pages, which took 8 ms
    of 50.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 25)  # the largest value it takes
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_M_TOP_PAD, 1 << 26)
