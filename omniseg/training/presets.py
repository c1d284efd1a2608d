"""Presets: the configuration for a kind of scene, a size of photos and a device."""

import math
from dataclasses import replace

import torch

from omniseg.config import (
    CaptureConfig,
    Config,
    FeatureFieldConfig,
    FeatureTrainingConfig,
    MarchingConfig,
    PhotoDepthConfig,
    RadianceFieldConfig,
    RadianceTrainingConfig,
)
from omniseg.data.images import default_downsample
from omniseg.data.normalisation import MAX_CASCADES, Placement
from omniseg.data.scene import Scene, SceneKind
from omniseg.data.splits import split_views
from omniseg_kernels.hash_encoding import HashLayout

_FINEST_STEP = 2 * math.sqrt(3) / 1024
"""Step length of instant-ngp: 1/1024 of the diagonal of [-1, 1]^3."""

_SAMPLE_ROOM_PIXELS, _SAMPLE_ROOM_STEPS = 80 * 240 * 180, 1_100
"""Pixels of the training photos of the sample room, and its steps of stage 1 on a CPU."""
_WIDE = 5
"""Number of cascades from which an open scene is contracted: it reaches farther than 8 scene units."""
_MOST_GROWTH = 2.25
"""Most times as many steps that another scene gets, which keeps stage 1 to a few minutes."""


def preset(
    scene: Scene,
    placement: Placement,
    device: torch.device,
    *,
    kind: SceneKind | None = None,
    downsample: float | None = None,
    test_every: int | None = None,
    capture: CaptureConfig | None = None,
) -> Config:
    """Return the default configuration for a capture on a device.

    Args:
        scene: the capture.
        placement: position of the scene in the grid.
        device: device to train on.
        kind: kind of scene, where it is known better than the reader recognises it.
        downsample: factor that the photos are shrunk by; None follows the device.
        test_every: see `split_views`.
        capture: choices with which the capture was read; None: the defaults.
    """
    kind, capture = kind or scene.kind, capture or CaptureConfig()
    downsample = downsample or default_downsample(scene, device)
    cameras = [scene.views[v].camera for v in split_views(scene, test_every, capture.test_views).train]
    config = settings_for(
        kind,
        device,
        n_pixels=sum(camera.width * camera.height for camera in cameras) / downsample**2,
        longest_side=max(max(camera.width, camera.height) for camera in cameras) / downsample,
        placement=placement,
        downsample=downsample,
        test_every=test_every,
    )
    return replace(config, capture=capture)


def settings_for(
    kind: SceneKind,
    device: torch.device,
    *,
    n_pixels: float,
    longest_side: float,
    placement: Placement | None = None,
    downsample: float = 1.0,
    test_every: int | None = None,
) -> Config:
    """Return the default configuration for photos of a kind and size.

    Args:
        kind: kind of scene.
        device: device to train on; a CPU gets coarser grids and shorter training.
        n_pixels: pixels of all training photos together, after shrinking.
        longest_side: pixels of the longest side of a photo, after shrinking.
        placement: position of the scene in the grid; None: the whole of one grid.
        downsample: factor that the photos are shrunk by.
        test_every: see `split_views`.
    """
    on_gpu = device.type == "cuda"
    open_ended = kind in ("unbounded", "forward")
    marching = MarchingConfig(
        # On a CPU finer cells pay in a room that fills them (+0.3 dB), not around one object (-0.3 dB).
        resolution=128 if on_gpu or kind == "replica" else 64,
        step=_FINEST_STEP if on_gpu else (4.5 if open_ended else 3) * _FINEST_STEP,
        opacity_threshold=0.01 if on_gpu else 0.03,
        cone_angle=(1 / 256 if on_gpu else 1 / 64) if open_ended else 0.0,
    )
    if placement is not None:
        marching = replace(marching, near=placement.near, cascades=placement.cascades, box=placement.box)
        if open_ended and placement.cascades >= _WIDE:
            marching = _contracted(marching)
    encoding = _encoding(n_pixels, longest_side)
    if marching.contracted and not on_gpu:
        # A short training learns a wide scene faster from few levels with cells of about a pixel (a yard: +0.6 dB).
        encoding = replace(encoding, levels=12, finest_resolution=max(encoding.finest_resolution // 4, 256))
    return Config(
        downsample=downsample,
        test_every=test_every,
        marching=marching,
        radiance=RadianceFieldConfig(encoding=encoding),
        training=RadianceTrainingConfig(
            steps=20_000 if on_gpu else _cpu_steps(n_pixels, kind),
            samples_per_step=1 << 18 if on_gpu else 1 << 16,
            lr=1e-2 if on_gpu else 2e-2,
            distortion_weight=1e-3 if open_ended else 0.0,
            # Many samples lie behind the surfaces of an open scene. Rooms and single objects gain nothing.
            end_from=0.25 if kind == "unbounded" else 1.0,
        ),
        # Captures from one side lose by the sweep (fern 0.6 dB), not by points.
        photo_depth=PhotoDepthConfig(sweep=kind != "forward"),
        features=FeatureFieldConfig(
            encoding=HashLayout() if on_gpu else HashLayout(levels=12, log2_table=17, finest_resolution=512)
        ),
        feature_training=FeatureTrainingConfig(
            steps=10_000 if on_gpu else 3_000,
            rays_per_step=8192 if on_gpu else 2048,
            lr=1e-2 if on_gpu else 2e-2,
            loss_weight=0.4 if on_gpu else 1.5,
        ),
    )


def _contracted(marching: MarchingConfig) -> MarchingConfig:
    """Return the marching of a scene that reaches far: contracted, and twice as wide for the few farthest points."""
    cascades = min(marching.cascades + 1, MAX_CASCADES)
    bound = 2.0 ** (cascades - 1)
    return replace(marching, contracted=True, cascades=cascades, box=(bound, bound, bound))


def _cpu_steps(n_pixels: float, kind: SceneKind) -> int:
    """Return the number of steps of stage 1 on a CPU: about a minute for the sample room, more for more pixels.

    Twice the pixels get 1.4 times the steps; twice would cost minutes. An open scene gets half as many steps again: it
    has more to show, and longer rays, so that fewer of them fit in a step.
    """
    growth = math.sqrt(max(n_pixels / _SAMPLE_ROOM_PIXELS, 1)) * (1.5 if kind == "unbounded" else 1.0)
    return 10 * round(min(growth, _MOST_GROWTH) * _SAMPLE_ROOM_STEPS / 10)


def _encoding(n_pixels: float, longest_side: float) -> HashLayout:
    """Return a layout with one row per level for about 16 training pixels, and cells of about a quarter pixel."""
    log2_table = min(max(math.floor(math.log2(max(n_pixels, 1))) - 4, 14), 19)
    finest = min(max(2 ** math.ceil(math.log2(4 * longest_side)), 256), 4096)
    return HashLayout(levels=12 if log2_table <= 16 else 16, log2_table=log2_table, finest_resolution=finest)
