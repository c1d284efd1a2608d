"""Analytic solids of the sample scenes: signed distance, first ray hit and normal, in Taichi.

A solid is one row of `shapes` (n, 20): centre (3), rotation from world to local axes by rows (9), parameters (4),
half edges of its local bounding box (3), kind. Round solids turn about their local z axis. Parameters by kind:

    BOX        half edges x, y, z (outside, rounding included); rounding radius
    ELLIPSOID  radii x, y, z; unused
    CONE       half height, radius at the bottom, radius at the top (rounding included); rounding radius
    SHELL      half height, mean radius at the bottom, at the top; half thickness: an open conical wall
    TORUS      ring radius, tube radius, unused, unused

Rays hit sharp boxes and ellipsoids in closed form, other solids by sphere tracing inside the bounding box (Hart 1996).
Sphere tracing needs a distance that is never too large; all distances here are exact. Lengths are in metres.
"""

import taichi as ti

BOX, ELLIPSOID, CONE, SHELL, TORUS = range(5)

FAR = 1.0e6
"""Distance that means "no hit"."""

TOUCH = 5.0e-5
"""Distance to a surface at which sphere tracing stops, metres: a quarter of one step of the depth images."""

STEPS = 256
"""Maximum number of sphere tracing steps in one bounding box."""

vec2 = ti.types.vector(2, ti.f32)
vec3 = ti.types.vector(3, ti.f32)
vec4 = ti.types.vector(4, ti.f32)


@ti.func
def kind_of(shapes: ti.template(), i):
    """Return the kind of solid `i`."""
    return ti.cast(shapes[i, 19], ti.i32)


@ti.func
def parameters(shapes: ti.template(), i):
    """Return the four parameters of solid `i`."""
    return vec4(shapes[i, 12], shapes[i, 13], shapes[i, 14], shapes[i, 15])


@ti.func
def to_local_direction(shapes: ti.template(), i, v):
    """Rotate a direction from world axes to the axes of solid `i`."""
    return vec3(
        shapes[i, 3] * v.x + shapes[i, 4] * v.y + shapes[i, 5] * v.z,
        shapes[i, 6] * v.x + shapes[i, 7] * v.y + shapes[i, 8] * v.z,
        shapes[i, 9] * v.x + shapes[i, 10] * v.y + shapes[i, 11] * v.z,
    )


@ti.func
def to_local(shapes: ti.template(), i, x):
    """Transform a point from world axes to the axes of solid `i`."""
    return to_local_direction(shapes, i, x - vec3(shapes[i, 0], shapes[i, 1], shapes[i, 2]))


@ti.func
def to_world_direction(shapes: ti.template(), i, v):
    """Rotate a direction from the axes of solid `i` to world axes."""
    return vec3(
        shapes[i, 3] * v.x + shapes[i, 6] * v.y + shapes[i, 9] * v.z,
        shapes[i, 4] * v.x + shapes[i, 7] * v.y + shapes[i, 10] * v.z,
        shapes[i, 5] * v.x + shapes[i, 8] * v.y + shapes[i, 11] * v.z,
    )


@ti.func
def to_world(shapes: ti.template(), i, p):
    """Transform a point from the axes of solid `i` to world axes."""
    return to_world_direction(shapes, i, p) + vec3(shapes[i, 0], shapes[i, 1], shapes[i, 2])


@ti.func
def half_extent(shapes: ti.template(), i):
    """Return half the edges of the bounding box of solid `i`."""
    return vec3(shapes[i, 16], shapes[i, 17], shapes[i, 18])


@ti.func
def bounding_gap(shapes: ti.template(), i, p):
    """Return the distance from the local point `p` to the bounding box of solid `i`, a lower bound of `distance`."""
    return ti.max(ti.abs(p) - half_extent(shapes, i), 0.0).norm()


@ti.func
def _ellipsoid_distance(radii, p):
    # The nearest point is r_i^2 y_i / (t + r_i^2), t the largest root of sum (r_i y_i / (t + r_i^2))^2 = 1.
    # Bisection finds it from a bracket known in closed form (Eberly, "Distance from a point to an ellipsoid").
    y = ti.max(ti.abs(p), 1e-6)
    square = radii * radii
    shortest = ti.min(radii.x, radii.y, radii.z)
    y_shortest = y.x
    if radii.y == shortest:
        y_shortest = y.y
    if radii.z == shortest:
        y_shortest = y.z
    low = -shortest * shortest + shortest * y_shortest
    high = -shortest * shortest + (radii * y).norm()
    for _ in range(32):
        middle = 0.5 * (low + high)
        ratio = radii * y / (square + middle)
        if ratio.dot(ratio) > 1.0:
            low = middle
        else:
            high = middle
    nearest = square * y / (square + 0.5 * (low + high))
    scaled = y / radii
    return (y - nearest).norm() * ti.select(scaled.dot(scaled) < 1.0, -1.0, 1.0)


