"""Fast implementations of the operators in PyTorch, which the kernels are measured against.

`omniseg_kernels.reference` holds clear ones instead, which prove all of these right.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from omniseg_kernels.hash_encoding import HashLayout
from omniseg_kernels.marching import OccupancyBits, StepRule


@dataclass(frozen=True)
class LevelGroup:
    """Consecutive levels that are all dense or all hashed, with the factors of their row numbers."""

    resolutions: Tensor  # (levels, 1)
    first: Tensor  # (levels, 1) rows
    steps: Tensor  # (levels, 3) factors of x, y, z
    mask: int | None  # of hashed levels

    @classmethod
    def from_layout(cls, layout: HashLayout, device: torch.device) -> "list[LevelGroup]":
        """Group the levels of a table into dense and hashed ones."""
        groups = []
        levels = list(zip(layout.resolutions, layout.slices))
        for is_dense in (True, False):
            chosen = [(n, first, rows) for n, (first, rows, dense) in levels if dense == is_dense]
            if chosen:
                sides = [(1, n + 1, (n + 1) ** 2) if is_dense else (1, 2654435761, 805459861) for n, _, _ in chosen]
                groups.append(
                    cls(
                        torch.tensor([[n] for n, _, _ in chosen], device=device),
                        torch.tensor([[first] for _, first, _ in chosen], device=device),
                        torch.tensor(sides, device=device),
                        None if is_dense else chosen[0][2] - 1,
                    )
                )
        return groups

    def split(self) -> "list[LevelGroup]":
        """Return a group for each level."""
        columns = zip(self.resolutions.split(1), self.first.split(1), self.steps.split(1))
        return [LevelGroup(*column, self.mask) for column in columns]

    def rows_and_weights(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows and trilinear weights (levels, n, 8) of the corners around each position."""
        unit = positions.clamp(0, 1)
        rows = weights = None
        for axis in range(3):  # the eight corners by broadcasting over axes of two
            scaled = unit[:, axis] * self.resolutions
            cell = torch.minimum(scaled.floor(), self.resolutions - 1)
            inside = scaled - cell
            step = self.steps[:, axis, None]
            low = cell.long() * step
            pair, shares = torch.stack([low, low + step], -1), torch.stack([1 - inside, inside], -1)
            shape = [*low.shape, *(2 if axis == other else 1 for other in range(3))]
            pair, shares = pair.view(shape), shares.view(shape)
            if rows is None or weights is None:
                rows, weights = pair, shares
            else:
                rows, weights = rows + pair if self.mask is None else rows ^ pair, weights * shares
        assert rows is not None
        assert weights is not None
        rows = rows.flatten(2) if self.mask is None else rows.flatten(2).bitwise_and_(self.mask)
        return rows.add_(self.first[:, :, None]), weights.flatten(2)


def cornered_encoding(positions: Tensor, table: Tensor, groups: list[LevelGroup]) -> Tensor:
    """Encode all levels at once: a gather for each corner, interpolation axis by axis, gradient by autograd.

    As nerfstudio does without tiny-cuda-nn, except that coarse levels are dense.
    """
    unit, parts = positions.clamp(0, 1), []
    for group in groups:
        scaled = unit[:, None, :] * group.resolutions
        cell = torch.minimum(scaled.floor(), group.resolutions - 1)
        inside, low = scaled - cell, cell.long()
        corners = []
        for corner in range(8):
            shift = low.new_tensor([corner & 1, corner >> 1 & 1, corner >> 2])
            x, y, z = ((low + shift) * group.steps).unbind(-1)
            row = x + y + z if group.mask is None else (x ^ y ^ z) & group.mask
            corners.append(table[row + group.first[:, 0]])
        for axis in range(3):
            at = inside[..., axis, None]
            corners = [left * (1 - at) + right * at for left, right in zip(corners[::2], corners[1::2])]
        parts.append(corners[0].flatten(1))
    return torch.cat(parts, 1)


def unrolled_encoding(positions: Tensor, table: Tensor, groups: list[LevelGroup]) -> Tensor:
    """Encode corner by corner, so that `torch.compile` fuses row numbers, weights, gathers and sums into one loop."""
    unit, parts = positions.clamp(0, 1), []
    for group in groups:
        scaled = unit[:, None, :] * group.resolutions
        cell = torch.minimum(scaled.floor(), group.resolutions - 1)
        inside, low = scaled - cell, cell.long() * group.steps
        total = torch.zeros((), device=table.device)
        for corner in range(8):
            high = [corner >> axis & 1 for axis in range(3)]
            x, y, z = (low[..., axis] + group.steps[:, axis] * high[axis] for axis in range(3))
            row = x + y + z if group.mask is None else (x ^ y ^ z) & group.mask
            weight = torch.ones((), device=table.device)
            for axis in range(3):
                weight = weight * (inside[..., axis] if high[axis] else 1 - inside[..., axis])
            total = total + weight[..., None] * table[row + group.first[:, 0]]
        parts.append(total.flatten(1))
    return torch.cat(parts, 1)


