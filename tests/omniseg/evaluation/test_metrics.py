"""PSNR by hand, SSIM against a plain loop over windows."""

import math

import numpy as np
import pytest
import torch

from omniseg.evaluation.metrics import psnr, ssim


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
