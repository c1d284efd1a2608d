import pytest
import taichi as ti
import torch
from torch.testing import assert_close

import omniseg_kernels as kernels
from helpers import TOLERANCE, make_rays, noncontiguous, run_python
from omniseg_kernels import launch as module
from omniseg_kernels.launch import check_dtype, check_like, check_shape, launch

_VECTOR = ti.types.ndarray(ti.f32, ndim=1)


@ti.kernel
def _scale(source: _VECTOR, factor: ti.f32, target: _VECTOR):
    for n in range(source.shape[0]):
        target[n] = source[n] * factor


@pytest.mark.bounds
@pytest.mark.parametrize("n", [1, 7, 1031])
def test_calls_the_kernel_on_inputs_then_outputs(n, device):
    source, target = torch.randn(n, device=device), torch.empty(n, device=device)
    launch(_scale, (source, 2.0), (target,))
    assert_close(target, 2 * source)


_PAIRS = ti.types.ndarray(ti.types.vector(2, ti.f32), ndim=1)


@ti.kernel
def _sums(pairs: _PAIRS, sums: _VECTOR):
    for n in range(pairs.shape[0]):
        sums[n] = pairs[n].sum()


@pytest.mark.parametrize("n", [3, 5])
def test_later_calls_take_other_sizes_and_numbers(n, device):
    for factor in (2.0, 3, -1.5):
        source, target = torch.randn(n, device=device), torch.empty(n, device=device)
        launch(_scale, (source, factor), (target,))
        assert_close(target, factor * source)
        pairs = torch.randn(n, 2, device=device)
        launch(_sums, (pairs,), (target,))
        assert_close(target, pairs.sum(1))


@pytest.mark.parametrize("call", ["first", "later"])
def test_what_a_kernel_was_not_written_for_is_refused(call, device):
    target = torch.empty(4, device=device)
    if call == "later":
        launch(_sums, (torch.zeros(4, 2, device=device),), (target,))
        launch(_scale, (torch.zeros(4, device=device), 2.0), (target,))
    for pairs in (torch.zeros(4, 3), torch.zeros(4)):
        with pytest.raises(ValueError, match=r"shape|dimension"):
            launch(_sums, (pairs.to(device),), (target,))
    with pytest.raises(ValueError, match="dtype"):
        launch(_scale, (torch.zeros(4, dtype=torch.float64, device=device), 2.0), (target,))
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        launch(_scale, (torch.zeros(4, device=device), "2"), (target,))


def test_noncontiguous_inputs_are_copied(device):
    source, target = torch.randn(7, device=device), torch.empty(7, device=device)
    launch(_scale, (noncontiguous(source), 2.0), (target,))
    assert_close(target, 2 * source)


def test_a_leaf_keeps_its_grad(device):
    source, target = torch.randn(7, device=device, requires_grad=True), torch.empty(7, device=device)
    launch(_scale, (source, 2.0), (target,))
    assert source.grad is None
    source.grad = torch.ones_like(source)
    launch(_scale, (source, 2.0), (target,))
    assert_close(source.grad, torch.ones_like(source))


def test_a_leaf_asks_for_no_other_compilation(device):
    @ti.kernel
    def double(source: _VECTOR, target: _VECTOR):
        for n in range(source.shape[0]):
            target[n] = 2 * source[n]

    target = torch.empty(7, device=device)
    for needs_grad in (True, False, True):
        source = torch.ones(7, device=device, requires_grad=needs_grad)
        launch(double, (source,), (target,))
        assert source.grad is None
    assert len(double._primal.compiled_kernels) == 1


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (torch.zeros(4), noncontiguous(torch.zeros(4)), "output must be contiguous"),
        (torch.zeros(4), torch.zeros(4, requires_grad=True), "must not require grad"),
        (torch.zeros(4, device="meta"), torch.zeros(4), "a tensor is on 'meta'"),
        (torch.zeros(4), torch.zeros(4, device="meta"), "a tensor is on 'meta'"),
        (torch.zeros(1).expand(2**31), torch.zeros(4), "2147483648 elements is beyond 32-bit indices"),
    ],
)
def test_refuses(source, target, message, device):
    if device.type != "cpu":  # .to() would make these tensors valid
        pytest.skip("the checks are the same on every device")
    with pytest.raises(ValueError, match=message):
        launch(_scale, (source, 2.0), (target,))


def test_init_twice_and_on_another_device(device):
    module.init(device.type)
    assert module.arch() == device.type
    other = "cpu" if device.type == "cuda" else "cuda"
    with pytest.raises(RuntimeError, match=f"already run on '{device.type}'"):
        module.init(other)


def test_checks_name_the_argument():
    tensor = torch.zeros(4, 3)
    check_shape("x", tensor, (None, 3))
    check_like("x", tensor, "y", torch.zeros(1))
    check_dtype("x", tensor, torch.float32)
    with pytest.raises(ValueError, match=r"x: expected shape \(any, 2\), got \(4, 3\)"):
        check_shape("x", tensor, (None, 2))
    with pytest.raises(ValueError, match=r"x: expected shape \(4\), got \(4, 3\)"):
        check_shape("x", tensor, (4,))
    with pytest.raises(ValueError, match=r"x: expected torch.float64 on cpu as y, got torch.float32 on cpu"):
        check_like("x", tensor, "y", tensor.double())
    with pytest.raises(ValueError, match=r"x: expected torch.int32 or torch.int64, got torch.float32"):
        check_dtype("x", tensor, torch.int32, torch.int64)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused():
    got = run_python("-c", "from omniseg_kernels import launch; launch.init('cuda')")
    assert got.returncode != 0
    assert "PyTorch sees no CUDA device" in got.stderr


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_suite_on_cuda_without_a_device_is_refused():
    got = run_python("-m", "pytest", "--arch", "cuda", "-q", __file__)
    assert got.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--arch cuda: PyTorch sees no CUDA device" in got.stderr


