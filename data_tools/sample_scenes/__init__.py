"""The sample scenes: procedural captures of five kinds with exact depth and labels, rendered by Taichi kernels."""
