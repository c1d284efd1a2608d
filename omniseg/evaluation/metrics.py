"""Image quality of a rendering against a photo."""

import torch
from torch import Tensor
from torch.nn import functional as F

SSIM_WINDOW = 11
"""Pixels a side that an image needs at least."""
_SSIM_SIGMA = 1.5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2


def psnr(image: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two images with values in [0, 1]; the same shape."""
    return float(-10 * (image - target).square().mean().clamp(min=1e-10).log10())


def ssim(image: Tensor, target: Tensor) -> float:
    """Mean structural similarity (Wang et al. 2004): Gaussian window of 11 pixels, sigma 1.5, no padding.

    Args:
        image, target: (height, width, channels) in [0, 1], at least 11 pixels a side.
    Raises:
        ValueError: shapes differ or an image is smaller than the window.
    """
    if image.shape != target.shape or image.ndim != 3 or min(image.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"image, target: expected two (height, width, channels) of {SSIM_WINDOW} pixels or more a side, "
            f"got {tuple(image.shape)} and {tuple(target.shape)}"
        )
    x, y = image.double().permute(2, 0, 1)[:, None], target.double().permute(2, 0, 1)[:, None]
    at = torch.arange(SSIM_WINDOW, dtype=x.dtype, device=x.device) - SSIM_WINDOW // 2
    window = torch.exp(-(at**2) / (2 * _SSIM_SIGMA**2))
    window = window / window.sum()

    def blur(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, window[None, None, :, None]), window[None, None, None, :])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + _SSIM_C1) * (var_x + var_y + _SSIM_C2))
    return float(similarity.mean())