@ti.func
def _cone_distance(par, p):
    height, bottom, top = par.x - par.w, par.y - par.w, par.z - par.w
    q = vec2(ti.sqrt(p.x * p.x + p.y * p.y), p.z)
    cap = vec2(q.x - ti.min(q.x, ti.select(q.y < 0.0, bottom, top)), ti.abs(q.y) - height)
    edge = vec2(top - bottom, 2.0 * height)
    rim = vec2(top, height)
    along = ti.min(ti.max((rim - q).dot(edge) / edge.dot(edge), 0.0), 1.0)
    side = q - rim + edge * along
    sign = ti.select(side.x < 0.0 and cap.y < 0.0, -1.0, 1.0)
    return sign * ti.sqrt(ti.min(cap.dot(cap), side.dot(side))) - par.w


@ti.func
def _traced_distance(kind, par, p):
    """Return the signed distance to a solid that is not an ellipsoid; for sphere tracing and normals."""
    d = FAR
    if kind == BOX:
        q = ti.abs(p) - vec3(par.x, par.y, par.z) + par.w
        d = ti.max(q, 0.0).norm() + ti.min(ti.max(q.x, q.y, q.z), 0.0) - par.w
    elif kind == CONE:
        d = _cone_distance(par, p)
    elif kind == SHELL:
        q = vec2(ti.sqrt(p.x * p.x + p.y * p.y), p.z) - vec2(par.y, -par.x)
        wall = vec2(par.z - par.y, 2.0 * par.x)
        along = ti.min(ti.max(q.dot(wall) / wall.dot(wall), 0.0), 1.0)
        d = (q - wall * along).norm() - par.w
    elif kind == TORUS:
        ring = ti.sqrt(p.x * p.x + p.y * p.y) - par.x
        d = ti.sqrt(ring * ring + p.z * p.z) - par.y
    return d


@ti.func
def distance(shapes: ti.template(), i, p):
    """Return the signed distance from the local point `p` to solid `i`, negative inside."""
    kind, par = kind_of(shapes, i), parameters(shapes, i)
    d = FAR
    if kind == ELLIPSOID:
        d = _ellipsoid_distance(vec3(par.x, par.y, par.z), p)
    else:
        d = _traced_distance(kind, par, p)
    return d


@ti.func
def hit(shapes: ti.template(), i, o, d, limit):
    """Return the smallest t in (0, limit) at which the local ray o + t d enters solid `i`, or FAR.

    `d` has unit length. A ray that starts inside the solid does not hit it.
    """
    kind, par, half = kind_of(shapes, i), parameters(shapes, i), half_extent(shapes, i)
    sharp = kind == BOX and par.w == 0.0
    inverse = 1.0 / ti.select(ti.abs(d) < 1e-9, 1e-9, d)
    reach = ti.abs(inverse) * (half + ti.select(sharp, 0.0, TOUCH))
    middle = -o * inverse
    near = (middle - reach).max()
    far = (middle + reach).min()
    t = FAR
    if near <= far and far > 0.0 and near < limit:
        if sharp:
            if near > 0.0:
                t = near
        elif kind == ELLIPSOID:
            begin = ti.max(near, 0.0)  # counting from here keeps all numbers small
            a, b = (o + begin * d) / half, d / half
            half_b, c = a.dot(b), a.dot(a) - 1.0
            root = half_b * half_b - b.dot(b) * c
            if root > 0.0 and half_b < 0.0 and (c > 0.0 or near > 0.0):
                t = begin + ti.max(c, 0.0) / (ti.sqrt(root) - half_b)
        else:
            s = ti.max(near, 0.0)
            for step in range(STEPS):
                gap = _traced_distance(kind, par, o + s * d)
                # A ray that creeps along the surface runs out of steps: count it as a hit.
                if gap < TOUCH or step == STEPS - 1:
                    if step > 0 or gap > -TOUCH:
                        t = s
                    break
                s += gap
                if s > far:
                    break
    return t


@ti.func
def normal(shapes: ti.template(), i, p):
    """Return the outward unit normal, in local axes, at the surface point `p` of solid `i`."""
    kind, par = kind_of(shapes, i), parameters(shapes, i)
    n = vec3(0.0)
    if kind == ELLIPSOID:
        radii = vec3(par.x, par.y, par.z)
        n = p / (radii * radii)
    elif kind == BOX:
        q = ti.abs(p) - vec3(par.x, par.y, par.z) + par.w
        n = ti.max(q, 0.0)
        if n.norm() < 1e-6:  # on a flat face: take the nearest one
            largest = q.max()
            n = ti.select(q.x == largest, vec3(1, 0, 0), ti.select(q.y == largest, vec3(0, 1, 0), vec3(0, 0, 1)))
        n *= ti.select(p < 0.0, -1.0, 1.0)
    else:
        for k in range(4):  # a loop, so that the distance function is compiled once
            corner = vec3(
                ti.select(k == 0 or k == 3, 1.0, -1.0),
                ti.select(k == 1 or k == 3, 1.0, -1.0),
                ti.select(k == 2 or k == 3, 1.0, -1.0),
            )
            n += corner * _traced_distance(kind, par, p + 2e-4 * corner)
    return n / ti.max(n.norm(), 1e-12)
