"""Options and fixtures of all tests: one device per run, kernels started once in each process."""

import os
import sys

import hypothesis
import pytest
import torch
from tqdm import tqdm

from omniseg_kernels import launch

# The same examples in every run, and no time limit on the first, which compiles a kernel.
hypothesis.settings.register_profile("omniseg", deadline=None, derandomize=True)
hypothesis.settings.load_profile("omniseg")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--arch", choices=("cpu", "cuda"), default="cpu", help="device of kernels and tensors")
    parser.addoption("--taichi-debug", action="store_true", help="check every index of every kernel (slow)")


MOST_WORKERS = 4
"""Limit of processes: each compiles its kernels and takes a gigabyte of memory."""


@pytest.hookimpl(tryfirst=True)  # and so before pytest-xdist reads the options
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite in several processes on the CPU, each file in one of them, unless `-n` is given.

    Tests named on the command line run in this process. So does everything on a GPU, whose memory several processes
    would each reserve.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # this is one of those processes, or was started by one
    option = config.option
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if getattr(option, "numprocesses", 0) is not None or named or option.usepdb or option.arch == "cuda":
        return
    option.numprocesses = min(cores, MOST_WORKERS) if cores > 1 else 0
    option.dist = "loadfile"  # fixtures of a module are made once
    option.loadscopereorder = False  # the order is that of pytest_collection_modifyitems


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--arch") == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--arch cuda: PyTorch sees no CUDA device on this machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests, so that at the end no process waits for another."""
    if hasattr(config, "workerinput"):  # this is one of several processes
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Return the device of tensors and kernels."""
    arch = request.config.getoption("--arch")
    launch.init(arch, debug=request.config.getoption("--taichi-debug"))
    return torch.device(arch)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Give PyTorch one thread: tensors of the tests are so small that several would only wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def bars_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show progress bars without a delay in the modules that are imported, as work of seconds would."""
    for name, module in list(sys.modules.items()):
        if name.startswith("omniseg") and getattr(module, "tqdm", None) is tqdm:
            monkeypatch.setattr(module, "tqdm", lambda *args, delay=0, **options: tqdm(*args, **options))


@pytest.fixture
def poisoned_memory():
    """Fill new tensors with NaN or the largest integer, so that an element no kernel wrote is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before)
