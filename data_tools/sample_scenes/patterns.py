"""Procedural textures of the sample scenes: the colour of a surface point before any light falls on it.

A surface is one row of `surfaces` (n, 12): two linear colours (6), length of the pattern in metres, style number,
gloss, glow (emitted radiance as a multiple of the colour), random offset, pattern. Most lengths are above 3 cm, two
pixels of the default images, so that views agree on what they see.
"""

from enum import IntEnum

import taichi as ti

from omniseg_sample_scenes.shapes import vec2, vec3


class Pattern(IntEnum):
    """Procedural textures; the comments give the meaning of `length` and `style`."""

    PLAIN = 0  # mottled by a noise of this length; style: strength
    WOOD = 1  # width of the grain; style: axis along which it runs, 0 to 2
    PLANKS = 2  # width of a floor board
    FABRIC = 3  # size of the melange
    STRIPES = 4  # period; style: axis across the stripes
    WALLPAPER = 5  # period of the lattice
    BRICK = 6  # height of a course
    RUG = 7  # width of a border band
    PAINTING = 8  # unused; style: which picture
    SPECKLE = 9  # size of the speckles
    OUTDOORS = 10  # the view through the window; marks the pane that sun and window light come through
    SPINE = 11  # grain of a book's cloth; style: which binding
    CHECK = 12  # period of a tartan
    SCREEN = 13  # a laptop's screen
    GRASS = 14  # size of the tufts, in patches eight times as large
    PAVING = 15  # edge of a stone slab; seen from above
    FACADE = 16  # distance of the windows; style: their height as a part of it
    FOLIAGE = 17  # size of the clumps, dark between them
    FIELDS = 18  # size of the fields; style: share of the land that is wood
    TILES = 19  # height of a course of roof tiles, which run down along local y


@ti.func
def pattern_of(surfaces: ti.template(), i):
    """Return the pattern of solid `i`."""
    return ti.cast(surfaces[i, 11], ti.i32)


@ti.func
def random01(x, y, z):
    """Hash three integers to a uniform number in [0, 1)."""
    h = ti.cast(x, ti.u32) * ti.u32(374761393) + ti.cast(y, ti.u32) * ti.u32(668265263)
    h += ti.cast(z, ti.u32) * ti.u32(1274126177)
    h = (h ^ (h >> ti.u32(15))) * ti.u32(739982445)
    h = (h ^ (h >> ti.u32(12))) * ti.u32(695872825)
    h = h ^ (h >> ti.u32(15))
    return ti.cast(h & ti.u32(0xFFFFFF), ti.f32) / 16777216.0


@ti.func
def smooth(low, high, x):
    """Return the smooth step from 0 at `low` to 1 at `high`."""
    s = ti.min(ti.max((x - low) / (high - low), 0.0), 1.0)
    return s * s * (3.0 - 2.0 * s)


@ti.func
def noise(p):
    """Return smooth value noise in [0, 1] with one knot per unit of `p`."""
    base = ti.floor(p)
    f = p - base
    f = f * f * (3.0 - 2.0 * f)
    i = ti.cast(base, ti.i32)
    value = 0.0
    for corner in range(8):
        cx, cy, cz = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = ti.select(cx == 1, f.x, 1.0 - f.x) * ti.select(cy == 1, f.y, 1.0 - f.y)
        weight *= ti.select(cz == 1, f.z, 1.0 - f.z)
        value += weight * random01(i.x + cx, i.y + cy, i.z + cz)
    return value


@ti.func
def fractal(p):
    """Return smooth noise in [0, 1] of three octaves, the coarsest with one knot per unit of `p`."""
    value, scale, weight = 0.0, 1.0, 0.55
    for _ in range(3):
        value += weight * noise(p * scale)
        scale *= 2.1
        weight *= 0.5
    return value / 0.9625


@ti.func
def _mix(a, b, s):
    return a + (b - a) * s


@ti.func
def _repeat(x):
    return x - ti.floor(x)


