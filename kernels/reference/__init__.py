"""Torch twins of the kernels, plain and slow; the tests compare the kernels with them."""
