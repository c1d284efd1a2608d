"""Occupancy grid: the cells of space that rays skip (instant-ngp, Müller et al. 2022, appendix C)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from omniseg.cameras import CameraModel, Cameras
from omniseg.config import MarchingConfig
from omniseg_kernels.occupancy import OccupancyBits, cell_centres, pack_bits, sample_cells, update_densities
from omniseg_kernels.visibility import visible_cells

_CHUNK = 1 << 17
"""Number of positions whose density is evaluated at once; it limits memory and changes no result."""


class OccupancyGrid(nn.Module):
    """Decayed maximum, for each cell, of the opacity of one marching step through it.

    Steps grow with the distance, so a far cell counts as full at a lower density than a near one. Cells that no
    camera sees are never full. Before the first `update` every visible cell is full.

    Args:
        config: number, resolution and thresholds of the grids.
        cameras: the training views, which also give the device; without them every cell counts as visible.
        device: device of the grid without cameras, that of the kernels; the CPU unless given.
    """

    densities: Tensor
    bits: Tensor
    visible: Tensor
    steps: Tensor

    def __init__(
        self, config: MarchingConfig, cameras: Cameras | None = None, *, device: torch.device | None = None
    ) -> None:
        super().__init__()
        self.config, self.cascades, self.resolution = config, config.cascades, config.resolution
        cells = config.resolution**3
        device = device or torch.device("cpu") if cameras is None else cameras.c2w.device
        # The frustum test assumes pinhole cameras, so it excludes nothing for lenses that see wider.
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
                margin=config.frustum_margin * float(cameras.size.max()),  # for lens distortion
            )
        all_cells = torch.arange(seen.numel(), dtype=torch.int32, device=device)
        reach = 2.0 ** torch.arange(config.cascades, device=device)
        half_edges = (
            torch.tensor(config.box, device=device) + (reach / config.resolution).repeat_interleave(cells)[:, None]
        )
        seen &= (cell_centres(all_cells, config.resolution).abs() <= half_edges).all(1).view_as(seen)
        densities = torch.where(seen, 0.0, -1.0)
        self.register_buffer("densities", densities)
        self.register_buffer("bits", pack_bits(densities, -0.5))
        self.register_buffer("visible", seen.flatten().nonzero()[:, 0].to(torch.int32), persistent=False)
        steps = (config.cone_angle * reach / 2).clamp(min=config.step)
        self.register_buffer("steps", steps, persistent=False)
        self.updates = 0

    @property
    def occupied(self) -> OccupancyBits:
        """The bits that marching reads, one for each cell."""
        return OccupancyBits(self.bits, self.cascades, self.resolution)

    @torch.no_grad()
    def update(self, density: Callable[[Tensor], Tensor], strictness: float, generator: torch.Generator) -> None:
        """Evaluate the density in every n-th visible cell, then decide which cells are full.

        Args:
            density: positions (n, 3), scene coordinates -> densities (n,).
            strictness: factor in [0, 1] on the threshold; at 0 every visible cell is full.
            generator: source of the random position in each cell.
        """
        stride = self.config.occupancy_stride
        cells = self.visible[self.updates % stride :: stride].contiguous()
        self.updates += 1
        noise = torch.rand(len(cells), 3, generator=generator, device=cells.device)
        positions = sample_cells(cells, self.resolution, noise)
        sigmas = torch.cat([density(chunk) for chunk in positions.split(_CHUNK)]) if len(cells) else noise[:, 0]
        cascade = torch.div(cells, self.resolution**3, rounding_mode="floor")
        update_densities(self.densities, cells, sigmas * self.steps[cascade], self.config.occupancy_decay)
        mean = self.densities.clamp(min=0).sum() / max(len(self.visible), 1)
        # The threshold is never above the mean: a field that is still faint everywhere must not become empty.
        self.bits = pack_bits(self.densities, mean.clamp(max=self.config.opacity_threshold) * strictness - 1e-9)
