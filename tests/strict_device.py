"""Stand-in for a GPU: a device whose tensors refuse to meet the CPU's, and the kernels' GPU forms.

    python tests/strict_device.py FOLDER      train both stages, measure, segment and export on this device

Its name is PyTorch's "meta"; the contents of its tensors lie on the CPU. Code that would mix devices on a GPU raises:
an operator with tensors of both (except numbers), a kernel with a tensor of the CPU, `.numpy()` without `.cpu()`.
It patches PyTorch and this project for the rest of the process, so run it in one of its own. The project does not know
of it: `install` exchanges what fills or reads a device, wherever a module of the project imported it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from omniseg_kernels import launch as launch_module

DEVICE = torch.device("meta")
_BETWEEN_DEVICES = ("aten.copy_.default", "aten._to_copy.default")
_TAKES_CPU_INDICES = ("aten.index.Tensor", "aten.index_put_.default", "aten._index_put_impl_.default")
_tensor, _Generator, _launch = torch.tensor, torch.Generator, launch_module.launch


class StrictTensor(torch.Tensor):
    """Tensor on the stand-in; `held` is its content, a tensor on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    def __getitem__(self, index):
        # PyTorch would turn lists into tensors on the device "meta", without content.
        whole = tuple(map(_listed, index)) if isinstance(index, tuple) else _listed(index)
        return torch.Tensor.__getitem__(self, whole)

    def tolist(self):
        return self.held.tolist()

    def __array__(self, *_args, **_kwargs):
        raise TypeError("NumPy cannot read a tensor of the GPU: .cpu() is missing")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Mode that also sees operators without tensors among their arguments, such as `zeros`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _StrictGenerator(_Generator):
    """Generator that claims to be on the stand-in."""

    def __new__(cls, device="cpu"):
        made = _Generator.__new__(cls, "cpu")
        made.said = torch.device(device)
        return made

    def __init__(self, device="cpu"):
        pass

    @property
    def device(self):
        return self.said  # pyright: ignore[reportAttributeAccessIssue]

    def manual_seed(self, seed):
        _Generator.manual_seed(self, seed)
        return self


def _listed(index: Any) -> Any:
    return _tensor(index) if isinstance(index, list) else index


def _held(value: Any) -> Any:
    return value.held if isinstance(value, StrictTensor) else value


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    """Run an operator on the contents of its tensors."""
    name, tensors = str(func), [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    strict = [x for x in tensors if isinstance(x, StrictTensor)]
    of_cpu = [x for x in tensors if not isinstance(x, StrictTensor) and x.ndim]
    allowed = name in _BETWEEN_DEVICES or (name in _TAKES_CPU_INDICES and isinstance(args[0], StrictTensor))
    if strict and of_cpu and not allowed:
        raise RuntimeError(f"{name}: tensors of two devices")
    asked = kwargs.get("device")
    on_strict = bool(strict) if asked is None else torch.device(asked).type == DEVICE.type
    there = {key: "cpu" if key == "device" and asked is not None else value for key, value in kwargs.items()}
    out = func(*tree_map(_held, args), **tree_map(_held, there))
    if func._schema.is_mutable and out is _held(args[0]):
        return args[0]
    return tree_map(lambda x: StrictTensor(x) if isinstance(x, torch.Tensor) and on_strict else x, out)


def _strict_launch(kernel, inputs, outputs) -> None:
    for value in (*inputs, *outputs):
        if isinstance(value, torch.Tensor) and not isinstance(value, StrictTensor):
            raise ValueError("launch: a tensor is on the CPU")
    if any(out.requires_grad for out in outputs):
        raise ValueError("launch: an output must not require grad")
    detached = [value.detach() if isinstance(value, torch.Tensor) else value for value in inputs]
    _launch(kernel, [_held(value) for value in detached], [_held(out) for out in outputs])


class _StrictOpen:
    """`safetensors.safe_open` that can read onto the stand-in."""

    def __init__(self, path: Path, framework: str, device: str) -> None:
        self._file, self._device = safe_open(path, framework=framework, device="cpu"), device

    def __enter__(self) -> "_StrictOpen":
        self._file.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._file.__exit__(*error)

    def metadata(self) -> dict[str, str]:
        return self._file.metadata()

    def keys(self) -> list[str]:
        return self._file.keys()

    def get_tensor(self, name: str) -> torch.Tensor:
        return self._file.get_tensor(name).to(self._device)


def _exchange(old: Callable, new: Callable) -> None:
    """Put `new` in the place of `old` in every loaded module of the project that imported it."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("omniseg", "omniseg_kernels") and name != old.__module__:
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)


def install() -> None:
    """Make the stand-in the device of this process."""
    from omniseg import devices, run_folder  # the module that reads files onto a device must be loaded

    launch_module.init("cpu")
    _exchange(launch_module.launch, _strict_launch)
    _exchange(launch_module.arch, lambda: "cuda")  # the GPU's form of a kernel
    _exchange(safe_open, _StrictOpen)
    assert run_folder.safe_open is _StrictOpen
    devices.start = devices.choose = lambda *_: DEVICE
    # PyTorch makes tensors from Python's numbers, counts memory, and has a fused optimiser, for devices it knows.
    torch.cuda.mem_get_info = lambda *_: (1 << 40, 1 << 40)
    torch.cuda.memory_reserved = torch.cuda.memory_allocated = lambda *_: 0
    torch.tensor = lambda data, *args, device=None, **rest: _tensor(data, *args, **rest).to(device or "cpu")
    torch.Tensor.new_tensor = lambda self, data, **rest: _tensor(data, dtype=self.dtype, **rest).to(self.device)
    torch.Generator = _StrictGenerator
    adam = torch.optim.Adam
    torch.optim.Adam = lambda *args, fused, **rest: adam(*args, foreach=False, **rest)
    _Mode().__enter__()


def main(folder: Path) -> None:
    """Run the commands from a capture to a mesh; exit at the first that fails."""
    install()
    from command_line import run_command
    from tiny_scene import SMALL, write_ball, write_ball_masks

    scene, run = write_ball(folder / "ball"), folder / "run"
    write_ball_masks(scene)
    small = ["--training.refine-poses", "--training.exposure", *SMALL]
    # More steps than the others, so that there is something to segment.
    small += ["--training.steps", "120", "--feature-training.steps", "40", "--training.samples-per-step", "8192"]
    for name, *arguments in (
        ("train", "--scene", scene, "--run", run, *small),
        ("train", "--run", run, "--resume", *small, "--training.steps", "121", "--feature-training.steps", "41"),
        ("evaluate", run, "--everything"),
        ("segment", run, "--view", "test/8", "--click", "12", "12", "--out", folder / "masks"),
        ("segment", run, "--everything", "--out", folder / "segments"),
        ("render", run, "--path", "test", "--show", "features", "--out", folder / "pictures"),
        ("export", run, "--what", "mesh", "--resolution", "24", "--out", folder / "mesh.ply"),
    ):
        done = run_command(torch.device("cpu"), name, *arguments)
        print(name, done.status)
        if done.status:
            sys.exit(done.err)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
