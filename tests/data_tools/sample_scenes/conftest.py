"""The sample room and some views of it, made once for all tests of this folder."""

import pytest

from omniseg_sample_scenes.capture import sample_camera
from omniseg_sample_scenes.living_room import camera_path
from omniseg_sample_scenes.render import render_scene
from omniseg_sample_scenes.scene import build_scene


@pytest.fixture(scope="session")
def room(device):
    return build_scene(texel=0.5)  # coarse light: most tests are about geometry


@pytest.fixture(scope="session")
def views(room):
    """Cameras on the path and their images."""
    camera, poses = sample_camera(96, 72), camera_path(9)
    return camera, poses, [render_scene(room, camera, pose) for pose in poses]
