"""Commands: one module each that parses, calls and prints.

`python apps/NAME.py ...`, `python data_tools/NAME.py ...` and `omniseg NAME ...` are the same function.
"""

import importlib
import os
import sys

COMMANDS = {
    "capture": "make a run of photos or a video: poses, masks, training, evaluation",
    "train": "learn a scene from posed photos and their masks",
    "evaluate": "measure a run on its held-out views",
    "segment": "select by clicks, strokes or boxes, or segment everything, into masks and cut-outs",
    "export": "write meshes, point clouds, cut-outs or masks",
    "render": "render a video or pictures along a camera path",
    "viewer": "serve a web page to click in, on this machine or through ssh",
    "gui": "open a window to click in",
    "run_colmap": "estimate the poses of photos or of a video",
    "run_sam": "make mask hierarchies of photos",
    "make_sample": "render a sample scene: photos, labels, masks, depth",
}
"""Names of the commands and what each does."""

_SPIN_COUNT = {"gui": "0", "viewer": "0"}
"""Values of GOMP_SPINCOUNT other than 20000. Waiting threads of torch spin and take cores from the kernels, and in the
window and on the page also from what draws there."""


def run(name: str) -> None:
    """Run a command on the arguments of the command line, and exit."""
    os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT.get(name, "20000"))  # read when torch is imported
    try:
        from omniseg.commands import common

        module = importlib.import_module(f"omniseg.commands.{name}")
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    common.run(module.main)


def main() -> None:
    """Run `omniseg NAME ...`."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
        return
    name = name.replace("-", "_")
    if name not in COMMANDS:
        print(f"error: {name}: no such command; omniseg --help lists them", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"omniseg {name}", *rest]
    run(name)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        ["usage: omniseg COMMAND ...", "", "Objects in 3D from posed photos and their 2D masks.", "", *lines, "",
         "omniseg COMMAND --help shows the options of a command. First steps: omniseg train"]
    )  # fmt: skip
