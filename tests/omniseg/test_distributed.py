"""Two ranks train the same model as one process."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from command_line import torchrun
from helpers import ROOT
from omniseg import distributed
from omniseg.distributed import Process
from omniseg.errors import InputError
from trained_together import Trained, learned_geometry, train_both

CLOSE = 1e-4
"""Tolerance relative to the largest element. Sums in another order differ by 1e-7, which 20 steps grow to 1e-5."""


@pytest.fixture(scope="module")
def _cpu(device: torch.device) -> None:
    if device.type != "cpu":
        pytest.skip("two processes would share one GPU, which NCCL refuses")


@pytest.fixture(scope="module")
def together(_cpu, tmp_path_factory) -> Path:
    """Train with two ranks and return the folder of their results."""
    out = tmp_path_factory.mktemp("together")
    done = torchrun(2, ROOT / "tests" / "trained_together.py", out)
    assert done.status == 0, done.err
    return out


@pytest.fixture(scope="module")
def ranks(together: Path) -> list[Trained]:
    return [Trained(read["tensors"], read["steps"]) for read in _read(together)]


def _read(together: Path) -> list[dict]:
    return [torch.load(together / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def alone(_cpu) -> Trained:
    return train_both(learned_geometry())


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["radiance", "features"])
def test_every_step_is_that_of_one_process(ranks: list[Trained], alone: Trained, stage: str):
    assert ranks[0].steps == ranks[1].steps
    for got, want in zip(ranks[0].steps[stage], alone.steps[stage], strict=True):
        assert got[:2] == want[:2], "rays or samples differ"
        assert got[2:] == pytest.approx(want[2:], rel=1e-5, abs=1e-7)


def test_the_steps_are_hard_enough(alone: Trained):
    """The steps have uneven slices of rays, an update of the grid, and several levels of masks."""
    assert any(n_rays % 2 for n_rays, *_ in alone.steps["radiance"])
    assert alone.steps["radiance"][16][1] < 0.5 * alone.steps["radiance"][15][1]
    assert sum(error > 0 for *_, error in alone.steps["features"]) >= 2


@pytest.mark.slow
def test_what_is_learned_is_that_of_one_process(ranks: list[Trained], alone: Trained):
    for name, want in alone.tensors.items():
        got = ranks[0].tensors[name]
        assert got.equal(ranks[1].tensors[name]), f"{name}: differs between ranks"
        if want.is_floating_point():
            assert (got - want).abs().max() <= CLOSE * want.abs().max(), name
        else:
            assert got.equal(want), name


@pytest.mark.slow
def test_all_ranks_start_from_the_tensors_of_rank_0(together: Path):
    first, second = (read["copied"] for read in _read(together))
    torch.manual_seed(0)
    assert first["weight"].equal(torch.randn(3))
    assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.slow
def test_a_budget_of_seconds_ends_at_the_same_step(together: Path):
    steps = [json.loads((together / f"{rank}.json").read_text()) for rank in range(2)]
    assert steps[0] == steps[1] > 5


def test_alone_nothing_is_done(monkeypatch: pytest.MonkeyPatch):
    def refuse(*args, **kwargs):
        raise AssertionError("torch.distributed was used")

    for name in ("init_process_group", "all_reduce", "broadcast", "destroy_process_group"):
        monkeypatch.setattr(distributed.dist, name, refuse)
    distributed.start(Process(), torch.device("cpu"))
    rows = torch.rand(3, 2)
    assert distributed.all_gather(rows, 3) is rows
    assert (distributed.sum_int(3), distributed.broadcast_float(0.5), distributed.process()) == (3, 0.5, Process())
    distributed.broadcast_modules([torch.nn.Linear(1, 1)])
    distributed.sum_gradients([torch.nn.Parameter(rows)])
    distributed.barrier()
    distributed.stop()


def test_refusals(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="65 processes are too many; start no more than 64"):
        distributed.start(Process(64, 0, 65), torch.device("cpu"))
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"cannot be reached.*start them with torchrun"):
        distributed.start(Process(0, 0, 2), torch.device("cpu"))
    assert distributed.process() == Process()


@given(n=st.integers(0, 100), world_size=st.integers(1, 9))
def test_slices_of_ranks_cover_everything_once_and_are_alike(n: int, world_size: int):
    parts = [Process(rank, rank, world_size).rank_slice(n) for rank in range(world_size)]
    assert [k for part in parts for k in range(n)[part]] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_the_slice_of_the_only_process_is_everything():
    assert Process().rank_slice(7) == slice(0, 7)
