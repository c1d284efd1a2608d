"""PSNR, SSIM, click and prompt mIoU of several captures, in one table.

    python benchmarks/quality.py                        train the sample room and every capture found, print the table
    python benchmarks/quality.py --captures DIR ...     train these captures only
    python benchmarks/quality.py runs/*                 train nothing; print the table of runs that train.py measured
    python benchmarks/quality.py --quick                take a few steps of everything, to see that it runs

Captures are looked for in the folder `scenes` and in the folder that the environment variable OMNISEG_CAPTURES names.
Each is trained and measured by `apps/train.py` with its defaults, in a process of its own; this file collects the
figures from `metrics.json`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from _timing import ROOT, save, surroundings
from omniseg import devices
from omniseg.commands import common
from omniseg.config import Config
from omniseg.data.formats import read_scene
from omniseg.data.images import view_cameras
from omniseg.data.normalisation import place
from omniseg.data.splits import split_views
from omniseg.errors import InputError
from omniseg.run_folder import METRICS

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
_FIGURES = ("click_miou", "prompt_miou", "recall_50", "recall_75")


@dataclass(frozen=True)
class Row:
    """Figures of one capture, a row of the table.

    Attributes:
        photos: width, height and number of the test views.
        seconds: training time by stage.
        levels: figures by level of the labels; empty without labels or features.
    """

    scene: str
    format: str
    photos: tuple[int, int, int]
    seconds: dict[str, float]
    psnr: float
    ssim: float
    levels: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def cells(self) -> list[str]:
        """Cells of the row."""
        width, height, count = self.photos
        seconds = " + ".join(f"{seconds:.0f}" for seconds in self.seconds.values())
        return [
            self.scene, self.format, f"{width} x {height}", str(count), seconds, f"{self.psnr:.2f}", f"{self.ssim:.3f}",
            *(self._level(level) for level in ("part", "object", "group")),
        ]  # fmt: skip

    def _level(self, level: str) -> str:
        if level not in self.levels:
            return ""
        click, prompt, recall_50, recall_75 = (self.levels[level][name] for name in _FIGURES)
        return f"{click:.3f}, {prompt:.3f}, {recall_50:.2f} / {recall_75:.2f}"


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


def read_row(run: Path) -> Row:
    """Read the figures of a run folder.

    Raises:
        InputError: it has none, or its capture is gone.
    """
    config = Config.load(run / "config.yaml")
    try:
        metrics = json.loads((run / METRICS).read_text())
        psnr, ssim, seconds = metrics["psnr"], metrics["ssim"], metrics["train_seconds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run}: holds no figures; measure it with: python apps/evaluate.py {run}") from error
    scene = read_scene(config.scene)
    views = [scene.views[v] for v in split_views(scene, config.test_every).test]
    size = view_cameras(views, place(scene).normalisation, config.downsample).size[0].tolist()
    levels = {level: {name: figures[name] for name in _FIGURES} for level, figures in metrics.get("levels", {}).items()}
    path = Path(config.scene)
    name = f"{path.parent.name}/{path.name}" if path.is_file() else path.name
    return Row(name, scene.format, (size[0], size[1], len(views)), seconds, psnr, ssim, levels)


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
    parser.add_argument("--quick", action="store_true", help="take a few steps of everything, to see that it runs")
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/quality-DEVICE.json)")
    options = parser.parse_args()
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


def main() -> None:
    """Train and measure every capture; report those that fail at the end."""
    options = parse()
    device = devices.start(options.device).type
    parents = [path for path in (ROOT / "scenes", captures_folder()) if path]
    captures = find_captures(parents) if options.captures is None else [path.resolve() for path in options.captures]
    extra = ["--device", device, *(QUICK if options.quick else ())]
    extra += [] if options.seconds is None else ["--seconds", str(options.seconds)]
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as temporary:
        runs = (options.runs or Path(temporary)).resolve()
        known = [partial(read_row, run) for run in options.run]
        for row in known or trained(captures, runs, extra):
            try:
                rows.append(row())
            except InputError as error:
                failed.append(str(error))
    if rows:
        print(table(rows))
        default = None if options.quick or options.run else ROOT / f"benchmarks/results/quality-{device}.json"
        if out := options.out or default:
            facts = {"surroundings": surroundings(), "quick": options.quick, "seconds": options.seconds}
            save(out, {**facts, "rows": [asdict(row) for row in rows], "failed": failed})
            print(f"written: {out}")
    if failed:
        raise InputError("; ".join(failed))


if __name__ == "__main__":
    common.run(main)
