"""The operators that fields and the renderer are built on, as one bundle that can be exchanged."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from omniseg.fields.mlp import matmul_dtype
from omniseg_kernels.compositing import VolumeRendering, composite, volume_render
from omniseg_kernels.gather import append_ray_channels, sample_positions
from omniseg_kernels.hash_encoding import hash_encode
from omniseg_kernels.marching import RaySamples, march_rays
from omniseg_kernels.spherical_harmonics import spherical_harmonics


@dataclass(frozen=True, kw_only=True)
class Operators:
    """Operators of a training step, by default the Taichi kernels.

    `dataclasses.replace` exchanges some of them, for a comparison with other implementations or in another precision.
    Each takes the arguments of the kernel of its name.

    Attributes:
        matmul_dtype: device -> dtype of the matrix products of the MLPs.
    """

    march_rays: Callable[..., RaySamples] = march_rays
    sample_positions: Callable[..., Tensor] = sample_positions
    hash_encode: Callable[..., Tensor] = hash_encode
    spherical_harmonics: Callable[..., Tensor] = spherical_harmonics
    append_ray_channels: Callable[..., Tensor] = append_ray_channels
    volume_render: Callable[..., VolumeRendering] = volume_render
    composite: Callable[..., Tensor] = composite
    matmul_dtype: Callable[[torch.device], torch.dtype] = matmul_dtype


KERNELS = Operators()
"""The Taichi kernels."""
