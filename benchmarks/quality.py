"""PSNR, SSIM, click and prompt mIoU of several captures, in one table.

    python benchmarks/quality.py                        train the sample room and every capture found, print the table
    python benchmarks/quality.py --captures DIR ...     train these captures only
    python benchmarks/quality.py runs/*                 train nothing; print the table of runs that train.py measured
    python benchmarks/quality.py --matrix               make sample scenes of every kind with three seeds, train all
    python benchmarks/quality.py --quick                take a few steps of everything, to see that it runs

Captures are looked for in the folder `scenes` and in the folder that the environment variable OMNISEG_CAPTURES names.
Each is trained and measured by `apps/train.py` with its defaults, in a process of its own; this file collects the
figures from `metrics.json`.

The matrix trains without depth images. Its first kinds are for choosing parameters, the others only for reporting: what
is tuned on scenes looks better there than anywhere else. A scene's seed is its training's seed, too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from _figures import Row, read_row
from _matrix import SEEDS, make_scene, matrix_table
from _timing import ROOT, save, surroundings
from omniseg import devices
from omniseg.commands import common
from omniseg.data.formats import read_scene
from omniseg.errors import InputError
from omniseg_sample_scenes.kinds import KINDS, KindName

SAMPLE = ROOT / "scenes" / "sample"
CAPTURES_VARIABLE = "OMNISEG_CAPTURES"
"""Environment variable that names a folder of captures."""
QUICK = (
    "--training.steps=4",
    "--training.samples-per-step=1024",
    "--marching.resolution=16",
    "--marching.step=0.1",
    "--radiance.encoding.log2-table=10",
    "--features.encoding.log2-table=10",
    "--feature-training.steps=4",
    "--feature-training.rays-per-step=64",
)
"""Options of train.py that make a training take a moment."""


def captures_folder() -> Path | None:
    """Return the folder that OMNISEG_CAPTURES names, or None if it is not set.

    Raises:
        InputError: there is no such folder.
    """
    name = os.environ.get(CAPTURES_VARIABLE)
    if not name:
        return None
    if not Path(name).is_dir():
        raise InputError(f"{CAPTURES_VARIABLE}: {name} is not a folder; name one that holds captures, or unset it")
    return Path(name).resolve()


def find_captures(parents: Sequence[Path]) -> list[Path]:
    """Return the captures among the subfolders of `parents`, the sample room first, whether it exists yet or not."""
    found = [SAMPLE]
    for parent in parents:
        folders = sorted(parent.iterdir()) if parent.is_dir() else []
        found += [path for path in folders if path.is_dir() and path != SAMPLE and _is_capture(path)]
    return found


def _is_capture(path: Path) -> bool:
    try:
        read_scene(path)
    except InputError:
        return False
    return True


def train(capture: Path, run: Path, options: Sequence[str]) -> None:
    """Train and measure a capture into a run folder.

    Raises:
        InputError: the training failed, and has printed why.
    """
    scene = [] if capture == SAMPLE else ["--scene", str(capture)]  # without a scene it makes the sample room
    command = [sys.executable, "apps/train.py", *scene, "--run", str(run), *options]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr)
    if done.returncode:
        raise InputError(f"{capture}: training ended with status {done.returncode}; see above")


def table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table."""
    four = "click, prompt, recall 50 / 75"
    measured = ["scene", "format", "photos", "test views", "training, s", "PSNR, dB", "SSIM"]
    heads = [*measured, f"part: {four}", "object", "group"]
    lines = [heads, ["---"] * len(heads), *(row.cells for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="*", help="run folders with figures; nothing is trained")
    parser.add_argument(
        "--captures", type=Path, nargs="+", metavar="DIR", help="captures to train, instead of those found"
    )
    parser.add_argument(
        "--seconds", type=float, help="training time of each stage in seconds (default: a number of steps, as train.py)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device to compute on")
    parser.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder to keep the runs in (default: they are deleted)"
    )
    parser.add_argument("--matrix", action="store_true", help="train sample scenes of every kind with several seeds")
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), help="kinds of the matrix (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of the matrix (default: 0 1 2)")
    parser.add_argument("--quick", action="store_true", help="take a few steps of everything, to see that it runs")
    default = "benchmarks/results/quality-DEVICE.json, or matrix-DEVICE.json"
    parser.add_argument("--out", type=Path, help=f"JSON file (default: {default})")
    options = parser.parse_args()
    if options.matrix and (options.run or options.captures):
        parser.error("--matrix makes its own captures: leave out run folders and --captures")
    if not options.matrix and (options.kinds or options.seeds):
        parser.error("--kinds and --seeds choose parts of the matrix: add --matrix")
    if options.quick and options.seconds is not None:
        parser.error("--quick and --seconds both set the length of the training: give one of them")
    if options.run and (options.captures or options.runs or options.quick or options.seconds is not None):
        parser.error("run folders are not trained: leave out --captures, --runs, --seconds and --quick")
    return options


def trained(captures: Sequence[Path], runs: Path, options: Sequence[str]) -> Iterator[Callable[[], Row]]:
    """Yield for each capture a function that trains it into a subfolder of `runs` and returns its row."""
    names = [capture.parent.name if capture.is_file() else capture.name for capture in captures]
    for capture, name in zip(captures, names):
        unique = name if names.count(name) == 1 else f"{capture.parent.name}-{capture.stem}"

        def row(capture: Path = capture, run: Path = runs / unique) -> Row:
            train(capture, run, options)
            return read_row(run)

        yield row


def trained_matrix(options: argparse.Namespace, runs: Path, extra: Sequence[str]) -> Iterator[Callable[[], Row]]:
    """Yield for each scene of the matrix a function that makes it, trains it into a subfolder of `runs`, and returns
    its row."""
    for kind in options.kinds or KINDS:
        for seed in options.seeds or SEEDS:

            def row(kind: KindName = kind, seed: int = seed) -> Row:
                scene = make_scene(runs / "scenes", kind, seed, small=options.quick)
                # A scene that ends in fog shall have its figures, too.
                train(scene, runs / scene.name, [*extra, "--seed", str(seed), "--force"])
                return read_row(runs / scene.name)

            yield row


def main() -> None:
    """Train and measure every capture; report those that fail at the end."""
    options = parse()
    device = devices.start(options.device).type
    extra = ["--device", device, *(QUICK if options.quick else ())]
    extra += [] if options.seconds is None else ["--seconds", str(options.seconds)]
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as temporary:
        runs = (options.runs or Path(temporary)).resolve()
        if options.run:
            jobs = [partial(read_row, run) for run in options.run]
        elif options.matrix:
            jobs = trained_matrix(options, runs, extra)
        else:
            parents = [path for path in (ROOT / "scenes", captures_folder()) if path]
            given = options.captures
            captures = find_captures(parents) if given is None else [path.resolve() for path in given]
            jobs = trained(captures, runs, extra)
        for row in jobs:
            try:
                rows.append(row())
            except InputError as error:
                failed.append(str(error))
    if rows:
        print(matrix_table(rows) if options.matrix else table(rows))
        name = "matrix" if options.matrix else "quality"
        default = None if options.quick or options.run else ROOT / f"benchmarks/results/{name}-{device}.json"
        if out := options.out or default:
            facts = {"surroundings": surroundings(), "quick": options.quick, "seconds": options.seconds}
            save(out, {**facts, "rows": [asdict(row) for row in rows], "failed": failed})
            print(f"written: {out}")
    if failed:
        raise InputError("; ".join(failed))


if __name__ == "__main__":
    common.run(main)
