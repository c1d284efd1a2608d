"""Feature field: what every point belongs to (OmniSeg3D, arXiv 2311.11666, section 3.2)."""

import torch
from torch import Tensor, nn

from omniseg.config import FeatureFieldConfig
from omniseg.fields.mlp import MLP, matmul_dtype
from omniseg_kernels.hash_encoding import hash_encode


class FeatureField(nn.Module):
    """Hash grid -> MLP -> a feature; two points belong together as far as theirs point the same way.

    Args:
        config: sizes.
        bound: positions lie in [-bound, bound]^3, scene units; beyond it they are clamped.
    """

    def __init__(self, config: FeatureFieldConfig, bound: float) -> None:
        super().__init__()
        self.layout, self.bound, self.config = config.encoding, bound, config
        self.table = nn.Parameter(torch.empty(self.layout.rows, self.layout.features).uniform_(-1e-4, 1e-4))
        self.mlp = MLP((self.layout.channels, config.hidden, config.dim))

    def forward(self, positions: Tensor) -> Tensor:
        """Features (n, dim), float32, of positions (n, 3), scene coordinates; differentiable in the parameters.

        Their length is not fixed; training pulls that of a rendered feature to 1.
        """
        unit = positions * (0.5 / self.bound) + 0.5
        encoded = hash_encode(unit, self.table, self.layout, out_dtype=matmul_dtype(positions.device))
        return self.mlp(encoded).float()