@ti.func
def _wood_coordinates(p, axis, length):
    """Return coordinates of wood: stretched along the grain (first), across it (second and third)."""
    q = vec3(p.x / 9.0, p.y, p.z)
    if axis == 1:
        q = vec3(p.y / 9.0, p.x, p.z)
    elif axis == 2:
        q = vec3(p.z / 9.0, p.x, p.y)
    return q / length


@ti.func
def _grain(across, texture):
    rings = 0.5 + 0.5 * ti.sin(6.2832 * (0.33 * across + 1.8 * texture))
    return texture * (0.55 + 0.45 * rings)


@ti.func
def _board(u, v, width):
    """Return the tone in [0, 1] of a floor board along v and the distance to its seam in metres."""
    row = ti.floor(u / width)
    length = width * 8.0
    place = v / length + random01(ti.cast(row, ti.i32), 7, 1)
    tone = random01(ti.cast(row, ti.i32), ti.cast(ti.floor(place), ti.i32), 3)
    seam_u = (0.5 - ti.abs(_repeat(u / width) - 0.5)) * width
    seam_v = (0.5 - ti.abs(_repeat(place) - 0.5)) * length
    return vec2(tone, ti.min(seam_u, seam_v))


@ti.func
def _wallpaper(u, v, period, a, b, texture):
    """Return the colour of a wallpaper: faint leaves on an ogee lattice."""
    s, t = u / period, v / (1.4 * period)
    column = ti.floor(s)
    t += 0.5 * (column - 2.0 * ti.floor(column / 2.0))
    x, y = _repeat(s) - 0.5, _repeat(t) - 0.5
    stem = ti.abs(x - 0.10 * ti.sin(6.2832 * y))
    leaf = 1.0
    for side in range(2):
        sign = ti.select(side == 0, 1.0, -1.0)
        q = vec2(sign * (x - sign * 0.20), y - 0.14 * sign)
        r = vec2(0.8 * q.x + 0.6 * q.y, -0.6 * q.x + 0.8 * q.y)
        leaf = ti.min(leaf, ti.sqrt((r.x / 1.9) ** 2 + (r.y / 0.75) ** 2))
    bud = ti.sqrt(x * x + (y - 0.42) ** 2)
    ink = ti.max(1.0 - smooth(0.015, 0.035, stem), 1.0 - smooth(0.085, 0.115, leaf))
    ink = ti.max(ink, 1.0 - smooth(0.055, 0.085, bud))
    return _mix(a, b, ink) * (0.95 + 0.10 * texture)


@ti.func
def _brick(u, v, course, a, b, texture):
    long = course * 2.9
    row = ti.floor(v / course)
    s = u / long + 0.5 * (row - 2.0 * ti.floor(row / 2.0))
    x = ti.abs(_repeat(s) - 0.5) * long
    y = ti.abs(_repeat(v / course) - 0.5) * course
    gap = ti.min(0.5 * long - x, 0.5 * course - y)
    tone = random01(ti.cast(row, ti.i32), ti.cast(ti.floor(s), ti.i32), 5)
    colour = a * (0.62 + 0.40 * tone + 0.30 * texture)
    return _mix(b * (0.9 + 0.2 * texture), colour, smooth(0.004, 0.012, gap))


@ti.func
def _rug(x, y, half, band, a, b, texture):
    edge = ti.min(half.x - ti.abs(x), half.y - ti.abs(y))
    ring = edge / band
    diamond = ti.abs(_repeat(x / (4.0 * band)) - 0.5) + ti.abs(_repeat(y / (4.0 * band)) - 0.5)
    c = 0.35 * b + 0.65 * vec3(0.71, 0.42, 0.10)
    colour = _mix(a, b, smooth(0.30, 0.34, diamond) * (1.0 - smooth(0.52, 0.56, diamond)))
    colour = _mix(colour, c, 1.0 - smooth(0.12, 0.16, diamond))
    if ring < 3.2:
        zigzag = ti.abs(_repeat((x + y) / (2.0 * band)) - 0.5) * 2.0
        colour = b
        if ring > 1.0 and ring < 2.4:
            colour = _mix(a, c, smooth(0.4, 0.6, zigzag))
        if ring > 2.7:
            colour = a
    return colour * (0.86 + 0.28 * texture)


