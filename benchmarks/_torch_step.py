"""Operators of a training step of stage 1 in PyTorch: the rival that a whole step is measured against."""

from collections.abc import Callable

import torch
from torch import Tensor

import _torch_forms as forms
from omniseg.fields import KERNELS, Operators
from omniseg_kernels.compositing import VolumeRendering
from omniseg_kernels.hash_encoding import HashLayout
from omniseg_kernels.marching import OccupancyBits, RaySamples, StepRule
from omniseg_kernels.reference.spherical_harmonics import spherical_harmonics

Encoding = Callable[[Tensor, Tensor, list[forms.LevelGroup]], Tensor]


def torch_operators(encoding: Encoding, layout: HashLayout, device: torch.device, *, half: bool) -> Operators:
    """Return operators that compute a training step without the kernels, except for updates of the occupancy grid.

    Args:
        encoding: form of the hash encoding.
        layout: sizes of the field's hash grid.
        device: device of the training.
        half: compute matrix products in bfloat16 on processors that are fast in it, as ours; else in float32.
    """
    groups = forms.LevelGroup.from_layout(layout, device)

    def hash_encode(positions: Tensor, table: Tensor, _: HashLayout, *, out_dtype: torch.dtype) -> Tensor:
        return encoding(positions, table, groups).to(out_dtype)

    return Operators(
        march_rays=_march_rays,
        sample_positions=_sample_positions,
        hash_encode=hash_encode,
        spherical_harmonics=spherical_harmonics,
        append_ray_channels=_append_ray_channels,
        volume_render=_volume_render,
        matmul_dtype=KERNELS.matmul_dtype if half else lambda _: torch.float32,
    )


def _append_ray_channels(values: Tensor, ray_values: Tensor, ray_indices: Tensor) -> Tensor:
    return torch.cat([values, ray_values.index_select(0, ray_indices)], dim=1)


def _sample_positions(rays_o: Tensor, rays_d: Tensor, starts: Tensor, ends: Tensor, rays: Tensor) -> Tensor:
    middles = 0.5 * (starts + ends)[:, None]
    return torch.addcmul(rays_o.index_select(0, rays), rays_d.index_select(0, rays), middles)


def _march_rays(
    rays_o: Tensor, rays_d: Tensor, spans: Tensor, grid: OccupancyBits, rule: StepRule, *, max_samples: int, pad_to: int
) -> RaySamples:
    steps = min(int(((spans[:, 1] - spans[:, 0]).max() / rule.min_step).ceil()), max_samples)
    starts, ends, rays = forms.march_rays(rays_o, rays_d, spans, grid, rule, steps)
    counts = torch.bincount(rays, minlength=len(rays_o))
    packed_info = torch.stack([counts.cumsum(0) - counts, counts], dim=1).int()
    padding = (0, -len(starts) % pad_to)
    starts, ends, rays = (torch.nn.functional.pad(x, padding) for x in (starts, ends, rays.int()))
    return RaySamples(starts, ends, rays, packed_info, spans[:, 1], int(counts.sum()))


def _rays_of_samples(packed_info: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the ray of each of n samples, and the first sample of each ray; padding counts as one more ray."""
    counts = packed_info[:, 1].long()
    ends = counts.cumsum(0)
    padding = n - ends[-1:]
    first = torch.cat([ends - counts, ends[-1:]]).clamp(max=max(n - 1, 0))
    rays = torch.arange(len(counts) + 1, device=counts.device)
    return rays.repeat_interleave(torch.cat([counts, padding]), output_size=n), first


def _volume_render(
    t_starts: Tensor, t_ends: Tensor, sigmas: Tensor, values: Tensor, packed_info: Tensor
) -> VolumeRendering:
    rays, first = _rays_of_samples(packed_info, len(sigmas))
    n_rays = len(packed_info)
    weights = forms.render_weights(t_starts, t_ends, sigmas, rays, first)
    out = forms.composite(weights, values, t_starts, t_ends, rays, n_rays + 1)
    return VolumeRendering(weights, *(x[:n_rays] for x in out))
