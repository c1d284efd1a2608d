"""Direct and bounced light on all surfaces of a sample scene, computed once and looked up by every view.

Sun, window and lamps light a surface through shadow rays; two bounces, gathered over the hemisphere, darken corners and
let colours bleed. Outdoors only the sun has shadow rays, and the hemisphere's rays gather the sky. The light belongs to
the surfaces, so its noise is the same in every view.

Lights are a table (n_lights, 9) float32. The last column is the index of the solid that a shadow ray must reach; -1 in
row 0 says that the scene lies under an open sky.

    row 0       sun: direction towards it (3), irradiance (3), angular radius in radians, 0, the pane
    row 1       window: centre (3), radiance (3), half edges along x and z, the pane
    row 2, ...  bulbs: centre (3), intensity (3), radius, 0, the bulb

    row 0       outdoors, sun: direction towards it (3), irradiance (3), angular radius in radians, 0, -1
    row 1       outdoors, sky: radiance at the zenith (3), at the horizon (3), cover of the clouds, their offset, -1
"""

import taichi as ti
import torch
from torch import Tensor

from omniseg_kernels.launch import launch
from omniseg_sample_scenes.lightmap import Lightmap, fill_covered, light_at, smooth
from omniseg_sample_scenes.patterns import Pattern, pattern_of, random01
from omniseg_sample_scenes.shapes import normal, to_local, vec2, vec3
from omniseg_sample_scenes.sky import is_open, sky_radiance
from omniseg_sample_scenes.tracer import Solids, cell_rows, integer_rows, integers, real_rows, row3, trace

WINDOW_SAMPLES, LIGHT_SAMPLES, BOUNCE_SAMPLES = 20, 6, (12, 24)
"""Rays per lightmap point: shadow rays to the window and to each other light, hemisphere rays of each bounce."""

PI = 3.14159265


def gather_light(solids: Solids, lightmap: Lightmap, lights: Tensor) -> Tensor:
    """Compute the light that falls on every surface.

    Args:
        solids: the scene.
        lightmap: where light is stored.
        lights: (n_lights, 9) float32, see above.
    Returns:
        (n_texels, 3) float32, irradiance / pi at each lightmap point.
    """
    points = (lightmap.points, lightmap.lit)
    direct = torch.empty(len(lightmap.lit), 3, device=lightmap.lit.device)
    launch(_direct if float(lights[0, 8]) >= 0 else _sunlight, (*solids.tables, lights, *points), (direct,))
    direct = smooth(lightmap, direct, 1)
    total = direct
    for rays in BOUNCE_SAMPLES:
        bounced = torch.empty_like(direct)
        launch(_bounce, (*solids.tables, solids.surfaces, lightmap.charts, total, lights, *points, rays), (bounced,))
        total = direct + smooth(lightmap, bounced, 4)
    return fill_covered(lightmap, total)


@ti.func
def _square_sample(n, k, salt):
    """Return point k of a sequence that fills the unit square evenly (R2, Roberts 2018), shifted for each texel n."""
    a = random01(n, salt, 1) + 0.7548777 * k
    b = random01(n, salt, 2) + 0.5698403 * k
    return vec2(a - ti.floor(a), b - ti.floor(b))


@ti.func
def _around(up, cosine, turn):
    """Return the unit vector at an angle of this cosine to `up`, turned about `up` by `turn` in [0, 1)."""
    helper = ti.select(ti.abs(up.z) < 0.9, vec3(0.0, 0.0, 1.0), vec3(1.0, 0.0, 0.0))
    x = helper.cross(up).normalized()
    y = up.cross(x)
    sine = ti.sqrt(ti.max(1.0 - cosine * cosine, 0.0))
    return cosine * up + sine * (ti.cos(2.0 * PI * turn) * x + ti.sin(2.0 * PI * turn) * y)


