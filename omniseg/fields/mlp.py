"""Small multilayer perceptrons without biases, in the precision that is fast on the processor."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def matmul_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where its matrix products are faster than those of float32, else float32.

    Weights stay float32; a product rounds them and the activations.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else torch.float32


class MLP(nn.Module):
    """Linear layers with ReLU between them; (n, widths[0]) -> (n, widths[-1]), in the dtype of its input."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        shapes = zip(widths[1:], widths[:-1])
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(shape)) for shape in shapes)
        for weight in self.weights:
            nn.init.kaiming_uniform_(weight, a=5**0.5)  # as torch.nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers; differentiable in `x` and the weights."""
        for weight in self.weights[:-1]:
            x = F.relu_(F.linear(x, weight.to(x.dtype)))
        return F.linear(x, self.weights[-1].to(x.dtype))
