"""Edge-aware mean of a picture of features: a joint bilateral filter with holes (Petschnigg et al. 2004; Dammertz et
al. 2010).

A round replaces each pixel's feature by a weighted sum over the 3 x 3 pixels around it that are `step` apart, and
makes it of unit length:

    f_p <- sum_q w_pq f_q / |...|,   w_pq = exp(a (f_p . f_q - 1) - |g_p - g_q|^2 / 2 - r_pq^2 / 4)

g are guides, such as colour and log distance, in units of the difference that makes an edge; r is the distance in
steps, and the pixel itself has weight 1. The step doubles each round, from 1 pixel, so n rounds reach
2^n - 1 pixels in every direction with 8 n neighbours. Nothing here is differentiable.
"""

from functools import cache

import taichi as ti
import torch
from torch import Tensor

from ._vector_math import dot, exponential
from .launch import arch, check_dtype, check_like, check_shape, launch

_NEIGHBOURS = 8
_TILE = 8
"""Pixels whose weights a CPU task keeps in a local array: the compiler vectorises loops over it, up to this size."""
_FAR = -1e3
"""Exponent of a neighbour without weight: `exponential` makes 1e-38 of it, which a sum near 1 does not feel."""


@cache
def _round_kernel(dim: int, n_guides: int, on: str):
    """Compile one round for a number of channels and of guides; `on` is "cpu" or "cuda"."""
    n_tile = _TILE if on == "cpu" else 1
    features_type = ti.types.ndarray(ti.types.vector(dim, ti.f32), ndim=1)
    guides_type = ti.types.ndarray(ti.types.vector(n_guides, ti.f32), ndim=1)
    mask = ti.types.ndarray(ti.u8, ndim=1)

    @ti.func
    def column_and_row(k):
        """Return where neighbour k of the eight lies, in steps from the middle."""
        place = k + ti.select(k < _NEIGHBOURS // 2, 0, 1)
        return place % 3 - 1, place // 3 - 1

    @ti.kernel
    def one_round(
        features: features_type, guides: guides_type, solid: mask, width: ti.i32, height: ti.i32, step: ti.i32,
        agreement: ti.f32, out: features_type,
    ):  # fmt: skip
        n = width * height
        for tile in range((n + n_tile - 1) // n_tile):
            first = tile * n_tile
            count = ti.min(n - first, n_tile)
            weights = ti.Vector([0.0] * (_NEIGHBOURS * n_tile))
            for k in range(_NEIGHBOURS):
                dx, dy = column_and_row(k)
                near = -0.25 * ti.cast(dx * dx + dy * dy, ti.f32)
                for i in range(count):
                    p = first + i
                    x, y = p % width + dx * step, p // width + dy * step
                    exponent = _FAR
                    if x >= 0 and x < width and y >= 0 and y < height:
                        q = y * width + x
                        alike = dot(features[p], features[q], ti.f32, dim)
                        apart = guides[p] - guides[q]
                        exponent = near + agreement * (ti.min(alike, 1.0) - 1.0)
                        exponent -= 0.5 * dot(apart, apart, ti.f32, n_guides)
                        exponent = ti.select(solid[q] != 0, exponent, _FAR)
                    weights[k * n_tile + i] = exponent
            for j in range(_NEIGHBOURS * n_tile):
                weights[j] = exponential(weights[j])
            for i in range(count):
                p = first + i
                total = features[p]
                if solid[p] != 0:
                    for k in range(_NEIGHBOURS):
                        dx, dy = column_and_row(k)
                        # Outside of the picture the weight is 0.
                        q = ti.math.clamp(p + (dy * width + dx) * step, 0, n - 1)
                        total += weights[k * n_tile + i] * features[q]
                    total /= ti.sqrt(ti.max(dot(total, total, ti.f32, dim), 1e-24))
                out[p] = total

    return one_round


def smooth_features(features: Tensor, guides: Tensor, solid: Tensor, *, rounds: int, agreement: float) -> Tensor:
    """Return the edge-aware mean of a picture of features; not differentiable.

    Args:
        features: (height, width, dim) float32, of unit length where `solid`; dim at least 1.
        guides: (height, width, n) float32, n at least 1; pixels whose guides differ by much more than 1 do not mix.
        solid: (height, width) bool; other pixels keep their feature and give it to none.
        rounds: number of rounds, 0 to 16; neighbours are 1, 2, 4, ... pixels apart.
        agreement: a above, at least 0; how fast weights fall with the cosine of two features.
    Returns:
        (height, width, dim) float32, of unit length where `solid`.
    Raises:
        ValueError: a shape, dtype or device disagrees, or a number is out of range.
    """
    check_shape("features", features, (None, None, None))
    check_dtype("features", features, torch.float32)
    height, width, dim = features.shape
    check_shape("guides", guides, (height, width, None))
    check_like("guides", guides, "features", features)
    check_shape("solid", solid, (height, width))
    check_dtype("solid", solid, torch.bool)
    if solid.device != features.device:
        raise ValueError(f"solid: expected on {features.device} as features, got {solid.device}")
    if not (dim and guides.shape[2]):
        raise ValueError(f"features, guides: expected at least one channel, got {dim} and {guides.shape[2]}")
    if not 0 <= rounds <= 16:
        raise ValueError(f"rounds: expected 0 to 16, got {rounds}")
    if not 0 <= agreement < float("inf"):
        raise ValueError(f"agreement: expected a finite number of at least 0, got {agreement}")
    found = features.detach().reshape(-1, dim)
    if not found.numel():
        return found.view(features.shape)
    kernel = _round_kernel(dim, guides.shape[2], arch())
    flat, mask = guides.detach().reshape(-1, guides.shape[2]), solid.contiguous().view(torch.uint8).view(-1)
    spare: list[Tensor] = []  # fresh memory costs as much as a round
    for n in range(rounds):
        step = min(2**n, max(width, height))  # beyond the picture there is nothing
        out = spare.pop() if spare else torch.empty_like(found, memory_format=torch.contiguous_format)
        launch(kernel, (found, flat, mask, width, height, step, agreement), (out,))
        if n:
            spare.append(found)
        found = out
    return found.view(features.shape)
