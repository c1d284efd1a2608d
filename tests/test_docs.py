"""README, CONTRIBUTING and docs name only what exists: files, links, modules, commands, options, extras, rooms."""

import contextlib
import functools
import importlib
import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from command_line import run_command
from helpers import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("kernels", "omniseg", "apps", "data_tools", "benchmarks", "tests", "docs")

NOT_YET: set[str] = set()
"""Names that the docs use before the code has them. A test fails when one exists: remove it here then."""

OUTPUTS = {"benchmarks/results/gpu-report.json"}
"""Files that a command writes."""

OTHER_OPTIONS = {"--nproc-per-node", "--run-path", "--arch", "--taichi-debug"}
"""Options of torchrun and of our tests that the text may name."""

RETIRED = (
    "../shared", "workbench", "everything.py", "stages.py", "share.py", "storage.py", "controls.py", "desktop.py",
    "navigation.py", "curves.py", "corrections.py", "frames.py", "cutouts.py", "checkpoint.py", "pixels.py",
    "broadcast", "Share.part", "omniseg/sample", "omniseg.sample", "feature-training.form", "feature_training.form",
)  # fmt: skip
"""Names that are gone."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def page_id(page) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str) -> list[Block]:
    return [Block(m[1], m[2]) for m in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def spans(text: str) -> list[str]:
    """Inline code, outside of fenced blocks."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def code(text: str) -> Iterator[str]:
    yield from (block.text for block in blocks(text))
    yield from spans(text)


def is_placeholder(path: str) -> bool:
    """True for a path such as kernels/NAME.py, in which capitals stand for a name."""
    return bool(re.search(r"(?<![A-Za-z])[A-Z]{2,}", path)) or "*" in path or "..." in path


# Links and files


def anchors(text: str) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_and_images_exist(page):
    text, missing = page.read_text(), []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if target.is_relative_to(ROOT) and str(target.relative_to(ROOT)) in NOT_YET:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            missing.append(link)
    assert not missing


def named_paths(text: str) -> set[str]:
    pattern = rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})/[\w./-]*)"
    found = {path.rstrip(".") for piece in code(text) for path in re.findall(pattern, piece)}
    return {path for path in found if not is_placeholder(path)}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_and_folders_exist(page):
    missing = [path for path in named_paths(page.read_text()) if not (ROOT / path).exists()]
    assert set(missing) <= NOT_YET | OUTPUTS


