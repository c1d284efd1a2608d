"""Lightmap of a sample scene: charts of texels over the surfaces of all solids.

Each solid has six charts, one for each side of its local bounding box; an open shell has six more for its inside. A
chart is a grid of surface points seen from that side. A surface point looks its light up in the charts that its normal
faces.

"Light" is irradiance / pi: times the colour of a surface it is the radiance that leaves it.
"""

from dataclasses import dataclass, replace

import taichi as ti
import torch
from torch import Tensor

from omniseg_kernels.launch import launch
from omniseg_sample_scenes.shapes import (
    FAR,
    SHELL,
    distance,
    half_extent,
    hit,
    kind_of,
    normal,
    to_world,
    to_world_direction,
    vec3,
)
from omniseg_sample_scenes.tracer import (
    Solids,
    cell_rows,
    integer_rows,
    integers,
    is_buried,
    real_rows,
    row3,
)

FAR_STEP, FAR_TEXELS = 0.04, 40
"""Far solids have texels of at least this part of their distance from the box's middle, and at most so many along an
edge."""

CHARTS = 12
"""Charts per solid: six sides, and six for the inside of a shell (empty for other kinds)."""

LIFT = 2e-3
"""Height of lightmap points above their surface in metres, so that their rays do not hit it."""


@dataclass(frozen=True)
class Lightmap:
    """Charts of all solids and the surface points of their texels.

    Attributes:
        charts: (n_solids * 12, 3) int32: first texel, width, height of each chart.
        chart_of: (n_texels,) int32, chart of each texel.
        points: (n_texels, 6) float32, position just above the surface and normal, world axes, metres.
        lit: (n_texels,) int32, 0 where another solid covers the point, else 1.
    """

    charts: Tensor
    chart_of: Tensor
    points: Tensor
    lit: Tensor


def lay_out_lightmap(solids: Solids, texel: float) -> Lightmap:
    """Lay charts over all solids.

    Args:
        solids: the scene.
        texel: distance of neighbouring points on large surfaces, metres; small solids get finer charts.
    """
    device = solids.shapes.device
    sizes = _chart_sizes(solids, texel)
    counts = sizes[:, 0] * sizes[:, 1]
    charts = torch.cat([(counts.cumsum(0) - counts)[:, None], sizes], 1).to(device, torch.int32)
    chart_of = torch.repeat_interleave(torch.arange(len(sizes)), counts).to(device, torch.int32)
    points = torch.empty(len(chart_of), 6, device=device)
    lit = torch.empty(len(chart_of), dtype=torch.int32, device=device)
    launch(_place, (*solids.tables, charts, chart_of), (points, lit))
    return Lightmap(charts, chart_of, points, lit)


def _chart_sizes(solids: Solids, texel: float) -> Tensor:
    """Return (n_solids * 12, 2) int64 widths and heights of the charts."""
    shapes = solids.shapes.cpu()
    edges = 2.0 * shapes[:, 16:19]
    longest = edges.amax(1, keepdim=True)
    step = (longest / 5.0).clamp(min=texel / 4.0, max=texel)
    far = slice(solids.n_walls, solids.n_walls + solids.n_far)
    away = (shapes[far, :3] - solids.box[:2].mean(0).cpu()).norm(dim=1, keepdim=True)
    step[far] = torch.maximum(torch.maximum(step[far], longest[far] / FAR_TEXELS), FAR_STEP * away)
    n = torch.ceil(edges / step).long().clamp(3, 512)
    sides = torch.stack([n[:, [1, 2]], n[:, [2, 0]], n[:, [0, 1]]], 1).repeat_interleave(2, 1)
    inside = torch.where((shapes[:, 19] == SHELL)[:, None, None], sides, 0)
    for slab in range(solids.n_walls):  # only the side towards the room is ever seen
        sides[slab, [side for side in range(6) if side != slab ^ 1]] = 1
    return torch.cat([sides, inside], 1).reshape(-1, 2)


def smooth(lightmap: Lightmap, light: Tensor, times: int) -> Tensor:
    """Average (n_texels, 3) light over 3 x 3 neighbours that are not covered, several times."""
    for _ in range(times):
        smoothed = torch.empty_like(light)
        launch(_mean_of_neighbours, (lightmap.charts, lightmap.chart_of, lightmap.lit, light), (smoothed,))
        light = smoothed
    return light


