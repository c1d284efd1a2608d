"""Image quality of a rendering compared with a photo."""

from typing import Any

import numpy as np
from skimage.metrics import structural_similarity
from torch import Tensor

SSIM_WINDOW = 11
"""Pixels a side that an image needs at least."""
_SSIM_SIGMA = 1.5
"""Standard deviation of the Gaussian window, pixels; cut off, the window is SSIM_WINDOW pixels wide."""


def psnr(image: Tensor, target: Tensor, valid: Tensor | None = None) -> float:
    """Return the peak signal-to-noise ratio, dB, of two images of one shape with values in [0, 1]; at most 100.

    Args:
        image, target: (height, width, channels).
        valid: (height, width) bool, pixels that count, at least one; None: all.
    """
    square = (image - target).square()
    return float(-10 * (square if valid is None else square[valid]).mean().clamp(min=1e-10).log10())


def has_measurable(valid: Tensor) -> bool:
    """Tell whether any pixel counts whose SSIM window lies within the image."""
    edge = SSIM_WINDOW // 2
    return bool(valid[edge:-edge, edge:-edge].any())


def ssim(image: Tensor, target: Tensor, valid: Tensor | None = None) -> float:
    """Return the mean structural similarity (Wang et al. 2004, equation 13) over all channels.

    Gaussian window of 11 x 11 pixels, sigma 1.5, constants 0.01^2 and 0.03^2; windows that leave the image are left
    out.

    Args:
        image, target: (height, width, channels) in [0, 1], at least 11 pixels a side.
        valid: (height, width) bool, pixels that count, at least one of them as far from the border as the window
            reaches; the others are taken to be equal in both images. None: all.
    Raises:
        ValueError: shapes differ or an image is smaller than the window.
    """
    if image.shape != target.shape or image.ndim != 3 or min(image.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"image, target: expected two (height, width, channels) of {SSIM_WINDOW} pixels or more a side, "
            f"got {tuple(image.shape)} and {tuple(target.shape)}"
        )
    x, y = (pixels.detach().cpu().numpy().astype(np.float64) for pixels in (image, target))
    counted = None if valid is None else valid.cpu().numpy()
    if counted is not None:
        x = np.where(counted[..., None], x, y)
    mean: Any = structural_similarity(
        x,
        y,
        data_range=1.0,
        channel_axis=2,
        gaussian_weights=True,
        sigma=_SSIM_SIGMA,
        use_sample_covariance=False,
        full=counted is not None,
    )
    if counted is None:
        return float(mean)
    edge = SSIM_WINDOW // 2
    inner = np.s_[edge:-edge, edge:-edge]
    return float(mean[1][inner][counted[inner]].mean())
