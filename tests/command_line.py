"""Commands, run inside this process because starting PyTorch and Taichi again costs seconds, or by torchrun."""

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from helpers import ROOT
from omniseg.commands import common

WITHOUT_DEVICE = {"run_colmap"}
"""Commands that have no --device."""


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """Assert that it failed with a message of one or two lines that holds all `words`, without a traceback."""
        assert self.status not in (0, None), self.out
        message = self.err[self.err.index("error: ") :] if "error: " in self.err else self.err
        for word in words:
            assert str(word) in message, message
        assert "Traceback" not in self.err
        assert 'File "' not in self.err
        if message.startswith("error: "):
            assert message.strip().count("\n") <= 1, message


Run = Callable[..., Outcome]


def load(name: str) -> ModuleType:
    """Import the module of a command."""
    return importlib.import_module(f"omniseg.commands.{name}")


def run_command(device: torch.device, name: str, *arguments: object) -> Outcome:
    """Run a command as its script does, on the device of the tests."""
    module, before = load(name), sys.argv
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err, status = io.StringIO(), io.StringIO(), 0
    without = {"--device", "--help"} & set(map(str, arguments)) or name in WITHOUT_DEVICE
    chosen = [] if without else ["--device", device.type]
    sys.argv = [f"{name}.py", *map(str, arguments), *chosen]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            common.run(module.main)
    except SystemExit as ended:
        status = ended.code
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Outcome(status, out.getvalue(), err.getvalue())


def torchrun_line(processes: int, script: Path, *arguments: object) -> list[str]:
    """Return the command line that starts a script in several processes, at a free port."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--"]
    return [*launcher, str(script), *map(str, arguments)]


def torchrun(processes: int, script: Path, *arguments: object) -> Outcome:
    """Run a script in several processes, in the current folder."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        torchrun_line(processes, script, *arguments),
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def interruptible_children() -> Iterator[None]:
    """Make processes that start meanwhile end by Ctrl-C, even where this one ignores it.

    A shell without job control starts `pytest &` with SIGINT ignored, and children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def content(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder, by relative path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in _files(folder)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
