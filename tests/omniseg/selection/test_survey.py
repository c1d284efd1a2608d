"""Points and depth maps of the learned ball, seen through some of its views."""

import torch
from torch.nn import functional as F

from learned_ball import learned_ball
from omniseg.rendering.view import render_view
from omniseg.selection.survey import depth_maps, survey
from tiny_scene import RADIUS, SIDE


def test_points_are_the_solid_pixels_of_the_views(device):
    model = learned_ball(device)
    found = survey(model, [1, 4], 2 * SIDE * SIDE, progress=False)
    views = [render_view(model.renderer, model.viewpoints.cameras, view) for view in (1, 4)]
    assert found.features is not None
    assert len(found) == sum(int(view.solid.sum()) for view in views)
    torch.testing.assert_close(found.positions, torch.cat([view.positions[view.solid] for view in views]))
    seen = [F.normalize(view.rendering.features, dim=1)[view.solid] for view in views]  # not smoothed
    torch.testing.assert_close(found.features, torch.cat(seen))


def test_fewer_rays_are_every_nth_of_each_view(device):
    model = learned_ball(device)
    view = render_view(model.renderer, model.viewpoints.cameras, 2)
    for stagger in (False, True):
        found = survey(model, [2], SIDE * SIDE // 5, features=False, stagger=stagger, progress=False)
        rays = slice(2 if stagger else 0, None, 5)
        assert found.features is None
        torch.testing.assert_close(found.positions, view.positions[rays][view.solid[rays]])


def test_no_bar_where_none_is_wanted(device, capsys):
    model = learned_ball(device)
    survey(model, range(8), 1000, progress=False)
    list(depth_maps(model, 8, 1000, progress=False))
    assert capsys.readouterr() == ("", "")


def test_depth_maps_shrink_to_a_number_of_rays(device):
    model = learned_ball(device)
    whole = list(depth_maps(model, 3, 10**6, progress=False))
    assert [len(depth) for _, depth in whole] == [SIDE * SIDE] * 3
    for view, (camera, depth) in zip((0, 4, 7), whole):  # of eight, spread evenly
        assert torch.equal(camera.c2w[0], model.viewpoints.cameras.c2w[view])
        seen = depth.isfinite()
        assert 0 < int(seen.sum()) < len(seen)
        distance = float(camera.c2w[0, :, 3].norm())
        assert distance - RADIUS - 0.1 < float(depth[seen].min()) < distance
    small = list(depth_maps(model, 3, 3 * SIDE * SIDE // 4, progress=False))
    assert [len(depth) for _, depth in small] == [SIDE * SIDE // 4] * 3
    assert small[0][0].size.tolist() == [[SIDE // 2, SIDE // 2]]
