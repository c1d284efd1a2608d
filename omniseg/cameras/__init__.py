"""Cameras: models and lenses, many cameras on one device, poses."""

from omniseg.cameras.cameras import Camera, Cameras, Projection, pixel_centres
from omniseg.cameras.lenses import CameraModel
from omniseg.cameras.poses import look_at

__all__ = ["Camera", "CameraModel", "Cameras", "Projection", "look_at", "pixel_centres"]
