"""What is learned about space: density, colour, where it is empty, and what belongs together."""

from omniseg.fields.feature import FeatureField
from omniseg.fields.occupancy_grid import OccupancyGrid
from omniseg.fields.radiance import RadianceField

__all__ = ["FeatureField", "OccupancyGrid", "RadianceField"]
