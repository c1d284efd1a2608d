import os

import pytest
import torch

from omniseg import devices
from omniseg.distributed import Process
from omniseg.errors import InputError


def test_start_returns_the_device_or_says_which_to_use(device):
    assert devices.start(device.type) == device
    assert devices.start("auto") == device
    if device.type == "cpu":
        with pytest.raises(InputError, match=r"device cuda: .*; use cpu"):
            devices.start("cuda")


@pytest.fixture
def _no_kernels_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.launch, "current_arch", lambda: None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto takes the GPU here")
@pytest.mark.usefixtures("_no_kernels_yet")
def test_auto_is_the_cpu_without_a_gpu():
    assert devices.choose("auto", Process()) == torch.device("cpu")


@pytest.mark.usefixtures("_no_kernels_yet")
def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose("auto", Process()) == torch.device("cuda")


def test_auto_is_the_device_that_the_kernels_run_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.launch, "current_arch", lambda: "cpu")
    assert devices.choose("auto", Process()) == torch.device("cpu")


@pytest.mark.usefixtures("_no_kernels_yet")
@pytest.mark.parametrize(("visible", "own"), [(None, "1"), ("3,GPU-17,5", "GPU-17")])
def test_each_process_sees_its_own_gpu_alone(monkeypatch: pytest.MonkeyPatch, visible: str | None, own: str):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    seen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(
        torch.cuda, "is_available", lambda: bool(seen.append(os.environ["CUDA_VISIBLE_DEVICES"])) or True
    )
    assert devices.choose("auto", Process(5, 1, 8, 4)) == torch.device("cuda")
    assert set(seen) == {own}, "CUDA was started before"
    with pytest.raises(InputError, match=r"process 3 .*no GPU of its own.* no more than 3"):
        devices.choose("auto", Process(3, 3, 4))
    assert devices.choose("cpu", Process(3, 3, 4)) == torch.device("cpu")