@ti.func
def _painting(s, t, style, a, b, offset):
    """Return the colour of a picture on s, t in [-1, 1]; style 0: hills under a sun, 1: discs, 2: blocks."""
    paper = vec3(0.80, 0.74, 0.63)
    colour = paper
    if style == 0:
        colour = _mix(vec3(0.85, 0.62, 0.40), vec3(0.60, 0.68, 0.66), smooth(-0.2, 1.0, t))
        if (s - 0.3) ** 2 + (t - 0.42) ** 2 < 0.06:
            colour = vec3(0.93, 0.50, 0.20)
        for layer in range(4):
            ridge = 0.22 - 0.30 * layer + 0.16 * ti.sin(s * (2.0 + 0.7 * layer) + offset + 2.1 * layer)
            if t < ridge:
                colour = _mix(_mix(b, paper, 0.45), a * 0.7, layer / 3.0)
    elif style == 1:
        for disc in range(6):
            x = 1.3 * random01(disc, 11, ti.cast(offset * 100.0, ti.i32)) - 0.65
            y = 1.3 * random01(disc, 12, ti.cast(offset * 100.0, ti.i32)) - 0.65
            radius = 0.16 + 0.34 * random01(disc, 13, ti.cast(offset * 100.0, ti.i32))
            r = ti.sqrt((s - x) ** 2 + (t - y) ** 2)
            ink = _mix(a, b, (disc % 3) * 0.5)
            if disc % 3 == 1:
                ink = vec3(0.75, 0.40, 0.09)
            if r < radius and (disc % 2 == 0 or r > 0.6 * radius):
                colour = ink
    else:
        column = ti.floor(1.5 * (s + 1.0) + 0.35 * ti.sin(2.0 * t + offset))
        row = ti.floor(2.0 * (t + 1.0) + 0.25 * ti.sin(3.0 * s + offset))
        pick = random01(ti.cast(column, ti.i32), ti.cast(row, ti.i32), ti.cast(offset * 100.0, ti.i32))
        colour = _mix(a, b, smooth(0.3, 0.5, pick))
        if pick > 0.62:
            colour = paper
        if pick > 0.82:
            colour = vec3(0.75, 0.40, 0.09)
    if ti.max(ti.abs(s), ti.abs(t)) > 0.86:
        colour = vec3(0.84, 0.81, 0.75)
    return colour


@ti.func
def _outdoors(s, t, texture, offset):
    """Return the colour of a late afternoon over hills, on s, t in [-1, 1]."""
    colour = _mix(vec3(1.0, 0.90, 0.72), vec3(0.52, 0.72, 0.95), smooth(-0.5, 0.9, t))
    colour = _mix(colour, vec3(1.0, 0.97, 0.92), smooth(0.50, 0.75, texture))
    for layer in range(3):
        ridge = -0.28 - 0.22 * layer + 0.10 * ti.sin(s * (2.5 + layer) + offset + 1.7 * layer)
        ridge += 0.02 * ti.sin(s * (11.0 + 5.0 * layer))
        if t < ridge:
            colour = _mix(vec3(0.55, 0.66, 0.62), vec3(0.22, 0.36, 0.14), 0.5 * layer)
    return colour


@ti.func
def _paving(x, y, edge, a, b, texture):
    """Return the colour of slabs in rows of alternating offset, with joints of colour b."""
    row = ti.floor(y / edge)
    s = x / (1.4 * edge) + random01(ti.cast(row, ti.i32), 3, 9)
    gap = ti.min((0.5 - ti.abs(_repeat(s) - 0.5)) * 1.4 * edge, (0.5 - ti.abs(_repeat(y / edge) - 0.5)) * edge)
    tone = random01(ti.cast(row, ti.i32), ti.cast(ti.floor(s), ti.i32), 8)
    return _mix(b, a * (0.55 + 0.45 * tone + 0.45 * texture), smooth(0.006, 0.02, gap))


