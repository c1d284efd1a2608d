"""Differentiable Taichi kernels of neural radiance and feature fields.

Call `init` first to choose the device; without it, kernels run on the CPU. `omniseg_kernels.reference` has a plain
torch version of each.
"""

import os

# Taichi prints a banner when it is imported, and a line more in a notebook; a library has no business on the user's
# standard output.
os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")
os.environ.setdefault("TI_ENABLE_PYBUF", "0")

from ._pinhole import PinholeViews
from .compositing import VolumeRendering, composite, volume_render
from .depth_consistency import agreeing_views
from .distortion import distortion_loss
from .feature_smoothing import smooth_features
from .gather import append_ray_channels, sample_positions
from .hash_encoding import HashLayout, hash_encode
from .launch import Arch, arch, current_arch, init
from .marching import RaySamples, StepRule, march_rays
from .occupancy import (
    INVISIBLE,
    MAX_RESOLUTION,
    OccupancyBits,
    cell_centres,
    morton_decode,
    morton_encode,
    occupied,
    pack_bits,
    sample_cells,
    update_densities,
)
from .plane_sweep import PlaneSweep, SweepRule, plane_sweep
from .ray_aabb import ray_aabb
from .spherical_harmonics import MAX_DEGREE, spherical_harmonics
from .visibility import visible_cells

__all__ = [
    "INVISIBLE",
    "MAX_DEGREE",
    "MAX_RESOLUTION",
    "Arch",
    "HashLayout",
    "OccupancyBits",
    "PinholeViews",
    "PlaneSweep",
    "RaySamples",
    "StepRule",
    "SweepRule",
    "VolumeRendering",
    "agreeing_views",
    "append_ray_channels",
    "arch",
    "cell_centres",
    "composite",
    "current_arch",
    "distortion_loss",
    "hash_encode",
    "init",
    "march_rays",
    "morton_decode",
    "morton_encode",
    "occupied",
    "pack_bits",
    "plane_sweep",
    "ray_aabb",
    "sample_cells",
    "sample_positions",
    "smooth_features",
    "spherical_harmonics",
    "update_densities",
    "visible_cells",
    "volume_render",
]
