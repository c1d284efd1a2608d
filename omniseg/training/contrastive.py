"""Hierarchical contrastive clustering: pixels that share masks come together, the more masks the closer.

Ying et al. 2023 (OmniSeg3D, arXiv 2311.11666), section 3.2, on prototypes as in Li et al. 2021 (PCL). Symbols:

    f_i    feature of pixel i                     u_c    centre of cluster c, the mean of its features
    a      cluster of pixel i, its anchor         phi_c  temperature of cluster c
    l_ic = log softmax_c (f_i . u_c / phi_c)
    phi_c = clip(10 * sum_{i in c} |f_i - u_c| / (n_c log(n_c + 10)), 0.1, 1), a constant to the gradient

The levels of an anchor are the distinct numbers of masks above 0 that it shares with a cluster, in falling
order. The mean over the clusters of a level counts divisor^-level. What a cluster costs, there are two forms of:

    raised  -l_ic, at every level but the first raised to the largest cost of the level before, so that a farther
            relation is never pulled closer than a nearer one: the paper's.
    ranked  -log (n_c e_ic / (n_c e_ic + sum of n_j e_ij over clusters j of farther levels, those without a common
            mask being farthest)), e_ic = exp(f_i . u_c / phi_c): a cluster must be closer than what is farther, and
            nothing is asked of it against what is nearer. It counts by its pixels, so that what a segmenter leaves
            in pieces does not outweigh what it found whole. In the raised form the clusters of one level compete
            with each other and with the nearer ones, so that large groups stay loose.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Form = Literal["raised", "ranked"]

_COLDEST, _WARMEST = 0.1, 1.0
_VALUES = 256  # of a correlation
_FARTHEST, _TINY = -60.0, 1e-30
"""Logits more than this below a pixel's largest are lifted to it in sums, which cannot underflow then."""
_LARGE = 40.0
"""From here on log(1 + exp(x)) is x, to the last digit of a float64."""


