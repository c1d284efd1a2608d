"""How errors reach a person."""

import sys

import pytest
import torch

from omniseg import cli
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
def test_errors_in_words(capsys, error: BaseException, status: int, message: str):
    with pytest.raises(SystemExit) as ended:
        cli.run(fail(error))
    assert ended.value.code == status
    out = capsys.readouterr()
    assert message in out.err
    assert (out.out, out.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("ours"), SystemExit(3)])
def test_our_own_mistakes_are_not_hidden(error: BaseException):
    with pytest.raises(type(error)):
        cli.run(fail(error))


def test_success_says_nothing(capsys):
    cli.run(lambda: None)
    assert capsys.readouterr() == ("", "")


def test_interrupt_before_the_command_runs(capsys):
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "error: interrupted\n"
    sys.excepthook(ValueError, ValueError("told as ever"), None)
    assert "told as ever" in capsys.readouterr().err


def test_device(device):
    assert cli.start(device.type) == device  # type: ignore[arg-type]
    if device.type == "cpu":
        with pytest.raises(InputError, match=r"--device cuda: .*use --device cpu"):
            cli.start("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto takes the GPU here")
def test_auto_is_the_cpu_without_a_gpu(device):
    assert cli.start("auto") == device
