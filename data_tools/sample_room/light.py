"""The light of the sample room, gathered once on all surfaces and looked up by every view.

Sun, window and lamps through shadow rays, then two bounces gathered over the hemisphere: corners darken and
colours bleed as they do in a real room. Being a property of the surfaces it is the same in every view: no
view has noise of its own.
"""

from dataclasses import dataclass

import taichi as ti
import torch
from torch import Tensor

from omniseg_kernels.launch import launch
from omniseg_sample_room.lightmap import Charts, fill_light, light_at, smooth_light
from omniseg_sample_room.patterns import random01
from omniseg_sample_room.shapes import normal, parameters, to_local, vec2, vec3
from omniseg_sample_room.tracer import (
    Solids,
    cell_lists,
    cell_reals,
    integer_rows,
    integers,
    real_rows,
    trace,
)

WINDOW_SAMPLES, LIGHT_SAMPLES, BOUNCE_SAMPLES = 20, 6, (12, 24)
"""Shadow rays per chart point to the window and to each other light; hemisphere rays for each bounce."""

PI = 3.14159265


@dataclass(frozen=True)
class Lights:
    """What shines, besides surfaces that glow.

    Attributes:
        table: (n_lights, 8) float32. Row 0 is the sun: direction towards it (3), irradiance (3), angular
            radius, 0. Row 1 is the window: centre (3), radiance (3), half edges along x and z.
            The others are bulbs: centre (3), intensity (3), radius, 0.
        solid: (n_lights,) int32, the solid that a shadow ray must reach; sun and window share the pane.
    """

    table: Tensor
    solid: Tensor


def gather_light(solids: Solids, charts: Charts, lights: Lights) -> Tensor:
    """Gather the light that falls on every surface of the room.

    Returns:
        (n_texels, 3) float32, irradiance / pi at each chart point.
    """
    direct = torch.empty(len(charts.lit), 3, device=charts.lit.device)
    points = (charts.places, charts.lit)
    launch(_direct, (*solids.tables, lights.table, lights.solid, *points), (direct,))
    direct = smooth_light(charts, direct, 1)
    total = direct
    for rays in BOUNCE_SAMPLES:
        bounced = torch.empty_like(direct)
        launch(_bounce, (*solids.tables, solids.surfaces, charts.layout, total, *points, rays), (bounced,))
        total = direct + smooth_light(charts, bounced, 4)
    return fill_light(charts, total)


@ti.func
def _spread(n, k, salt):
    """Point k of a sequence that fills the unit square evenly (R2, Roberts 2018), shifted for each texel."""
    a = random01(n, salt, 1) + 0.7548777 * k
    b = random01(n, salt, 2) + 0.5698403 * k
    return vec2(a - ti.floor(a), b - ti.floor(b))


@ti.func
def _around(up, cosine, turn):
    """Unit vector at an angle to `up`, turned about it by `turn` in [0, 1)."""
    helper = ti.select(ti.abs(up.z) < 0.9, vec3(0.0, 0.0, 1.0), vec3(1.0, 0.0, 0.0))
    x = helper.cross(up).normalized()
    y = up.cross(x)
    sine = ti.sqrt(ti.max(1.0 - cosine * cosine, 0.0))
    return cosine * up + sine * (ti.cos(2.0 * PI * turn) * x + ti.sin(2.0 * PI * turn) * y)


@ti.kernel
def _direct(
    shapes: real_rows,
    info: integer_rows,
    room: real_rows,
    cells: cell_lists,
    items: integers,
    leap: cell_reals,
    lights: real_rows,
    light_solid: integers,
    places: real_rows,
    lit: integers,
    out: real_rows,
):
    for n in range(places.shape[0]):
        total = vec3(0.0)
        x = vec3(places[n, 0], places[n, 1], places[n, 2])
        up = vec3(places[n, 3], places[n, 4], places[n, 5])
        rays = ti.select(lit[n] == 1, WINDOW_SAMPLES + LIGHT_SAMPLES * (lights.shape[0] - 1), 0)
        for k in range(rays):
            i, share = 1, 1.0 / WINDOW_SAMPLES
            s = _spread(n, k, 1)
            if k >= WINDOW_SAMPLES:
                i = (k - WINDOW_SAMPLES) // LIGHT_SAMPLES
                i += ti.select(i > 0, 1, 0)
                s = _spread(n, k % LIGHT_SAMPLES, i)
                share = 1.0 / LIGHT_SAMPLES
            towards, weight = vec3(lights[i, 0], lights[i, 1], lights[i, 2]), 1.0
            if i == 0:
                towards = _around(towards, 1.0 - s.x * (1.0 - ti.cos(lights[0, 6])), s.y)
                # Only what lies in the beam of the window can see the sun.
                at_pane = x + towards * ((lights[1, 1] - x.y) / towards.y)
                if ti.abs(at_pane.x - lights[1, 0]) > lights[1, 6] or ti.abs(at_pane.z - lights[1, 2]) > lights[1, 7]:
                    weight = 0.0
            else:
                spot = towards + 0.7 * lights[i, 6] * _around(vec3(0.0, 0.0, 1.0), 2.0 * s.x - 1.0, s.y)
                if i == 1:
                    spot = towards + vec3((2.0 * s.x - 1.0) * lights[1, 6], 0.0, (2.0 * s.y - 1.0) * lights[1, 7])
                gap = spot - x
                towards = gap.normalized()
                # Beside a light few samples see most of it: a bound keeps them from sparkling.
                weight = 1.0 / ti.max(gap.dot(gap), ti.select(i == 1, 0.06, 0.01))
                if i == 1:
                    weight *= 4.0 * lights[1, 6] * lights[1, 7] * ti.max(towards.y, 0.0)
            weight *= up.dot(towards)
            if weight > 1e-4:
                _t, solid = trace(x, towards, shapes, info, room, cells, items, leap)
                if solid == light_solid[i]:
                    total += share * weight * vec3(lights[i, 3], lights[i, 4], lights[i, 5])
        for c in ti.static(range(3)):
            out[n, c] = total[c] / PI


@ti.kernel
def _bounce(
    shapes: real_rows,
    info: integer_rows,
    room: real_rows,
    cells: cell_lists,
    items: integers,
    leap: cell_reals,
    surfaces: real_rows,
    charts: integer_rows,
    texels: real_rows,
    places: real_rows,
    lit: integers,
    rays: ti.i32,
    out: real_rows,
):
    for n in range(places.shape[0]):
        total = vec3(0.0)
        x = vec3(places[n, 0], places[n, 1], places[n, 2])
        up = vec3(places[n, 3], places[n, 4], places[n, 5])
        for k in range(ti.select(lit[n] == 1, rays, 0)):
            s = _spread(n, k, 100 + rays)
            towards = _around(up, ti.sqrt(1.0 - s.x), s.y)  # as many rays as the cosine weighs
            t, i = trace(x, towards, shapes, info, room, cells, items, leap)
            if i >= 0 and info[i, 2] == 0:  # the pane's light has come by shadow rays
                p = to_local(shapes, i, x + t * towards)
                light = light_at(i, p, normal(info[i, 0], parameters(shapes, i), p), shapes, info, charts, texels)
                for c in ti.static(range(3)):
                    mean_colour = 0.6 * surfaces[i, c] + 0.4 * surfaces[i, 3 + c]
                    total[c] += mean_colour * (light[c] + surfaces[i, 9])
        for c in ti.static(range(3)):
            out[n, c] = total[c] / ti.cast(rays, ti.f32)
