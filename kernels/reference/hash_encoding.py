"""Torch twin of `omniseg_kernels.hash_encoding`: a loop over levels and corners."""

from itertools import product

import torch
from torch import Tensor

from ..hash_encoding import HashLayout


def hash_encode(positions: Tensor, table: Tensor, layout: HashLayout) -> Tensor:
    """Encode positions (n, 3) to (n, layout.channels); differentiable in both tensors."""
    levels = []
    for resolution, (first, rows, dense) in zip(layout.resolutions, layout.slices):
        scaled = positions.clamp(0, 1) * resolution
        cell = scaled.detach().floor().clamp(max=resolution - 1)
        inside = scaled - cell
        encoded = table.new_zeros(len(positions), layout.features)
        for corner in product((0, 1), repeat=3):
            offset = torch.tensor(corner, device=positions.device)
            x, y, z = (cell.long() + offset).unbind(1)
            if dense:
                row = x + (resolution + 1) * (y + (resolution + 1) * z)
            else:
                row = (x ^ (y * 2654435761) ^ (z * 805459861)) % rows
            weight = torch.where(offset == 1, inside, 1 - inside).prod(1, keepdim=True)
            encoded = encoded + weight * table[first + row]
        levels.append(encoded)
    return torch.cat(levels, 1)
