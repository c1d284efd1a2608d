"""Image quality of a rendering compared with a photo."""

from typing import Any

import numpy as np
from skimage.metrics import structural_similarity
from torch import Tensor

SSIM_WINDOW = 11
"""Pixels a side that an image needs at least."""
_SSIM_SIGMA = 1.5
"""Standard deviation of the Gaussian window, pixels; cut off, the window is SSIM_WINDOW pixels wide."""


def psnr(image: Tensor, target: Tensor) -> float:
    """Return the peak signal-to-noise ratio, dB, of two images of one shape with values in [0, 1]; at most 100."""
    return float(-10 * (image - target).square().mean().clamp(min=1e-10).log10())


def ssim(image: Tensor, target: Tensor) -> float:
    """Return the mean structural similarity (Wang et al. 2004, equation 13) over all channels.

    Gaussian window of 11 x 11 pixels, sigma 1.5, constants 0.01^2 and 0.03^2; windows that leave the image are left
    out.

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
    x, y = (pixels.detach().cpu().numpy().astype(np.float64) for pixels in (image, target))
    mean: Any = structural_similarity(
        x,
        y,
        data_range=1.0,
        channel_axis=2,
        gaussian_weights=True,
        sigma=_SSIM_SIGMA,
        use_sample_covariance=False,
    )
    return float(mean)
