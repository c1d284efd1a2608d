"""Differentiable Taichi kernels of neural radiance and feature fields."""

import os

# Taichi prints a banner when it is imported; a library has no business on the user's standard output.
os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")
