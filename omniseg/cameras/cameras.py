"""One camera on the host (`Camera`), many on a device (`Cameras`): rays of pixels and pixels of points.

Axes, pixel centres and `c2w` are defined in docs/conventions.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omniseg.cameras import lenses
from omniseg.cameras.lenses import CameraModel

_N_DISTORTION = 8


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera, in pixels of an image of `width` x `height`.

    Raises:
        ValueError: a size is below 1, a focal length is not above 0, a number is not finite, or there are not
            eight distortion coefficients.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    model: CameraModel = CameraModel.PERSPECTIVE
    distortion: tuple[float, ...] = (0.0,) * _N_DISTORTION

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"width, height: expected at least 1, got {self.width} x {self.height}")
        if len(self.distortion) != _N_DISTORTION:
            raise ValueError(f"distortion: expected {_N_DISTORTION} numbers, got {len(self.distortion)}")
        if not all(map(math.isfinite, (self.fx, self.fy, self.cx, self.cy, *self.distortion))):
            raise ValueError("fx, fy, cx, cy, distortion: expected finite numbers")
        if self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"fx, fy: expected above 0, got {self.fx}, {self.fy}")

    def resized(self, width: int, height: int) -> Camera:
        """Return this camera for the same image at another size, in pixels.

        Raises:
            ValueError: the aspect ratio differs by more than rounding (1.5 pixels).
        """
        off = min(abs(width * self.height / self.width - height), abs(height * self.width / self.height - width))
        if off > 1.5:
            raise ValueError(
                f"width, height: expected the aspect of {self.width} x {self.height}, got {width} x {height}"
            )
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=self.cx * sx,
            cy=self.cy * sy,
        )


class Projection(NamedTuple):
    """Points as every camera sees them.

    xy: (V, n, 2) pixels; NaN where the point is behind a perspective or FOV camera.
    depth: (V, n) z in camera axes, units of the points; negative behind the camera.
    inside: (V, n) bool, True where the point is in front of the lens and within the image.
    """

    xy: Tensor
    depth: Tensor
    inside: Tensor


@dataclass(frozen=True)
class _Traits:
    """Lens models in a batch, known on the host so that no step waits for the device."""

    distorted: bool
    models: frozenset[CameraModel]

    @classmethod
    def from_lenses(cls, distortion: Tensor, model: Tensor) -> _Traits:
        models = frozenset(CameraModel(m) for m in set(model.tolist()))
        return cls(bool((distortion != 0).any()), models)


@dataclass(frozen=True)
class Cameras:
    """A batch of V posed cameras on one device; the index is the view.

    c2w: (V, 3, 4) camera to world, OpenCV axes.
    intrinsics: (V, 4) fx, fy, cx, cy in pixels.
    distortion: (V, 8), see `CameraModel`.
    model: (V,) int64 `CameraModel`.
    size: (V, 2) int64 width and height in pixels.

    Floating-point tensors share one dtype, float32 unless converted. `dataclasses.replace(cameras, c2w=...)` makes
    the same cameras with other poses, without waiting for the device.
    """

    c2w: Tensor
    intrinsics: Tensor
    distortion: Tensor
    model: Tensor
    size: Tensor
    traits: _Traits | None = None

    def __post_init__(self) -> None:
        n = len(self.c2w)
        for name, shape in (
            ("c2w", (n, 3, 4)),
            ("intrinsics", (n, 4)),
            ("distortion", (n, _N_DISTORTION)),
            ("model", (n,)),
            ("size", (n, 2)),
        ):
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {got}")
        if self.traits is None:
            object.__setattr__(self, "traits", _Traits.from_lenses(self.distortion, self.model))

    @classmethod
    def stack(cls, cameras: Sequence[Camera], c2w: Tensor | np.ndarray) -> Cameras:
        """Build a float32 batch on the CPU from `cameras` and their poses (V, 3, 4).

        Raises:
            ValueError: `c2w` does not have one pose for each camera.
        """
        poses = torch.as_tensor(c2w).to(torch.float32)
        if tuple(poses.shape) != (len(cameras), 3, 4):
            raise ValueError(f"c2w: expected shape {(len(cameras), 3, 4)}, got {tuple(poses.shape)}")
        n = len(cameras)
        return cls(
            c2w=poses,
            intrinsics=torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras]).reshape(n, 4),
            distortion=torch.tensor([c.distortion for c in cameras]).reshape(n, _N_DISTORTION),
            model=torch.tensor([int(c.model) for c in cameras], dtype=torch.int64),
            size=torch.tensor([[c.width, c.height] for c in cameras], dtype=torch.int64).reshape(n, 2),
        )

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, index: Tensor | slice | list[int]) -> Cameras:
        return replace(
            self,
            c2w=self.c2w[index],
            intrinsics=self.intrinsics[index],
            distortion=self.distortion[index],
            model=self.model[index],
            size=self.size[index],
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Cameras:
        """Return the batch on `device`, with floating-point tensors of `dtype` (float32 or float64)."""
        return replace(
            self,
            c2w=self.c2w.to(device, dtype),
            intrinsics=self.intrinsics.to(device, dtype),
            distortion=self.distortion.to(device, dtype),
            model=self.model.to(device),
            size=self.size.to(device),
        )

    def resized(self, width: int) -> Cameras:
        """Return the same cameras with images of another width, in pixels, and the height that goes with it."""
        factor = width / self.size[:, :1].double()
        size = (self.size * factor).round().long().clamp(min=1)
        return replace(self, intrinsics=(self.intrinsics * factor).to(self.intrinsics.dtype), size=size)

    def spread(self, n: int) -> list[int]:
        """Return the indices of at most `n` views, spread evenly from the first to the last."""
        return np.unique(np.linspace(0, len(self) - 1, min(n, len(self))).round().astype(int)).tolist()

    def rays(self, views: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rays through image points; differentiable in `c2w` only.

        Args:
            views: (n,) int64 view of each ray.
            xy: (n, 2) pixels; pixel (column i, row j) has its centre at (i + 0.5, j + 0.5).
        Returns:
            rays_o: (n, 3) camera positions, world.
            rays_d: (n, 3) unit directions, world.
        Raises:
            ValueError: a shape is wrong.
        """
        if views.ndim != 1 or tuple(xy.shape) != (len(views), 2):
            raise ValueError(f"views, xy: expected shapes (n,) and (n, 2), got {tuple(views.shape)}, {tuple(xy.shape)}")
        return self.world_rays(views, self.directions(views, xy))

    def world_rays(self, views: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rays of unit directions (n, 3) in camera axes, as `rays` does; differentiable in `c2w`."""
        c2w = self.c2w[views]
        return c2w[:, :, 3], torch.einsum("nij,nj->ni", c2w[:, :, :3], directions)

    @torch.no_grad()
    def directions(self, views: Tensor, xy: Tensor) -> Tensor:
        """Return the unit directions (n, 3), camera axes, of image points (n, 2); not differentiable."""
        traits = self._traits
        intrinsics = self.intrinsics[views]
        points = (xy.to(intrinsics.dtype) - intrinsics[:, 2:]) / intrinsics[:, :2]
        if not traits.distorted and traits.models == {CameraModel.PERSPECTIVE}:
            return lenses.perspective_directions(points)
        distortion, model = self.distortion[views], self.model[views]
        out = torch.zeros_like(points[:, :1]).expand(-1, 3)
        if traits.models != {CameraModel.FOV}:
            ideal = lenses.undistort(points, lenses.coefficients(distortion, model)) if traits.distorted else points
            out = lenses.perspective_directions(ideal)
            if CameraModel.FISHEYE in traits.models:
                fisheye = (model == CameraModel.FISHEYE)[:, None]
                out = torch.where(fisheye, lenses.fisheye_directions(ideal), out)
        if CameraModel.FOV in traits.models:
            fov = lenses.fov_directions(points, distortion[:, 0])
            out = torch.where((model == CameraModel.FOV)[:, None], fov, out)
        return out

    def image_rays(self, view: int) -> tuple[Tensor, Tensor]:
        """Return the rays of all pixel centres of one view, row by row.

        Returns:
            rays_o, rays_d: (height * width, 3), as from `rays`.
        """
        width, height = self.size[view].tolist()
        xy = pixel_centres(width, height, self.c2w.device)
        return self.rays(torch.full((len(xy),), view, dtype=torch.int64, device=xy.device), xy)

    def project(self, points: Tensor) -> Projection:
        """Project points (n, 3), world, into every view. Memory grows with V * n: pass points in chunks.

        Raises:
            ValueError: `points` is not (n, 3).
        """
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"points: expected shape (n, 3), got {tuple(points.shape)}")
        rotation, origin = self.c2w[:, :, :3], self.c2w[:, :, 3]
        local = torch.einsum("vji,vnj->vni", rotation, points[None] - origin[:, None])
        planar, z = local[..., :2], local[..., 2]
        radius = planar.norm(dim=-1)
        angle = torch.atan2(radius, z)
        model = self.model[:, None, None]
        front = (z > 0) | (model[..., 0] == CameraModel.FISHEYE)
        ideal = planar / torch.where(z > 0, z, torch.nan)[..., None]
        if CameraModel.FISHEYE in self._traits.models:
            equidistant = planar * lenses.ratio(angle, radius)[..., None]
            ideal = torch.where(model == CameraModel.FISHEYE, equidistant, ideal)
        image = ideal
        if self._traits.distorted:
            image = lenses.distort(ideal, lenses.coefficients(self.distortion, self.model).unbind(1))
        if CameraModel.FOV in self._traits.models:
            fov = ideal * lenses.fov_factor(ideal.norm(dim=-1), self.distortion[:, :1])[..., None]
            image = torch.where(model == CameraModel.FOV, fov, image)
        xy = image * self.intrinsics[:, None, :2] + self.intrinsics[:, None, 2:]
        inside = front & (xy >= 0).all(-1) & (xy <= self.size[:, None]).all(-1)
        if self._traits.distorted:
            # Points beyond the widest angle of the image may be folded back into it by a lens polynomial.
            inside &= angle <= self._widest_angle()[:, None] * 1.02
        return Projection(xy, z, inside)

    def _widest_angle(self) -> Tensor:
        """Return the largest angle (V,) to the optical axis along the border of each image, radians."""
        edge = torch.linspace(0, 1, 9, device=self.c2w.device, dtype=self.c2w.dtype)
        zero, one = torch.zeros_like(edge), torch.ones_like(edge)
        border = torch.stack([torch.cat([edge, edge, zero, one]), torch.cat([zero, one, edge, edge])], dim=1)
        xy = border[None] * self.size[:, None]
        views = torch.arange(len(self), device=xy.device).repeat_interleave(len(border))
        directions = self.directions(views, xy.reshape(-1, 2))
        angles = torch.atan2(directions[:, :2].norm(dim=1), directions[:, 2])
        return angles.reshape(len(self), -1).amax(1)

    @property
    def _traits(self) -> _Traits:
        assert self.traits is not None
        return self.traits


def pixel_centres(width: int, height: int, device: torch.device | str | None = None) -> Tensor:
    """Return the centres (height * width, 2) of all pixels, x first, row by row, float32."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5
