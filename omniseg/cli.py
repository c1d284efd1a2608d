"""What all commands share: the choice of the device and the way errors reach a person."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from omniseg.errors import InputError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

_INTERRUPTED = "interrupted; what was saved is complete"


def start(device: Device) -> torch.device:
    """Choose the device, "auto" being a GPU where there is one, and start the kernels on it.

    Raises:
        InputError: a GPU was asked for and there is none.
    """
    import torch  # takes seconds, in which this module already answers Ctrl-C

    from omniseg_kernels.launch import init

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
    try:
        init(device)
    except RuntimeError as error:
        raise InputError(f"--device {device}: {error}") from error
    if device == "cpu":
        _keep_freed_memory()
    return torch.device(device)


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
