"""The sample room and some views of it, made once for all tests of this folder."""

import pytest

from omniseg_sample_room.capture import camera_path, sample_camera
from omniseg_sample_room.render import render_room
from omniseg_sample_room.room import build_room


@pytest.fixture(scope="session")
def room(device):
    return build_room(0, texel=0.5)  # coarse light: most tests are about geometry


@pytest.fixture(scope="session")
def views(room):
    """Cameras on the path and their images."""
    camera, poses = sample_camera(96, 72), camera_path(9)
    return camera, poses, [render_room(room, camera, pose) for pose in poses]
