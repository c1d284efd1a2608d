"""The GPU variants of kernels, compiled for the CPU, so that they are tested without a GPU."""

import sys

import pytest
import torch
from torch.testing import assert_close

from helpers import RAGGED, TOLERANCE, grad, make_rays
from omniseg_kernels import PinholeViews, SweepRule, compositing, feature_smoothing, hash_encoding, plane_sweep
from omniseg_kernels.compositing import volume_render
from omniseg_kernels.hash_encoding import HashLayout, hash_encode
from omniseg_kernels.reference import compositing as compositing_reference
from omniseg_kernels.reference import feature_smoothing as feature_smoothing_reference
from omniseg_kernels.reference import hash_encoding as reference
from omniseg_kernels.reference import plane_sweep as plane_sweep_reference


@pytest.mark.slow
@pytest.mark.bounds
@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("n", [0, 1, 1031])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_hash_encoding(dtype, n, features, device, monkeypatch):
    if device.type != "cpu":
        pytest.skip("test_hash_encoding.py tests this form where it is used")
    monkeypatch.setattr(hash_encoding, "arch", lambda: "cuda")
    layout = HashLayout(levels=5, features=features, log2_table=8, base_resolution=3, finest_resolution=40)
    positions = (torch.rand(n, 3, dtype=dtype) * 1.2 - 0.1).requires_grad_()
    table = torch.randn(layout.rows, features, dtype=dtype).requires_grad_()
    got, want = hash_encode(positions, table, layout), reference.hash_encode(positions, table, layout)
    assert_close(got, want, **TOLERANCE[dtype])
    g = torch.randn_like(want)
    # Wider, because gradients are sums over samples (table) or over channels times the resolution (positions).
    wider = {"rtol": TOLERANCE[dtype]["rtol"], "atol": TOLERANCE[dtype]["atol"] * layout.finest_resolution}
    for leaf in (positions, table):
        (found,) = torch.autograd.grad(got, leaf, g, retain_graph=True)
        (right,) = torch.autograd.grad(want, leaf, g, retain_graph=True)
        assert_close(found, right, **wider)


@pytest.mark.parametrize("n", [1, 1031])
def test_hash_encoding_in_bfloat16(n, device, monkeypatch):
    if device.type != "cpu":
        pytest.skip("test_hash_encoding.py tests this form where it is used")
    monkeypatch.setattr(hash_encoding, "arch", lambda: "cuda")
    layout = HashLayout(levels=5, log2_table=8, base_resolution=3, finest_resolution=40)
    positions, table = torch.rand(n, 3), torch.randn(layout.rows, 2).requires_grad_()
    got = hash_encode(positions, table, layout, out_dtype=torch.bfloat16)
    want = reference.hash_encode(positions, table, layout)
    assert_close(got, want.to(torch.bfloat16), rtol=1e-2, atol=1e-6)
    g = torch.randn_like(got)
    assert_close(grad(got, table, g), grad(want, table, g.float()), rtol=1e-4, atol=1e-3)


@pytest.mark.bounds
@pytest.mark.parametrize("n_channels", [0, 3])
@pytest.mark.parametrize("counts", RAGGED, ids=len)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_compositing(dtype, counts, n_channels, device, monkeypatch):
    if device.type != "cpu":
        pytest.skip("test_compositing.py tests this form where it is used")
    monkeypatch.setattr(compositing, "arch", lambda: "cuda")
    rays = make_rays(counts, dtype, device)
    sigmas = (10 * torch.rand(rays.n_samples, dtype=dtype)).requires_grad_()
    values = torch.randn(rays.n_samples, n_channels, dtype=dtype).requires_grad_()
    args = rays.t_starts, rays.t_ends, sigmas, values, rays.packed_info
    got, want = volume_render(*args), compositing_reference.volume_render(*args)
    assert_close(got.weights, want.weights, **TOLERANCE[dtype])
    assert_close(got.values, want.values, **TOLERANCE[dtype])
    assert_close(got.depth, want.depth, **TOLERANCE[dtype])
    gradients = []
    for out in (got, want):
        loss = out.values.square().sum() + out.depth.sum() + out.weights.square().sum()
        gradients.append(torch.autograd.grad(loss, (sigmas, values), materialize_grads=True))
    for found, right in zip(*gradients):
        assert_close(found, right, **TOLERANCE[dtype])


@pytest.mark.bounds
@pytest.mark.parametrize("rule", [SweepRule(planes=5), SweepRule(planes=4, spacing="logarithmic", radius=1, best=1)])
@pytest.mark.parametrize("sizes", [[(1, 1), (1, 1)], [(19, 7), (2, 1), (3, 5)]], ids=len)
def test_plane_sweep(sizes, rule, device, monkeypatch):
    if device.type != "cpu":
        pytest.skip("test_plane_sweep.py tests this form where it is used")
    n, sizes = len(sizes), torch.tensor(sizes)
    c2w = torch.eye(3, 4).repeat(n, 1, 1)
    c2w[:, :, 3] = 0.2 * torch.randn(n, 3)
    views = PinholeViews(sizes, c2w, torch.cat([sizes * 0.9, sizes * 0.5], 1))
    spans = (0.5 + torch.rand(views.n_pixels, 1)) * torch.tensor([1.0, 4.0])
    neighbours = torch.tensor([[-1, -1], [0, -1], [0, 1]])[:n]
    args = views, torch.rand(views.n_pixels), spans, neighbours, rule
    on_cpu = plane_sweep(*args)
    monkeypatch.setattr(sys.modules["omniseg_kernels.plane_sweep"], "arch", lambda: "cuda")
    got, want = plane_sweep(*args), plane_sweep_reference.plane_sweep(*args)
    # As in test_plane_sweep.py, for scores; both forms find the same plane.
    assert_close(got.scores, want.scores, rtol=0, atol=5e-4)
    assert_close(got.distances, on_cpu.distances, rtol=1e-2, atol=0)


@pytest.mark.bounds
@pytest.mark.parametrize("size", [(1, 1), (7, 1), (19, 23)], ids=str)
def test_feature_smoothing(size, device, monkeypatch):
    if device.type != "cpu":
        pytest.skip("test_feature_smoothing.py tests this form where it is used")
    monkeypatch.setattr(feature_smoothing, "arch", lambda: "cuda")
    features = torch.nn.functional.normalize(torch.ones(5) + 0.5 * torch.randn(*size, 5), dim=2)
    args = features, torch.randn(*size, 4), torch.rand(*size) < 0.8
    numbers = {"rounds": 3, "agreement": 6.0}
    got = feature_smoothing.smooth_features(*args, **numbers)
    assert_close(got, feature_smoothing_reference.smooth_features(*args, **numbers), rtol=1e-5, atol=2e-6)
