"""Shared by all commands: parsing, output of one process out of several, and errors in words."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Annotated, Any, TypeVar

import tyro

from omniseg.errors import BadArgument, InputError

_INTERRUPTED = "interrupted; what was saved is complete"

_PATIENCE = 10.0
"""Seconds for rank 0 to report an error that all ranks hit; when it exits, torchrun ends the others."""

Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""Type of an option without a value and without a --no- twin."""

T = TypeVar("T")

_log = logging.getLogger("omniseg")


def optional(metavar: str, default: str) -> Any:
    """Return the annotation of an option that is None unless given; `--help` shows `default`, in words."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def is_rank_0() -> bool:
    """Return whether this process is the first of those that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def parse(arguments: type[T], *, args: Sequence[str] | None = None, default: T | None = None) -> T:
    """Parse the command line into a dataclass, whose docstrings are the help.

    Args:
        arguments: the dataclass.
        args: words to parse instead of the command line.
        default: values of what is not given; None: those of the dataclass.
    """
    with _one_rank_prints():
        if default is None:
            return tyro.cli(arguments, args=args)
        return tyro.cli(arguments, args=args, default=default)


def parse_known(arguments: type[T]) -> tuple[T, list[str]]:
    """Parse the options that a dataclass has, `--help` aside, and return the rest of the command line beside it."""
    with _one_rank_prints():
        return tyro.cli(arguments, return_unknown_args=True, add_help=False)


@contextlib.contextmanager
def _one_rank_prints() -> Iterator[None]:
    """Discard what ranks other than 0 print: all of them are given the same command line."""
    with contextlib.ExitStack() as stack:
        if not is_rank_0():
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield


def say(text: object) -> None:
    """Print a line, from rank 0 only."""
    if is_rank_0():
        print(text, flush=True)


def run(command: Callable[[], None]) -> None:
    """Run a command and exit: 0 when it is done, 1 after an error, 2 after a wrong option, 130 after Ctrl-C."""
    if int(os.environ.get("WORLD_SIZE", "1") or 1) > 1:
        signal.signal(signal.SIGINT, _interrupt_once)
        signal.signal(signal.SIGTERM, _interrupt_once)
    try:
        with _log_to_console():
            command()
    except InputError as error:
        _fail(error.as_option if isinstance(error, BadArgument) else str(error), error.exit_status)
    except KeyboardInterrupt:
        if not is_rank_0():
            sys.exit(130)
        _fail(_INTERRUPTED, 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            _let_rank_0_speak()
            raise
        _fail("out of memory; try a larger --downsample, or a smaller --training.samples-per-step or --width", 1)
    except SystemExit as ended:
        if ended.code:
            _let_rank_0_speak()
        raise
    except BaseException:
        _let_rank_0_speak()
        raise


@contextlib.contextmanager
def _log_to_console() -> Iterator[None]:
    """Print what the library logs: information to stdout, warnings to stderr; from other ranks errors only."""
    handlers: Sequence[logging.Handler] = (logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr))
    handlers[0].addFilter(lambda record: record.levelno < logging.WARNING)
    handlers[1].setLevel(logging.WARNING)
    level = _log.level
    _log.setLevel(logging.INFO if is_rank_0() else logging.ERROR)
    for handler in handlers:
        _log.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            _log.removeHandler(handler)
        _log.setLevel(level)


def _let_rank_0_speak() -> None:
    """Wait in other ranks until torchrun ends them: rank 0 reports what all of them hit."""
    if is_rank_0():
        return
    try:
        time.sleep(_PATIENCE)
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Handle a Ctrl-C that arrives directly and again through torchrun: the second must not stop the saving."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out: PyTorch has a class for a full GPU, but a full RAM is a plain RuntimeError."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )


def _fail(message: str, status: int) -> None:
    _let_rank_0_speak()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
