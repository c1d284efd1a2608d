"""What all commands share: the choice of the device and the way errors reach a person."""

import os
import sys
from collections.abc import Callable
from typing import Literal

import torch
from omniseg_kernels.launch import init

from omniseg.errors import InputError

Device = Literal["auto", "cpu", "cuda"]


def start(device: Device) -> torch.device:
    """Choose the device, "auto" being a GPU where there is one, and start the kernels on it.

    Raises:
        InputError: a GPU was asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        init(device)
    except RuntimeError as error:
        raise InputError(f"--device {device}: {error}; use --device cpu") from error
    return torch.device(device)


def run(command: Callable[[], None]) -> None:
    """Run a command and exit: 0 when it is done, 1 after an error that is told in words, 130 after Ctrl-C."""
    try:
        command()
    except InputError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted; what was saved is complete", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _fail(message: str, status: int) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
