"""Packed samples inside kernels."""

import taichi as ti


@ti.func
def extent(packed_info: ti.template(), ray: ti.i32, n_samples: ti.i32):
    """Return the first sample of a ray and the one after its last, clamped to the samples that exist."""
    start = ti.max(0, packed_info[ray, 0])
    count = ti.max(0, ti.min(packed_info[ray, 1], n_samples - start))
    return start, start + count
