"""Measured limits of the machine, and the least time of an operator at these limits."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import taichi as ti
import torch

from _timing import compare
from omniseg_kernels.launch import launch

_ROWS = ti.types.ndarray(ti.types.vector(2, ti.f32), ndim=1)
_GATHER_BYTES = (1 << 15, 1 << 18, 1 << 20, 1 << 22, 1 << 25)
"""Sizes of the tables that rows of 8 bytes are gathered from: from a first-level cache to beyond the last one."""


@dataclass(frozen=True)
class Work:
    """Work that an operator has to do for one item, in whatever implementation.

    Attributes:
        moved: bytes, with every input read once and every output written once.
        operations: float32 operations; a multiplication and an addition count as two.
        gathers: pairs of a table's size in bytes and the number of rows of 8 bytes gathered from or added to it.
    """

    moved: float
    operations: float
    gathers: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Ceilings:
    """Measured limits.

    Attributes:
        bytes_per_second: rate of a copy of a large tensor, reading and writing together.
        operations_per_second: rate of a float32 matrix product.
        seconds_per_gather: time of gathering a row of 8 bytes, by the size of the table in bytes.
    """

    bytes_per_second: float
    operations_per_second: float
    seconds_per_gather: dict[int, float]

    @classmethod
    def measure(cls, device: torch.device, quick: bool) -> "Ceilings":
        """Measure all limits, in a few seconds."""
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
        """Return the least time of an item: memory traffic and gathers, or operations if they take longer.

        Real times can be less: data that fits a cache moves faster than the copy that is measured here.
        """
        gathers = sum(count * self._gather(size) for size, count in work.gathers)
        return max(work.moved / self.bytes_per_second + gathers, work.operations / self.operations_per_second)

    def _gather(self, size: int) -> float:
        """Interpolate the time of a gather between the two measured sizes around this one, by the logarithm."""
        sizes = sorted(self.seconds_per_gather)
        size = min(max(size, sizes[0]), sizes[-1])
        low = max(s for s in sizes if s <= size)
        high = min(s for s in sizes if s >= size)
        share = math.log(size / low) / math.log(high / low) if high > low else 0.0
        return (1 - share) * self.seconds_per_gather[low] + share * self.seconds_per_gather[high]

    def lines(self) -> Iterable[str]:
        """Format the limits."""
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
