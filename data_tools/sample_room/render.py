"""Views of the sample room: colour, exact depth and exact labels of every pixel."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import taichi as ti
import torch
from torch import Tensor

from omniseg.cameras import Camera, CameraModel
from omniseg_kernels.launch import arch, launch
from omniseg_sample_room.lightmap import Charts, lay_charts, light_at
from omniseg_sample_room.light import Lights, gather_light
from omniseg_sample_room.patterns import colour_at
from omniseg_sample_room.builder import LEVELS, Label
from omniseg_sample_room.layout import describe_room
from omniseg_sample_room.shapes import (
    FAR,
    half_extent,
    normal,
    parameters,
    to_local,
    to_world_direction,
    vec3,
)
from omniseg_sample_room.tracer import (
    Solids,
    build_solids,
    cell_lists,
    cell_reals,
    hit_solid,
    integer_rows,
    integers,
    nearest_solid,
    real_rows,
    reals,
    trace,
)

EXPOSURE = 2.0

SAMPLES = 5
"""Rays per pixel: its centre, which also gives depth and labels, and four on a rotated square around it that
reaches a little into its neighbours, as the blur of a lens does."""


bytes_ = ti.types.ndarray(ti.u8, ndim=2)


@dataclass(frozen=True)
class SampleImage:
    """What one camera sees.

    Attributes:
        colour: (height, width, 3) uint8 RGB.
        depth: (height, width) float32 z-depth of the pixel centre, metres; 0 where the ray hits nothing.
        labels: level name -> (height, width) uint16 id; 0 where the ray hits nothing.
    """

    colour: np.ndarray
    depth: np.ndarray
    labels: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SurfaceLabels:
    """What surface each of n points belongs to.

    Attributes:
        distance: (n,) float32 signed distance to the nearest solid, metres, negative inside of it.
        labels: level name -> (n,) int64 id of that solid.
    """

    distance: Tensor
    labels: Mapping[str, Tensor]


@dataclass(frozen=True)
class SampleRoom:
    """The lit room, ready to be looked at; made by `build_room`.

    Attributes:
        aabb: (2, 3) float64 corners of the inside of the room, metres, z up.
        names: level name -> id -> label, ids from 1.
        ids: level name -> (n_solids,) int64, id of each solid.
    """

    aabb: np.ndarray
    names: Mapping[str, Mapping[int, Label]]
    ids: Mapping[str, Tensor]
    solids: Solids
    lights: Lights
    charts: Charts
    light: Tensor

    def label_points(self, points: Tensor) -> SurfaceLabels:
        """Labels of the surface nearest to each point, and the exact distance to it.

        Args:
            points: (n, 3) float32, metres, anywhere.
        Raises:
            ValueError: `points` has another shape.
        """
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"points: expected shape (any, 3), got {tuple(points.shape)}")
        solid, gap = nearest_solid(self.solids, points.to(self.solids.shapes))
        index = solid.long()
        return SurfaceLabels(gap, {level: ids.to(index.device)[index] for level, ids in self.ids.items()})


def build_room(seed: int = 0, *, texel: float = 0.035) -> SampleRoom:
    """Furnish a room and gather its light.

    Args:
        seed: varies colours and arrangement; the same seed gives the same room.
        texel: resolution of the light on large surfaces, metres.
    """
    plan = describe_room(seed)
    solids = build_solids(
        torch.from_numpy(plan.shapes),
        torch.from_numpy(plan.surfaces),
        torch.from_numpy(plan.info),
        torch.from_numpy(plan.aabb).float(),
    )
    device = torch.device(arch())
    lights = Lights(torch.from_numpy(plan.lights).to(device), torch.from_numpy(plan.light_solid).to(device))
    ids = {level: torch.from_numpy(plan.ids[level]).long() for level in LEVELS}
    charts = lay_charts(solids, texel)
    light = gather_light(solids, charts, lights)
    return SampleRoom(plan.aabb, plan.names, ids, solids, lights, charts, light)


def render_room(room: SampleRoom, camera: Camera, c2w: np.ndarray) -> SampleImage:
    """Look into the room.

    Args:
        room: from `build_room`.
        camera: a pinhole camera.
        c2w: (3, 4) or (4, 4) camera to world, OpenCV axes, metres.
    Raises:
        ValueError: the camera has distortion, or `c2w` has another shape.
    """
    if camera.model is not CameraModel.PERSPECTIVE or any(camera.distortion):
        raise ValueError("camera: expected a pinhole camera, got one with distortion")
    if c2w.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"c2w: expected shape (3, 4) or (4, 4), got {c2w.shape}")
    device = room.solids.shapes.device
    pose = torch.as_tensor(c2w[:3], dtype=torch.float32).contiguous().to(device)
    n = camera.height * camera.width
    colour = torch.empty(n, 3, dtype=torch.uint8, device=device)
    depth = torch.empty(n, dtype=torch.float32, device=device)
    solid = torch.empty(n, dtype=torch.int32, device=device)
    intrinsics = (camera.width, camera.fx, camera.fy, camera.cx, camera.cy)
    launch(_see, (*room.solids.tables, pose, *intrinsics), (depth, solid))
    light = (room.solids.surfaces, room.charts.layout, room.light, room.lights.table)
    launch(_shade, (*room.solids.tables, *light, pose, *intrinsics, depth, solid), (colour,))
    shape = (camera.height, camera.width)
    index = solid.cpu().long() + 1
    labels = {
        level: torch.cat([ids.new_zeros(1), ids])[index].numpy().astype(np.uint16).reshape(shape)
        for level, ids in room.ids.items()
    }
    return SampleImage(colour.cpu().numpy().reshape(*shape, 3), depth.cpu().numpy().reshape(shape), labels)


@ti.func
def _ray(x, y, fx, fy, cx, cy, c2w: ti.template()):
    """Unit direction through pixel coordinates x, y, and its length before that where z is 1."""
    u, v = (x - cx) / fx, (y - cy) / fy
    d = vec3(0.0)
    for k in ti.static(range(3)):
        d[k] = u * c2w[k, 0] + v * c2w[k, 1] + c2w[k, 2]
    stretch = d.norm()
    return d / stretch, stretch


@ti.kernel
def _see(
    shapes: real_rows,
    info: integer_rows,
    room: real_rows,
    cells: cell_lists,
    items: integers,
    leap: cell_reals,
    c2w: real_rows,
    width: ti.i32,
    fx: ti.f32,
    fy: ti.f32,
    cx: ti.f32,
    cy: ti.f32,
    depth: reals,
    solid: integers,
):
    for n in range(depth.shape[0]):
        eye = vec3(c2w[0, 3], c2w[1, 3], c2w[2, 3])
        towards, stretch = _ray(n % width + 0.5, n // width + 0.5, fx, fy, cx, cy, c2w)
        t, i = trace(eye, towards, shapes, info, room, cells, items, leap)
        depth[n] = ti.select(i >= 0, t / stretch, 0.0)
        solid[n] = i


@ti.func
def _display(light):
    """A film-like curve and the sRGB transfer function (by square roots, which are fast), to [0, 1]."""
    x = EXPOSURE * ti.max(light, 0.0)
    x = 1.0 - ti.exp(-x * (x + 0.4) / (x + 0.6))
    root = ti.sqrt(x)
    root2 = ti.sqrt(root)
    return ti.min(ti.max(0.6620 * root + 0.6841 * root2 - 0.3236 * ti.sqrt(root2) - 0.0225 * x, 0.0), 1.0)


@ti.kernel
def _shade(
    shapes: real_rows,
    info: integer_rows,
    room: real_rows,
    cells: cell_lists,
    items: integers,
    leap: cell_reals,
    surfaces: real_rows,
    charts: integer_rows,
    texels: real_rows,
    lights: real_rows,
    c2w: real_rows,
    width: ti.i32,
    fx: ti.f32,
    fy: ti.f32,
    cx: ti.f32,
    cy: ti.f32,
    depth: reals,
    solid: integers,
    colour: bytes_,
):
    for n in range(depth.shape[0]):
        eye = vec3(c2w[0, 3], c2w[1, 3], c2w[2, 3])
        column, row, height = n % width, n // width, depth.shape[0] // width
        total, light, lit_up, lit_solid = vec3(0.0), vec3(0.0), vec3(0.0), -1
        for s in range(SAMPLES):
            dx, dy = ti.select(s == 1 or s == 4, -1, 1), ti.select(s <= 2, -1, 1)
            x = column + 0.5 + dx * ti.select(s % 2 == 1, 0.25, 0.6)
            y = row + 0.5 + dy * ti.select(s % 2 == 1, 0.6, 0.25)
            if s == 0:
                x, y = column + 0.5, row + 0.5
            towards, stretch = _ray(x, y, fx, fy, cx, cy, c2w)
            # What this ray meets is what one of the pixels around it met.
            i, t = solid[n], depth[n] * stretch
            if s > 0:
                t_best, best, tried = FAR, -1, -1
                for k in range(4):
                    a = ti.min(ti.max(column + dx * (k & 1), 0), width - 1)
                    b = ti.min(ti.max(row + dy * (k >> 1), 0), height - 1)
                    other = solid[b * width + a]
                    if other >= 0 and other != tried:
                        tried = other
                        t_hit = hit_solid(eye, towards, other, t_best, shapes, info)
                        if t_hit < t_best:
                            t_best, best = t_hit, other
                if best >= 0:
                    i, t = best, t_best
            if i >= 0:
                world = eye + t * towards
                p = to_local(shapes, i, world)
                n_local = normal(info[i, 0], parameters(shapes, i), p)
                up = to_world_direction(shapes, i, n_local)
                if i != lit_solid or up.dot(lit_up) < 0.98:
                    light = light_at(i, p, n_local, shapes, info, charts, texels)
                    lit_up, lit_solid = up, i
                look = ti.Vector([surfaces[i, k] for k in range(12)])
                shine = colour_at(info[i, 1], world, p, n_local, half_extent(shapes, i), look) * (light + look[9])
                if look[8] > 0.0:
                    # A soft image of the window, dimmed where little light arrives anyway.
                    facing = -towards.dot(up)
                    mirrored = towards + 2.0 * facing * up
                    spread = (vec3(lights[1, 0], lights[1, 1], lights[1, 2]) - world).normalized().dot(mirrored)
                    lobe = ti.exp(14.0 * (spread - 1.0)) * ti.min(light.sum() / 3.0, 1.0)
                    shine += look[8] * lobe * (0.3 + 0.7 * (1.0 - ti.max(facing, 0.0)) ** 3)
                total += _display(shine)
        for c in ti.static(range(3)):
            colour[n, c] = ti.cast(total[c] * (255.0 / SAMPLES) + 0.5, ti.u8)