@functools.cache
def file_names() -> frozenset[str]:
    return frozenset(path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_file_names_without_a_folder_exist(page):
    assert {span for span in spans(page.read_text()) if re.fullmatch(r"[a-z_]\w*\.py", span)} <= file_names()


# Modules and names


def imports(dotted: str) -> bool:
    """Whether a dotted name is a module or an attribute of one."""
    names = dotted.split(".")
    for split in range(len(names), 0, -1):
        try:
            found = importlib.import_module(".".join(names[:split]))
        except ModuleNotFoundError:
            continue
        return all(hasattr(found, name) and (found := getattr(found, name), True)[1] for name in names[split:])
    return False


def dotted_names(text: str) -> set[str]:
    return {
        name
        for piece in code(text)
        for name in re.findall(r"(?<![\w./\"'])(omniseg(?:_kernels|_sample_scenes)?(?:\.\w+)+)", piece)
        if not name.endswith((".py", ".yaml"))
    }


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_modules_and_names_import(page):
    missing = {name for name in dotted_names(page.read_text()) if not imports(name)}
    assert missing <= NOT_YET


def test_what_is_not_yet_there_is_not_there():
    there = {name for name in NOT_YET if (ROOT / name).exists() or (name.startswith("omniseg.") and imports(name))}
    there |= NOT_YET & options_of("apps", "train")
    assert not there, "remove these from NOT_YET"


# Commands


SCRIPT = re.compile(r"(?<![\w./-])(apps|data_tools|benchmarks)/(\w+)\.py")


@dataclass(frozen=True)
class CommandLine:
    """A command line of ours: folder and name of the script, and the options that it is given."""

    folder: str
    name: str
    options: tuple[str, ...]


def command_lines(text: str) -> Iterator[CommandLine]:
    """Our commands in blocks of bash and in inline code; placeholder names, such as apps/NAME.py, left out."""
    shell = "".join(block.text for block in blocks(text) if block.language in ("bash", ""))
    for line in (*shell.replace("\\\n", " ").splitlines(), *spans(text)):
        if not re.match(r"(python|torchrun|omniseg) ", line.strip()):
            continue
        words = shlex.split(line, comments=True)
        for place, word in enumerate(words):
            script = SCRIPT.fullmatch(word)
            is_short = place == 0 and word == "omniseg" and len(words) > 1
            if not (script or is_short) or (is_short and words[1].startswith("-")):
                continue
            folder, name = (script[1], script[2]) if script else ("", words[1])
            options = tuple(w.partition("=")[0] for w in words[place + 1 :] if re.match(r"--\w", w))
            if not is_placeholder(name):
                yield CommandLine(folder, name, options)


@functools.cache
def options_of(folder: str, name: str) -> frozenset[str]:
    """Options in the --help of a command or benchmark, as its own parser prints it."""
    if folder != "benchmarks":
        shown = run_command(torch.device("cpu"), name, "--help").out
    else:
        before, out = (list(sys.path), sys.argv), io.StringIO()
        sys.path.insert(0, str(ROOT / folder))
        sys.argv = [f"{name}.py", "--help"]
        try:
            with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
                runpy.run_path(str(ROOT / folder / f"{name}.py"), run_name="__main__")
        finally:
            sys.path[:], sys.argv = before
        shown = out.getvalue()
    found = frozenset(re.findall(r"(?<![\w-])--[a-z][\w.-]*", shown))
    assert "--help" in found, f"{folder}/{name}.py --help printed no options: {shown[:500]}"
    return found


def command_exists(folder: str, name: str) -> bool:
    if folder:
        return (ROOT / folder / f"{name}.py").is_file()
    return (ROOT / "omniseg" / "commands" / f"{name}.py").is_file() and name != "common"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_and_their_options_exist(page):
    wrong = []
    for line in command_lines(page.read_text()):
        if not command_exists(line.folder, line.name):
            wrong.append(f"{line.folder}/{line.name}.py")
            continue
        known = options_of(line.folder, line.name) | NOT_YET
        wrong += [f"{line.name} {option}" for option in line.options if option not in known]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_options_in_prose_exist(page):
    """An option alone, `--level`, is one of some command; one after a script, `run_sam.py --memory`, is one of that."""
    folders = ("apps", "data_tools", "benchmarks")
    scripts = {path.name: folder for folder in folders for path in (ROOT / folder).glob("[!_]*.py")}
    known = (OTHER_OPTIONS | NOT_YET).union(*(options_of(folder, name[:-3]) for name, folder in scripts.items()))
    wrong = []
    for span in spans(page.read_text()):
        first, *rest = span.split()
        if re.fullmatch(r"\w+\.py", first) and rest and rest[0].startswith("--"):
            if first not in scripts:
                wrong.append(first)
                continue
            wrong += [span for o in rest if o.startswith("--") and o not in options_of(scripts[first], first[:-3])]
        elif first.startswith("--"):
            wrong += [o for o in span.split() if re.fullmatch(r"--[a-z][\w.-]*", o) and o not in known]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_extras_exist(page):
    section = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    known = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    named = re.findall(r"pip install [^\n`]*?\.\[([\w,]+)\]", page.read_text())
    assert {extra for names in named for extra in names.split(",")} <= known


# Words


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_retired_names(page):
    text = page.read_text()
    assert not [name for name in RETIRED if re.search(rf"(?<![\w]){re.escape(name)}\b", text, re.IGNORECASE)]
    assert not re.findall(r"\| *wanted\b.*", text), "a column is called target"


OTHER_MESSAGES = {"libGL.so.1: cannot open shared object file"}
"""What troubleshooting quotes of other software."""


def test_quoted_errors_exist():
    """The parts of a message between placeholders (..., N, W x H) stand in the library."""
    source = "".join(path.read_text() for path in (ROOT / "omniseg").rglob("*.py"))
    rows = re.findall(r"^\| (?!you see)([^|]*) \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    quoted = {span for row in rows for span in spans(row) if " " in span} - OTHER_MESSAGES
    assert len(quoted) > 10
    parts = {part.strip() for message in quoted for part in re.split(r"\.\.\.|\b[A-Z]\b(?: x [A-Z]\b)?", message)}
    assert {part for part in parts if part not in source} == set()


# Rooms


def readme_rooms() -> dict[str, str]:
    """Folders in the README's "Inside" and their descriptions; those of omniseg with its name before them."""
    inside = (ROOT / "README.md").read_text().partition("## Inside")[2]
    rows = re.findall(r"^( *)([\w/]+)/ +(.*)$", blocks(inside)[0].text, re.MULTILINE)
    return {("omniseg/" if indent else "") + name: what for indent, name, what in rows}


def test_readme_and_contributing_describe_the_rooms_in_the_same_words():
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where things are")[2].partition("\n## ")[0]
    assert readme_rooms() == dict(re.findall(r"^\| `([\w/]+)/` \| (.*) \|$", table, re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_every_room_is_described(page):
    rooms = {f"omniseg/{path.parent.name}" for path in (ROOT / "omniseg").glob("*/__init__.py")}
    text = (ROOT / page).read_text()
    described = readme_rooms() if page == "README.md" else re.findall(r"^\| `([\w/]+)/` \|", text, re.MULTILINE)
    assert {name for name in described if name.startswith("omniseg/")} - {name.rstrip("/") for name in NOT_YET} == rooms


@pytest.mark.skipif(bool(NOT_YET), reason="the rooms of pyproject.toml are not all there yet")
@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_arrows_are_those_of_the_import_contract(page):
    layers = re.search(r"^layers = \[.*?\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert layers
    arrows = [" ".join(b.text.split()) for b in blocks((ROOT / page).read_text()) if b.text.startswith("commands ->")]
    assert arrows == [" -> ".join(re.findall(r'"(.*?)"', layers[1]))]
