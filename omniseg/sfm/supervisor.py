"""COLMAP in a process of its own: started, watched, and ended when it hangs."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from omniseg.errors import InputError
from omniseg.files import write_atomic

LOG = "colmap.log"
"""Name of the file with the messages of COLMAP."""

_WORKER = (sys.executable, "-m", "omniseg.sfm.worker")
_UNITS = {"features": "photo", "matches": "pair", "poses": "photo"}


def require_pycolmap() -> None:
    """Check that pycolmap is installed.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("pycolmap") is None:
        raise InputError("poses of photos need pycolmap: pip install 'omniseg3d[sfm]', or give photos with poses")


def run_worker(
    job: dict[str, Any], work: Path, *, stall_seconds: float, progress: bool = True, command: Sequence[str] = _WORKER
) -> None:
    """Run a job of `omniseg.sfm.worker` to its end, with a progress bar for each stage.

    The process is ended whatever ends this function, Ctrl-C included, and ends by itself if this process is killed.

    Args:
        job: see `omniseg.sfm.worker.Worker`.
        work: folder for the job file and the log.
        stall_seconds: time without progress after which the process is taken to hang.
        progress: show progress bars.
        command: command line of the process, to which the job file is added.
    Raises:
        InputError: it hangs, or ends without a result.
    """
    job_file = work / "job.json"
    write_atomic(job_file, lambda temporary: temporary.write_text(json.dumps(job)))
    # The child finds the modules that this process has found, however it was started.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}
    with (work / LOG).open("ab") as log:
        process = subprocess.Popen(
            [*command, str(job_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the other
        )
    try:
        stage = _follow(process, stall_seconds, progress)
        status = process.wait()
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()
    if status:
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        raise InputError(
            f"COLMAP ended with {how} in the step {stage}: {_last_line(work / LOG)}\n"
            f"Start again to go on from there; its messages are in {work / LOG}"
        )


def _follow(process: subprocess.Popen[str], stall_seconds: float, progress: bool) -> str:
    """Show the reports of a process until it closes its output, and return its last stage."""
    assert process.stdout is not None
    reports: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read_lines, args=(process.stdout, reports), daemon=True).start()
    stage, bar = "start", None
    try:
        while True:
            try:
                line = reports.get(timeout=stall_seconds)
            except queue.Empty:
                raise InputError(
                    f"COLMAP made no progress for {stall_seconds:g} s in the step {stage} and was ended. Start again "
                    "to go on from there; if the photos are many and the machine is slow, give a larger "
                    "--sfm.stall-seconds"
                ) from None
            if line is None:
                return stage
            name, done, total = json.loads(line)
            if name != stage:
                if bar is not None:
                    bar.close()
                stage = name
                bar = tqdm(total=total, desc=name, unit=_UNITS.get(name, "it"), disable=not progress)
            assert bar is not None
            bar.update(done - bar.n)
    finally:
        if bar is not None:
            bar.close()


def _read_lines(stream: TextIO, lines: queue.Queue[str | None]) -> None:
    try:
        for line in stream:
            lines.put(line)
    except ValueError:  # closed meanwhile
        pass
    lines.put(None)


def _last_line(log: Path) -> str:
    """Return the last message in a log, without the stack that follows a crash."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith(("@", "***", "PC:"))]
    return lines[-1] if lines else "no message"
