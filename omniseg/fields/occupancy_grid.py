"""Occupancy grid: which cells of space rays may skip (instant-ngp, Müller et al. 2022, appendix C)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from omniseg.cameras import CameraModel, Cameras
from omniseg.config import MarchingConfig
from omniseg_kernels.launch import arch
from omniseg_kernels.occupancy import OccupancyBits, cell_centres, pack_bits, sample_cells, update_densities
from omniseg_kernels.visibility import visible_cells

_DECAY = 0.95
_SHARE = 4
_CHUNK = 1 << 17


class OccupancyGrid(nn.Module):
    """Decayed maximum, per cell, of the opacity that one marching step has in it.

    A step grows with the distance, so a far cell counts as full at a lower density than a near one. Cells that
    no camera sees are never full. Before the first `update` every visible cell is.

    Args:
        config: number, resolution and thresholds of the grids.
        cameras: the training views; without them every cell counts as visible.
    """

    densities: Tensor
    bits: Tensor
    visible: Tensor
    steps: Tensor

    def __init__(self, config: MarchingConfig, cameras: Cameras | None = None) -> None:
        super().__init__()
        self.cascades, self.resolution = config.cascades, config.resolution
        self.opacity_threshold = config.opacity_threshold
        cells = config.resolution**3
        device = torch.device(arch()) if cameras is None else cameras.c2w.device
        # The frustum test is of pinhole cameras: nothing is ruled out for a lens that sees wider than one.
        if cameras is None or bool((cameras.model != CameraModel.PERSPECTIVE).any()):
            seen = torch.ones(config.cascades, cells, dtype=torch.bool, device=device)
        else:
            seen = visible_cells(
                config.cascades,
                config.resolution,
                cameras.c2w,
                cameras.intrinsics,
                cameras.size,
                near=config.near,
                # Distortion bends rays beyond the pinhole's image: by less than a tenth of it, fisheyes aside.
                margin=0.1 * float(cameras.size.max()),
            )
        every = torch.arange(seen.numel(), dtype=torch.int32, device=device)
        reach = 2.0 ** torch.arange(config.cascades, device=device)
        half_edges = (
            torch.tensor(config.box, device=device) + (reach / config.resolution).repeat_interleave(cells)[:, None]
        )
        seen &= (cell_centres(every, config.resolution).abs() <= half_edges).all(1).view_as(seen)
        densities = torch.where(seen, 0.0, -1.0)
        self.register_buffer("densities", densities)
        self.register_buffer("bits", pack_bits(densities, -0.5))
        self.register_buffer("visible", seen.flatten().nonzero()[:, 0].to(torch.int32), persistent=False)
        steps = (config.cone_angle * reach / 2).clamp(min=config.step)
        self.register_buffer("steps", steps, persistent=False)
        self.updates = 0

    @property
    def occupied(self) -> OccupancyBits:
        """What marching reads."""
        return OccupancyBits(self.bits, self.cascades, self.resolution)

    @torch.no_grad()
    def update(self, density: Callable[[Tensor], Tensor], strictness: float, generator: torch.Generator) -> None:
        """Look at a fourth of the visible cells anew, then decide which cells are full.

        Args:
            density: positions (n, 3), scene coordinates -> densities (n,).
            strictness: from 0, every visible cell is full, to 1, the full threshold holds.
            generator: draws where in each cell the density is looked up.
        """
        cells = self.visible[self.updates % _SHARE :: _SHARE].contiguous()
        self.updates += 1
        noise = torch.rand(len(cells), 3, generator=generator, device=cells.device)
        positions = sample_cells(cells, self.resolution, noise)
        sigmas = torch.cat([density(chunk) for chunk in positions.split(_CHUNK)]) if len(cells) else noise[:, 0]
        cascade = torch.div(cells, self.resolution**3, rounding_mode="floor")
        update_densities(self.densities, cells, sigmas * self.steps[cascade], _DECAY)
        mean = self.densities.clamp(min=0).sum() / max(len(self.visible), 1)
        # Never above the mean, so that a field that is still faint everywhere is not declared empty.
        self.bits = pack_bits(self.densities, mean.clamp(max=self.opacity_threshold) * strictness - 1e-9)
