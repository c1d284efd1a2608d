"""Everything that the project says it has is there: public names, kernels with twins and tests, installed packages."""

import ast
import importlib
import inspect
import re

import pytest

import omniseg
import omniseg_kernels
from helpers import ROOT, run_python
from omniseg.commands import COMMANDS

KERNELS = sorted(path.stem for path in (ROOT / "kernels").glob("[!_]*.py") if path.stem != "launch")
PUBLIC = [getattr(omniseg_kernels, name) for name in omniseg_kernels.__all__]
PACKAGES = {"kernels": "omniseg_kernels", "omniseg": "omniseg", "data_tools/sample_scenes": "omniseg_sample_scenes"}
"""Import name of each folder of packages."""
FUNCTIONS = [value for value in PUBLIC if inspect.isfunction(value) and value.__module__ != "omniseg_kernels.launch"]


@pytest.mark.slow
def test_import_star_gives_the_public_names_quietly():
    code = (
        "from omniseg_kernels import *\n"
        "import omniseg_kernels as kernels\n"
        "missing = [name for name in kernels.__all__ if name not in globals()]\n"
        "assert not missing, missing\n"
        "assert kernels.launch._current is None, 'the device was chosen at import'\n"
    )
    got = run_python("-c", code)
    assert (got.returncode, got.stdout, got.stderr) == (0, "", "")


def test_all_is_what_the_package_imports():
    tree = ast.parse((ROOT / "kernels" / "__init__.py").read_text())
    imported = {a.name for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert set(omniseg_kernels.__all__) == imported
    assert len(omniseg_kernels.__all__) == len(imported)


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_has_an_export_a_twin_and_a_test(name):
    module = f"omniseg_kernels.{name}"
    assert [f for f in FUNCTIONS if f.__module__ == module], f"{name}: kernels/__init__.py exports no function of it"
    assert (ROOT / "kernels" / "reference" / f"{name}.py").is_file()
    assert (ROOT / "tests" / "kernels" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_public_kernel_is_documented_has_a_twin_and_is_tested(function):
    name, basename = function.__name__, function.__module__.rpartition(".")[2]
    twin = getattr(importlib.import_module(f"omniseg_kernels.reference.{basename}"), name)
    ours, theirs = (list(inspect.signature(f).parameters) for f in (function, twin))
    assert theirs == ours[: len(theirs)]  # a twin may lack what only a kernel needs
    assert function.__doc__, "no docstring"
    assert re.search(rf"\b{name}\b", (ROOT / "tests" / "kernels" / f"test_{basename}.py").read_text())


def test_every_package_is_installed():
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(r"^packages = (\[.*?\])", text, re.MULTILINE | re.DOTALL)
    assert found
    assert sorted(ast.literal_eval(found[1])) == sorted(_packages())


def _packages() -> list[str]:
    names = []
    for top, name in PACKAGES.items():
        for path in (ROOT / top).rglob("__init__.py"):
            names.append(".".join([name, *path.parent.relative_to(ROOT / top).parts]))
    return names


def test_no_module_lies_outside_of_a_package():
    for top in PACKAGES:
        for path in (ROOT / top).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


@pytest.mark.slow
def test_the_front_door_has_its_names_and_opens_quickly():
    code = (
        "import sys, omniseg\n"
        "assert 'torch' not in sys.modules, 'import omniseg takes seconds'\n"
        "from omniseg import *\n"
        "missing = [name for name in omniseg.__all__ if name not in globals()]\n"
        "assert not missing, missing\n"
        "assert set(omniseg.__all__) <= set(dir(omniseg))\n"
        "import omniseg_kernels\n"
        "assert omniseg_kernels.current_arch() is None, 'the device was chosen at import'\n"
    )
    got = run_python("-c", code)
    assert (got.returncode, got.stdout, got.stderr) == (0, "", "")


def test_the_front_door_lists_each_name_once_for_people_and_for_type_checkers():
    tree = ast.parse((ROOT / "omniseg" / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {a.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert imported == omniseg._HOMES
    assert sorted(omniseg.__all__) == sorted(omniseg._HOMES)
    with pytest.raises(AttributeError, match="'omniseg' has no attribute 'lode'"):
        _ = omniseg.lode


@pytest.mark.parametrize("name", omniseg.__all__)
def test_public_name_is_documented(name):
    assert getattr(omniseg, name).__doc__, "no docstring"
    assert f"`{name}" in (ROOT / "docs" / "api.md").read_text() or f"{name}`" in (ROOT / "docs" / "api.md").read_text()


def test_every_command_has_a_door_and_a_summary():
    doors = {path.stem for folder in ("apps", "data_tools") for path in (ROOT / folder).glob("*.py")}
    modules = {path.stem for path in (ROOT / "omniseg" / "commands").glob("*.py")} - {"__init__", "common"}
    assert doors == modules == set(COMMANDS)


@pytest.mark.parametrize("top", PACKAGES)
def test_no_module_names_a_script_or_an_install_that_a_wheel_does_not_have(top):
    script = rf"\b({'|'.join(COMMANDS)})\.py|pip install (-e|'?\.\[)"
    for path in (ROOT / top).rglob("*.py"):
        found = re.search(script, path.read_text())
        assert found is None, f"{path.relative_to(ROOT)}: {found and found[0]}; say `omniseg NAME`, 'omniseg3d[EXTRA]'"
