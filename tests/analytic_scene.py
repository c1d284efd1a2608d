"""A ball above a floor, under a dome: surfaces whose distance along a ray is a formula, with or without texture."""

import math

import numpy as np
import torch
from torch import Tensor

from omniseg.cameras import Camera, Cameras
from omniseg.data.images import ImageSet

_BALL, _DOME, _FLOOR = 0.5, 4.0, -0.6
"""Radii of ball and dome, both around the origin, and height of the floor."""


def trace(rays_o: Tensor, rays_d: Tensor, centre: tuple[float, float, float] = (0, 0, 0)) -> Tensor:
    """Return the distance (n,) of the nearest surface along rays that begin inside of the dome and out of the ball.

    `centre` is where the ball is.
    """
    to_ball = _to_ball(rays_o - torch.tensor(centre), rays_d)
    along, origin = (rays_o * rays_d).sum(1), (rays_o * rays_o).sum(1)
    to_dome = -along + (along * along - origin + _DOME**2).sqrt()
    down = rays_d[:, 2].clamp(max=-1e-6)
    to_floor = torch.where(rays_d[:, 2] < -1e-6, (_FLOOR - rays_o[:, 2]) / down, torch.inf)
    return torch.stack([to_ball, to_dome, to_floor]).amin(0)


def _to_ball(rays_o: Tensor, rays_d: Tensor) -> Tensor:
    along, origin = (rays_o * rays_d).sum(1), (rays_o * rays_o).sum(1)
    ball = along * along - origin + _BALL**2
    return torch.where((ball > 0) & (along < 0), -along - ball.clamp(min=0).sqrt(), torch.inf)


def paint(points: Tensor, finest: float = 60.0, waves: int = 48) -> Tensor:
    """Return colours (n, 3) in [0, 1] of surface points: waves of random directions, up to `finest` radians a unit."""
    generator = torch.Generator().manual_seed(5)
    directions = torch.nn.functional.normalize(torch.randn(waves, 3, generator=generator), dim=1)
    frequencies = torch.logspace(1, math.log10(finest), waves)[:, None] * directions
    phases = 2 * math.pi * torch.rand(waves, generator=generator)
    mix = torch.randn(waves, 3, generator=generator) / waves**0.5
    return (0.5 + 0.3 * torch.sin(points @ frequencies.T + phases) @ mix).clamp(0, 1)


def poses_around(n: int, radius: float = 1.6, height: float = 0.35, arc: float = 2 * math.pi) -> np.ndarray:
    """Return poses (n, 3, 4), OpenCV axes, on an arc around the ball that look at a point above its bottom."""
    poses = []
    for angle in np.arange(n) * arc / n:
        position = np.array([radius * math.cos(angle), radius * math.sin(angle), height + 0.15 * math.sin(3 * angle)])
        forward = np.array([0, 0, -0.1]) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        poses.append(np.stack([right, np.cross(forward, right), forward, position], axis=1))
    return np.array(poses)


PINHOLE = Camera(160, 120, 150.0, 150.0, 80.0, 60.0)


def photo_set(camera=PINHOLE, n=14, *, plain=False, alpha=False, sizes=None, moving=False):
    """Return photos of the analytic scene on an arc, and the true distances.

    With `alpha`, the dome is transparent; `moving`: the ball is elsewhere in each photo, with its paint.
    """
    shot = [camera if sizes is None else camera.resized(*sizes[v % len(sizes)]) for v in range(n)]
    cameras = Cameras.stack(shot, poses_around(n, arc=0.125 * n))
    pixels, distances = [], []
    for v in range(n):
        rays_o, rays_d = cameras.image_rays(v)
        centre = (0.4 * math.sin(2.4 * v), 0.4 * math.cos(2.4 * v), 0.0) if moving else (0.0, 0.0, 0.0)
        t = trace(rays_o, rays_d, centre)
        points = rays_o + t[:, None] * rays_d
        colour = torch.full_like(points, 0.6) if plain else paint(points)
        if moving:
            on_ball = (t == _to_ball(rays_o - torch.tensor(centre), rays_d))[:, None]
            colour = torch.where(on_ball, paint(points - torch.tensor(centre)), colour)
        if alpha:
            colour = torch.cat([colour, (points.norm(dim=1) < 3.9).float()[:, None]], 1)
        pixels.append((255 * colour).round().byte())
        distances.append(t)
    counts = torch.tensor([0, *(len(part) for part in pixels)])
    names = tuple(f"{v:04}" for v in range(n))
    return ImageSet(torch.cat(pixels), counts.cumsum(0), cameras.size, cameras, names, None), torch.cat(distances)
