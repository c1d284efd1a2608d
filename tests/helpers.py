"""Helpers of all tests: tolerances, random packed rays, gradients, runs in a fresh process."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]

TOLERANCE = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.float64: {"rtol": 1e-9, "atol": 1e-10},
}
"""Tolerances of `assert_close` by dtype. A test that needs wider ones says why."""

RAGGED = [[], [0], [1], [3, 0, 5], [0, 0], [1, 64, 7, 200], [2] * 1030]
"""Sample counts per ray worth trying: no ray, empty rays, odd sizes, more rays than one CPU chunk."""


@dataclass(frozen=True)
class PackedRays:
    """Random samples along rays, packed one ray after the other."""

    t_starts: Tensor  # (n_samples,) ascending along a ray
    t_ends: Tensor  # (n_samples,) at most the next t_start
    packed_info: Tensor  # (n_rays, 2) int32: first sample, count

    @property
    def n_samples(self) -> int:
        return len(self.t_starts)

    @property
    def ray_indices(self) -> Tensor:
        """(n_samples,) int64, the ray of each sample."""
        counts = self.packed_info[:, 1].long()
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def make_rays(
    counts: Sequence[int], dtype: torch.dtype, device: torch.device, generator: torch.Generator | None = None
) -> PackedRays:
    """Make samples with random gaps and lengths; one generator state gives the same on every device."""
    starts, ends = [torch.zeros(0, dtype=torch.float64)], [torch.zeros(0, dtype=torch.float64)]
    for count in counts:
        lengths = 0.01 + 0.1 * torch.rand(2 * count + 1, generator=generator, dtype=torch.float64)
        borders = lengths.cumsum(0)
        starts.append(borders[:-1:2])
        ends.append(borders[1::2])
    count = torch.tensor(list(counts), dtype=torch.int32)
    packed_info = torch.stack([count.cumsum(0, dtype=torch.int32) - count, count], 1)
    return PackedRays(torch.cat(starts).to(device, dtype), torch.cat(ends).to(device, dtype), packed_info.to(device))


def grad(out: Tensor, inputs: Tensor, g: Tensor) -> Tensor:
    """Return the gradient of sum(out * g) in one input, zeros where `out` does not depend on it; change no `.grad`."""
    if not out.requires_grad:
        return torch.zeros_like(inputs)
    (found,) = torch.autograd.grad(out, inputs, g, allow_unused=True)
    return torch.zeros_like(inputs) if found is None else found


def noncontiguous(tensor: Tensor) -> Tensor:
    """Copy a tensor to every other element of a larger one in each dimension, and return that view."""
    wide = tensor.new_zeros([2 * n for n in tensor.shape])
    view = wide[tuple(slice(None, None, 2) for _ in tensor.shape)]
    view.copy_(tensor)
    return view


def run_python(*args: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in a fresh process at the root of the project; fail the test if it does not end.

    Taichi's own handler of a segmentation fault may hang.
    """
    # With more threads, those of PyTorch wait busily for work as small as that of the tests.
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *args]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            pytest.fail(f"{args} did not end within {timeout} s:\n{stdout[-4000:]}\n{stderr[-4000:]}")
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
