"""Radiance field: density and view-dependent colour of every point (instant-ngp, Müller et al. 2022, section 5.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from omniseg.config import RadianceFieldConfig
from omniseg.fields.mlp import MLP, matmul_dtype
from omniseg_kernels.gather import append_ray_channels
from omniseg_kernels.hash_encoding import hash_encode
from omniseg_kernels.spherical_harmonics import spherical_harmonics

_SH_DEGREE = 4
_LARGEST_LOG_DENSITY = 15.0
_LOG_DENSITY_BIAS = -1.0
"""Space starts thin: what is empty need not be unlearned first."""


class _DensityHead(torch.autograd.Function):
    """Of channels (n, c): density, by exp of the first whose value and slope stop growing at exp(15), so that one step
    cannot make a density infinite; and the channels themselves.

    Both gradients meet here, in one pass over the channels; autograd would write a tensor for each and add them up.
    """

    @staticmethod
    def forward(ctx, channels: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        sigmas = (channels[:, 0].float() + _LOG_DENSITY_BIAS).clamp_(max=_LARGEST_LOG_DENSITY).exp_()
        ctx.save_for_backward(sigmas)
        ctx.like = channels.shape, channels.dtype
        return sigmas, channels.view_as(channels)

    @staticmethod
    @once_differentiable
    def backward(ctx, g_sigmas: Tensor | None, g_channels: Tensor | None) -> Tensor:
        (sigmas,) = ctx.saved_tensors
        shape, dtype = ctx.like
        if g_channels is None:
            g = torch.zeros(shape, dtype=dtype, device=sigmas.device)
        else:
            g = g_channels.clone(memory_format=torch.contiguous_format)
        if g_sigmas is not None:
            g[:, 0] += (g_sigmas * sigmas).to(dtype)
        return g


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
        return Density(*_DensityHead.apply(self.density_mlp(features)))

    def colour(self, geometry: Tensor, rays_d: Tensor, ray_indices: Tensor) -> Tensor:
        """Colour of samples as their rays see it; differentiable in all but the indices.

        Args:
            geometry: (n, 1 + geometry) channels of `density`.
            rays_d: (n_rays, 3) unit directions.
            ray_indices: (n,) int32 ray of each sample.
        Returns:
            (n, 3) in (0, 1), float32.
        """
        directions = spherical_harmonics(rays_d, _SH_DEGREE).contiguous().to(geometry.dtype)
        return torch.sigmoid(self.colour_mlp(append_ray_channels(geometry, directions, ray_indices)).float())
