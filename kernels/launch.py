"""Bridge between Taichi and PyTorch: one initialisation per process and one way to call a kernel.

Every kernel of this package is called through `launch`, which prevents three silent errors of Taichi: it adds to the
`.grad` of a leaf tensor that requires grad, it writes an output that is not contiguous to a copy, and indices beyond
2^31 wrap around.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import taichi as ti
import torch
from taichi.lang import impl
from taichi.lang.matrix import VectorType
from taichi.types import primitive_types
from torch import Tensor

Arch = Literal["cpu", "cuda"]

TI_DTYPE = {torch.float32: ti.f32, torch.float64: ti.f64}
"""Taichi's name of each floating point type that kernels support; float64 exists for gradient checks."""

CPU_CHUNK = 512
"""Smallest number of iterations that Taichi gives to a CPU thread. A loop over few heavy tasks is written as a loop
over `n_tasks * CPU_CHUNK` that works in every `CPU_CHUNK`-th iteration only."""

_INDEX_LIMIT = 2**31
_current: Arch | None = None
_debug = False


def init(arch: Arch, *, debug: bool = False, threads: int | None = None) -> None:
    """Start Taichi, once per process, on the device of all tensors. A second call with the same `arch` does nothing.

    Args:
        arch: "cpu" or "cuda".
        debug: check every index at run time; for tests, about a hundred times slower.
        threads: CPU threads of the kernels; all cores by default.
    Raises:
        RuntimeError: Taichi already runs on the other device, or PyTorch sees no CUDA device.
    """
    global _current, _debug
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
    _current, _debug = arch, debug


def current_arch() -> Arch | None:
    """Return the device that the kernels run on, None if they were not started yet."""
    return _current


def arch() -> Arch:
    """Return the device of the kernels in this process; start Taichi on the CPU if it was not started yet."""
    if _current is None:
        init("cpu")
    assert _current is not None
    return _current


@dataclass(frozen=True)
class _Compiled:
    """Kernel compiled for arguments of certain dtypes and numbers of axes.

    It uses internals of Taichi 1.7.4, the release that pyproject.toml requires.

    Attributes:
        context: makes an empty list of arguments.
        start: runs the kernel on a filled list.
        elements: for an array the shape of its elements, () for numbers; for a plain number the name of the method that
            sets it.
    """

    context: Callable[[], Any]
    start: Callable[[Any], None]
    elements: tuple[tuple[int, ...] | str, ...]

    @classmethod
    def from_call(cls, kernel: Any, args: Sequence[object]) -> "_Compiled":
        """Return the compiled kernel that Taichi used for its latest call with these arguments."""
        primal = kernel._primal
        source = primal.compiled_kernels[primal.ensure_compiled(*args)]
        program = impl.get_runtime().prog
        assert program is not None
        compiled = program.compile_kernel(program.config(), program.get_device_caps(), source)
        elements: list[tuple[int, ...] | str] = []
        for value, kind in zip(args, (argument.annotation for argument in primal.arguments)):
            if isinstance(value, Tensor):
                elements.append(kind.dtype.get_shape() if isinstance(kind.dtype, VectorType) else ())
            else:
                elements.append("set_arg_float" if id(kind) in primitive_types.real_type_ids else "set_arg_int")
        return cls(source.make_launch_context, partial(program.launch_kernel, compiled), tuple(elements))

    def __call__(self, args: Sequence[Any]) -> None:
        """Run the kernel."""
        context = self.context()
        for place, (element, value) in enumerate(zip(self.elements, args)):
            if isinstance(element, str):
                getattr(context, element)((place,), value)
                continue
            shape = value.shape
            if element:
                split = len(shape) - len(element)
                if shape[split:] != element:
                    raise ValueError(f"launch: argument {place} has shape {tuple(shape)}, not (..., {element})")
                shape = shape[:split]
            context.set_arg_external_array_with_shape((place,), value.data_ptr(), value.nbytes, shape, 0)
        self.start(context)


_compiled: dict[tuple[object, ...], _Compiled] = {}


def launch(kernel: Callable[..., None], inputs: Sequence[object], outputs: Sequence[Tensor]) -> None:
    """Call a Taichi kernel as `kernel(*inputs, *outputs)`.

    The first call for certain dtypes and numbers of axes goes through Taichi, which checks and compiles. Later calls
    pass addresses and start the compiled kernel directly. Taichi itself would examine every argument at every call,
    which takes 250 us instead of 25 for eight arguments, as long as some kernels run.

    Args:
        kernel: a function decorated with `ti.kernel` that takes arrays and plain numbers and returns nothing.
        inputs: tensors and plain numbers; tensors that are not contiguous are copied.
        outputs: tensors that the kernel writes; contiguous, and without requires_grad.
    Raises:
        ValueError: a tensor is on another device than the kernels or has 2^31 elements or more; an output is not
            contiguous or requires grad.
    """
    device = arch()
    args: list[object] = []
    kinds: list[object] = [kernel]
    for value in inputs:
        if isinstance(value, Tensor):
            _check_tensor(value, device)
            if not value.is_contiguous():
                value = value.detach().contiguous()
            kinds += value.dtype, value.ndim
        args.append(value)
    for out in outputs:
        _check_tensor(out, device)
        if not out.is_contiguous() or out.requires_grad:
            raise ValueError("launch: an output must be contiguous and must not require grad")
        kinds += out.dtype, out.ndim
        args.append(out)
    known = tuple(kinds)
    if compiled := _compiled.get(known):
        compiled(args)
        return
    # For a tensor that requires grad, Taichi would compile another kernel, which writes its `.grad`.
    args = [arg.detach() if isinstance(arg, Tensor) else arg for arg in args]
    kernel(*args)
    if not _debug:  # in debug mode only Taichi's own call reports bad indices
        _compiled[known] = _Compiled.from_call(kernel, args)


def _check_tensor(tensor: Tensor, device: Arch) -> None:
    if tensor.device.type != device:
        raise ValueError(f"launch: the kernels run on {device!r}, but a tensor is on {tensor.device.type!r}")
    if tensor.numel() >= _INDEX_LIMIT:
        raise ValueError(f"launch: a tensor of {tensor.numel()} elements is beyond 32-bit indices")


def check_shape(name: str, tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless `tensor` has this shape; None means any length."""
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
