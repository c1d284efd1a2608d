"""Analytic solids of the sample room: exact signed distance, nearest ray hit and normal, in Taichi.

A solid is one row of `shapes` (n, 19): centre (3), rotation room -> local by rows (9), parameters (4), half
edges of its local bounding box (3). Its kind is `info[i, 0]`. Local z is the axis of all that is round.

    BOX        half edges x, y, z (outside, rounding included); rounding radius
    ELLIPSOID  radii x, y, z; unused
    CONE       half height, radius at the bottom, radius at the top (rounding included); rounding radius
    SHELL      half height, mean radius at the bottom, at the top; half thickness: an open conical wall
    TORUS      ring radius, tube radius, unused, unused

Boxes and ellipsoids are hit in closed form, the others by sphere tracing inside their bounding box
(Hart 1996), which needs a distance that never overestimates: all of these are exact.
"""

import taichi as ti

BOX, ELLIPSOID, CONE, SHELL, TORUS = range(5)

FAR = 1.0e6
"""Distance returned where a ray hits nothing."""

TOUCH = 5.0e-5
"""Metres from a surface at which sphere tracing stops: a quarter of one step of the depth images."""

STEPS = 256
"""Most steps of sphere tracing inside one bounding box."""

vec2 = ti.types.vector(2, ti.f32)
vec3 = ti.types.vector(3, ti.f32)
vec4 = ti.types.vector(4, ti.f32)


@ti.func
def parameters(shapes: ti.template(), i):
    """Give the four parameters of solid `i`."""
    return vec4(shapes[i, 12], shapes[i, 13], shapes[i, 14], shapes[i, 15])


@ti.func
def to_local_direction(shapes: ti.template(), i, v):
    """Turn a room direction into the axes of solid `i`."""
    return vec3(
        shapes[i, 3] * v.x + shapes[i, 4] * v.y + shapes[i, 5] * v.z,
        shapes[i, 6] * v.x + shapes[i, 7] * v.y + shapes[i, 8] * v.z,
        shapes[i, 9] * v.x + shapes[i, 10] * v.y + shapes[i, 11] * v.z,
    )


@ti.func
def to_local(shapes: ti.template(), i, x):
    """Move a room point into the axes of solid `i`."""
    return to_local_direction(shapes, i, x - vec3(shapes[i, 0], shapes[i, 1], shapes[i, 2]))


@ti.func
def to_world_direction(shapes: ti.template(), i, v):
    """Turn a direction in the axes of solid `i` back into the room."""
    return vec3(
        shapes[i, 3] * v.x + shapes[i, 6] * v.y + shapes[i, 9] * v.z,
        shapes[i, 4] * v.x + shapes[i, 7] * v.y + shapes[i, 10] * v.z,
        shapes[i, 5] * v.x + shapes[i, 8] * v.y + shapes[i, 11] * v.z,
    )


@ti.func
def to_world(shapes: ti.template(), i, p):
    """Move a point in the axes of solid `i` back into the room."""
    return to_world_direction(shapes, i, p) + vec3(shapes[i, 0], shapes[i, 1], shapes[i, 2])


@ti.func
def half_extent(shapes: ti.template(), i):
    """Give half the edges of the bounding box of solid `i`."""
    return vec3(shapes[i, 16], shapes[i, 17], shapes[i, 18])


@ti.func
def bounding_gap(half, p):
    """Distance of the local point `p` to the bounding box: never more than that to the solid."""
    return ti.max(ti.abs(p) - half, 0.0).norm()


@ti.func
def _ellipsoid_distance(radii, p):
    # The nearest point is r_i^2 y_i / (t + r_i^2), t the largest root of sum (r_i y_i / (t + r_i^2))^2 = 1.
    # A bracket of it is known (Eberly, "Distance from a point to an ellipsoid").
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
    """Signed distance to any solid but an ellipsoid: all that sphere tracing and normals ask for."""
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
def distance(kind, par, p):
    """Signed distance in metres of the local point `p`: negative inside."""
    d = FAR
    if kind == ELLIPSOID:
        d = _ellipsoid_distance(vec3(par.x, par.y, par.z), p)
    else:
        d = _traced_distance(kind, par, p)
    return d


@ti.func
def hit(kind, par, half, o, d, limit):
    """Smallest t in (0, limit) at which the local ray o + t d (d of unit length) enters the solid, or FAR.

    A ray that starts inside the solid does not hit it.
    """
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
            begin = ti.max(near, 0.0)  # from here all numbers are small
            a, b = (o + begin * d) / half, d / half
            half_b, c = a.dot(b), a.dot(a) - 1.0
            root = half_b * half_b - b.dot(b) * c
            if root > 0.0 and half_b < 0.0 and (c > 0.0 or near > 0.0):
                t = begin + ti.max(c, 0.0) / (ti.sqrt(root) - half_b)
        else:
            s = ti.max(near, 0.0)
            for step in range(STEPS):
                gap = _traced_distance(kind, par, o + s * d)
                # The last step is for rays that creep along the surface: they count as hits.
                if gap < TOUCH or step == STEPS - 1:
                    if step > 0 or gap > -TOUCH:
                        t = s
                    break
                s += gap
                if s > far:
                    break
    return t


@ti.func
def normal(kind, par, p):
    """Outward unit normal at the local surface point `p`."""
    n = vec3(0.0)
    if kind == ELLIPSOID:
        radii = vec3(par.x, par.y, par.z)
        n = p / (radii * radii)
    elif kind == BOX:
        q = ti.abs(p) - vec3(par.x, par.y, par.z) + par.w
        n = ti.max(q, 0.0)
        if n.norm() < 1e-6:  # no rounding here: the face that is nearest
            largest = q.max()
            n = ti.select(q.x == largest, vec3(1, 0, 0), ti.select(q.y == largest, vec3(0, 1, 0), vec3(0, 0, 1)))
        n *= ti.select(p < 0.0, -1.0, 1.0)
    else:
        for i in range(4):  # a loop keeps the distance function compiled once
            corner = vec3(
                ti.select(i == 0 or i == 3, 1.0, -1.0),
                ti.select(i == 1 or i == 3, 1.0, -1.0),
                ti.select(i == 2 or i == 3, 1.0, -1.0),
            )
            n += corner * _traced_distance(kind, par, p + 2e-4 * corner)
    return n / ti.max(n.norm(), 1e-12)
