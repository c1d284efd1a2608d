"""What is learned about space: density, colour, and where space is empty."""

from omniseg.fields.occupancy import OccupancyGrid
from omniseg.fields.radiance import RadianceField

__all__ = ["OccupancyGrid", "RadianceField"]
