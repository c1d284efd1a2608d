"""Losses of stage 1; each is a mean over rays."""

import torch
from torch import Tensor

from omniseg.rendering.renderer import TrainingRendering
from omniseg_kernels.distortion import distortion_loss


def opacity_entropy(opacity: Tensor) -> Tensor:
    """Return the mean of -o log o over opacities (n_rays,), which pushes each to 0 or 1; differentiable."""
    opacity = opacity.clamp(1e-6, 1.0)
    return -(opacity * opacity.log()).mean()


def distortion(rendering: TrainingRendering) -> Tensor:
    """Return the mean distortion of the weights along each ray; differentiable in the weights.

    Barron et al. 2022 (mip-NeRF 360), equation 15. Distances t enter as t / (1 + t), so that far and near surfaces
    count alike in unbounded scenes.
    """
    samples = rendering.samples
    starts, ends = samples.t_starts / (1 + samples.t_starts), samples.t_ends / (1 + samples.t_ends)
    return distortion_loss(rendering.weights, starts, ends, samples.packed_info).mean()


def depth_error(rendering: TrainingRendering, depth: Tensor, tolerance: float, n_known: Tensor | None = None) -> Tensor:
    """Return the mean over rays of known depth d of the weighted robust errors of their samples.

        sum_i w_i h(min(|t_i - d| / d, 1)),  h(e) = e^2 where e < tolerance, else tolerance (2 e - tolerance)

    Huber's loss of the relative error, which ends at 1: a wrong depth pulls no harder than a wrong colour. Samples that
    are spread around the depth cost too, so surfaces become thin as well as right. Differentiable in the weights.

    Args:
        rendering: rendering of n_rays.
        depth: (n_rays,) distance along the ray, scene units; 0 where unknown.
        tolerance: relative error up to which the loss is quadratic, in (0, 1].
        n_known: number of rays that the mean divides by; unless given, those of `depth` that are known.
    """
    samples, n_known = rendering.samples, (depth > 0).sum() if n_known is None else n_known
    middles = 0.5 * (samples.t_starts + samples.t_ends)
    known = depth.index_select(0, samples.ray_indices)
    error = ((middles - known).abs() / known.clamp(min=1e-6)).clamp(max=1.0)
    huber = torch.where(error < tolerance, error.square(), tolerance * (2 * error - tolerance))
    return (rendering.weights * torch.where(known > 0, huber, 0.0)).sum() / n_known.clamp(min=1)


def weight_before(rendering: TrainingRendering, distance: float, rays: Tensor) -> Tensor:
    """Return the sum, over some rays, of the weights of samples nearer than a distance; differentiable in the weights.

    Where a capture shows nothing that near, this is fog before the lens.

    Args:
        rendering: rendering of n_rays.
        distance: along the ray, scene units.
        rays: (n_rays,) bool, rays that count.
    """
    samples = rendering.samples
    middles = 0.5 * (samples.t_starts + samples.t_ends)
    counts = (middles < distance) & rays.index_select(0, samples.ray_indices)
    return torch.where(counts, rendering.weights, 0.0).sum()