@dataclass(frozen=True)
class Clusters:
    """The patches that enough of n sampled pixels lie in.

    kept: (k,) int64, the sampled pixels that lie in one of them.
    anchors: (k,) int64 cluster of each of these, in [0, n_clusters).
    correlation: (n_clusters, n_clusters) uint8, masks that two clusters share.
    most_related: the largest number of clusters that one shares a mask with, itself included.
    """

    kept: Tensor
    anchors: Tensor
    correlation: Tensor
    most_related: int

    @classmethod
    def of(cls, patches: Tensor, correlation: Tensor, min_pixels: int) -> "Clusters":
        """Find them; the host waits for the device once, for all numbers that it needs.

        Args:
            patches: (n,) integer patch of each sampled pixel.
            correlation: (n_patches, n_patches) uint8.
            min_pixels: a patch with fewer of the pixels is left out, at least 1.
        Raises:
            ValueError: `min_pixels` is less than 1.
        """
        if min_pixels < 1:
            raise ValueError(f"min_pixels: expected >= 1, got {min_pixels}")
        patches, n_patches = patches.long(), len(correlation)
        counts = torch.zeros(n_patches, dtype=torch.int64, device=patches.device)
        enough = counts.index_add_(0, patches, torch.ones_like(patches)) >= min_pixels
        kept = enough[patches]
        # Places of what is kept come first, in their order; how many there are is cut off when it is known.
        present = enough.int().argsort(descending=True, stable=True)[: len(patches) // min_pixels]
        rows = correlation[present]
        related = ((rows > 0) & enough).sum(1) * enough[present]
        most_related = related.max() if len(related) else kept.sum()
        n_clusters, n_kept, most_related = torch.stack([enough.sum(), kept.sum(), most_related]).tolist()
        chosen = kept.int().argsort(descending=True, stable=True)[:n_kept]
        anchors = (enough.cumsum(0) - 1)[patches[chosen]]
        return cls(chosen, anchors, rows[:n_clusters][:, present[:n_clusters]], most_related)


def hierarchical_contrastive(features: Tensor, clusters: Clusters, divisor: float, form: Form = "raised") -> Tensor:
    """Sum over pixels of the hierarchical contrastive loss; differentiable in `features`, through the centres too.

    Args:
        features: (k, dim) float32 or float64, of the pixels that are kept.
        clusters: of these pixels; every cluster has one.
        divisor: a level counts this many times less than the one before.
        form: what a cluster costs, see above.
    Returns:
        Scalar; 0 without pixels.
    """
    if not len(features):
        return features.sum()
    anchors, correlation = clusters.anchors, clusters.correlation
    counts = features.new_zeros(len(correlation)).index_add(0, anchors, features.new_ones(len(anchors)))
    centres = features.new_zeros(len(correlation), features.shape[1]).index_add(0, anchors, features) / counts[:, None]
    temperatures = _temperatures(features.detach(), centres.detach(), anchors, counts)
    logits = features @ (centres / temperatures[:, None]).t()
    if form == "raised":
        levels = _Levels.of(clusters, torch.ones_like(counts), divisor)
        costs = _raised(logits, anchors, levels)
    else:
        levels = _Levels.of(clusters, counts, divisor)
        costs = _ranked(logits + counts.log(), anchors, levels)
    return (costs * levels.weight.index_select(0, anchors)).sum()


def norm_penalty(features: Tensor) -> Tensor:
    """Mean of (|f_i| - 1)^2 of features (n, dim); differentiable."""
    return (features.norm(dim=1) - 1).square().mean() if len(features) else features.sum()


def _temperatures(features: Tensor, centres: Tensor, anchors: Tensor, counts: Tensor) -> Tensor:
    spread = (features - centres.index_select(0, anchors)).norm(dim=1)
    total = torch.zeros_like(counts).index_add_(0, anchors, spread)
    return (10 * total / (counts * (counts + 10).log())).clamp(_COLDEST, _WARMEST)


@dataclass(frozen=True)
class _Levels:
    """For each anchor, the clusters level by level, nearest first, those without a common mask last.

    order: (n_clusters, n_clusters) the clusters in that order. Of the first places, as many as the most related
    anchor has related clusters:
    before: the last place of the level before; -1 at level 0.
    beyond: the first place of the level after.
    weight: divisor^-level times the cluster's share of its level; 0 at places of no level.
    """

    order: Tensor
    before: Tensor
    beyond: Tensor
    weight: Tensor

    @classmethod
    def of(cls, clusters: Clusters, masses: Tensor, divisor: float) -> "_Levels":
        """Levels of clusters that count by their masses (n_clusters,) within a level."""
        shared = clusters.correlation.long()
        n = len(shared)
        size = shared.new_zeros(n, _VALUES).scatter_add_(1, shared, torch.ones_like(shared))
        as_near = size.flip(1).cumsum(1).flip(1)  # clusters that share at least so many masks
        levels_as_near = (size > 0).flip(1).cumsum(1).flip(1)
        order = shared.argsort(dim=1, descending=True, stable=True)
        at = shared.gather(1, order)[:, : clusters.most_related]
        beyond = as_near.gather(1, at)
        mass = masses.expand(n, n)
        of_level = masses.new_zeros(n, _VALUES).scatter_add_(1, shared, mass).gather(1, at)
        share = mass.gather(1, order[:, : at.shape[1]]) / of_level
        weight = divisor ** (1 - levels_as_near.gather(1, at)).to(share.dtype) * share
        return cls(order, beyond - size.gather(1, at) - 1, beyond, torch.where(at > 0, weight, 0.0))


def _raised(logits: Tensor, anchors: Tensor, levels: _Levels) -> Tensor:
    """Costs (n, most related) of the paper's form, in the order of `levels`."""
    costs = -torch.log_softmax(logits, dim=1)
    related = levels.order[:, : levels.weight.shape[1]]
    costs = costs.gather(1, related.index_select(0, anchors))
    before = levels.before.index_select(0, anchors)
    largest = costs.cummax(1).values.gather(1, before.clamp(min=0))
    return torch.maximum(costs, largest.masked_fill(before < 0, -torch.inf))


def _ranked(logits: Tensor, anchors: Tensor, levels: _Levels) -> Tensor:
    """Costs (n, most related) of each cluster against what is farther, in the order of `levels`."""
    logits = logits.gather(1, levels.order.index_select(0, anchors))
    logits = logits - logits.detach().amax(1, keepdim=True)
    from_here = logits.clamp(min=_FARTHEST).exp().flip(1).cumsum(1).flip(1)
    nothing = from_here.new_zeros(len(logits), 1)
    farther = torch.cat([from_here, nothing], dim=1).gather(1, levels.beyond.index_select(0, anchors))
    farther = torch.where(farther > 0, farther.clamp(min=_TINY).log(), -torch.inf)
    return F.softplus(farther - logits[:, : levels.weight.shape[1]], threshold=_LARGE)
