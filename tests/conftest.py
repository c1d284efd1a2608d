"""Options and fixtures of all tests: one device per run, kernels started once."""

import hypothesis
import pytest
import torch

from omniseg_kernels import launch

# The same examples in every run, and no time limit on the first, which compiles a kernel.
hypothesis.settings.register_profile("omniseg", deadline=None, derandomize=True)
hypothesis.settings.load_profile("omniseg")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--arch", choices=("cpu", "cuda"), default="cpu", help="device of kernels and tensors")
    parser.addoption("--taichi-debug", action="store_true", help="check every index of every kernel (slow)")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--arch") == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--arch cuda: PyTorch sees no CUDA device on this machine")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where tensors of the tests live; the kernels run there."""
    arch = request.config.getoption("--arch")
    launch.init(arch, debug=request.config.getoption("--taichi-debug"))
    return torch.device(arch)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def poisoned_memory():
    """New tensors start as NaN or the largest integer, so that an element no kernel wrote is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before)
