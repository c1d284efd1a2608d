"""Feature field: a segmentation feature for every point in space (OmniSeg3D, arXiv 2311.11666, section 3.2)."""

import torch
from torch import Tensor, nn

from omniseg.config import FeatureFieldConfig
from omniseg.fields.mlp import MLP
from omniseg.fields.operators import KERNELS, Operators
from omniseg.fields.space import Space


class FeatureField(nn.Module):
    """Hash grid -> MLP -> feature; the closer the directions of two points' features, the more they belong together.

    Args:
        config: sizes.
        space: the part of space that is covered; positions outside are clamped to it.
        operators: implementation of the hash encoding, and dtype of the matrix products.
    """

    def __init__(self, config: FeatureFieldConfig, space: Space, operators: Operators = KERNELS) -> None:
        super().__init__()
        self.layout, self.space, self.config, self.operators = config.encoding, space, config, operators
        table = torch.empty(self.layout.rows, self.layout.features)
        self.table = nn.Parameter(table.uniform_(-config.table_init, config.table_init))
        self.mlp = MLP((self.layout.channels, config.hidden, config.dim))

    def forward(self, positions: Tensor) -> Tensor:
        """Return features (n, dim) float32 of positions (n, 3), scene coordinates; differentiable in the parameters.

        Their length is arbitrary; training pulls the length of a rendered feature to 1.
        """
        unit = self.space.unit(positions)
        dtype = self.operators.matmul_dtype(positions.device)
        encoded = self.operators.hash_encode(unit, self.table, self.layout, out_dtype=dtype)
        return self.mlp(encoded).float()
