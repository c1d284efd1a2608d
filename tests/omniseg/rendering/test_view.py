"""A frame is what its camera sees; progressive ones end as the whole one does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from learned_ball import learned_ball
from omniseg.config import SmoothingConfig
from omniseg.rendering.renderer import Rendering
from omniseg.rendering.view import ProgressiveViews, RenderedView, render_view, smooth_at
from tiny_scene import RADIUS, SIDE


def test_a_frame_lies_on_the_ball(device):
    model = learned_ball(device)
    frame = render_view(model.renderer, model.viewpoints.cameras, 2)
    assert (frame.width, frame.height) == (SIDE, SIDE)
    assert frame.solid.view(SIDE, SIDE)[SIDE // 2, SIDE // 2]
    assert not frame.solid[0]
    radii = frame.positions[frame.solid].norm(dim=1)
    assert abs(float(radii.median()) - RADIUS) < 0.05
    norms = frame.unit_features[frame.solid].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_pictures_are_those_of_the_pixels(device):
    model = learned_ball(device)
    cameras = model.viewpoints.cameras.resized(36)[[2]]
    cameras = replace(cameras, size=torch.tensor([[36, 20]], device=device))
    view = render_view(model.renderer, cameras, name="0005")
    assert repr(view) == "RenderedView('0005', 36 x 20)"
    assert (view.width, view.height) == (36, 20)
    assert view.rgb.shape == (20, 36, 3)
    assert view.depth.shape == view.opacity.shape == (20, 36)
    assert view.features.shape == (20, 36, 8)
    assert {picture.dtype for picture in (view.rgb, view.depth, view.opacity, view.features)} == {np.dtype("float32")}
    row, column = 12, 20
    pixel = row * 36 + column
    assert view.rgb[row, column].tolist() == view.rendering.rgb[pixel].tolist()
    assert view.depth[row, column] == float(view.rendering.distance[pixel])
    assert view.opacity[row, column] == float(view.rendering.opacity[pixel]) > 0.5
    assert view.features[row, column].tolist() == view.unit_features[pixel].tolist()
    assert view.features[0, 0].tolist() == [0] * 8
    with pytest.raises(ValueError, match="read-only"):
        view.rgb[0] = 1  # what is selected in it later would change


def test_features_are_smooth_as_the_configuration_says(device):
    model = learned_ball(device)
    cameras = model.viewpoints.cameras.resized(72)[[2]]
    views = []
    for rounds in (0, 2, 4):
        config = replace(model.config, smoothing=SmoothingConfig(rounds=rounds, agreement=2.0))
        views.append(render_view(replace(model, config=config).renderer, cameras))
    raw, some, more = views
    assert (raw.unit_features == F.normalize(raw.rendering.features, dim=1)).all()
    assert (some.unit_features[~some.solid] == raw.unit_features[~raw.solid]).all()
    middles = [view.features[20:50, 20:50] for view in views]
    roughness = [float((f[2:] - 2 * f[1:-1] + f[:-2]).std()) for f in middles]
    assert roughness[0] > 1.05 * roughness[1] > 1.05 * roughness[2]
    for view in (some, more):
        assert (view.unit_features * raw.unit_features).sum(1)[raw.solid].mean() > 0.95
        assert (view.rendering.features == raw.rendering.features).all()


def test_a_ray_is_smoothed_like_the_pixel_it_passes_through(device):
    model = learned_ball(device)
    cameras = model.viewpoints.cameras.resized(72)[[2]]
    view, config = render_view(model.renderer, cameras), model.renderer.smoothing
    pixels = view.solid.view(72, 72)[24:48, 24:48].nonzero() + 24
    at = pixels[:, 0] * 72 + pixels[:, 1]
    ray = Rendering(*(values[at] for values in (view.rendering.rgb, view.rendering.opacity, view.rendering.depth)))
    raw = F.normalize(view.rendering.features, dim=1)[at]
    found = smooth_at(raw, ray, pixels.flip(1) + 0.5, view, config)
    want = view.unit_features[at]
    assert (1 - (found * want).sum(1)).mean() < 0.5 * (1 - (raw * want).sum(1)).mean()
    assert (smooth_at(raw, ray, pixels.flip(1) + 0.5, view, SmoothingConfig(rounds=0)) == raw).all()
    border = pixels.flip(1).float()
    beside = [smooth_at(raw, ray, border + shift, view, config) for shift in (-1e-4, 1e-4)]
    torch.testing.assert_close(beside[0], beside[1], rtol=0, atol=1e-3)  # continuous between pixels


def test_a_view_without_a_feature_field_has_no_channels(device):
    model = replace(learned_ball(device), features=None)
    view = render_view(model.renderer, model.viewpoints.cameras, 2)
    assert view.unit_features.shape == (SIDE * SIDE, 0)
    assert view.features.shape == (SIDE, SIDE, 0)
    assert view.solid.any()
    assert view.rgb.max() > 0.2


def test_a_view_needs_all_pixels(device):
    model = learned_ball(device)
    cameras = model.viewpoints.cameras[[0]]
    rays = cameras.image_rays(0)
    few = [each[:7] for each in rays]
    seen = model.renderer.render(*few, features=True)
    with pytest.raises(ValueError, match="one for each pixel"):
        RenderedView.from_rendering(cameras, *few, seen, model.renderer.smoothing)


def test_progressive_frames_get_finer_and_end_whole(device):
    model = learned_ball(device)
    cameras = model.viewpoints.cameras[[1]].resized(96)
    progressive = ProgressiveViews(model.renderer, budget=1e-4, coarsest=8)
    progressive._rays_a_second = 1e6
    assert progressive.advance() is None
    progressive.look(cameras)
    frames, calls = [], 0
    while not frames or frames[-1].width < 96:
        frame, calls = progressive.advance(), calls + 1
        frames += [] if frame is None else [frame]
    assert [frame.width for frame in frames] == [12, 24, 48, 96]
    assert calls > len(frames)  # the window lives on in between
    assert progressive.advance() is None
    whole = render_view(model.renderer, cameras)
    torch.testing.assert_close(frames[-1].rendering.rgb, whole.rendering.rgb, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(frames[-1].positions[whole.solid], whole.positions[whole.solid], rtol=1e-3, atol=1e-3)


def test_a_fast_device_begins_with_the_whole_picture(device):
    model = learned_ball(device)
    progressive = ProgressiveViews(model.renderer, budget=10.0)
    progressive.look(model.viewpoints.cameras[[0]])
    frame = progressive.advance()
    assert frame is not None
    assert frame.width == SIDE


def test_looking_elsewhere_begins_anew(device):
    model = learned_ball(device)
    progressive = ProgressiveViews(model.renderer, budget=1e-4, coarsest=8)
    progressive.look(model.viewpoints.cameras[[0]].resized(64))
    progressive.advance()
    progressive.look(model.viewpoints.cameras[[3]].resized(64))
    while (frame := progressive.advance()) is None:
        pass
    assert torch.equal(frame.cameras.c2w, model.viewpoints.cameras.c2w[[3]])
