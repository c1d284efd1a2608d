"""Counter of the places where the host would wait for a GPU, on any device; each wait empties the GPU's queue."""

from collections import Counter

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_READS = {f"aten.{n}" for n in ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal", "_unique2")}
_INDEXES = {"aten.index", "aten.index_put", "aten.index_put_", "aten._index_put_impl_"}
_TO_THE_HOST = {torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy}


class HostWaits(TorchDispatchMode):
    """Mode that counts, in `found`, the operators whose result or its size the host must know.

    It does not see other ways out of torch (`numpy.asarray`, `Tensor.to("cpu")`), nor waits within other operators
    (`torch.allclose`, `Tensor.tensor_split` at a tensor).
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._calls = _Calls(self.found)

    def __enter__(self):
        self._calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._calls.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.replace("::", ".")
        masked = name in _INDEXES and any(x is not None and x.dtype == torch.bool for x in args[1])
        repeats = name == "aten.repeat_interleave" and kwargs.get("output_size") is None
        if name in _READS or name.startswith("aten.unique") or masked or repeats:
            self.found[name] += 1
        return func(*args, **kwargs)


class _Calls(TorchFunctionMode):
    """Counts methods that are no operators."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _TO_THE_HOST:
            self._found[func.__name__] += 1
        return func(*args, **(kwargs or {}))
