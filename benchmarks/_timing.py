"""Fair timings on a shared machine, and the machine, versions and commit to store with them."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Spread:
    """Median, quartiles and minimum of some durations, seconds."""

    median: float
    low: float
    high: float
    fastest: float

    @classmethod
    def from_seconds(cls, seconds: list[float]) -> "Spread":
        """Summarise at least one duration."""
        fastest, low, median, high = np.percentile(seconds, [0, 25, 50, 75])
        return cls(float(median), float(low), float(high), float(fastest))


def compare(phases: Mapping[str, list[Callable]], rounds: int, warm_up: int = 2) -> dict[str, list[Spread]]:
    """Time rivals in turns, so that other load on the machine affects all of them alike.

    Args:
        phases: functions of one run of each rival; each is timed on its own and gets the result of the one before
            it (the first one None).
        rounds: number of measured runs of each rival.
        warm_up: number of runs before these.
    Returns:
        Durations of each phase, by rival.
    """
    seconds = {name: [[] for _ in steps] for name, steps in phases.items()}
    for turn in range(warm_up + rounds):
        for name, steps in phases.items():
            carried = None
            for times, step in zip(seconds[name], steps):
                wait()
                start = time.perf_counter()
                carried = step(carried)
                wait()
                if turn >= warm_up:
                    times.append(time.perf_counter() - start)
    return {name: [Spread.from_seconds(times) for times in columns] for name, columns in seconds.items()}


def wait() -> None:
    """Wait until the GPU, if there is one, has done its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def surroundings() -> dict:
    """Return hardware, versions, commit and date of a measurement."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "taichi": version("taichi"),
    }


def save(path: Path, result: dict) -> None:
    """Write a result as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(path)


def _git(*args: str) -> str:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
