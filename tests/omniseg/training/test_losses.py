"""Losses of stage 1, and their gradients, worked by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from helpers import make_rays
from omniseg.rendering.renderer import TrainingRendering
from omniseg.training.losses import (
    depth_error,
    distortion,
    opacity_entropy,
    weight_before,
)
from omniseg_kernels.marching import RaySamples


def rendering(device, counts=(3, 0, 5), weights=None) -> TrainingRendering:
    rays = make_rays(counts, torch.float32, device)
    n = len(counts)
    samples = RaySamples(
        t_starts=rays.t_starts,
        t_ends=rays.t_ends,
        ray_indices=rays.ray_indices,
        packed_info=rays.packed_info,
        n_samples=rays.n_samples,
        t_next=torch.zeros(n, device=device),
    )
    weights = torch.rand(rays.n_samples, device=device) if weights is None else weights
    zeros = torch.zeros(n, device=device)
    return TrainingRendering(torch.zeros(n, 3, device=device), zeros, zeros, samples=samples, weights=weights)


def test_opacity_entropy_by_hand(device):
    opacity = torch.tensor([1.0, 1 / math.e, 0.5], device=device)
    want = (0 + 1 / math.e + 0.5 * math.log(2)) / 3
    assert float(opacity_entropy(opacity)) == pytest.approx(want, rel=1e-6)


def test_opacity_entropy_is_least_at_its_ends(device):
    opacity = torch.tensor([0.0, 1e-9, 0.3, 1.0, 1.0 + 1e-6], device=device, requires_grad=True)
    loss = opacity_entropy(opacity)
    loss.backward()
    assert bool(opacity.grad.isfinite().all())
    assert float(opacity_entropy(torch.tensor([0.0, 1.0], device=device))) == pytest.approx(0, abs=2e-5)


def test_distortion_matches_the_double_sum(device):
    out = rendering(device)
    want = 0.0
    for first, count in out.samples.packed_info.tolist():
        a = out.samples.t_starts[first : first + count].double()
        b = out.samples.t_ends[first : first + count].double()
        w = out.weights[first : first + count].double()
        a, b = a / (1 + a), b / (1 + b)
        middle = (a + b) / 2
        apart = (middle[:, None] - middle).abs()
        want += float((w[:, None] * w * apart).sum() + (w.square() * (b - a)).sum() / 3)
    assert float(distortion(out)) == pytest.approx(want / 3, rel=1e-4)


def test_distortion_pulls_weights_together(device):
    weights = torch.full((4,), 0.25, device=device, requires_grad=True)
    out = rendering(device, (4,), weights)
    distortion(out).backward()
    assert weights.grad[0] > weights.grad[1]
    assert weights.grad[3] > weights.grad[2]


def test_depth_error_counts_the_spread_around_the_depth(device):
    weights = torch.tensor([0.5, 0.5], device=device, requires_grad=True)
    out = rendering(device, (2,), weights)
    middles = 0.5 * (out.samples.t_starts + out.samples.t_ends)
    relative = float((middles[1] - middles[0]) / (middles[0] + middles[1]))  # although the mean is right
    assert relative < 0.5
    assert float(depth_error(out, middles.mean()[None], 0.5).detach()) == pytest.approx(relative**2, rel=1e-4)


def test_depth_error_by_hand(device):
    """One sample each: inside the tolerance, beyond it, beyond twice the depth, and of a ray without depth."""
    weights = torch.tensor([0.5, 1.0, 0.25, 1.0], device=device, requires_grad=True)
    out = rendering(device, (1, 1, 1, 1), weights)
    middles = 0.5 * (out.samples.t_starts + out.samples.t_ends)
    depth = torch.stack([middles[0] / 1.05, middles[1] / 1.5, middles[2] / 7, torch.zeros_like(middles[3])])
    loss = depth_error(out, depth, 0.1)
    loss.backward()
    huber = [0.05**2, 0.1 * (2 * 0.5 - 0.1), 0.1 * (2 * 1 - 0.1), 0.0]
    want = torch.tensor(huber, device=device) / 3
    assert_close(weights.grad, want, rtol=1e-4, atol=1e-8)
    assert float(loss.detach()) == pytest.approx(float((want * weights.detach()).sum()), rel=1e-4)
    assert float(depth_error(out, torch.zeros_like(depth), 0.1).detach()) == 0


def test_weight_before_counts_near_samples_of_chosen_rays(device):
    weights = torch.tensor([0.5, 0.25, 0.125, 1.0], device=device, requires_grad=True)
    out = rendering(device, (2, 2), weights)
    middles = 0.5 * (out.samples.t_starts + out.samples.t_ends)
    near = float((middles[0] + middles[1]) / 2)
    loss = weight_before(out, near, torch.tensor([True, False], device=device))
    loss.backward()
    assert float(loss.detach()) == 0.5
    assert weights.grad.tolist() == [1.0, 0.0, 0.0, 0.0]
