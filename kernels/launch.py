"""Where Taichi meets PyTorch: one initialisation per process and one way to call a kernel.

Every kernel of this package is called through `launch`. It guards against what Taichi does silently
otherwise: a leaf tensor that requires grad gets its `.grad` written by Taichi itself, an output that is
not contiguous is written to a copy, and an index beyond 2^31 wraps around.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import taichi as ti
import torch
from torch import Tensor

Arch = Literal["cpu", "cuda"]

TI_DTYPE = {torch.float32: ti.f32, torch.float64: ti.f64}
"""Floating point types that kernels are compiled for; float64 exists for gradient checks."""

CPU_CHUNK = 512
"""Smallest run of a parallel loop that Taichi hands to a CPU thread. A loop over few heavy tasks is
written as a loop over `n_tasks * CPU_CHUNK` of which every `CPU_CHUNK`-th iteration works."""

_INDEX_LIMIT = 2**31
_current: Arch | None = None


def init(arch: Arch, *, debug: bool = False, threads: int | None = None) -> None:
    """Start Taichi, once per process, on the device that all tensors will live on.

    Calling it again with the same `arch` does nothing.

    Args:
        arch: "cpu" or "cuda".
        debug: check every index at run time (about a hundred times slower, for tests).
        threads: CPU threads of the kernels; all cores unless given.
    Raises:
        RuntimeError: Taichi already runs on the other device, or there is no such device.
    """
    global _current
    if _current == arch:
        return
    if _current is not None:
        raise RuntimeError(f"kernels already run on {_current!r} in this process: cannot change to {arch!r}")
    if arch == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("arch: 'cuda' was asked for, but PyTorch sees no CUDA device")
    options: dict[str, Any] = {} if threads is None else {"cpu_max_num_threads": threads}
    with contextlib.redirect_stdout(io.StringIO()):  # ti.init prints a line that no option turns off
        ti.init(
            arch=ti.cuda if arch == "cuda" else ti.cpu,
            enable_fallback=False,
            debug=debug,
            offline_cache=not debug,
            log_level=ti.ERROR,
            **options,
        )
    _current = arch


def arch() -> Arch:
    """Device of the kernels in this process; starts Taichi on the CPU where nobody chose before."""
    if _current is None:
        init("cpu")
    assert _current is not None
    return _current


def launch(kernel: Callable[..., None], inputs: Sequence[object], outputs: Sequence[Tensor]) -> None:
    """Call a Taichi kernel as `kernel(*inputs, *outputs)`.

    Args:
        kernel: a function decorated with `ti.kernel` that returns nothing.
        inputs: tensors (detached here, made contiguous where they are not) and plain numbers.
        outputs: tensors the kernel writes; contiguous and without grad.
    Raises:
        ValueError: a tensor is on another device than the kernels or has 2^31 elements or more; an output
            is not contiguous or requires grad.
    """
    device = arch()
    args: list[object] = []
    for value in inputs:
        if isinstance(value, Tensor):
            _check_tensor(value, device)
            value = value.detach().contiguous()
        args.append(value)
    for out in outputs:
        _check_tensor(out, device)
        if not out.is_contiguous() or out.requires_grad:
            raise ValueError("launch: an output must be contiguous and must not require grad")
        args.append(out)
    kernel(*args)


def _check_tensor(tensor: Tensor, device: Arch) -> None:
    if tensor.device.type != device:
        raise ValueError(f"launch: the kernels run on {device!r}, but a tensor is on {tensor.device.type!r}")
    if tensor.numel() >= _INDEX_LIMIT:
        raise ValueError(f"launch: a tensor of {tensor.numel()} elements is beyond 32-bit indices")


def check_shape(name: str, tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless `tensor` has this shape; None stands for any length."""
    if tensor.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, tensor.shape)):
        want = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name}: expected shape ({want}), got {tuple(tensor.shape)}")


def check_like(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless both tensors share dtype and device."""
    if tensor.dtype != other.dtype or tensor.device != other.device:
        raise ValueError(
            f"{name}: expected {other.dtype} on {other.device} as {other_name}, got {tensor.dtype} on {tensor.device}"
        )


def check_dtype(name: str, tensor: Tensor, *dtypes: torch.dtype) -> None:
    """Raise ValueError unless `tensor` has one of these dtypes."""
    if tensor.dtype not in dtypes:
        want = " or ".join(str(dtype) for dtype in dtypes)
        raise ValueError(f"{name}: expected {want}, got {tensor.dtype}")
