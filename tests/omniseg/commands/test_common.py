"""Errors of commands as a person sees them."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch

from omniseg.commands import common
from omniseg.distributed import Process
from omniseg.errors import InputError


def fail(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("a.png: is broken; copy it again"), 1, "error: a.png: is broken; copy it again\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; what was saved is complete\n"),
        (MemoryError(), 1, "error: out of memory; try a larger --downsample"),
        (torch.OutOfMemoryError("CUDA out of memory."), 1, "error: out of memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried"),
            1,
            "out",
        ),
    ],
)
def test_an_error_is_one_line_with_an_exit_status(capsys, error: BaseException, status: int, message: str):
    with pytest.raises(SystemExit) as ended:
        common.run(fail(error))
    assert ended.value.code == status
    out = capsys.readouterr()
    assert message in out.err
    assert (out.out, out.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("ours"), SystemExit(3)])
def test_a_mistake_of_ours_keeps_its_traceback(error: BaseException):
    with pytest.raises(type(error)):
        common.run(fail(error))


def test_success_prints_nothing(capsys):
    common.run(lambda: None)
    assert capsys.readouterr() == ("", "")


def test_interrupt_before_the_command_runs(capsys):
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "error: interrupted\n"
    sys.excepthook(ValueError, ValueError("told as ever"), None)
    assert "told as ever" in capsys.readouterr().err


def test_start_returns_the_device_or_says_which_to_use(device):
    assert common.start(device.type) == device  # type: ignore[arg-type]
    if device.type == "cpu":
        with pytest.raises(InputError, match=r"--device cuda: .*use --device cpu"):
            common.start("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto takes the GPU here")
def test_auto_is_the_cpu_without_a_gpu(device):
    assert common.start("auto") == device


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
    assert common.choose("auto", Process(5, 1, 8, 4)) == torch.device("cuda")
    assert set(seen) == {own}, "CUDA was started before"
    with pytest.raises(InputError, match=r"process 3 .*no GPU of its own.* no more than 3"):
        common.choose("auto", Process(3, 3, 4))
    assert common.choose("cpu", Process(3, 3, 4)) == torch.device("cpu")


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Collect what the second of two processes prints in the end."""
    monkeypatch.setattr(common, "_silenced", None)
    said = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        common.leave_the_word(Process(1, 1, 2))
        yield said


def test_the_others_leave_the_word_to_the_first(second: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    def ended(_: float) -> None:
        raise KeyboardInterrupt

    def command() -> None:
        print("trained")
        print("careful", file=sys.stderr)
        raise InputError("scene: does not exist")

    monkeypatch.setattr(common.time, "sleep", ended)
    with pytest.raises(SystemExit) as how:
        common.run(command)
    assert (how.value.code, second.getvalue()) == (130, "")


def test_what_goes_wrong_in_another_alone_it_says(second: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(common.time, "sleep", lambda _: None)
    with pytest.raises(SystemExit) as how:
        common.run(fail(InputError("no GPU of its own")))
    assert (how.value.code, second.getvalue()) == (1, "error: no GPU of its own\n")


def test_the_first_speaks():
    before = sys.stdout, sys.stderr
    common.leave_the_word(Process(0, 0, 2))
    assert (sys.stdout, sys.stderr) == before
