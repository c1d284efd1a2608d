"""Commands: one module each that parses, calls and prints."""

import importlib
import os
import sys

COMMANDS = ("train", "evaluate", "segment", "export", "render", "gui", "run_sam", "make_sample")

# torch's threads wait busily for their next work; for too long, and they take the kernels' cores. The window draws
# with the same cores, so there they do not wait at all.
_SPIN_COUNT = {"gui": "0"}


def run(name: str) -> None:
    """Run a command on the arguments of the command line, and exit."""
    os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT.get(name, "20000"))
    from omniseg.commands import common

    common.run(lambda: importlib.import_module(f"omniseg.commands.{name}").main())


def main() -> None:
    """Run `omniseg NAME ...`."""
    name = sys.argv.pop(1)
    run(name)
