"""The library speaks only in its commands: elsewhere it prints nothing and takes over nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import ROOT, run_python

SPEAKERS = ROOT / "omniseg" / "commands"
"""Folder of what talks to a person."""
MODULES = sorted(
    path for top in ("omniseg", "kernels") for path in (ROOT / top).rglob("*.py") if not path.is_relative_to(SPEAKERS)
)
BARS = {"tqdm", "trange"}
TAKEN_OVER = {"excepthook", "stdout", "stderr", "displayhook", "unraisablehook"}


def faults(source: str) -> list[str]:
    """List what a module does that only commands may do, with line numbers."""
    return [f"{node.lineno}: {what}" for node in ast.walk(ast.parse(source)) for what in _faults_of(node)]


def _faults_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id="print")):
            if not any(keyword.arg == "file" and _is_own_file(keyword.value) for keyword in node.keywords):
                yield "prints"
        case ast.Call(func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"))):
            yield "writes to a stream of the process"
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="write")) if name in BARS:
            yield "prints"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="signal"), attr="signal")):
            yield "sets a signal handler"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="chdir")):
            yield "changes the working folder"
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in BARS:
            if not any(keyword.arg == "disable" for keyword in node.keywords):
                yield "makes a progress bar that cannot be turned off"
        case ast.Attribute(value=ast.Name(id="sys"), attr=name, ctx=ast.Store() | ast.Del()) if name in TAKEN_OVER:
            yield f"replaces sys.{name}"


def _is_own_file(value: ast.expr) -> bool:
    """Tell a file that a module has opened from a stream of the process."""
    return isinstance(value, ast.Name) and value.id not in ("stdout", "stderr")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_of_the_library_is_quiet(path: Path):
    found = [f"{path.relative_to(ROOT)}:{fault}" for fault in faults(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "print('trained')",
        "print('careful', file=sys.stderr)",
        "sys.stdout.write('trained')",
        "tqdm.write('skipped', file=sys.stderr)",
        "sys.excepthook = quietly",
        "before, sys.stdout = sys.stdout, None",
        "signal.signal(signal.SIGINT, signal.SIG_IGN)",
        "os.chdir(folder)",
        "for view in tqdm(views, desc='views'): pass",
        "for view in tqdm.auto.tqdm(views): pass",
    ],
)
def test_every_way_to_speak_is_found(line: str):
    assert len(faults(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "print('x', file=out)",
        "logging.getLogger(__name__).warning('views are missing')",
        "for view in tqdm(views, disable=not progress): pass",
        "bar.write('x')",
        "before = sys.stdout",
    ],
)
def test_what_a_library_may_do_is_no_fault(line: str):
    assert faults(line) == []


IMPORT_ALL = """
import importlib, io, logging, pkgutil, signal, sys

if sys.argv[2] == "notebook":
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, write_through=True)

def state():
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return sys.excepthook, sys.stdout, sys.stderr, sys.displayhook, handlers, list(logging.getLogger().handlers)

def raises(name):
    raise

import omniseg_kernels, omniseg_sample_scenes
before = state()
import omniseg
found = 0
for module in pkgutil.walk_packages(omniseg.__path__, "omniseg.", onerror=raises):
    if module.name.startswith("omniseg.commands") == (sys.argv[1] == "commands"):
        importlib.import_module(module.name)
        found += 1
assert state() == before, [(a, b) for a, b in zip(before, state()) if a != b]
print("imported", found)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("which", "where"), [("library", "notebook"), ("commands", "terminal")])
def test_importing_says_nothing_and_changes_no_hook_stream_or_signal_handler(which: str, where: str):
    """A notebook has a standard output of its own, which Taichi comments on unless told not to."""
    done = run_python("-c", IMPORT_ALL, which, where)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    word, _, n = done.stdout.partition(" ")
    assert word == "imported", "an import prints"
    assert int(n) >= 10
