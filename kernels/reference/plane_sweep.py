"""Torch twin of `omniseg_kernels.plane_sweep`."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from .._pinhole import PinholeViews
from ..plane_sweep import PlaneSweep, SweepRule


def camera_rays(views: PinholeViews, view: int) -> tuple[Tensor, Tensor]:
    """Position (3,) and unit directions (height, width, 3) of the rays of a view's pixels."""
    (width, height), (fx, fy, cx, cy), pose = views.sizes[view].tolist(), views.intrinsics[view], views.c2w[view]
    x, y = (torch.arange(n, device=pose.device, dtype=pose.dtype) + 0.5 for n in (width, height))
    y, x = torch.meshgrid((y - cy) / fy, (x - cx) / fx, indexing="ij")
    directions = torch.stack([x, y, torch.ones_like(x)], -1) @ pose[:, :3].T
    return pose[:, 3], torch.nn.functional.normalize(directions, dim=-1)


def project(views: PinholeViews, view: int, points: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates (..., 2) of points (..., 3), and whether they lie in front and in the picture."""
    pose, (fx, fy, cx, cy) = views.c2w[view], views.intrinsics[view]
    x, y, z = ((points - pose[:, 3]) @ pose[:, :3]).unbind(-1)
    xy = torch.stack([fx * x, fy * y], -1) / z.clamp(min=1e-6)[..., None] + torch.stack([cx, cy])
    return xy, (z > 0) & (xy > 0).all(-1) & (xy < views.sizes[view].to(xy)).all(-1)


def plane_distances(spans: Tensor, planes: Tensor, rule: SweepRule) -> Tensor:
    """Distances of planes, counted from 0 and fractions allowed, between near and far of each span (..., 2)."""
    u, (near, far) = planes / (rule.planes - 1), spans.unbind(-1)
    if rule.spacing == "logarithmic":
        return torch.exp((1 - u) * near.log() + u * far.log())
    return 1 / ((1 - u) / near + u / far)


def plane_scores(
    views: PinholeViews, grey: Tensor, spans: Tensor, neighbours: Tensor, rule: SweepRule, view: int
) -> Tensor:
    """Score (planes, height, width) of each plane of a view's pixels."""
    pictures = [part.view(h, w) for part, (w, h) in zip(grey.split(views.sizes.prod(1).tolist()), views.sizes.tolist())]
    own, (origin, directions) = pictures[view], camera_rays(views, view)
    span = spans[views.offsets[view] : views.offsets[view + 1]].view(*own.shape, 2)
    planes = torch.arange(rule.planes, device=grey.device).to(grey)[:, None, None].expand(-1, *own.shape)
    points = origin + directions * plane_distances(span, planes, rule)[..., None]

    def mean(x: Tensor) -> Tensor:
        """Mean over the window, of what lies within the view."""
        return avg_pool2d(x[:, None], 2 * rule.radius + 1, 1, rule.radius, count_include_pad=False)[:, 0]

    def variance(x: Tensor) -> Tensor:
        return (mean(x * x) - mean(x) ** 2).clamp(min=0) + rule.variance_floor

    nccs = [torch.full_like(points[..., 0], -1)] * rule.best
    for other in neighbours[view].tolist():
        if other >= 0:
            xy, inside = project(views, other, points)
            grid = 2 * xy / views.sizes[other].to(xy) - 1
            source = pictures[other].expand(rule.planes, 1, -1, -1)
            warped = grid_sample(source, grid, padding_mode="border", align_corners=False)[:, 0]
            covariance = mean(warped * own) - mean(warped) * mean(own[None])
            ncc = covariance / (variance(own[None]) * variance(warped)).sqrt()
            nccs.append(torch.where(inside, ncc, -1))
    return torch.stack(nccs).topk(rule.best, 0).values.mean(0)


def plane_sweep(
    views: PinholeViews, grey: Tensor, spans: Tensor, neighbours: Tensor, rule: SweepRule | None = None
) -> PlaneSweep:
    """Distance of the best plane of each pixel, refined by a parabola, and its score."""
    rule = SweepRule() if rule is None else rule
    distances, scores = torch.zeros_like(grey), torch.full_like(grey, -1)
    for view in range(len(views)):
        if (neighbours[view] < 0).all():
            continue
        pixels = slice(views.offsets[view], views.offsets[view + 1])
        volume = plane_scores(views, grey, spans, neighbours, rule, view).flatten(1)
        score, plane = volume.max(0, keepdim=True)
        before, after = (volume.gather(0, (plane + d).clamp(0, rule.planes - 1)) for d in (-1, 1))
        bend = before - 2 * score + after
        bends = (plane > 0) & (plane < rule.planes - 1) & (bend < -1e-6)
        shift = torch.where(bends, 0.5 * (before - after) / bend.clamp(max=-1e-6), 0).clamp(-0.5, 0.5)
        distances[pixels] = plane_distances(spans[pixels], (plane + shift)[0], rule)
        scores[pixels] = score[0]
    return PlaneSweep(distances, scores)
