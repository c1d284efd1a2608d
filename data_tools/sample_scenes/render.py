"""Renderer of the sample scenes: colour, exact depth and exact labels of every pixel.

A camera is a (4, 4) float32 table: the rows of c2w (3, 4), then fx, fy, cx, cy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import taichi as ti
import torch

from omniseg.cameras import Camera, CameraModel
from omniseg_kernels.launch import launch
from omniseg_sample_scenes.lightmap import light_at
from omniseg_sample_scenes.patterns import colour_at
from omniseg_sample_scenes.scene import SampleScene
from omniseg_sample_scenes.shapes import FAR, half_extent, normal, to_local, to_world_direction, vec3, vec4
from omniseg_sample_scenes.sky import HAZE, horizon, is_open, sky_radiance
from omniseg_sample_scenes.tracer import cell_rows, hit_solid, integer_rows, integers, real_rows, row3, trace

EXPOSURE = 2.0
"""Factor on light before the tone curve."""

SAMPLES = 5
"""Rays per pixel: its centre, which also gives depth and labels, and four on a rotated square that reaches a little
into the neighbouring pixels, as the blur of a lens does."""

colours = ti.types.ndarray(ti.u8, ndim=3)


@dataclass(frozen=True)
class SampleImage:
    """Rendered view of one camera.

    Attributes:
        colour: (height, width, 3) uint8 RGB.
        depth: (height, width) float32 z-depth of the pixel centre, metres; 0 where the ray hits nothing.
        labels: level name -> (height, width) uint16 id; 0 where the ray hits nothing.
    """

    colour: np.ndarray
    depth: np.ndarray
    labels: Mapping[str, np.ndarray]


def render_scene(scene: SampleScene, camera: Camera, c2w: np.ndarray) -> SampleImage:
    """Render one view of a scene.

    Args:
        scene: from `build_scene`.
        camera: a pinhole camera.
        c2w: (3, 4) or (4, 4) camera to world, OpenCV axes, metres.
    Raises:
        ValueError: the camera has distortion, or `c2w` has another shape.
    """
    if camera.model is not CameraModel.PERSPECTIVE or any(camera.distortion):
        raise ValueError("camera: expected a pinhole camera, got one with distortion")
    if c2w.shape not in ((3, 4), (4, 4)):
        raise ValueError(f"c2w: expected shape (3, 4) or (4, 4), got {c2w.shape}")
    solids, device = scene.solids, scene.solids.shapes.device
    table = np.vstack([c2w[:3], [camera.fx, camera.fy, camera.cx, camera.cy]])
    view = torch.as_tensor(table, dtype=torch.float32, device=device)
    size = (camera.height, camera.width)
    colour = torch.empty(*size, 3, dtype=torch.uint8, device=device)
    depth = torch.empty(size, dtype=torch.float32, device=device)
    solid = torch.empty(size, dtype=torch.int32, device=device)
    launch(_see, (*solids.tables, view), (depth, solid))
    light = (scene.lightmap.charts, scene.light, scene.lights)
    launch(_shade, (solids.shapes, solids.surfaces, *light, view, depth, solid), (colour,))
    index = solid.cpu().long() + 1
    labels = {
        level: torch.cat([ids.new_zeros(1), ids])[index].numpy().astype(np.uint16) for level, ids in scene.ids.items()
    }
    return SampleImage(colour.cpu().numpy(), depth.cpu().numpy(), labels)


@ti.func
def _eye(camera: ti.template()):
    return vec3(camera[0, 3], camera[1, 3], camera[2, 3])


@ti.func
def _lens(camera: ti.template()):
    return vec4(camera[3, 0], camera[3, 1], camera[3, 2], camera[3, 3])


@ti.func
def _ray(x, y, lens, camera: ti.template()):
    """Return the unit direction through pixel coordinates x, y, and its length before normalisation, where z is 1."""
    u, v = (x - lens[2]) / lens[0], (y - lens[3]) / lens[1]
    d = vec3(0.0)
    for k in ti.static(range(3)):
        d[k] = u * camera[k, 0] + v * camera[k, 1] + camera[k, 2]
    stretch = d.norm()
    return d / stretch, stretch


@ti.kernel
def _see(
    shapes: real_rows, box: real_rows, cells: cell_rows, items: integers, camera: real_rows, depth: real_rows,
    solid: integer_rows,
):  # fmt: skip
    for row, column in ti.ndrange(depth.shape[0], depth.shape[1]):
        towards, stretch = _ray(column + 0.5, row + 0.5, _lens(camera), camera)
        t, i = trace(_eye(camera), towards, shapes, box, cells, items)
        depth[row, column] = ti.select(i >= 0, t / stretch, 0.0)
        solid[row, column] = i


@ti.func
def _display(light):
    """Map light to [0, 1] by a film-like curve and the sRGB transfer function (by square roots, which are fast)."""
    x = EXPOSURE * ti.max(light, 0.0)
    x = 1.0 - ti.exp(-x * (x + 0.4) / (x + 0.6))
    root = ti.sqrt(x)
    root2 = ti.sqrt(root)
    return ti.min(ti.max(0.6620 * root + 0.6841 * root2 - 0.3236 * ti.sqrt(root2) - 0.0225 * x, 0.0), 1.0)


@ti.kernel
def _shade(
    shapes: real_rows, surfaces: real_rows, charts: integer_rows, texels: real_rows, lights: real_rows,
    camera: real_rows, depth: real_rows, solid: integer_rows, colour: colours,
):  # fmt: skip
    height, width = depth.shape[0], depth.shape[1]
    for row, column in ti.ndrange(height, width):
        lens = _lens(camera)  # read once: the compiler cannot know that no store changes it
        total, light, lit_up, lit_solid = vec3(0.0), vec3(0.0), vec3(0.0), -1
        for s in range(SAMPLES):
            dx, dy = ti.select(s == 1 or s == 4, -1, 1), ti.select(s <= 2, -1, 1)
            x = column + 0.5 + dx * ti.select(s % 2 == 1, 0.25, 0.6)
            y = row + 0.5 + dy * ti.select(s % 2 == 1, 0.6, 0.25)
            if s == 0:
                x, y = column + 0.5, row + 0.5
            towards, stretch = _ray(x, y, lens, camera)
            i, t = solid[row, column], depth[row, column] * stretch
            if s > 0:  # try only solids that the pixels around this ray have met
                t_best, best, tried, beside_sky = FAR, -1, -1, False
                for k in range(4):
                    a = ti.min(ti.max(column + dx * (k & 1), 0), width - 1)
                    b = ti.min(ti.max(row + dy * (k >> 1), 0), height - 1)
                    other = solid[b, a]
                    if other >= 0 and other != tried:
                        tried = other
                        t_hit = hit_solid(shapes, other, _eye(camera), towards, t_best)
                        if t_hit < t_best:
                            t_best, best = t_hit, other
                    elif other < 0:
                        beside_sky = True
                if best >= 0 or beside_sky:
                    i, t = best, t_best
            if i < 0 and is_open(lights):
                total += _display(sky_radiance(towards, lights))
            elif i >= 0:
                world = _eye(camera) + t * towards
                p = to_local(shapes, i, world)
                n_local = normal(shapes, i, p)
                up = to_world_direction(shapes, i, n_local)
                if i != lit_solid or up.dot(lit_up) < 0.98:
                    light = light_at(i, p, n_local, shapes, charts, texels)
                    lit_up, lit_solid = up, i
                surface = ti.Vector([surfaces[i, k] for k in range(12)])
                shine = colour_at(surface, world, p, n_local, half_extent(shapes, i)) * (light + surface[9])
                if surface[8] > 0.0:
                    # A soft reflection of the window or the sun, weaker where little light arrives.
                    facing = -towards.dot(up)
                    mirrored = towards + 2.0 * facing * up
                    spread = row3(lights, 0).dot(mirrored)
                    if not is_open(lights):
                        spread = (row3(lights, 1) - world).normalized().dot(mirrored)
                    lobe = ti.exp(14.0 * (spread - 1.0)) * ti.min(light.sum() / 3.0, 1.0)
                    shine += surface[8] * lobe * (0.3 + 0.7 * (1.0 - ti.max(facing, 0.0)) ** 3)
                if is_open(lights):
                    shine += (horizon(lights) - shine) * (1.0 - ti.exp(-t / HAZE))
                total += _display(shine)
        for c in ti.static(range(3)):
            colour[row, column, c] = ti.cast(total[c] * (255.0 / SAMPLES) + 0.5, ti.u8)
