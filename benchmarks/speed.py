"""Speed of kernels, training steps and pictures, against PyTorch and against the limits of the machine.

    python benchmarks/speed.py [--quick] [--only PART ...] [--scene DIR] [--rounds N] [--arch cpu|cuda] [--out FILE]

Parts: "operators", every kernel against the same in PyTorch (and nerfacc, if it is installed on a GPU machine);
"steps", whole training steps of both stages and pictures of the trained fields; "growth", cost over problem size;
"lifting", the contrastive loss against its loops, and mask hierarchies; and, only on request, "psnr", quality over
training time. Every form is proved right against `omniseg_kernels.reference` before any is timed; then they are timed
in turns. Figures are medians with quartiles. On a shared machine compare the ratios.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

# As in apps/train.py: idle torch threads spin, and would take the cores from the kernels.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
os.environ.setdefault(
    "ENABLE_TAICHI_HEADER_PRINT", "0"
)  # omniseg_kernels sets this too, but is imported after Taichi here

import torch

from _ceilings import Ceilings
from _growth import growth
from _growth import lines as growth_lines
from _lifting import lifting
from _operators import OURS, QUICK, Case, Row, Size, StepInputs, rows
from _plot import plot
from _steps import Capture, psnr_over_time, steps
from _timing import ROOT, Spread, compare, save, surroundings
from omniseg import devices
from omniseg.commands import common
from omniseg.errors import InputError
from omniseg_sample_scenes.capture import make_sample

PARTS = ("operators", "steps", "growth", "lifting", "psnr")
_DEFAULT = PARTS[:-1]


def check(case: Case) -> Case:
    """Prove every form right, and return the case with the cotangents that were used.

    Raises:
        SystemExit: a form is wrong.
    """
    torch.manual_seed(1)
    if case.leaves:
        outputs = next(iter(case.forms.values()))()
        case = replace(case, cotangents=tuple(torch.randn_like(out) for out in outputs))
        exact = replace(case, cotangents=tuple(g.float() for g in case.cotangents))
    else:
        exact = case
    want = exact.run(case.reference)
    for name, form in case.forms.items():
        tolerance = case.tolerance if name == OURS else case.rivals_tolerance
        for n, (got, right) in enumerate(zip(case.run(form), want)):
            if got.shape != right.shape:
                sys.exit(f"{case.name}, {name}: result {n} has shape {tuple(got.shape)}, not {tuple(right.shape)}")
            scale = right.double().abs().max().item() if right.numel() else 0.0
            error = (got.double() - right.double()).abs().max().item() if right.numel() else 0.0
            if not error <= tolerance * scale:
                sys.exit(f"{case.name} ({case.size}), {name}: result {n} is wrong by {error:.3g} of {scale:.3g}")
    return case


def measure(case: Case, rounds: int, ceilings: Ceilings) -> dict:
    """Time all forms of a case."""
    phases = {}
    for name, form in case.forms.items():
        forward = [lambda _, form=form: form()]
        phases[name] = [*forward, lambda outputs: case.gradients(outputs)] if case.leaves else forward
    spreads = compare(phases, rounds)
    names = ("forward", "backward")
    floors = {name: case.count * ceilings.seconds(work) for name, work in zip(names, case.work)}
    return {
        "operator": case.name,
        "size": case.size,
        "unit": case.unit,
        "count": case.count,
        "seconds": {
            name: {phase: asdict(spread) for phase, spread in zip(names, columns)} for name, columns in spreads.items()
        },
        "per_second": {name: case.count / _total(columns) for name, columns in spreads.items()},
        "times_faster": {
            name: _total(columns) / _total(spreads[OURS]) for name, columns in spreads.items() if name != OURS
        },
        "bytes_each": {name: work.moved for name, work in zip(names, case.work)},
        "operations_each": {name: work.operations for name, work in zip(names, case.work)},
        "floor_seconds": floors,
        "share_of_bandwidth": case.count
        * sum(work.moved for work in case.work)
        / ceilings.bytes_per_second
        / _total(spreads[OURS]),
        "times_floor": _total(spreads[OURS]) / sum(floors.values()),
    }


def _total(columns: Sequence[Spread]) -> float:
    return sum(spread.median for spread in columns)


def table(row: dict) -> str:
    """Format a measured row."""
    moved = ", ".join(f"{n:.0f}" for n in row["bytes_each"].values())
    operations = ", ".join(f"{n:.0f}" for n in row["operations_each"].values())
    size = f"{row['operator']}: {row['size']}; {row['count']:,} {row['unit']}s"
    lines = [f"{size}; bytes of each {moved}, operations {operations}"]
    for name, phases in row["seconds"].items():
        cells = []
        for phase in ("forward", "backward"):
            ns = {key: 1e9 * value / row["count"] for key, value in phases.get(phase, {}).items()}
            cells.append(f"{ns['median']:8.1f} ({ns['low']:.1f}-{ns['high']:.1f})" if ns else "")
        ratio = row["times_faster"].get(name)
        limit = f"{100 * row['share_of_bandwidth']:4.0f} % of bandwidth, {row['times_floor']:.1f} x the least time"
        factor = limit if ratio is None else f"{ratio:6.1f} x ours"
        rate = row["per_second"][name] / 1e6
        lines.append(f"  {name:14} {cells[0]:>26} {cells[1]:>26} {rate:9.1f} M/s  {factor}")
    return "\n".join(lines)


def step_table(result: dict) -> str:
    """Format the figures of training steps and pictures."""
    lines = []
    for stage in ("radiance", "features"):
        if stage not in result:
            continue
        row = result[stage]
        step, parts = row["step"], row["parts"]
        lines.append(
            f"step of {stage}: {1e3 * step['median']:.1f} ms ({1e3 * step['low']:.1f}-{1e3 * step['high']:.1f}), "
            f"{row['rays']:.0f} rays, {row['samples']:.0f} samples, {row['rays_per_second'] / 1e3:.1f} k rays/s"
        )
        costly = sorted(parts.items(), key=lambda item: -item[1])
        lines.append("  " + ", ".join(f"{name} {1e3 * seconds:.1f}" for name, seconds in costly))
        for name, rival in row.get("rivals", {}).items():
            lines.append(f"  {name:16} {1e3 * rival['median']:8.1f} ms {rival['times_ours']:6.1f} x ours")
    if "features" in result:
        share = result["features"]["share_of_radiance_per_marched_sample"]
        lines.append(f"  a marched sample costs {share:.2f} of one in a step of radiance")
    for picture in result["pictures"]:
        width, height = picture["size"]
        seconds = ", ".join(f"{s:.3f}" for s in picture["seconds"])
        what = "colour and features" if picture["features"] else "colour"
        lines.append(f"picture, {width} x {height}, {what}: {seconds} s")
    return "\n".join(lines)


def _capture(options: argparse.Namespace, device: torch.device) -> Capture:
    """Load the capture of the command line, else the sample room, which is made if it is not there yet."""
    path = options.scene
    if path is None:
        # The tiny room of --quick is kept out of the folder where quality.py looks for captures.
        path = ROOT / ("build/benchmark" if options.quick else "scenes/sample")
        if not (path / "sam").is_dir():
            few: dict[str, Any] = (
                {"train_views": 6, "test_views": 2, "width": 60, "height": 45} if options.quick else {}
            )
            make_sample(path, overwrite=True, progress=False, **few)
    return Capture.load(path, device, options.downsample, options.quick)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and two rounds, to see that everything runs")
    parts = f"{', '.join(PARTS)}, or a part of the name of operators"
    parser.add_argument("--only", nargs="+", default=(), metavar="PART", help=parts)
    parser.add_argument("--scene", type=Path, help="capture of the steps (default: the sample room)")
    parser.add_argument("--downsample", type=float, help="factor to shrink photos by (default: as apps/train.py)")
    parser.add_argument(
        "--seconds", type=float, default=60, help="training time of the part psnr in seconds (default: 60)"
    )
    parser.add_argument("--rounds", type=int, default=15, help="number of times that each form is timed (default: 15)")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes a minute")
    parser.add_argument("--arch", choices=("cpu", "cuda"), default="cpu", help="device to run on")
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/speed-ARCH.json)")
    options = parser.parse_args()
    device = devices.start(options.arch)
    torch.manual_seed(0)
    whole = not (options.quick or options.only or options.scene)
    out = options.out or (ROOT / f"benchmarks/results/speed-{options.arch}.json" if whole else None)
    result: dict = {}
    for part in run(options, device):
        result |= part
        if out:
            save(out, result)
    if out:
        drawn = plot(result, out.with_suffix(".png"))
        print(f"written: {out}" + (f", {out.with_suffix('.png').name}" if drawn else "; no plot without matplotlib"))


def _choose(names: Sequence[str], size: Size) -> list[Row]:
    """Return the operators whose names contain one of `names`, or all operators without names.

    Raises:
        InputError: one of `names` matches no operator.
    """
    every = rows(size)
    known = sorted({row.operator for row in every})
    for name in names:
        if not any(name in operator for operator in known):
            raise InputError(f"--only {name}: no such part or operator; choose from {', '.join((*PARTS, *known))}")
    return [row for row in every if not names or any(name in row.operator for name in names)]


def _operators(chosen: list[Row], size: Size, device: torch.device, rounds: int, compiled: bool, quick: bool) -> dict:
    ceilings, measured = Ceilings.measure(device, quick), []
    print(*ceilings.lines(), sep="\n")
    print("nanoseconds per item, median (quartiles): forward, backward; million items a second; ratio", flush=True)
    step = StepInputs.make(size, device)
    for row in chosen:
        measured.append(measure(check(row.make(step, compiled)), rounds, ceilings))
        print(table(measured[-1]), flush=True)
    return {"ceilings": asdict(ceilings), "rows": measured}


def run(options: argparse.Namespace, device: torch.device) -> Iterator[dict]:
    """Measure the chosen parts, print each, and yield its figures.

    Raises:
        InputError: there is no such part.
    """
    quick, rounds = options.quick, 2 if options.quick else max(options.rounds, 1)
    compiled = not (quick or options.no_compile)
    size = QUICK if quick else Size()
    operators = [name for name in options.only if name not in PARTS]
    chosen = _choose(operators, size)
    parts = {*options.only, *(["operators"] if operators else [])} if options.only else set(_DEFAULT)
    yield {"surroundings": surroundings(), "quick": quick, "rounds": rounds}
    if "operators" in parts:
        yield _operators(chosen, size, device, rounds, compiled, quick)
    capture = _capture(options, device) if {"steps", "growth", "psnr"} & parts else None
    if capture is not None and "steps" in parts:
        measured = steps(capture, 2 if quick else 300, 2 if quick else 4 * rounds, compiled, quick)
        print(step_table(measured), flush=True)
        yield {"steps": measured}
    if capture is not None and "growth" in parts:
        grown = growth(capture, quick, rounds)
        print(*growth_lines(grown), sep="\n", flush=True)
        yield {"growth": grown}
    if "lifting" in parts:
        yield {"lifting": lifting(quick, min(rounds, 9))}
    if capture is not None and "psnr" in parts:
        yield {"psnr": psnr_over_time(capture, 5.0 if quick else options.seconds)}


if __name__ == "__main__":
    common.run(main)