@ti.func
def _facade(s, t, height, a, b, texture):
    """Return the colour of a wall with windows at whole s, t."""
    x, y = ti.abs(_repeat(s) - 0.5), ti.abs(_repeat(t) - 0.5)
    colour = a * (0.86 + 0.28 * texture)
    if x < 0.27 and y < 0.5 * height + 0.06:
        colour = vec3(0.8, 0.78, 0.72)
        if x < 0.22 and x > 0.02 and y < 0.5 * height:
            colour = b * (0.5 + texture)
    return colour


@ti.func
def _fields(x, y, length, wood, a, b, texture):
    """Return the colour of farmland: fields of two crops with a grain of their own, and woods."""
    u, v = x / length + 0.35 * ti.sin(1.3 * y / length), y / (1.7 * length) + 0.3 * ti.sin(0.9 * x / length)
    i, j = ti.cast(ti.floor(u), ti.i32), ti.cast(ti.floor(v), ti.i32)
    tone = random01(i, j, 21)
    rows = 0.5 + 0.5 * ti.sin(6.2832 * 7.0 * ti.select(random01(i, j, 22) < 0.5, u, v))
    edge = ti.min(0.5 - ti.abs(_repeat(u) - 0.5), 0.5 - ti.abs(_repeat(v) - 0.5))
    colour = _mix(a, b, tone) * (0.75 + 0.16 * rows + 0.35 * texture)
    dark = vec3(0.035, 0.07, 0.025) * (0.6 + 1.2 * texture)
    colour = _mix(dark, colour, smooth(0.02, 0.05, edge))
    clump = noise(vec3(x, y, 4.0) / (1.6 * length))
    return _mix(colour, dark, smooth(1.0 - wood, 1.04 - wood, clump + 0.25 * (texture - 0.5)))