@ti.kernel
def _direct(
    shapes: real_rows, box: real_rows, cells: cell_rows, items: integers, lights: real_rows, points: real_rows,
    lit: integers, out: real_rows,
):  # fmt: skip
    for n in range(points.shape[0]):
        total = vec3(0.0)
        x = row3(points, n)
        up = vec3(points[n, 3], points[n, 4], points[n, 5])
        rays = ti.select(lit[n] == 1, WINDOW_SAMPLES + LIGHT_SAMPLES * (lights.shape[0] - 1), 0)
        for k in range(rays):
            i, share = 1, 1.0 / WINDOW_SAMPLES
            s = _square_sample(n, k, 1)
            if k >= WINDOW_SAMPLES:
                i = (k - WINDOW_SAMPLES) // LIGHT_SAMPLES
                i += ti.select(i > 0, 1, 0)
                s = _square_sample(n, k % LIGHT_SAMPLES, i)
                share = 1.0 / LIGHT_SAMPLES
            towards, weight = row3(lights, i), 1.0
            if i == 0:
                towards = _around(towards, 1.0 - s.x * (1.0 - ti.cos(lights[0, 6])), s.y)
                # Only points in the beam of the window can see the sun.
                at_pane = x + towards * ((lights[1, 1] - x.y) / towards.y)
                if ti.abs(at_pane.x - lights[1, 0]) > lights[1, 6] or ti.abs(at_pane.z - lights[1, 2]) > lights[1, 7]:
                    weight = 0.0
            else:
                spot = towards + 0.7 * lights[i, 6] * _around(vec3(0.0, 0.0, 1.0), 2.0 * s.x - 1.0, s.y)
                if i == 1:
                    spot = towards + vec3((2.0 * s.x - 1.0) * lights[1, 6], 0.0, (2.0 * s.y - 1.0) * lights[1, 7])
                gap = spot - x
                towards = gap.normalized()
                # Next to a light a few samples would carry most of the light: a bound prevents speckles.
                weight = 1.0 / ti.max(gap.dot(gap), ti.select(i == 1, 0.06, 0.01))
                if i == 1:
                    weight *= 4.0 * lights[1, 6] * lights[1, 7] * ti.max(towards.y, 0.0)
            weight *= up.dot(towards)
            if weight > 1e-4:
                _t, solid = trace(x, towards, shapes, box, cells, items)
                if solid == ti.cast(lights[i, 8], ti.i32):
                    total += share * weight * vec3(lights[i, 3], lights[i, 4], lights[i, 5])
        for c in ti.static(range(3)):
            out[n, c] = total[c] / PI


@ti.kernel
def _sunlight(
    shapes: real_rows, box: real_rows, cells: cell_rows, items: integers, lights: real_rows, points: real_rows,
    lit: integers, out: real_rows,
):  # fmt: skip
    for n in range(points.shape[0]):
        x, up, share = row3(points, n), vec3(points[n, 3], points[n, 4], points[n, 5]), 0.0
        for k in range(ti.select(lit[n] == 1, LIGHT_SAMPLES, 0)):
            s = _square_sample(n, k, 1)
            towards = _around(row3(lights, 0), 1.0 - s.x * (1.0 - ti.cos(lights[0, 6])), s.y)
            if up.dot(towards) > 0.0:
                _t, solid = trace(x, towards, shapes, box, cells, items)
                if solid < 0:
                    share += up.dot(towards) / LIGHT_SAMPLES
        for c in ti.static(range(3)):
            out[n, c] = share * lights[0, 3 + c] / PI


@ti.kernel
def _bounce(
    shapes: real_rows, box: real_rows, cells: cell_rows, items: integers, surfaces: real_rows, charts: integer_rows,
    light: real_rows, lights: real_rows, points: real_rows, lit: integers, rays: ti.i32, out: real_rows,
):  # fmt: skip
    for n in range(points.shape[0]):
        total = vec3(0.0)
        x = row3(points, n)
        up = vec3(points[n, 3], points[n, 4], points[n, 5])
        for k in range(ti.select(lit[n] == 1, rays, 0)):
            s = _square_sample(n, k, 100 + rays)
            towards = _around(up, ti.sqrt(1.0 - s.x), s.y)  # distributed by the cosine: equal weights
            t, i = trace(x, towards, shapes, box, cells, items)
            if i < 0 and is_open(lights):
                total += sky_radiance(towards, lights)
            # The window's light has already come by shadow rays.
            if i >= 0 and pattern_of(surfaces, i) != Pattern.OUTDOORS:
                p = to_local(shapes, i, x + t * towards)
                incoming = light_at(i, p, normal(shapes, i, p), shapes, charts, light)
                for c in ti.static(range(3)):
                    mean_colour = 0.6 * surfaces[i, c] + 0.4 * surfaces[i, 3 + c]
                    total[c] += mean_colour * (incoming[c] + surfaces[i, 9])
        for c in ti.static(range(3)):
            out[n, c] = total[c] / ti.cast(rays, ti.f32)
