"""Losses of the radiance stage; each is a mean over rays."""

import torch
from torch import Tensor

from omniseg.rendering.renderer import TrainingRendering
from omniseg_kernels.distortion import distortion_loss


def opacity_entropy(opacity: Tensor) -> Tensor:
    """Mean of -o log o: pushes the opacity (n_rays,) of each ray to 0 or 1. Differentiable in `opacity`."""
    opacity = opacity.clamp(1e-6, 1.0)
    return -(opacity * opacity.log()).mean()


def distortion(rendering: TrainingRendering) -> Tensor:
    """Mean distortion of the weights along each ray (Barron et al. 2022, eq. 15); differentiable in the weights.

    Distances are taken as t / (1 + t), so that far and near surfaces count alike in unbounded scenes.
    """
    samples = rendering.samples
    starts, ends = samples.t_starts / (1 + samples.t_starts), samples.t_ends / (1 + samples.t_ends)
    return distortion_loss(rendering.weights, starts, ends, samples.packed_info).mean()


def depth_error(rendering: TrainingRendering, depth: Tensor, n_known: Tensor | None = None) -> Tensor:
    """Mean squared distance, by weight, of a ray's samples to the depth where it is known.

        sum_i w_i (t_i - d)^2

    For an opaque ray that is the squared error of the rendered depth plus the spread of the weights around it:
    surfaces become thin as well as right.

    Args:
        rendering: of n_rays.
        depth: (n_rays,) true distance along the ray, scene units; 0 where unknown.
        n_known: how many rays the mean is over, where these are only some of them; by default those with a depth.
    """
    samples, n_known = rendering.samples, (depth > 0).sum() if n_known is None else n_known
    middles = 0.5 * (samples.t_starts + samples.t_ends)
    there = depth.index_select(0, samples.ray_indices)
    error = torch.where(there > 0, (middles - there).square(), 0.0)
    return (rendering.weights * error).sum() / n_known.clamp(min=1)