@ti.func
def colour_at(surface, world, local, n_local, half):
    """Return the linear colour of a surface at one point.

    Args:
        surface: a row of `surfaces`, as a vector of 12.
        world, local: the point in world axes and in the axes of its solid, metres.
        n_local: normal in the axes of the solid.
        half: half edges of the solid's bounding box.
    """
    pattern = ti.cast(surface[11], ti.i32)
    a, b = vec3(surface[0], surface[1], surface[2]), vec3(surface[3], surface[4], surface[5])
    length, style, offset = surface[6], surface[7], surface[10]
    u, v = ti.select(ti.abs(n_local.x) > 0.5, world.y, world.x), world.z
    s, t = local.x / ti.max(half.x, 1e-6), local.z / ti.max(half.z, 1e-6)

    # All patterns share one noise, read at coordinates of their own.
    q = local / length
    board = vec2(0.0)
    if pattern == Pattern.WOOD:
        q = _wood_coordinates(local, ti.cast(style, ti.i32), length)
    elif pattern == Pattern.PLANKS:
        board = _board(world.y, world.x, length)
        q = _wood_coordinates(vec3(world.x, world.y, 40.0 * length * board.x), 0, 0.28 * length)
    elif pattern == Pattern.WALLPAPER or pattern == Pattern.BRICK:
        q = vec3(u, v, 0.0) * 12.0
    elif pattern == Pattern.OUTDOORS:
        q = vec3(1.6 * s, 4.0 * t, 3.0)
    elif pattern == Pattern.STRIPES or pattern == Pattern.CHECK or pattern == Pattern.RUG:
        q = local * 35.0
    elif pattern == Pattern.GRASS or pattern == Pattern.FOLIAGE:
        q = world / length
    elif pattern == Pattern.FIELDS:
        q = 9.0 * world / length
    elif pattern == Pattern.PAVING or pattern == Pattern.TILES:
        q = local * 14.0
    texture = fractal(q + offset)

    colour = a
    if pattern == Pattern.PLAIN:
        colour = a * (1.0 + style * (texture - 0.5))
    elif pattern == Pattern.WOOD:
        colour = _mix(a, b, ti.min(1.2 * _grain(q.y, texture), 1.0))
    elif pattern == Pattern.PLANKS:
        grain = 0.75 * _grain(q.y, texture) + 0.40 * (board.x - 0.5)
        colour = _mix(a, b, ti.min(grain, 1.0)) * (0.9 + 0.2 * board.x)
        colour *= 0.55 + 0.45 * smooth(0.0, 0.006, board.y)
    elif pattern == Pattern.FABRIC:
        colour = _mix(a, b, smooth(0.25, 0.75, texture))
    elif pattern == Pattern.STRIPES:
        across = ti.select(style < 0.5, local.x, ti.select(style < 1.5, local.y, local.z)) / length
        colour = _mix(a, b, smooth(0.20, 0.30, ti.abs(_repeat(across) - 0.5))) * (0.92 + 0.16 * texture)
    elif pattern == Pattern.CHECK:
        p = local / length
        ink = smooth(0.20, 0.30, ti.abs(_repeat(p.x) - 0.5)) + smooth(0.20, 0.30, ti.abs(_repeat(p.z) - 0.5))
        colour = _mix(a, b, 0.5 * ink) * (0.92 + 0.16 * texture)
    elif pattern == Pattern.WALLPAPER:
        colour = _wallpaper(u, v, length, a, b, texture)
    elif pattern == Pattern.BRICK:
        colour = _brick(u, v, length, a, b, texture)
    elif pattern == Pattern.RUG:
        colour = _rug(local.x, local.y, half, length, a, b, texture)
    elif pattern == Pattern.PAINTING:
        colour = _painting(s, t, ti.cast(style, ti.i32), a, b, offset)
    elif pattern == Pattern.SPECKLE:
        colour = _mix(a, b, smooth(0.52, 0.60, texture))
    elif pattern == Pattern.OUTDOORS:
        colour = _outdoors(s, t, texture, offset)
    elif pattern == Pattern.SPINE:
        band = ti.abs(ti.abs(t) - 0.68) < 0.07
        if style > 1.5:
            band = t > 0.15 and t < 0.55
        elif style > 0.5:
            band = ti.abs(t - 0.35) < 0.10 or ti.abs(t + 0.7) < 0.06
        colour = ti.select(band, b, a) * (0.9 + 0.2 * texture)
    elif pattern == Pattern.SCREEN:
        colour = _mix(vec3(0.10, 0.16, 0.26), vec3(0.16, 0.42, 0.50), smooth(-1.0, 1.0, s + t))
        line = 4.0 * (t + 1.0)
        text = -0.75 + 1.3 * random01(ti.cast(ti.floor(line), ti.i32), 5, 9)
        if _repeat(line) < 0.4 and s > -0.8 and s < text:
            colour = vec3(0.75, 0.80, 0.80)
    elif pattern == Pattern.GRASS:
        patch = noise(world / (8.0 * length) + offset)
        colour = _mix(a, b, smooth(0.25, 0.75, patch)) * (0.40 + 1.15 * texture)
    elif pattern == Pattern.PAVING:
        colour = _paving(local.x, local.y, length, a, b, texture)
    elif pattern == Pattern.FACADE:
        along = ti.select(ti.abs(n_local.x) > 0.5, local.y, local.x)
        colour = _facade(along / length + 0.5, (local.z + half.z) / (1.25 * length) - 0.05, style, a, b, texture)
    elif pattern == Pattern.FOLIAGE:
        colour = _mix(a, b, smooth(0.35, 0.65, texture)) * (0.25 + 1.1 * smooth(0.15, 0.75, texture))
    elif pattern == Pattern.FIELDS:
        colour = _fields(world.x, world.y, length, style, a, b, texture)
    elif pattern == Pattern.TILES:
        colour = _brick(local.x, local.y, length, a, 0.3 * a, texture)
    return ti.min(ti.max(colour, 0.0), 1.0)
