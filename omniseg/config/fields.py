"""Configuration of ray marching and of the two fields."""

import math
from dataclasses import dataclass, field

from omniseg.config.require import require
from omniseg.config.true_or_false import TrueOrFalse
from omniseg_kernels.hash_encoding import HashLayout


@dataclass(frozen=True, kw_only=True)
class MarchingConfig:
    """Ray marching: where samples lie along a ray, and which cells of the occupancy grid it skips."""

    near: float = 0.05
    """Distance from the camera at which rays begin."""
    cascades: int = 1
    """Number of nested occupancy grids; cascade k covers [-2^k, 2^k]^3."""
    box: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Half edges of the box around the origin; rays have no samples outside of it."""
    contracted: TrueOrFalse = False
    """Draw space beyond [-1, 1]^3 together in the hash grids (mip-NeRF 360), so that what is near keeps fine cells in a
    scene that reaches far; and let densities there fall with the distance."""
    resolution: int = 128
    """Cells along each side of an occupancy grid, a power of two."""
    step: float = 3.4e-3
    """Length of the shortest step along a ray."""
    cone_angle: float = 0.0
    """Step length as a fraction of the distance from the camera, where that is more than `step`; 0: equal steps."""
    max_samples: int = 1024
    """Largest number of samples on a ray."""
    opacity_threshold: float = 0.01
    """A cell is empty if one shortest step through it has less opacity than this."""
    occupancy_decay: float = 0.95
    """Factor on the remembered opacity of every cell in each update of the occupancy grid."""
    occupancy_stride: int = 4
    """Each update of the occupancy grid evaluates one cell in this many."""
    frustum_margin: float = 0.1
    """Margin around an image in which cells still count as seen, as a fraction of the longest image side."""
    min_transmittance: float = 1e-3
    """Transmittance below which rendering stops following a ray; training follows every ray to its end."""
    min_colour_weight: float = 1e-4
    """Weight below which rendering leaves the colour of a sample out; training colours every sample."""

    def __post_init__(self) -> None:
        require(0 <= self.near < math.inf, "near", ">= 0", self.near)
        require(1 <= self.cascades <= 8, "cascades", "1 to 8", self.cascades)
        require(all(0 < edge < math.inf for edge in self.box), "box", "lengths > 0", self.box)
        require(self.resolution in (16, 32, 64, 128, 256), "resolution", "16, 32, 64, 128 or 256", self.resolution)
        require(1e-4 <= self.step <= 1, "step", "1e-4 to 1", self.step)
        require(0 <= self.cone_angle < 1, "cone_angle", "in [0, 1)", self.cone_angle)
        require(self.max_samples >= 1, "max_samples", ">= 1", self.max_samples)
        require(0 < self.opacity_threshold < 1, "opacity_threshold", "in (0, 1)", self.opacity_threshold)
        require(0 <= self.occupancy_decay <= 1, "occupancy_decay", "0 to 1", self.occupancy_decay)
        require(self.occupancy_stride >= 1, "occupancy_stride", ">= 1", self.occupancy_stride)
        require(0 <= self.frustum_margin < math.inf, "frustum_margin", ">= 0", self.frustum_margin)
        for name in ("min_transmittance", "min_colour_weight"):
            require(0 <= getattr(self, name) < 1, name, "in [0, 1)", getattr(self, name))

    @property
    def bound(self) -> float:
        """Half the edge of the outermost cube."""
        return 2.0 ** (self.cascades - 1)


@dataclass(frozen=True, kw_only=True)
class HashFieldConfig:
    """Sizes that every field on a hash grid has."""

    hidden: int = 64
    """Width of the hidden layers of the MLPs."""
    table_init: float = 1e-4
    """Largest absolute value of the hash table before training; its entries start uniformly distributed."""

    def __post_init__(self) -> None:
        require(self.hidden >= 1, "hidden", ">= 1", self.hidden)
        require(0 <= self.table_init < math.inf, "table_init", ">= 0", self.table_init)


@dataclass(frozen=True, kw_only=True)
class RadianceFieldConfig(HashFieldConfig):
    """Radiance field: density and colour from a hash grid and two small MLPs."""

    encoding: HashLayout = field(default_factory=HashLayout)
    """Sizes of the hash grid."""
    geometry: int = 15
    """Channels that the density MLP passes to the colour MLP."""
    sh_degree: int = 4
    """Number of bands of spherical harmonics that encode a direction, 1 to 4."""
    log_density_bias: float = -1.0
    """Number added to the log density; below 0, space starts almost transparent."""
    max_log_density: float = 15.0
    """Log density at which the density and its gradient stop growing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.geometry >= 1, "geometry", ">= 1", self.geometry)
        require(1 <= self.sh_degree <= 4, "sh_degree", "1 to 4", self.sh_degree)
        require(math.isfinite(self.log_density_bias), "log_density_bias", "a finite number", self.log_density_bias)
        require(0 < self.max_log_density <= 80, "max_log_density", "in (0, 80]", self.max_log_density)


@dataclass(frozen=True, kw_only=True)
class FeatureFieldConfig(HashFieldConfig):
    """Feature field: what belongs together, from a hash grid of its own and a small MLP."""

    encoding: HashLayout = field(default_factory=lambda: HashLayout(log2_table=20))
    """Sizes of the hash grid."""
    dim: int = 32
    """Channels of the feature."""
    min_weight: float = 5e-2
    """Weight below which a sample is left out when features are rendered."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.dim >= 1, "dim", ">= 1", self.dim)
        require(0 <= self.min_weight < 1, "min_weight", "in [0, 1)", self.min_weight)
