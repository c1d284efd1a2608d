"""Packed samples inside kernels: which belong to a ray."""

import taichi as ti


@ti.func
def extent(packed_info: ti.template(), ray: ti.i32, n_samples: ti.i32):
    """First sample of a ray and the one after its last, within the samples there are."""
    start = ti.max(0, packed_info[ray, 0])
    count = ti.max(0, ti.min(packed_info[ray, 1], n_samples - start))
    return start, start + count


@ti.func
def gaps(packed_info: ti.template(), ray: ti.i32, n_samples: ti.i32):
    """Samples of no ray: those up to the first are [0, before) for ray 0, those behind a ray end with `until`."""
    before = ti.min(packed_info[0, 0], n_samples) if ray == 0 else 0
    until = n_samples
    if ray + 1 < packed_info.shape[0]:
        until = ti.min(packed_info[ray + 1, 0], n_samples)
    return before, until
