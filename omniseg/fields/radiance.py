"""Radiance field: density and view-dependent colour of every point (instant-ngp, Müller et al. 2022, section 5.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from omniseg.config import RadianceFieldConfig
from omniseg.fields.mlp import MLP, matmul_dtype
from omniseg_kernels.hash_encoding import hash_encode
from omniseg_kernels.spherical_harmonics import spherical_harmonics

_SH_DEGREE = 4
_LARGEST_LOG_DENSITY = 15.0
_LOG_DENSITY_BIAS = -1.0
"""Space starts thin: what is empty need not be unlearned first."""


class _TruncatedExp(torch.autograd.Function):
    """exp(x) whose value and slope stop growing at exp(15), so that one step cannot make a density infinite."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = x.clamp(max=_LARGEST_LOG_DENSITY).exp_()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return g * ctx.saved_tensors[0]


@dataclass(frozen=True)
class Density:
    """`sigmas` (n,) float32, 1 / scene unit, and the channels (n, 1 + geometry) that colour is made of."""

    sigmas: Tensor
    geometry: Tensor


class RadianceField(nn.Module):
    """Hash grid -> MLP -> density and geometry; with the direction -> MLP -> colour.

    Args:
        config: sizes.
        bound: positions lie in [-bound, bound]^3, scene units; beyond it they are clamped.
    """

    def __init__(self, config: RadianceFieldConfig, bound: float) -> None:
        super().__init__()
        self.layout, self.bound = config.encoding, bound
        self.table = nn.Parameter(torch.empty(self.layout.rows, self.layout.features).uniform_(-1e-4, 1e-4))
        self.density_mlp = MLP((self.layout.channels, config.hidden, 1 + config.geometry))
        self.colour_mlp = MLP((1 + config.geometry + _SH_DEGREE**2, config.hidden, config.hidden, 3))

    def density(self, positions: Tensor) -> Density:
        """Density at positions (n, 3), scene coordinates; differentiable in positions and parameters."""
        unit = positions * (0.5 / self.bound) + 0.5
        features = hash_encode(unit, self.table, self.layout, out_dtype=matmul_dtype(positions.device))
        geometry = self.density_mlp(features)
        return Density(_TruncatedExp.apply(geometry[:, 0].float() + _LOG_DENSITY_BIAS), geometry)

    def encode_directions(self, rays_d: Tensor) -> Tensor:
        """Directional channels (n_rays, 16) of unit directions (n_rays, 3): once a ray, not once a sample."""
        return spherical_harmonics(rays_d, _SH_DEGREE).contiguous().to(matmul_dtype(rays_d.device))

    def colour(self, geometry: Tensor, directions: Tensor) -> Tensor:
        """Colour (n, 3) in (0, 1), float32, of the channels of `density` and `encode_directions`, per sample."""
        return torch.sigmoid(self.colour_mlp(torch.cat([geometry, directions], dim=1)).float())
