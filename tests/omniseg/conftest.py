"""One thread of PyTorch: these tensors are so small that more threads only wait for one another."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
