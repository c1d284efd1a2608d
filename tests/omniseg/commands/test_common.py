"""Errors of commands as a person sees them."""

import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from omniseg import commands
from omniseg.commands import common
from omniseg.errors import InputError

log = logging.getLogger("omniseg")


def fail(error: BaseException):
    def command(*_: object) -> None:
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


def test_ctrl_c_while_a_command_is_imported_is_one_line(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")  # what `run` sets ends with the test
    monkeypatch.setattr(commands.importlib, "import_module", fail(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as ended:
        commands.run("train")
    assert (ended.value.code, capsys.readouterr().err) == (130, "error: interrupted\n")


def test_information_of_the_library_goes_to_stdout_and_warnings_to_stderr(capsys):
    before = log.level, list(log.handlers)

    def command() -> None:
        log.info("trained")
        log.debug("took 3 ms")
        log.warning("careful")

    common.run(command)
    assert capsys.readouterr() == ("trained\n", "careful\n")
    assert (log.level, log.handlers) == before


@pytest.fixture
def rank_1(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make this the second of two processes, and put back the signal handlers that it sets."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("rank_1")
def test_other_ranks_leave_output_and_common_errors_to_rank_0(capsys, monkeypatch: pytest.MonkeyPatch):
    def ended(_: float) -> None:
        raise KeyboardInterrupt

    def command() -> None:
        common.say("trained")
        log.info("trained")
        log.warning("careful")
        raise InputError("scene: does not exist")

    monkeypatch.setattr(common.time, "sleep", ended)
    with pytest.raises(SystemExit) as how:
        common.run(command)
    assert how.value.code == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("rank_1")
def test_an_error_of_another_rank_alone_is_printed(capsys, monkeypatch: pytest.MonkeyPatch):
    waited = []
    monkeypatch.setattr(common.time, "sleep", waited.append)
    with pytest.raises(SystemExit) as how:
        common.run(fail(InputError("no GPU of its own")))
    assert (how.value.code, capsys.readouterr()) == (1, ("", "error: no GPU of its own\n"))
    assert waited == [common._PATIENCE]


@pytest.mark.usefixtures("rank_1")
def test_a_wrong_option_is_printed_by_rank_0_alone(capsys, monkeypatch: pytest.MonkeyPatch):
    @dataclass(frozen=True)
    class Arguments:
        steps: int = 1

    for rank, printed in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit):
            common.parse(Arguments, args=["--bogus"])
        assert ("--bogus" in capsys.readouterr().err) is printed


def test_rank_0_prints(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "0")
    common.say("trained")
    assert capsys.readouterr().out == "trained\n"
