"""From scene coordinates to those of a hash grid."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from omniseg.config import MarchingConfig


@dataclass(frozen=True)
class Space:
    """The part of space that a hash grid covers.

    Without contraction that is [-bound, bound]^3. With it, all of space: [-1, 1]^3 stays as it is, and what lies beyond
    is drawn into [-2, 2]^3 (Barron et al. 2022, mip-NeRF 360, equation 10, with the maximum norm):

        contract(x) = (2 - 1 / |x|) x / |x|  where |x| = max(|x_1|, |x_2|, |x_3|) > 1

    Densities fall as 1 / |x| there, as marching steps grow: so what is far begins as transparent as what is near.
    Otherwise the first densities of a training, though faint, would hide everything beyond a few units.
    """

    bound: float
    contracted: bool = False

    @classmethod
    def from_config(cls, config: MarchingConfig) -> Space:
        """Return the space of the grids of a run."""
        return cls(config.bound, config.contracted)

    def unit(self, positions: Tensor) -> Tensor:
        """Return positions (n, 3), scene coordinates, as coordinates of the grid in [0, 1]; differentiable."""
        return self.unit_and_scale(positions)[0]

    def unit_and_scale(self, positions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the coordinates of `unit` and the factor (n,) on densities, None where it is 1; differentiable."""
        if not self.contracted:
            return positions * (0.5 / self.bound) + 0.5, None
        inverse = positions.abs().amax(1, keepdim=True).clamp(min=1.0).reciprocal()
        return positions * ((2 - inverse) * inverse * 0.25) + 0.5, inverse[:, 0]
