"""Fields: density and colour, occupancy, and the segmentation feature of every point in space."""

from omniseg.fields.feature import FeatureField
from omniseg.fields.occupancy_grid import OccupancyGrid
from omniseg.fields.operators import KERNELS, Operators
from omniseg.fields.radiance import RadianceField
from omniseg.fields.space import Space

__all__ = ["KERNELS", "FeatureField", "OccupancyGrid", "Operators", "RadianceField", "Space"]
