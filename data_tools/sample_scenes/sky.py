"""Sky of the outdoor scenes: what a ray sees that meets nothing.

A sky is described by the first two rows of the lights' table (columns in `omniseg_sample_scenes.light`): the sun's
direction and irradiance, and the colours of the zenith and the horizon with the cover and the offset of the clouds.
"""

import taichi as ti

from omniseg_sample_scenes.patterns import fractal, smooth
from omniseg_sample_scenes.shapes import vec3
from omniseg_sample_scenes.tracer import row3

HAZE = 450.0
"""Distance in metres at which air hides 63 % of what is behind it."""


@ti.func
def is_open(lights: ti.template()):
    """Return whether the lights are those of an outdoor scene, whose sun no pane of a window stands before."""
    return lights[0, 8] < 0.0


@ti.func
def horizon(lights: ti.template()):
    """Return the radiance of the sky at the horizon, linear RGB."""
    return vec3(lights[1, 3], lights[1, 4], lights[1, 5])


@ti.func
def sky_radiance(d, lights: ti.template()):
    """Return the radiance of the sky without the sun's disc in the unit direction `d`, linear RGB."""
    height = ti.max(d.z, 0.0)
    colour = horizon(lights) + (row3(lights, 1) - horizon(lights)) * (1.0 - (1.0 - height) ** 4)
    colour += 0.35 * vec3(1.0, 0.85, 0.6) * ti.exp(18.0 * (d.dot(row3(lights, 0)) - 1.0))
    spot = vec3(d.x, d.y, 0.0) / (height + 0.12)  # clouds lie on a plane overhead
    cloud = smooth(1.0 - lights[1, 6], 1.25 - lights[1, 6], fractal(0.9 * spot + lights[1, 7]))
    return colour + (vec3(1.0, 0.98, 0.95) - colour) * cloud * smooth(0.0, 0.25, height)
