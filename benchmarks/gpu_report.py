"""Measurements that need a GPU, in one command of at most 8 minutes that needs no network.

    python benchmarks/gpu_report.py --captures DIR          write benchmarks/results/gpu-report.json, to be committed
    python benchmarks/gpu_report.py --parts speed frames    measure some parts only
    python benchmarks/gpu_report.py --arch cpu --quick --captures DIR    run all parts at tiny sizes without a GPU

DIR is a folder that holds the NeRF-synthetic capture `lego`; the environment variable OMNISEG_CAPTURES can name it
too. Measured are: kernels against torch; lego (800 x 800) trained for a minute, and in steps of 8192 rays; both stages
of the sample room; frames a second; peak memory; the test suite. Each part runs in a process of its own with a share
of the time, so that a crash or a time-out affects no other part, and the file is written after each.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from _timing import ROOT, save, surroundings
from omniseg.commands import common
from omniseg.errors import InputError
from quality import CAPTURES_VARIABLE, captures_folder

BUDGET = 480.0
SHARES = {"speed": 70, "lego_minute": 105, "lego_steps": 90, "sample": 85, "frames": 20, "tests": 110}
"""Seconds reserved for each part, in this order; later parts may also use what earlier ones leave."""
_LOG_LINES = 30
_PATIENCE = 5.0
"""Seconds between asking a process to end and killing it."""


@dataclass(frozen=True)
class Figure:
    """Row of the table.

    Attributes:
        name: label of the row.
        part, path: part of the report, and keys that lead to the value in its figures.
        form: format string of the value.
        at_least, at_most: target, if there is one.
    """

    name: str
    part: str
    path: tuple[str, ...]
    form: str
    at_least: float | None = None
    at_most: float | None = None

    def value(self, parts: dict[str, Any]) -> Any:
        """Return the value, or None if it was not measured."""
        found: Any = parts.get(self.part, {}).get("figures")
        for key in self.path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def cells(self, parts: dict[str, Any]) -> list[str]:
        """Return the cells of the row: name, value, target, and whether the target is met."""
        value = self.value(parts)
        target = "" if self.at_least is None else f"at least {self.form.format(self.at_least)}"
        target = target if self.at_most is None else f"at most {self.form.format(self.at_most)}"
        if value is None:
            return [self.name, "not measured", target, ""]
        met = (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)
        return [self.name, self.form.format(value), target, ("yes" if met else "no") if target else ""]


FIGURES = (
    Figure(
        "stage 1, a step of 8192 rays (lego, second half of its training)", "lego_steps", ("ms_per_step",), "{:.2f} ms",
        at_most=2.5,
    ),
    Figure("lego, 800 x 800, trained for 60 s", "lego_minute", ("psnr",), "{:.2f} dB", at_least=35.0),
    Figure("the same, SSIM", "lego_minute", ("ssim",), "{:.3f}"),
    Figure("lego, steps of 8192 rays: steps made", "lego_steps", ("step",), "{}", at_least=20_000),
    Figure("the same, time", "lego_steps", ("seconds",), "{:.0f} s"),
    Figure("the same, PSNR at the end (5 views)", "lego_steps", ("psnr",), "{:.2f} dB"),
    Figure("the same, PSNR after 60 s (5 views)", "lego_steps", ("psnr_after_a_minute",), "{:.2f} dB"),
    Figure(
        "stage 2, a step (sample room, mean of its training)", "sample", ("features", "ms_per_step"), "{:.2f} ms",
        at_most=2.5,
    ),
    Figure("rays of that step", "sample", ("features", "rays"), "{}"),
    Figure("sample room, 20 s a stage: PSNR", "sample", ("psnr",), "{:.2f} dB"),
    *(
        Figure(f"the same: click mIoU, {level}", "sample", ("levels", level, "click_miou"), "{:.3f}")
        for level in ("part", "object", "group")
    ),
    Figure("800 x 800 frames a second, colour (lego)", "frames", ("lego", "colour", "median"), "{:.1f}", at_least=60.0),
    Figure(
        "the same with features (sample room)", "frames", ("sample", "colour_and_features", "median"), "{:.1f}",
        at_least=60.0,
    ),
    Figure("peak memory of PyTorch, lego", "lego_minute", ("memory_gib", "torch_peak"), "{:.1f} GiB"),
    Figure("peak memory of PyTorch, sample room", "sample", ("memory_gib", "torch_peak"), "{:.1f} GiB"),
    Figure("tests passed", "tests", ("passed",), "{}"),
    Figure("tests failed", "tests", ("failed",), "{}", at_most=0),
    Figure("tests skipped", "tests", ("skipped",), "{}"),
)  # fmt: skip


def table(parts: dict[str, Any]) -> str:
    """Format a Markdown table of figures and targets, kernels, and parts that failed."""
    lines = [["figure", "measured", "target", "met"], ["---"] * 4, *(figure.cells(parts) for figure in FIGURES)]
    for row in (parts.get("speed", {}).get("figures") or {}).get("rows", []):
        ours = row["seconds"].get("taichi", {})
        each = " + ".join(f"{1e9 * spread['median'] / row['count']:.2f}" for spread in ours.values())
        ratios = ", ".join(f"{name} {times:.1f} x" for name, times in row["times_faster"].items())
        lines.append([f"{row['operator']}, {row['size']}", f"{each} ns a {row['unit']}", "", ratios])
    for name, part in parts.items():
        if part["state"] != "done":
            lines.append([f"part {name}", f"{part['state']} after {part['seconds']:.0f} s", "", ""])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def run_part(name: str, options: argparse.Namespace, folder: Path, limit: float) -> dict[str, Any]:
    """Run a part for at most `limit` seconds; returns its state, its figures, and the end of its log if it failed."""
    command = [sys.executable, str(ROOT / "benchmarks/_gpu_parts.py"), name, "--arch", options.arch]
    command += ["--folder", str(folder), "--captures", str(options.captures), "--limit", f"{limit:.1f}"]
    command += ["--quick"] if options.quick else []
    log, begin, state = folder / f"{name}.log", time.monotonic(), ""
    with log.open("w") as out:
        # In a process group of its own, so that its children can be ended with it.
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            state = "done" if process.wait(limit) == 0 else f"failed with status {process.returncode}"
        except subprocess.TimeoutExpired:
            state = "cut off"
        finally:
            _end(process)
    figures = folder / f"{name}.json"
    found = {
        "state": state,
        "seconds": time.monotonic() - begin,
        "limit": limit,
        "figures": json.loads(figures.read_text()) if figures.exists() else None,
    }
    if state != "done":
        found["log"] = log.read_text(errors="replace").replace("\r", "\n").splitlines()[-_LOG_LINES:]
    return found


def _end(process: subprocess.Popen) -> None:
    """End a process and its group."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(_PATIENCE)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue


