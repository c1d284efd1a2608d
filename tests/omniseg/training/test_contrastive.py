"""The contrastive loss equals its definition, written with loops."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import TOLERANCE
from looped_contrastive import looped_contrastive
from omniseg.config import ContrastiveLoss, FeatureTrainingConfig
from omniseg.training.contrastive import Clusters, hierarchical_contrastive, norm_penalty

LOSSES = get_args(ContrastiveLoss)
RANGE = FeatureTrainingConfig().temperature_range


def random_case(seed: int, n: int, n_clusters: int, n_masks: int, dtype=torch.float64, dim: int = 5):
    """Return features, anchors and the correlation of random masks; every cluster has a pixel and a mask."""
    random = torch.Generator().manual_seed(seed)
    members = torch.rand(n_clusters, n_masks, generator=random) < 0.3
    members[:, 0] |= ~members.any(1)
    correlation = (members.float() @ members.float().t()).to(torch.uint8)
    more = torch.randint(n_clusters, (n,), generator=random)
    anchors = torch.cat([torch.arange(n_clusters), more])
    features = torch.randn(len(anchors), dim, generator=random, dtype=dtype) / dim**0.5
    return features, anchors, correlation


@pytest.mark.parametrize("loss", LOSSES)
@given(st.integers(0, 2**16), st.integers(0, 40), st.integers(1, 9), st.integers(1, 6), st.floats(1, 5))
@example(18126, 0, 4, 4, 1.0)  # costs above 20, where softplus, left to itself, is no more than its argument
def test_equals_the_loops(device, loss, seed, n, n_clusters, n_masks, divisor):
    features, anchors, correlation = (x.to(device) for x in random_case(seed, n, n_clusters, n_masks))
    losses, grads = [], []
    clusters = Clusters.from_patches(anchors, correlation, 1)
    forms = ((hierarchical_contrastive, (clusters,)), (looped_contrastive, (anchors, correlation)))
    for function, compared in forms:
        leaf = features.clone().requires_grad_()
        value = function(leaf, *compared, divisor, loss, RANGE)
        losses.append(value.detach())
        grads.append(torch.autograd.grad(value, leaf)[0])
    assert_close(*losses, **TOLERANCE[torch.float64])
    assert_close(*grads, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_in_float32(device, loss):
    features, anchors, correlation = (x.to(device) for x in random_case(3, 400, 20, 12))
    leaf = features.requires_grad_()
    single = features.detach().float().requires_grad_()
    clusters = Clusters.from_patches(anchors, correlation, 1)
    want = torch.autograd.grad(hierarchical_contrastive(leaf, clusters, 2.0, loss, RANGE), leaf)[0]
    got = torch.autograd.grad(hierarchical_contrastive(single, clusters, 2.0, loss, RANGE), single)[0]
    assert_close(got.double(), want, rtol=1e-3, atol=1e-4)  # thousands of terms are summed


def test_by_hand(device):
    """Two clusters of two equal pixels: temperatures are 0.1, a pixel's logits 10 and 0."""
    features = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]], device=device, dtype=torch.float64)
    anchors = torch.tensor([0, 0, 1, 1], device=device)
    near, far = float(np.log1p(np.exp(-10))), float(10 + np.log1p(np.exp(-10)))
    apart, together, equal = (
        torch.tensor(c, dtype=torch.uint8, device=device)
        for c in ([[1, 0], [0, 1]], [[2, 1], [1, 2]], [[1, 1], [1, 1]])
    )
    for correlation, loss, want in (
        (apart, "paper", near),
        (apart, "ranking", near),
        (together, "paper", near + far / 4),
        (together, "ranking", near),  # nothing is farther than the other cluster
        (equal, "paper", (near + far) / 2),
        (equal, "ranking", 0.0),
    ):
        clusters = Clusters.from_patches(anchors, correlation, 1)
        got = hierarchical_contrastive(features, clusters, 4.0, loss, RANGE)
        assert float(got) == pytest.approx(4 * want, abs=1e-9), (correlation, loss)


