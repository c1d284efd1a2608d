from math import pi

import pytest
import torch
from torch.testing import assert_close

from helpers import TOLERANCE, grad, noncontiguous
from omniseg_kernels.launch import launch
from omniseg_kernels.reference import spherical_harmonics as reference
from omniseg_kernels.spherical_harmonics import _forward_kernel, spherical_harmonics

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def make_dirs(n, dtype, device):
    return torch.nn.functional.normalize(torch.randn(n, 3, dtype=dtype), dim=1).to(device)


@pytest.mark.bounds
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [0, 1, 7, 1031])
def test_matches_reference(n, degree, dtype, device):
    dirs = make_dirs(n, dtype, device).requires_grad_()
    got, want = spherical_harmonics(dirs, degree), reference.spherical_harmonics(dirs, degree)
    g = torch.randn_like(want)
    assert_close(got, want, **TOLERANCE[dtype])
    assert_close(grad(got, dirs, g), grad(want, dirs, g), **TOLERANCE[dtype])
    assert dirs.grad is None


def test_gradcheck(device):
    dirs = make_dirs(5, torch.float64, device).requires_grad_()
    assert torch.autograd.gradcheck(spherical_harmonics, (dirs,))


def test_by_hand(device):
    x, y, z = 0.36, 0.48, 0.8
    got = spherical_harmonics(torch.tensor([[x, y, z]], device=device))[0]
    want = [  # the decimal constants as published with instant-ngp's basis
        *(0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x),
        *(1.09254843 * x * y, -1.09254843 * y * z, 0.94617470 * z * z - 0.31539157),
        *(-1.09254843 * x * z, 0.54627422 * (x * x - y * y)),
        *(0.59004359 * y * (y * y - 3 * x * x), 2.89061144 * x * y * z, 0.45704580 * y * (1 - 5 * z * z)),
        *(0.37317633 * z * (5 * z * z - 3), 0.45704580 * x * (1 - 5 * z * z)),
        *(1.44530572 * z * (x * x - y * y), 0.59004359 * x * (3 * y * y - x * x)),
    ]
    assert_close(got.cpu(), torch.tensor(want), **TOLERANCE[torch.float32])


def test_orthonormal(device):
    # Gauss-Legendre in z times even steps in longitude integrates products of degree 6 exactly.
    nodes, weights = torch.linalg.eigh(torch.diag(_legendre_band(8), 1) + torch.diag(_legendre_band(8), -1))
    weights = 2 * weights[0] ** 2
    longitude = torch.arange(16, dtype=torch.float64) * 2 * pi / 16
    z, longitude = torch.meshgrid(nodes, longitude, indexing="ij")
    radius = (1 - z * z).sqrt()
    dirs = torch.stack([radius * longitude.cos(), radius * longitude.sin(), z], -1).reshape(-1, 3)
    area = (weights[:, None] * 2 * pi / 16).expand(-1, 16).reshape(-1)
    values = spherical_harmonics(dirs.to(device)).cpu()
    identity = torch.eye(16, dtype=torch.float64)
    assert_close(values.T * area @ values, identity, **TOLERANCE[torch.float64])


def _legendre_band(n):
    k = torch.arange(1, n, dtype=torch.float64)
    return k / (4 * k * k - 1).sqrt()


def test_noncontiguous_input_and_gradient(device):
    dirs = make_dirs(9, torch.float32, device)
    scattered = noncontiguous(dirs).requires_grad_()
    out = spherical_harmonics(scattered)
    assert_close(out, spherical_harmonics(dirs))
    g = noncontiguous(torch.randn_like(out))
    want = reference.spherical_harmonics(scattered)
    assert_close(grad(out, scattered, g), grad(want, scattered, g), **TOLERANCE[torch.float32])


def test_both_orders_of_writing_agree(device):  # of the CPU and of the GPU
    dirs = make_dirs(1031, torch.float32, device)
    one, other = torch.empty(2, 16, 1031, device=device)
    launch(_forward_kernel(torch.float32, 4, True), (dirs,), (one,))
    launch(_forward_kernel(torch.float32, 4, False), (dirs,), (other,))
    assert_close(one, other)


def test_channels_are_the_last_dimension_but_stored_first(device):
    out = spherical_harmonics(make_dirs(7, torch.float32, device), 3)
    assert out.shape == (7, 9)
    assert out.t().is_contiguous()


def test_no_gradient_unless_asked(device):
    assert not spherical_harmonics(make_dirs(3, torch.float32, device)).requires_grad


@pytest.mark.parametrize(
    ("dirs", "degree", "message"),
    [
        (torch.zeros(4, 2), 4, r"dirs: expected shape \(any, 3\), got \(4, 2\)"),
        (torch.zeros(3), 4, "dirs: expected shape"),
        (torch.zeros(4, 3, dtype=torch.float16), 4, "dirs: expected torch.float32 or torch.float64"),
        (torch.zeros(4, 3), 0, "degree: expected 1 to 4, got 0"),
        (torch.zeros(4, 3), 5, "degree: expected 1 to 4, got 5"),
    ],
)
def test_wrong_arguments(dirs, degree, message, device):
    with pytest.raises(ValueError, match=message):
        spherical_harmonics(dirs.to(device), degree)
