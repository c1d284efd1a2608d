"""Hierarchical contrastive clustering: the more masks two pixels share, the closer their features become.

Ying et al. 2023 (OmniSeg3D, arXiv 2311.11666), section 3.2, with prototypes as in Li et al. 2021 (PCL). Symbols:

    f_i    feature of pixel i                     u_c    centre of cluster c, the mean of its features
    a      cluster of pixel i, its anchor         phi_c  temperature of cluster c
    l_ic = log softmax_c (f_i . u_c / phi_c)
    phi_c = clip(10 * sum_{i in c} |f_i - u_c| / (n_c log(n_c + 10)), smallest, largest), without gradient

A level of an anchor is the set of clusters that share the same number of masks, at least 1, with it; levels are
ordered by falling number. Each level costs the mean over its clusters, times divisor^-level. The cost of a cluster is:

    paper    -l_ic, but at least the largest cost of the level before, so that a farther relation is never pulled
             closer than a nearer one.
    ranking  -log (n_c e_ic / (n_c e_ic + sum of n_j e_ij over clusters j of farther levels)), with
             e_ic = exp(f_i . u_c / phi_c); clusters that share no mask are the farthest level. A cluster competes only
             with clusters of farther levels. It counts by its number of pixels in the mean over its level, so that an
             object that a segmenter leaves in pieces does not outweigh one that it finds whole.

In the paper's form the clusters of one level also compete with each other and with nearer ones, so large groups stay
loose.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from omniseg.config import ContrastiveLoss

_N_VALUES = 256
"""Number of values that an entry of a correlation, a uint8, can have."""
_LOWEST_LOGIT, _TINY = -60.0, 1e-30
"""Bounds against underflow: logits this far below a pixel's largest are raised to it in sums."""
_SOFTPLUS_LIMIT = 40.0
"""Argument from which on softplus is the identity, to the last digit of a float64."""


