"""PSNR by hand, SSIM against a plain loop over windows."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from omniseg.evaluation.image_metrics import psnr, ssim


def test_psnr_by_hand():
    image = torch.zeros(2, 2, 3)
    assert psnr(image, torch.full_like(image, 0.1)) == pytest.approx(20.0)
    target = image.clone()
    target[0, 0, 0] = 1.0  # mean square 1 / 12
    assert psnr(image, target) == pytest.approx(10 * math.log10(12), rel=1e-6)
    assert psnr(image, image) == pytest.approx(100.0)


def looped_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, window by window."""
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for channel in range(x.shape[2]):
        for row in range(x.shape[0] - 10):
            for column in range(x.shape[1] - 10):
                a = x[row : row + 11, column : column + 11, channel]
                b = y[row : row + 11, column : column + 11, channel]
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                cov = (window * (a - ma) * (b - mb)).sum()
                c1, c2 = 0.01**2, 0.03**2
                found.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(found))


@pytest.mark.parametrize("noise", [0.02, 0.3])
@pytest.mark.parametrize("shape", [(11, 11, 1), (14, 23, 3)])
def test_ssim_matches_the_loop(shape: tuple[int, int, int], noise: float):
    rng = np.random.default_rng(0)
    x = rng.random(shape)
    y = np.clip(x + noise * rng.standard_normal(shape), 0, 1)
    assert ssim(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(looped_ssim(x, y), abs=1e-9)


def convolved_ssim(image: torch.Tensor, target: torch.Tensor) -> float:
    """The same by convolutions, without padding."""
    x, y = image.double().permute(2, 0, 1)[:, None], target.double().permute(2, 0, 1)[:, None]
    window = torch.exp(-((torch.arange(11, dtype=x.dtype) - 5) ** 2) / (2 * 1.5**2))
    window = window / window.sum()

    def blur(values: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(values, window[None, None, :, None]), window[None, None, None, :])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, covariance = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
    return float((similarity / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))).mean())


@pytest.mark.parametrize("shape", [(11, 11, 1), (14, 23, 3), (90, 120, 3)])
def test_ssim_is_what_it_was(shape: tuple[int, int, int]):
    x = torch.rand(shape)
    for y in (x, (x + 0.1 * torch.randn(shape)).clamp(0, 1), torch.rand(shape), torch.zeros(shape)):
        assert ssim(x, y) == pytest.approx(convolved_ssim(x, y), abs=1e-12)


def test_ssim_properties():
    x, y = torch.rand(16, 20, 3), torch.rand(16, 20, 3)
    assert ssim(x, x) == pytest.approx(1.0)
    assert ssim(x, y) == pytest.approx(ssim(y, x))
    assert ssim(x, y) < ssim(x, 0.9 * x + 0.1 * y) < 1
    flat = torch.full((12, 12, 3), 0.5)
    assert ssim(flat, flat) == pytest.approx(1.0)
    assert math.isfinite(ssim(flat, torch.zeros_like(flat)))


@pytest.mark.parametrize(("a", "b"), [((10, 20, 3), (10, 20, 3)), ((12, 12, 3), (12, 13, 3)), ((12, 12), (12, 12))])
def test_ssim_refuses(a: tuple, b: tuple):
    with pytest.raises(ValueError, match="image, target: expected two"):
        ssim(torch.rand(a), torch.rand(b))
