"""Cameras: models and lenses, many cameras on one device, poses as files write them."""

from omniseg.cameras.cameras import Camera, Cameras, Projection, pixel_centres
from omniseg.cameras.lenses import CameraModel

__all__ = ["Camera", "CameraModel", "Cameras", "Projection", "pixel_centres"]