def operator_results(device):
    """Return outputs and gradients of several CPU chunks of work, from the same inputs in every process."""
    generator = torch.Generator().manual_seed(7)

    def random(*shape):
        return torch.rand(*shape, generator=generator).to(device)

    def gradients(name, out, *leaves):
        return {f"{name} g{n}": g for n, g in enumerate(torch.autograd.grad(out.square().sum(), leaves))}

    found = {}
    dirs = torch.nn.functional.normalize(random(2000, 3) - 0.5, dim=1).requires_grad_()
    harmonics = kernels.spherical_harmonics(dirs)
    found |= {"harmonics": harmonics} | gradients("harmonics", harmonics, dirs)

    layout = kernels.HashLayout(levels=4, features=2, log2_table=10, base_resolution=4, finest_resolution=64)
    positions, table = random(2000, 3).requires_grad_(), random(layout.rows, layout.features).requires_grad_()
    encoded = kernels.hash_encode(positions, table, layout)
    found |= {"encoded": encoded} | gradients("encoded", encoded, positions, table)

    densities = random(2, 16**3)
    cells = (random(5000) * densities.numel()).int()
    kernels.update_densities(densities, cells, random(5000), 0.9)
    grid = kernels.OccupancyBits(kernels.pack_bits(densities, 0.8), 2, 16)
    c2w = torch.eye(3, 4, device=device).repeat(3, 1, 1)
    c2w[:, :, 3] = random(3, 3) - 0.5
    lens, size = torch.tensor([[50.0, 50, 40, 40]]).to(device), torch.tensor([[80, 80]]).to(device)
    found |= {
        "densities": densities,
        "bits": grid.bits,
        "cells": kernels.sample_cells(cells, 16, random(5000, 3)),
        "occupied": kernels.occupied(4 * random(3000, 3) - 2, grid),
        "visible": kernels.visible_cells(2, 16, c2w, lens.expand(3, 4), size.expand(3, 2)),
    }

    rays_o, box = 2 * random(2000, 3) - 1, torch.tensor([-2.0, -2, -2, 2, 2, 2], device=device)
    spans = torch.stack(kernels.ray_aabb(rays_o, dirs.detach(), box), 1)
    samples = kernels.march_rays(rays_o, dirs.detach(), spans, grid, kernels.StepRule(0.02, 0.1))
    found |= {"spans": spans, "packed_info": samples.packed_info, "t_starts": samples.t_starts}
    assert samples.n_samples > 10_000  # enough work for several threads

    rays = make_rays([k % 9 for k in range(1500)], torch.float32, device, generator)
    sigmas, values = random(rays.n_samples).requires_grad_(), random(rays.n_samples, 5).requires_grad_()
    out = kernels.volume_render(rays.t_starts, rays.t_ends, sigmas, values, rays.packed_info)
    leaf = out.weights.detach().requires_grad_()
    summed = kernels.composite(leaf, values, rays.packed_info)
    loss = kernels.distortion_loss(leaf, rays.t_starts, rays.t_ends, rays.packed_info)
    found |= {"weights": out.weights, "rendered": out.values, "opacity": out.opacity, "depth": out.depth}
    found |= (
        {"loss": loss, "summed": summed} | gradients("loss", loss, leaf) | gradients("summed", summed, leaf, values)
    )
    found |= gradients("rendered", torch.cat([out.values, out.depth[:, None]], 1), sigmas, values)

    lens = torch.tensor([[40.0, 40, 24, 18]]).to(device).expand(3, 4)
    views = kernels.PinholeViews(size.new_tensor([[48, 36]]).expand(3, 2), c2w, lens)
    others = size.new_tensor([[1, 2], [0, 2], [1, 0]])
    spans = size.new_tensor([[1, 4]]).float().expand(views.n_pixels, 2)
    sweep = kernels.plane_sweep(views, random(views.n_pixels), spans, others, kernels.SweepRule(planes=8))
    agreeing = kernels.agreeing_views(views, sweep.distances, others, 0.2)
    found |= {"distances": sweep.distances, "scores": sweep.scores, "agreeing": agreeing}
    return {name: value.detach() for name, value in found.items()}


@pytest.mark.slow
def test_results_do_not_depend_on_the_thread_count(tmp_path, device):
    if device.type != "cpu":
        pytest.skip("threads are the CPU's")
    path = tmp_path / "one_thread.pt"
    code = (
        "import runpy, sys, torch; from omniseg_kernels import launch; launch.init('cpu', threads=1)\n"
        f"results = runpy.run_path({__file__!r})['operator_results'](torch.device('cpu'))\n"
        f"torch.save(results, {str(path)!r})"
    )
    got = run_python("-c", code)
    assert got.returncode == 0, got.stderr
    one_thread, here = torch.load(path, weights_only=True), operator_results(device)
    assert one_thread.keys() == here.keys()
    for name, value in here.items():
        prefix = f"{name}: {{}}".format
        assert_close(one_thread[name], value, **TOLERANCE[torch.float32], msg=prefix)
