"""Pinhole views whose pixels are packed one view after another, for kernels that compare views."""

from dataclasses import dataclass
from functools import cached_property

import taichi as ti
import torch
from torch import Tensor

from .launch import check_dtype, check_like, check_shape


@dataclass(frozen=True)
class PinholeViews:
    """V posed views without lens distortion; pixels are packed one view after another, row by row from the top.

    sizes: (V, 2) int64 width and height, pixels, at least 1.
    c2w: (V, 3, 4) float32 T_world_camera, OpenCV axes, world coordinates.
    intrinsics: (V, 4) float32 fx, fy, cx, cy, pixels; the first pixel's centre is at 0.5. Focal lengths are above 0.

    Raises:
        ValueError: a shape, dtype or device disagrees, a size is below 1 or a focal length is not above 0.
    """

    sizes: Tensor
    c2w: Tensor
    intrinsics: Tensor

    def __post_init__(self) -> None:
        check_shape("sizes", self.sizes, (None, 2))
        check_dtype("sizes", self.sizes, torch.int64)
        check_shape("c2w", self.c2w, (len(self), 3, 4))
        check_dtype("c2w", self.c2w, torch.float32)
        check_shape("intrinsics", self.intrinsics, (len(self), 4))
        check_like("intrinsics", self.intrinsics, "c2w", self.c2w)
        if len(self) and self.sizes.min() < 1:
            raise ValueError(f"sizes: expected at least 1, got {int(self.sizes.min())}")
        if not (self.intrinsics[:, :2] > 0).all():
            raise ValueError("intrinsics: expected focal lengths above 0")

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """V + 1 numbers; the pixels of view v are offsets[v] to offsets[v + 1]."""
        return (0, *(self.sizes[:, 0] * self.sizes[:, 1]).cumsum(0).tolist())

    @property
    def n_pixels(self) -> int:
        """Number of pixels of all views."""
        return self.offsets[-1]

    @cached_property
    def table(self) -> Tensor:
        """(V, 4) int32: first pixel, width, height and number of pixels of each view."""
        starts = torch.tensor(self.offsets[:-1], dtype=torch.int64, device=self.sizes.device)
        width, height = self.sizes.unbind(1)
        return torch.stack([starts, width, height, width * height], 1).to(self.c2w.device, torch.int32)


def check_partners(name: str, partners: Tensor, views: PinholeViews) -> None:
    """Raise ValueError unless `partners` names up to M other views for each view, -1 where there is none."""
    check_shape(name, partners, (len(views), None))
    check_dtype(name, partners, torch.int64)
    if partners.device != views.c2w.device:
        raise ValueError(f"{name}: expected on {views.c2w.device} as c2w, got {partners.device}")
    if partners.numel() and not -1 <= int(partners.min()) <= int(partners.max()) < len(views):
        raise ValueError(
            f"{name}: expected views from 0 to {len(views) - 1}, or -1 for none, "
            f"got {int(partners.min())} to {int(partners.max())}"
        )


def pixel_matrices(intrinsics: Tensor) -> Tensor:
    """Return (V, 3, 3) float64 matrices from camera axes to column and row, 0 at the first pixel's centre."""
    fx, fy, cx, cy = intrinsics.detach().double().unbind(1)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    rows = [fx, zero, cx - 0.5, zero, fy, cy - 0.5, zero, zero, one]
    return torch.stack(rows, 1).view(-1, 3, 3)


def pairs(views: PinholeViews, partners: Tensor) -> tuple[Tensor, Tensor]:
    """Return what takes a pixel of each view to its partners, and where their pixels are.

    Returns:
        warps: (V * M, 12) float32, a matrix H by rows and a vector e: the point at pixel (column x, row y) and inverse
            z-depth s is seen by the partner at (u, v), which are w (u, v, 1) = H (x, y, 1) + s e, where w is the ratio
            of both z-depths.
        places: (V * M, 4) int32, the partner's row of `PinholeViews.table`; its number of pixels is 0 where there is
            no partner.
    """
    pixels, other = pixel_matrices(views.intrinsics), partners.clamp(min=0)
    rotation, position = views.c2w[:, :, :3].detach().double(), views.c2w[:, :, 3].detach().double()
    to_partner = pixels[other] @ rotation[other].transpose(2, 3)  # (V, M, 3, 3)
    h = to_partner @ (rotation @ torch.linalg.inv(pixels))[:, None]
    e = to_partner @ (position[:, None] - position[other])[..., None]
    places = torch.where((partners >= 0)[..., None], views.table[other], 0)
    return torch.cat([h.flatten(2), e.flatten(2)], 2).flatten(0, 1).float(), places.flatten(0, 1)


@ti.func
def view_of(pixel: ti.i32, table: ti.template()) -> ti.i32:
    """Return the view that a pixel belongs to, by bisection."""
    low, high = 0, table.shape[0] - 1
    while low < high:
        middle = (low + high + 1) // 2
        if table[middle, 0] <= pixel:
            low = middle
        else:
            high = middle - 1
    return low


@ti.func
def ray_length(intrinsics: ti.template(), v: ti.i32, x: ti.f32, y: ti.f32) -> ti.f32:
    """Return distance along the ray divided by z-depth, for a point at column x and row y, 0 at the first centre."""
    u = (x + 0.5 - intrinsics[v, 2]) / intrinsics[v, 0]
    w = (y + 0.5 - intrinsics[v, 3]) / intrinsics[v, 1]
    return ti.sqrt(u * u + w * w + 1.0)