def fill_covered(lightmap: Lightmap, light: Tensor) -> Tensor:
    """Extend (n_texels, 3) light to covered texels, so that no dark rim shows beside the solid that covers them."""
    solid = (lightmap.chart_of // CHARTS).long()
    lit = lightmap.lit
    total = light.new_zeros(len(lightmap.charts) // CHARTS, 4)
    total.index_add_(0, solid, torch.cat([light, torch.ones_like(light[:, :1])], 1) * lit[:, None])
    mean = total[:, :3] / total[:, 3:].clamp(min=1.0)
    for _ in range(3):
        smoothed = smooth(replace(lightmap, lit=lit), light, 1)
        light = torch.where(lit[:, None] > 0, light, smoothed)
        lit = torch.maximum(lit, (smoothed.sum(1) > 0).to(torch.int32))
    return torch.where(lit[:, None] > 0, light, mean[solid])


@ti.func
def _on_axis(axis, value):
    """Return the vector with `value` on one axis and 0 on the others."""
    return ti.select(axis == 0, vec3(value, 0, 0), ti.select(axis == 1, vec3(0, value, 0), vec3(0, 0, value)))


@ti.kernel
def _place(
    shapes: real_rows, box: real_rows, cells: cell_rows, items: integers, charts: integer_rows, chart_of: integers,
    points: real_rows, lit: integers,
):  # fmt: skip
    """Compute the position and normal of each texel, and whether light can reach it."""
    for n in range(chart_of.shape[0]):
        chart = chart_of[n]
        solid, side = chart // CHARTS, chart % CHARTS
        axis, sign = (side % 6) // 2, ti.select(side % 2 == 1, 1.0, -1.0)
        k, width = n - charts[chart, 0], charts[chart, 1]
        u = 2.0 * (ti.cast(k % width, ti.f32) + 0.5) / ti.cast(width, ti.f32) - 1.0
        v = 2.0 * (ti.cast(k // width, ti.f32) + 0.5) / ti.cast(charts[chart, 2], ti.f32) - 1.0
        inward = _on_axis(axis, -sign)
        p = _on_axis((axis + 1) % 3, u) + _on_axis((axis + 2) % 3, v)
        if side < 6:  # seen from outside; the inside of a shell is seen from its axis
            p -= 1.01 * inward
        p *= half_extent(shapes, solid)
        t = hit(shapes, solid, p, inward, FAR)
        if t < FAR:
            p += t * inward
        up = vec3(0.0)
        for step in range(4):
            up = normal(shapes, solid, p)
            if t < FAR or step == 3:
                break
            p -= distance(shapes, solid, p) * up  # beyond the outline: take the nearest point of the surface
        up = to_world_direction(shapes, solid, up)
        lifted = to_world(shapes, solid, p) + LIFT * up
        lit[n] = 0
        if not is_buried(lifted, solid, shapes, box, cells, items):
            lit[n] = 1
        for c in ti.static(range(3)):
            points[n, c] = lifted[c]
            points[n, 3 + c] = up[c]


@ti.kernel
def _mean_of_neighbours(charts: integer_rows, chart_of: integers, lit: integers, values: real_rows, out: real_rows):
    for n in range(chart_of.shape[0]):
        chart = chart_of[n]
        first, width, height = charts[chart, 0], charts[chart, 1], charts[chart, 2]
        i, j = (n - first) % width, (n - first) // width
        total, count = vec3(0.0), 0.0
        for k in range(9):
            x, y = i + k % 3 - 1, j + k // 3 - 1
            if x >= 0 and x < width and y >= 0 and y < height:
                m = first + y * width + x
                if lit[m] == 1:
                    total += row3(values, m)
                    count += 1.0
        for c in ti.static(range(3)):
            out[n, c] = total[c] / ti.max(count, 1.0)


@ti.func
def light_at(solid, p, n_local, shapes: ti.template(), charts: ti.template(), light: ti.template()):
    """Return the light at the local surface point `p` with local normal `n_local`, by bilinear lookup."""
    place = 0.5 * p / half_extent(shapes, solid) + 0.5
    inside = 0
    if kind_of(shapes, solid) == SHELL and n_local.x * p.x + n_local.y * p.y < 0.0:
        inside = 6
    value, total = vec3(0.0), 0.0
    for axis in range(3):
        facing, s, t = n_local.x, place.y, place.z
        if axis == 1:
            facing, s, t = n_local.y, place.z, place.x
        elif axis == 2:
            facing, s, t = n_local.z, place.x, place.y
        weight = facing**4
        if weight > 0.01:
            chart = solid * CHARTS + inside + 2 * axis + ti.select(facing > 0.0, 1, 0)
            first, width, height = charts[chart, 0], charts[chart, 1], charts[chart, 2]
            x = ti.min(ti.max(s * width - 0.5, 0.0), width - 1.0)
            y = ti.min(ti.max(t * height - 0.5, 0.0), height - 1.0)
            i, j = ti.cast(x, ti.i32), ti.cast(y, ti.i32)
            for k in range(4):
                a, b = k & 1, k >> 1
                share = ti.select(a == 1, x - i, 1.0 - x + i) * ti.select(b == 1, y - j, 1.0 - y + j)
                m = first + ti.min(j + b, height - 1) * width + ti.min(i + a, width - 1)
                value += weight * share * row3(light, m)
            total += weight
    return value / ti.max(total, 1e-6)
