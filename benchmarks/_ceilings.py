"""What the machine can do at most, measured in the same run, and how long the work of an operator takes at that."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import taichi as ti
import torch

from _timing import compare
from omniseg_kernels.launch import launch

_ROWS = ti.types.ndarray(ti.types.vector(2, ti.f32), ndim=1)
_GATHER_BYTES = (1 << 15, 1 << 18, 1 << 20, 1 << 22, 1 << 25)
"""Tables that a row of 8 bytes is taken from: from a first cache's size to beyond the last one's."""


@dataclass(frozen=True)
class Work:
    """What an operator has to do for one item, whoever does it.

    moved: bytes, every input read once and every output written once.
    operations: of float32, a multiplication and an addition counting as two.
    gathers: how many rows of 8 bytes are taken from or added to tables of how many bytes, at random.
    """

    moved: float
    operations: float
    gathers: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Ceilings:
    """Measured limits.

    bytes_per_second: of a copy of a large tensor, reading and writing together.
    operations_per_second: of a float32 matrix product, the most that the processor does without shorter numbers.
    seconds_per_gather: by bytes of the table.
    """

    bytes_per_second: float
    operations_per_second: float
    seconds_per_gather: dict[int, float]

    @classmethod
    def measure(cls, device: torch.device, quick: bool) -> "Ceilings":
        """Measure them all; a few seconds."""
        on_gpu = device.type == "cuda"
        rounds = 2 if quick else 9
        source = torch.ones(1 << (16 if quick else 28 if on_gpu else 26), device=device)
        target = torch.empty_like(source)
        copy = _fastest(lambda: target.copy_(source), rounds)
        n = 1 << (12 if quick else 24 if on_gpu else 20)
        sums = torch.empty(n, device=device)
        side = 64 if quick else 8192 if on_gpu else 2048
        left, right = torch.ones(2, side, side, device=device)
        product = _fastest(lambda: left @ right, rounds)
        gathers = {}
        for size in _GATHER_BYTES[: 2 if quick else None]:
            rows = torch.ones(size // 8, 2, device=device)
            index = torch.randint(len(rows), (n,), dtype=torch.int32, device=device)
            gathers[size] = _fastest(lambda rows=rows, index=index: launch(_gather, (rows, index), (sums,)), rounds) / n
        return cls(
            bytes_per_second=8 * len(source) / copy,
            operations_per_second=2 * side**3 / product,
            seconds_per_gather=gathers,
        )

    def seconds(self, work: Work) -> float:
        """Least time of an item: its bytes at the rate of a copy and its gathers, or its operations where they take
        longer. What fits a cache can be faster than a copy of what does not."""
        gathers = sum(count * self._gather(size) for size, count in work.gathers)
        return max(work.moved / self.bytes_per_second + gathers, work.operations / self.operations_per_second)

    def _gather(self, size: int) -> float:
        """Between the two measured sizes around this one, by the logarithm."""
        sizes = sorted(self.seconds_per_gather)
        size = min(max(size, sizes[0]), sizes[-1])
        low = max(s for s in sizes if s <= size)
        high = min(s for s in sizes if s >= size)
        share = math.log(size / low) / math.log(high / low) if high > low else 0.0
        return (1 - share) * self.seconds_per_gather[low] + share * self.seconds_per_gather[high]

    def lines(self) -> Iterable[str]:
        """Readable."""
        copy, product = self.bytes_per_second / 1e9, self.operations_per_second / 1e9
        yield f"copy {copy:.1f} GB/s, float32 matrix product {product:.0f} GFLOP/s"
        gathers = (f"{1e9 * seconds:.2f} in {size >> 10} KB" for size, seconds in self.seconds_per_gather.items())
        yield "random rows of 8 bytes, ns each: " + ", ".join(gathers)


def _fastest(form: Callable[[], object], rounds: int) -> float:
    return compare({"": [lambda _: form()]}, rounds)[""][0].fastest


@ti.kernel
def _gather(rows: _ROWS, index: ti.types.ndarray(ti.i32, ndim=1), out: ti.types.ndarray(ti.f32, ndim=1)):
    for n in range(index.shape[0]):
        row = rows[index[n]]
        out[n] = row[0] + row[1]