class _BagEncoding(torch.autograd.Function):
    """Encodes level by level: a fused gather and sum forward, a flat `scatter_add_` for each feature backward."""

    @staticmethod
    def forward(ctx, positions: Tensor, table: Tensor, groups: list[LevelGroup]) -> Tensor:
        kept = [level.rows_and_weights(positions) for group in groups for level in group.split()]
        ctx.save_for_backward(*(tensor for pair in kept for tensor in pair))
        ctx.shape = table.shape
        bags = [F.embedding_bag(rows[0], table, per_sample_weights=by[0], mode="sum") for rows, by in kept]
        return torch.cat(bags, 1)

    @staticmethod
    def backward(ctx, g_out: Tensor):
        kept = ctx.saved_tensors
        g_planes = torch.zeros(ctx.shape[::-1], dtype=g_out.dtype, device=g_out.device)
        columns = g_out.t().contiguous().split(len(g_planes))
        for rows, weights, g in zip(kept[::2], kept[1::2], columns):
            for feature, plane in enumerate(g_planes):
                plane.scatter_add_(0, rows[0].view(-1), (weights[0] * g[feature][:, None]).view(-1))
        return None, g_planes.t(), None


def bag_encoding(positions: Tensor, table: Tensor, groups: list[LevelGroup]) -> Tensor:
    """Encode by `F.embedding_bag`, with `scatter_add_` backward: the fastest eager form of those tried."""
    return _BagEncoding.apply(positions, table, groups)


def render_weights(t_starts: Tensor, t_ends: Tensor, sigmas: Tensor, rays: Tensor, first: Tensor) -> Tensor:
    """Return weights, by one running sum over all samples; `rays` of each sample, `first` sample of each ray."""
    thickness = sigmas * (t_ends - t_starts)
    before = thickness.cumsum(0) - thickness
    passing = torch.exp(before[first][rays] - before)
    return passing * -torch.expm1(-thickness)


def composite(weights: Tensor, values: Tensor, t_starts: Tensor, t_ends: Tensor, rays: Tensor, n_rays: int):
    """Return values, opacity and depth, by `index_add`."""
    middles = 0.5 * (t_starts + t_ends)
    return (
        values.new_zeros(n_rays, values.shape[1]).index_add(0, rays, weights[:, None] * values),
        values.new_zeros(n_rays).index_add(0, rays, weights),
        values.new_zeros(n_rays).index_add(0, rays, weights * middles),
    )


def nerfacc_composite(
    t_starts: Tensor, t_ends: Tensor, sigmas: Tensor, values: Tensor, rays: Tensor, n_rays: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return values, opacity and depth, by nerfacc, which has CUDA kernels for the weights."""
    import nerfacc  # pyright: ignore[reportMissingImports]

    weights, _, _ = nerfacc.render_weight_from_density(t_starts, t_ends, sigmas, ray_indices=rays, n_rays=n_rays)
    middles = 0.5 * (t_starts + t_ends)[:, None]
    sums = [nerfacc.accumulate_along_rays(weights, value, rays, n_rays) for value in (values, None, middles)]
    return sums[0], sums[1][:, 0], sums[2][:, 0]


def distortion_loss(weights: Tensor, t_starts: Tensor, t_ends: Tensor, rays: Tensor, first: Tensor) -> Tensor:
    """Return the distortion of each ray, by running sums over all samples."""
    middles = 0.5 * (t_starts + t_ends)
    sum_w = weights.cumsum(0) - weights
    sum_wm = (weights * middles).cumsum(0) - weights * middles
    nearer = middles * (sum_w - sum_w[first][rays]) - (sum_wm - sum_wm[first][rays])
    losses = 2 * weights * nearer + weights * weights * (t_ends - t_starts) / 3
    return weights.new_zeros(len(first)).index_add(0, rays, losses)


def _spread(v: Tensor) -> Tensor:
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        v = (v | (v << shift)) & mask
    return v


def march_rays(
    rays_o: Tensor, rays_d: Tensor, spans: Tensor, grid: OccupancyBits, rule: StepRule, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return starts, ends and rays of samples, looking up all steps of all rays at once; for equal steps only."""
    assert rule.cone_angle == 0
    t = spans[:, :1] + rule.min_step * torch.arange(steps, device=spans.device)
    ray, step = torch.nonzero(t < spans[:, 1:], as_tuple=True)
    starts = t[ray, step]
    positions = torch.addcmul(rays_o[ray], rays_d[ray], starts[:, None] + 0.5 * rule.min_step)
    exponent = torch.frexp(positions.abs().amax(1)).exponent
    cascade = exponent.clamp(0, grid.cascades - 1)
    scale = torch.exp2(-cascade.float())[:, None]
    cell = ((positions * scale + 1) * (0.5 * grid.resolution)).clamp(0, grid.resolution - 1).int()
    i, j, k = _spread(cell).unbind(1)
    index = cascade * grid.resolution**3 + (i | (j << 1) | (k << 2))
    keep = ((grid.bits[index >> 3].int() >> (index & 7)) & 1) == 1
    return starts[keep], starts[keep] + rule.min_step, ray[keep]