@dataclass(frozen=True)
class Clusters:
    """Patches that contain enough of n sampled pixels.

    Attributes:
        kept: (k,) int64 sampled pixels that lie in one of the patches.
        anchors: (k,) int64 cluster of each of these pixels, in [0, n_clusters).
        correlation: (n_clusters, n_clusters) uint8 number of masks that two clusters share.
        most_related: largest number of clusters, itself included, that a cluster shares a mask with.
    """

    kept: Tensor
    anchors: Tensor
    correlation: Tensor
    most_related: int

    @classmethod
    def from_patches(cls, patches: Tensor, correlation: Tensor, min_pixels: int) -> "Clusters":
        """Find the clusters of sampled pixels; the host waits for the device once.

        Args:
            patches: (n,) integer patch of each sampled pixel.
            correlation: (n_patches, n_patches) uint8 number of masks that two patches share.
            min_pixels: smallest number of sampled pixels in a cluster, at least 1.
        Raises:
            ValueError: `min_pixels` is less than 1.
        """
        if min_pixels < 1:
            raise ValueError(f"min_pixels: expected >= 1, got {min_pixels}")
        patches, n_patches = patches.long(), len(correlation)
        counts = torch.zeros(n_patches, dtype=torch.int64, device=patches.device)
        enough = counts.index_add_(0, patches, torch.ones_like(patches)) >= min_pixels
        kept = enough[patches]
        # Sorting puts the kept patches first, in order; the rest is cut off below, where the host knows their number.
        present = enough.int().argsort(descending=True, stable=True)[: len(patches) // min_pixels]
        rows = correlation[present]
        related = ((rows > 0) & enough).sum(1) * enough[present]
        most_related = related.max() if len(related) else kept.sum()
        n_clusters, n_kept, most_related = torch.stack([enough.sum(), kept.sum(), most_related]).tolist()
        chosen = kept.int().argsort(descending=True, stable=True)[:n_kept]
        anchors = (enough.cumsum(0) - 1)[patches[chosen]]
        return cls(chosen, anchors, rows[:n_clusters][:, present[:n_clusters]], most_related)


def hierarchical_contrastive(
    features: Tensor,
    clusters: Clusters,
    divisor: float,
    loss: ContrastiveLoss,
    temperature_range: tuple[float, float],
) -> Tensor:
    """Return the sum over pixels of the hierarchical contrastive loss.

    Differentiable in `features`, also through the centres of clusters.

    Args:
        features: (k, dim) float32 or float64 features of the kept pixels.
        clusters: clusters of these pixels; every cluster has at least one.
        divisor: factor by which a level counts less than the one before.
        loss: cost of a cluster, see the top of this file.
        temperature_range: smallest and largest temperature.
    Returns:
        Scalar; 0 without pixels.
    """
    if not len(features):
        return features.sum()
    anchors, correlation = clusters.anchors, clusters.correlation
    counts = features.new_zeros(len(correlation)).index_add(0, anchors, features.new_ones(len(anchors)))
    centres = features.new_zeros(len(correlation), features.shape[1]).index_add(0, anchors, features) / counts[:, None]
    temperatures = _temperatures(features.detach(), centres.detach(), anchors, counts, temperature_range)
    logits = features @ (centres / temperatures[:, None]).t()
    if loss == "paper":
        levels = _Levels.from_clusters(clusters, torch.ones_like(counts), divisor)
        costs = _paper_costs(logits, anchors, levels)
    else:
        levels = _Levels.from_clusters(clusters, counts, divisor)
        costs = _ranking_costs(logits + counts.log(), anchors, levels)
    return (costs * levels.weight.index_select(0, anchors)).sum()


def norm_penalty(features: Tensor) -> Tensor:
    """Return the mean of (|f_i| - 1)^2 over features (n, dim); differentiable, 0 without features."""
    return (features.norm(dim=1) - 1).square().mean() if len(features) else features.sum()


def _temperatures(
    features: Tensor, centres: Tensor, anchors: Tensor, counts: Tensor, temperature_range: tuple[float, float]
) -> Tensor:
    """Return phi_c (n_clusters,)."""
    spread = (features - centres.index_select(0, anchors)).norm(dim=1)
    total = torch.zeros_like(counts).index_add_(0, anchors, spread)
    return (10 * total / (counts * (counts + 10).log())).clamp(*temperature_range)


@dataclass(frozen=True)
class _Levels:
    """For each anchor, the clusters in order of level, nearest first, those that share no mask last.

    Attributes:
        order: (n_clusters, n_clusters) clusters in that order.
        before: (n_clusters, most_related) last place of the level before that of each place; -1 at level 0.
        beyond: (n_clusters, most_related) first place of the level after that of each place.
        weight: (n_clusters, most_related) divisor^-level times the cluster's share of its level; 0 at places of
            clusters that share no mask.
    """

    order: Tensor
    before: Tensor
    beyond: Tensor
    weight: Tensor

    @classmethod
    def from_clusters(cls, clusters: Clusters, masses: Tensor, divisor: float) -> "_Levels":
        """Sort clusters into levels, in each of which they count in proportion to their masses (n_clusters,)."""
        shared = clusters.correlation.long()
        n = len(shared)
        size = shared.new_zeros(n, _N_VALUES).scatter_add_(1, shared, torch.ones_like(shared))
        as_near = size.flip(1).cumsum(1).flip(1)  # number of clusters that share at least v masks
        levels_as_near = (size > 0).flip(1).cumsum(1).flip(1)
        order = shared.argsort(dim=1, descending=True, stable=True)
        at = shared.gather(1, order)[:, : clusters.most_related]
        beyond = as_near.gather(1, at)
        mass = masses.expand(n, n)
        of_level = masses.new_zeros(n, _N_VALUES).scatter_add_(1, shared, mass).gather(1, at)
        share = mass.gather(1, order[:, : at.shape[1]]) / of_level
        weight = divisor ** (1 - levels_as_near.gather(1, at)).to(share.dtype) * share
        return cls(order, beyond - size.gather(1, at) - 1, beyond, torch.where(at > 0, weight, 0.0))


def _paper_costs(logits: Tensor, anchors: Tensor, levels: _Levels) -> Tensor:
    """Return the costs (n, most_related) of the paper's form, in the order of `levels`."""
    costs = -torch.log_softmax(logits, dim=1)
    related = levels.order[:, : levels.weight.shape[1]]
    costs = costs.gather(1, related.index_select(0, anchors))
    before = levels.before.index_select(0, anchors)
    largest = costs.cummax(1).values.gather(1, before.clamp(min=0))
    return torch.maximum(costs, largest.masked_fill(before < 0, -torch.inf))


def _ranking_costs(logits: Tensor, anchors: Tensor, levels: _Levels) -> Tensor:
    """Return the costs (n, most_related) of clusters against farther levels, in the order of `levels`."""
    logits = logits.gather(1, levels.order.index_select(0, anchors))
    logits = logits - logits.detach().amax(1, keepdim=True)
    at_least_as_far = logits.clamp(min=_LOWEST_LOGIT).exp().flip(1).cumsum(1).flip(1)
    nothing = at_least_as_far.new_zeros(len(logits), 1)
    farther = torch.cat([at_least_as_far, nothing], dim=1).gather(1, levels.beyond.index_select(0, anchors))
    farther = torch.where(farther > 0, farther.clamp(min=_TINY).log(), -torch.inf)
    return F.softplus(farther - logits[:, : levels.weight.shape[1]], threshold=_SOFTPLUS_LIMIT)
