"""Radiance field: density and view-dependent colour of every point (instant-ngp, Müller et al. 2022, section 5.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from omniseg.config import RadianceFieldConfig
from omniseg.fields.mlp import MLP
from omniseg.fields.operators import KERNELS, Operators
from omniseg.fields.space import Space


class _DensityHead(torch.autograd.Function):
    """Adds the gradients of both outputs in one pass; autograd would write a tensor for each first."""

    @staticmethod
    def forward(ctx, channels: Tensor, bias: float, limit: float) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        sigmas = (channels[:, 0].float() + bias).clamp_(max=limit).exp_()
        ctx.save_for_backward(sigmas)
        ctx.like = channels.shape, channels.dtype
        return sigmas, channels.view_as(channels)

    @staticmethod
    @once_differentiable
    def backward(ctx, g_sigmas: Tensor | None, g_channels: Tensor | None) -> tuple[Tensor, None, None]:
        (sigmas,) = ctx.saved_tensors
        shape, dtype = ctx.like
        if g_channels is None:
            g = torch.zeros(shape, dtype=dtype, device=sigmas.device)
        else:
            g = g_channels.clone(memory_format=torch.contiguous_format)
        if g_sigmas is not None:
            g[:, 0] += (g_sigmas * sigmas).to(dtype)
        return g, None, None


def density_head(channels: Tensor, bias: float, limit: float) -> tuple[Tensor, Tensor]:
    """Return densities exp(min(channels[:, 0] + bias, limit)) of channels (n, c), and the channels; differentiable.

    Above the limit the gradient stays that at the limit, so that one step cannot make a density infinite.
    """
    return _DensityHead.apply(channels, bias, limit)


@dataclass(frozen=True)
class Density:
    """Density of n positions, and the input of their colour.

    Attributes:
        sigmas: (n,) float32 densities, 1 / scene unit.
        geometry: (n, 1 + geometry) channels that the colour MLP reads.
    """

    sigmas: Tensor
    geometry: Tensor


class RadianceField(nn.Module):
    """Hash grid -> MLP -> density and geometry; with the direction -> MLP -> colour.

    Args:
        config: sizes.
        space: the part of space that is covered; positions outside are clamped to it.
        operators: implementation of the encodings, and dtype of the matrix products.
    """

    def __init__(self, config: RadianceFieldConfig, space: Space, operators: Operators = KERNELS) -> None:
        super().__init__()
        self.layout, self.space, self.config, self.operators = config.encoding, space, config, operators
        table = torch.empty(self.layout.rows, self.layout.features)
        self.table = nn.Parameter(table.uniform_(-config.table_init, config.table_init))
        self.density_mlp = MLP((self.layout.channels, config.hidden, 1 + config.geometry))
        self.colour_mlp = MLP((1 + config.geometry + config.sh_degree**2, config.hidden, config.hidden, 3))

    def density(self, positions: Tensor) -> Density:
        """Return the density at positions (n, 3), scene coordinates; differentiable in positions and parameters."""
        unit, scale = self.space.unit_and_scale(positions)
        bias, limit = self.config.log_density_bias, self.config.max_log_density
        dtype = self.operators.matmul_dtype(positions.device)
        features = self.operators.hash_encode(unit, self.table, self.layout, out_dtype=dtype)
        sigmas, geometry = density_head(self.density_mlp(features), bias, limit)
        return Density(sigmas if scale is None else sigmas * scale, geometry)

    def colour(self, geometry: Tensor, rays_d: Tensor, ray_indices: Tensor) -> Tensor:
        """Return the colour of samples seen along their rays; differentiable in all but the indices.

        Args:
            geometry: (n, 1 + geometry) channels from `density`.
            rays_d: (n_rays, 3) unit directions.
            ray_indices: (n,) int32 ray of each sample.
        Returns:
            (n, 3) in (0, 1), float32.
        """
        directions = self.operators.spherical_harmonics(rays_d, self.config.sh_degree).contiguous().to(geometry.dtype)
        inputs = self.operators.append_ray_channels(geometry, directions, ray_indices)
        return torch.sigmoid(self.colour_mlp(inputs).float())
