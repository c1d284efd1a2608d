"""What all commands process: the choice of the device and the way errors reach a person."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Literal, TextIO

from omniseg.distributed import Process
from omniseg.errors import InputError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

_INTERRUPTED = "interrupted; what was saved is complete"

_PATIENCE = 10.0
"""Seconds in which the first of several processes can say what is wrong with all of them."""
_silenced: TextIO | None = None
"""What stderr was before `leave_the_word`."""


def start(device: Device, process: Process | None = None) -> torch.device:
    """Choose the device, "auto" being a GPU where there is one, and start the kernels on it.

    Args:
        device: what the command line asks for.
        process: this process among those that `torchrun` started to train together; joins them.
    Raises:
        InputError: a GPU was asked for and there is none, or the other processes cannot be reached.
    """
    process = process or Process()
    chosen = choose(device, process)

    from omniseg import distributed
    from omniseg_kernels.launch import init

    cores = None if process.local_world_size == 1 else max((os.cpu_count() or 1) // process.local_world_size, 1)
    try:
        init("cuda" if chosen.type == "cuda" else "cpu", threads=cores)
    except RuntimeError as error:
        raise InputError(f"--device {chosen.type}: {error}") from error
    if chosen.type == "cpu":
        _keep_freed_memory()
    if process.world_size > 1:
        signal.signal(signal.SIGINT, _interrupt_once)
        signal.signal(signal.SIGTERM, _interrupt_once)
    distributed.start(process, chosen)
    return chosen


def choose(device: Device, process: Process) -> torch.device:
    """The device by its name on the command line, "auto" being a GPU where there is one.

    Of several processes on a machine each gets a GPU to itself, which from then on is the only one it sees: Taichi
    and PyTorch need not agree on a number.

    Raises:
        InputError: a GPU was asked for and there is none, or none for this process.
    """
    import torch  # takes seconds, in which this module already answers Ctrl-C

    if process.world_size > 1 and device != "cpu":
        # Not is_available, which starts CUDA: from then on a process sees what it saw at that time.
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
        raise InputError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
    return torch.device(device)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Ctrl-C reaches a process itself and then through torchrun: the second time must not stop it from saving."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step instead of giving it back to the system.

    By itself it settles either way: in some runs every step got its buffers, 30 MB, as new pages, and took 8 ms of 50
    longer.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 25)  # the largest it takes
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_M_TOP_PAD, 1 << 26)


def run(command: Callable[[], None]) -> None:
    """Run a command and exit: 0 when it is done, 1 after an error that is told in words, 130 after Ctrl-C."""
    try:
        with _in_turn():
            command()
    except InputError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail(_INTERRUPTED, 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        _fail("out of memory; try a larger --downsample, or a smaller --training.samples-per-step or --width", 1)


def leave_the_word(process: Process) -> None:
    """Let the first of several processes alone print; the others only what ends them and did not end the first."""
    global _silenced
    if process.rank:
        _silenced = sys.stderr
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115


@contextmanager
def _in_turn() -> Iterator[None]:
    """What goes wrong in all processes, the first says; when it ends, torchrun ends the others."""
    try:
        yield
    except BaseException as error:
        if _silenced is None or (isinstance(error, SystemExit) and not error.code):
            raise
        try:
            if isinstance(error, KeyboardInterrupt):
                raise
            time.sleep(_PATIENCE)
        except KeyboardInterrupt:
            sys.exit(130)
        sys.stderr = _silenced
        raise


def _out_of_memory(error: Exception) -> bool:
    """PyTorch has a class for a full GPU, but a full main memory is a RuntimeError like any other."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )


def _fail(message: str, status: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def _without_traceback(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Ctrl-C while a command is still importing, before `run` has begun, is no error to look into."""
    if issubclass(kind, KeyboardInterrupt):
        print("error: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _without_traceback