def test_a_farther_level_costs_at_least_as_much_as_the_nearer(device):
    """Pixels nearer to the other cluster's centre than to their own pay as much for it as for their own."""
    features = torch.tensor([[-1.0], [3.0], [2.0]], device=device, dtype=torch.float64)
    anchors = torch.tensor([0, 0, 1], device=device)
    correlation = torch.tensor([[2, 1], [1, 2]], dtype=torch.uint8, device=device)
    logits = features @ torch.tensor([[1.0, 2.0]], dtype=torch.float64, device=device)
    spread = 10 * 4 / (2 * np.log(12))
    logits = logits / torch.tensor([min(spread, 1.0), 0.1], dtype=torch.float64, device=device)
    costs = -torch.log_softmax(logits, 1)
    own = costs[torch.arange(3), anchors]
    other = torch.maximum(costs[torch.arange(3), 1 - anchors], own)
    want = float((own + other / 2).sum())
    assert (costs[torch.arange(3), 1 - anchors] < own).any()
    clusters = Clusters.from_patches(anchors, correlation, 1)
    assert float(hierarchical_contrastive(features, clusters, 2.0, "paper", RANGE)) == pytest.approx(want)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_nothing_to_compare(device, loss, n):
    """Without pixels, or with a single patch, loss and gradient are 0."""
    features = torch.randn(n, 3, device=device, requires_grad=True)
    anchors = torch.zeros(n, dtype=torch.int64, device=device)
    correlation = torch.ones(min(n, 1), min(n, 1), dtype=torch.uint8, device=device)
    clusters = Clusters.from_patches(anchors, correlation, 1)
    value = hierarchical_contrastive(features, clusters, 2.0, loss, RANGE) + norm_penalty(features) * 0
    (grad,) = torch.autograd.grad(value, features)
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    assert grad.abs().sum() < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_far_apart_features_stay_finite(device, loss):
    features, anchors, correlation = (x.to(device) for x in random_case(1, 50, 6, 4, torch.float32))
    leaf = (features * 100).requires_grad_()
    value = hierarchical_contrastive(leaf, Clusters.from_patches(anchors, correlation, 1), 2.0, loss, RANGE)
    (grad,) = torch.autograd.grad(value, leaf)
    assert value.isfinite()
    assert grad.isfinite().all()


def test_clusters_are_patches_with_enough_pixels(device):
    patches = torch.tensor([4, 2, 4, 0, 2, 4, 1], device=device)
    correlation = torch.arange(25, dtype=torch.uint8, device=device).view(5, 5)
    found = Clusters.from_patches(patches, correlation, 2)
    assert found.kept.tolist() == [0, 1, 2, 4, 5]
    assert found.anchors.tolist() == [1, 0, 1, 0, 1]
    assert found.correlation.tolist() == [[12, 14], [22, 24]]
    assert found.most_related == 2
    for too_many in (4, 8):  # of one patch; of all pixels
        none = Clusters.from_patches(patches, correlation, too_many)
        assert (len(none.kept), none.correlation.shape, none.most_related) == (0, (0, 0), 0)
    with pytest.raises(ValueError, match="min_pixels: expected >= 1, got 0"):
        Clusters.from_patches(patches, correlation, 0)


def test_most_related_is_of_the_clusters_alone(device):
    related = torch.eye(6, dtype=torch.uint8, device=device)
    related[1] = related[:, 1] = 1  # has too few pixels to be a cluster, so its relations do not count
    related[0, 3] = related[3, 0] = related[0, 5] = related[5, 0] = 1
    patches = torch.tensor([0, 0, 1, 3, 3, 4, 4, 5, 5], device=device)
    assert Clusters.from_patches(patches, related, 2).most_related == 3
    assert Clusters.from_patches(patches, related, 1).most_related == 5


def test_the_temperature_range_clips(device):
    """Two clusters with some spread: at temperature 1 a pixel's logits are dot products, at 0.5 twice those."""
    features = torch.tensor([[1.0, 0], [0.5, 0], [0, 1], [0, 0.5]], device=device, dtype=torch.float64)
    anchors = torch.tensor([0, 0, 1, 1], device=device)
    clusters = Clusters.from_patches(anchors, torch.eye(2, dtype=torch.uint8, device=device), 1)
    centres = torch.tensor([[0.75, 0], [0, 0.75]], device=device, dtype=torch.float64)
    for temperature in (0.5, 1.0):
        costs = -torch.log_softmax(features @ centres.T / temperature, 1)
        got = hierarchical_contrastive(features, clusters, 2.0, "paper", (temperature, temperature))
        assert float(got) == pytest.approx(float(costs[torch.arange(4), anchors].sum()))


def test_norm_penalty_by_hand(device):
    assert float(norm_penalty(torch.tensor([[3.0, 4.0], [0.0, 1.0]], device=device))) == pytest.approx(8.0)