def limits(names: Sequence[str], budget: float = BUDGET) -> Callable[[str, float], float]:
    """Return a function of a part's name and the seconds gone that gives its limit.

    A part may use all the time that is left but what is reserved for those after it.
    """
    scale = budget / BUDGET

    def limit(name: str, gone: float) -> float:
        after = names[list(names).index(name) + 1 :]
        return budget - gone - scale * sum(SHARES[other] for other in after)

    return limit


def parse() -> argparse.Namespace:
    """Parse the command line.

    Raises:
        InputError: there is no GPU, or a part has no captures.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=("cpu", "cuda"), default="cuda", help="device; cpu only with --quick")
    parser.add_argument("--quick", action="store_true", help="run all parts at tiny sizes, to see that they run")
    parser.add_argument(
        "--parts", nargs="+", choices=tuple(SHARES), default=tuple(SHARES), help="parts to measure (default: all)"
    )
    where = f"folder that holds the capture lego (default: that of {CAPTURES_VARIABLE})"
    parser.add_argument("--captures", type=Path, metavar="DIR", help=where)
    parser.add_argument(
        "--seconds", type=float, default=BUDGET, help="time for all parts in seconds (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/gpu-report.json)")
    options = parser.parse_args()
    if options.arch == "cpu" and not options.quick:
        raise InputError(
            "--arch cpu: the report is of a GPU; without one, --arch cpu --quick runs all parts at tiny sizes"
        )
    if options.arch == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "PyTorch sees no CUDA device here; run this on a machine that has one, or try it with --arch cpu --quick"
        )
    options.captures = (options.captures or captures_folder() or ROOT / "scenes").resolve()
    if not (options.captures / "lego").is_dir() and any(part.startswith("lego") for part in options.parts):
        print(f"{options.captures / 'lego'}: no such capture, so its parts will fail; give its folder with --captures")
    return options


def main() -> None:
    """Run the parts in turn."""
    options = parse()
    default = None if options.quick else ROOT / "benchmarks/results/gpu-report.json"
    out, begin = options.out or default, time.monotonic()
    chosen = [name for name in SHARES if name in options.parts]
    limit = limits(chosen, options.seconds)
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if options.arch == "cuda" else None
    around = surroundings() | {"cuda": torch.version.cuda, "gpu_memory_gib": memory}
    facts = {"surroundings": around, "quick": options.quick, "arch": options.arch, "budget": options.seconds}
    parts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            print(f"{name}...", flush=True)
            parts[name] = run_part(name, options, Path(folder), limit(name, time.monotonic() - begin))
            print(f"  {parts[name]['state']} after {parts[name]['seconds']:.0f} s", flush=True)
            if out:
                save(out, {**facts, "seconds": time.monotonic() - begin, "parts": parts})
    if options.quick:
        print("sizes are tiny, whatever a row says: these figures only show that everything runs")
    print(table(parts))
    if out:
        print(f"written: {out}")
    failed = [f"{name}: {part['state']}" for name, part in parts.items() if part["state"] != "done"]
    if failed:
        raise InputError("; ".join(failed) + (f" (the end of each log is in {out})" if out else ""))


if __name__ == "__main__":
    common.run(main)
