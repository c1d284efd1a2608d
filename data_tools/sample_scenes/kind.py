"""Description of one kind of sample scene."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from omniseg_sample_scenes.builder import ScenePlan


@dataclass(frozen=True)
class SceneKind:
    """How to furnish and photograph scenes of one kind.

    Attributes:
        describe: seed -> plan.
        camera_path: (n, seed) -> (n, 3, 4) float64 poses on a closed path, camera to world, OpenCV axes, metres.
        field_of_view: horizontal, degrees.
        texel: finest resolution of the light on large surfaces, metres.
        train_views, test_views: number of photos by default.
        points: number of sparse points by default; where there are any the scene is written as COLMAP would.
        depth_scale: step of the 16-bit depth images, metres; 65535 of them reach behind everything.
        boxed: tell readers the box around everything.
    """

    describe: Callable[[int], ScenePlan]
    camera_path: Callable[[int, int], np.ndarray]
    field_of_view: float
    texel: float
    train_views: int
    test_views: int
    points: int = 0
    depth_scale: float = 2e-4
    boxed: bool = True
