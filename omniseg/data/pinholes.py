"""Photos as small grey pictures without lens distortion, for comparing them with one another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from omniseg.cameras import CameraModel, Cameras, pixel_centres
from omniseg.data.depth_maps import FARTHEST, DepthMaps
from omniseg.data.image_io import shrink
from omniseg.data.images import ImageSet
from omniseg_kernels import PinholeViews

_WIDEST = 2.0
"""Tangent of the largest angle to the optical axis that a pinhole picture shows along an axis, 63 degrees."""
_SQUARE = 0.02
"""Largest difference of both focal lengths, as a fraction, up to which a lens without distortion is left as it is."""


@dataclass(frozen=True)
class Pinholes:
    """Small pinhole pictures of some photos.

    photos: index of each picture's photo in the image set.
    views: cameras of the pictures, scene coordinates, on the host.
    grey: (n_pixels,) float32 in [0, 1], packed, on the host.
    directions: (n_pixels, 3) unit directions of the rays, scene coordinates, on the host.
    shown: (n_pixels,) bool, False where a photo is transparent or not valid, on the host.
    """

    photos: tuple[int, ...]
    views: PinholeViews
    grey: Tensor
    directions: Tensor
    shown: Tensor

    @classmethod
    def from_images(cls, images: ImageSet, photos: list[int], longest: int, *, progress: bool = True) -> Pinholes:
        """Shrink photos to at most `longest` pixels a side, over white where they have alpha, and undistort them."""
        cameras = images.cameras.to("cpu")
        sizes, intrinsics, grey, directions, shown = [], [], [], [], []
        lenses = picture_lenses(cameras, photos, longest)
        bar = tqdm(photos, desc="depth from the photos", unit="img", delay=2, leave=False, disable=not progress)
        for v, lens in zip(bar, lenses):
            picture, opaque = lens.picture(_shown(images, v))
            grey.append(picture)
            shown.append(opaque)
            sizes.append([lens.width, lens.height])
            intrinsics.append(lens.intrinsics)
            directions.append(lens.directions @ cameras.c2w[v, :, :3].T)
        views = PinholeViews(torch.tensor(sizes), cameras.c2w[photos].contiguous(), torch.stack(intrinsics))
        return cls(tuple(photos), views, torch.cat(grey), torch.cat(directions), torch.cat(shown))

    @property
    def origins(self) -> Tensor:
        """Origins (n_pixels, 3) of the rays."""
        counts = self.views.sizes.prod(1)
        return self.views.c2w[:, :, 3].repeat_interleave(counts, 0)

    def texture(self, radius: int, contrast: float) -> float:
        """Return the share of the pixels whose surroundings show texture, among those that are not transparent.

        Args:
            radius: of the square window around a pixel, in pixels.
            contrast: standard deviation of grey values in the window above which it is texture.
        """
        sizes, counts = self.views.sizes.tolist(), self.views.sizes.prod(1).tolist()
        side, textured = 2 * radius + 1, []
        for grey, (width, height) in zip(self.grey.split(counts), sizes):
            picture = grey.view(height, width).numpy()
            mean, squares = (cv2.blur(values, (side, side)) for values in (picture, picture**2))
            textured.append(torch.from_numpy(squares - mean**2 > contrast**2).flatten())
        return float((torch.cat(textured) & self.shown).sum() / self.shown.sum().clamp(min=1))

    def depth_maps(self, distances: Tensor, names: tuple[str, ...]) -> DepthMaps:
        """Return the distances (n_pixels,) of the pictures, whose photos are in rising order, as maps of all photos.

        Args:
            distances: scene units, 0 where unknown.
            names: names of all photos of the image set.
        """
        sizes = torch.zeros(len(names), 2, dtype=torch.int64)
        intrinsics = torch.ones(len(names), 4)
        sizes[list(self.photos)], intrinsics[list(self.photos)] = self.views.sizes, self.views.intrinsics
        return DepthMaps(names, distances.clamp(max=FARTHEST).half().cpu(), sizes, intrinsics)


def picture_lenses(cameras: Cameras, photos: list[int], longest: int) -> list[PictureLens]:
    """Return the way from each of some photos to its picture of at most `longest` pixels a side."""
    lenses, found = {}, []
    for v in photos:
        camera = cameras[[v]]
        parts = (camera.intrinsics, camera.distortion, camera.size)
        key = (tuple(tuple(part[0].tolist()) for part in parts), int(camera.model))
        if key not in lenses:
            lenses[key] = PictureLens.from_camera(camera, longest)
        found.append(lenses[key])
    return found


@dataclass(frozen=True)
class PictureLens:
    """Way from a photo to its picture, for all photos of one camera.

    width, height, intrinsics: of the picture; (4,) fx, fy, cx, cy in pixels.
    directions: (height * width, 3) unit directions of its pixels, camera axes.
    small: size that a photo is first shrunk to.
    maps: where the picture's pixels are in the shrunk photo, for `cv2.remap`; None where they are the same.
    """

    width: int
    height: int
    intrinsics: Tensor
    directions: Tensor
    small: tuple[int, int]
    maps: tuple[np.ndarray, np.ndarray] | None

    @classmethod
    def from_camera(cls, camera: Cameras, longest: int) -> PictureLens:
        """Build the way of one camera (a batch of one)."""
        camera = replace(camera, c2w=torch.eye(3, 4)[None], traits=None)
        full_width, full_height = camera.size[0].tolist()
        factor = min(1.0, longest / max(full_width, full_height))
        small = camera.resized(max(1, round(full_width * factor)))
        width, height = small.size[0].tolist()
        fx, fy, cx, cy = small.intrinsics[0].tolist()
        is_plain = int(camera.model) == CameraModel.PERSPECTIVE and not camera.distortion.any()
        exact = is_plain and abs(fx / fy - 1) < _SQUARE and max(width / fx, height / fy) < 2 * _WIDEST
        if not exact:
            low, high = _extent(small)
            fx = fy = max(width, height) / float((high - low).max())
            width, height = (max(1, int(n)) for n in ((high - low) * fx).round().tolist())
            cx, cy = (-low * fx).tolist()
        centres = pixel_centres(width, height)
        rays = torch.cat([(centres - torch.tensor([cx, cy])) / torch.tensor([fx, fy]), torch.ones(len(centres), 1)], 1)
        maps = None
        if not exact:
            xy = small.project(rays).xy[0].nan_to_num(-1).view(height, width, 2) - 0.5
            maps = xy[..., 0].contiguous().numpy(), xy[..., 1].contiguous().numpy()
        unit = torch.nn.functional.normalize(rays, dim=1)
        return cls(width, height, torch.tensor([fx, fy, cx, cy]), unit, tuple(small.size[0].tolist()), maps)

    def picture(self, photo: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the flat grey values in [0, 1] of a photo (height, width, 3 or 4) uint8, and where it is opaque."""
        small = shrink(photo, *self.small).astype(np.float32) / 255
        alpha = small[..., 3] if small.shape[2] == 4 else np.ones_like(small[..., 0])
        grey = cv2.cvtColor(np.ascontiguousarray(small[..., :3]), cv2.COLOR_RGB2GRAY) * alpha + (1 - alpha)
        if self.maps is not None:
            grey = cv2.remap(grey, *self.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            alpha = cv2.remap(alpha, *self.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        return torch.from_numpy(grey).flatten(), torch.from_numpy(alpha).flatten() > 0.5


def _shown(images: ImageSet, view: int) -> np.ndarray:
    """Return a photo (height, width, 3 or 4) uint8, transparent where its pixels are not valid."""
    photo, valid = images.image(view).cpu().numpy(), images.valid_mask(view)
    if valid is None:
        return photo
    alpha = photo[..., 3:] if photo.shape[2] == 4 else np.full_like(photo[..., :1], 255)
    return np.concatenate([photo[..., :3], alpha * valid.cpu().numpy()[..., None]], axis=2)


def _extent(camera: Cameras) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest (x, y) / z of the directions along the border of an image, at most `_WIDEST`."""
    width, height = camera.size[0].tolist()
    edge = torch.linspace(0, 1, 33)[:, None] * torch.tensor([[width, height]])
    x, y = edge.unbind(1)
    none = torch.zeros_like(x)
    border = torch.cat([torch.stack(p, 1) for p in ((x, none), (x, none + height), (none, y), (none + width, y))])
    d = camera.directions(torch.zeros(len(border), dtype=torch.int64), border.float())
    points = (d[:, :2] / d[:, 2:].clamp(min=1e-3)).clamp(-_WIDEST, _WIDEST)
    return points.amin(0), points.amax(0)
