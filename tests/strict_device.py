"""A stand-in for a GPU: tensors on a device of their own, which refuse to meet the CPU's, and the kernels' GPU forms.

    python tests/strict_device.py FOLDER      train both stages, measure, segment and export with such tensors

PyTorch's device "meta" gives the name; what a tensor holds lies on the CPU. Whatever would mix devices on a GPU raises
here: an operator given tensors of both (numbers aside), a kernel given one of the CPU's, `.numpy()` without `.cpu()`.
Patches PyTorch and this project for the rest of the process: run it in one of its own.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from omniseg_kernels import launch as launch_module

DEVICE = torch.device("meta")
_BETWEEN_DEVICES = ("aten.copy_.default", "aten._to_copy.default")
_TAKES_CPU_INDICES = ("aten.index.Tensor", "aten.index_put_.default", "aten._index_put_impl_.default")
_KERNELS = (
    "hash_encoding", "marching", "compositing", "distortion", "spherical_harmonics", "ray_aabb", "occupancy",
    "visibility", "gather",
)  # fmt: skip
_tensor, _Generator, _launch = torch.tensor, torch.Generator, launch_module.launch


class StrictTensor(torch.Tensor):
    """A tensor on the stand-in; `held` is what it holds."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    def __getitem__(self, index):
        # PyTorch makes tensors of lists by itself, on the device of the name: empty ones.
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
    """Also sees what makes tensors from nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _StrictGenerator(_Generator):
    """A generator that says it lies on the stand-in."""

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
    """An operator, on what its tensors hold."""
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


def install() -> None:
    """From now on there is a stand-in; `common.start` chooses it."""
    from omniseg import run_folder as checkpoint
    from omniseg.commands import common
    from omniseg.selection import tree_building as everything
    from omniseg.training import trainer

    launch_module.init("cpu")
    for name in _KERNELS:
        module = importlib.import_module(f"omniseg_kernels.{name}")
        module.launch = _strict_launch
        if hasattr(module, "arch"):
            module.arch = lambda: "cuda"  # the GPU's form of a kernel
    importlib.import_module("omniseg.fields.occupancy_grid").arch = lambda: DEVICE.type
    for name in ("images", "patches"):  # it has no memory of its own to ask for
        importlib.import_module(f"omniseg.data.{name}").fits = lambda *_: True
    read, adam = checkpoint.read_tensors, torch.optim.Adam

    def read_tensors(path: Path, device: torch.device):
        tensors, metadata = read(path, torch.device("cpu"))
        return {name: tensor.to(device) for name, tensor in tensors.items()}, metadata

    for module in (checkpoint, everything, trainer):
        module.read_tensors = read_tensors
    # What PyTorch makes from Python's numbers, and a fused optimiser, know nothing of stand-ins.
    torch.tensor = lambda data, *args, device=None, **rest: _tensor(data, *args, **rest).to(device or "cpu")
    torch.Tensor.new_tensor = lambda self, data, **rest: _tensor(data, dtype=self.dtype, **rest).to(self.device)
    torch.Generator = _StrictGenerator
    torch.optim.Adam = lambda *args, fused, **rest: adam(*args, foreach=False, **rest)
    common.start = lambda *_: DEVICE
    _Mode().__enter__()


def main(folder: Path) -> None:
    """What a person does with a capture, command by command; each must end well."""
    install()
    from commands import run_command
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
