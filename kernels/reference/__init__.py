"""Torch twins of the kernels: plain and slow, what the tests compare with."""
