"""The sample room: a procedural scene with exact depth and labels, rendered by Taichi kernels."""
