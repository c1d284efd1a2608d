"""Views of the room: exact geometry, consistent labels, pictures that depend on the seed alone."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from omniseg.cameras import CameraModel, look_at
from omniseg_sample_scenes.builder import LEVELS
from omniseg_sample_scenes.capture import sample_camera
from omniseg_sample_scenes.render import render_scene
from omniseg_sample_scenes.scene import build_scene
from scene_labels import label_points
from unprojection import seen_from, unproject


def test_every_pixel_is_labelled_and_labels_are_nested(room, views):
    for image in views[2]:
        for fine, coarse in pairwise(LEVELS):
            parents = np.array([0, *(room.names[fine][i].parent for i in sorted(room.names[fine]))])
            assert image.labels[fine].min() > 0
            np.testing.assert_array_equal(parents[image.labels[fine]], image.labels[coarse])


def test_depth_is_the_first_surface_along_the_ray(room, views):
    camera, poses, images = views
    for pose, image in zip(poses, images):
        points = unproject(camera, pose, image.depth).reshape(-1, 3)
        at_surface = label_points(room, torch.tensor(points, dtype=torch.float32))
        # Sphere tracing stops 0.05 mm before a surface; a ray that creeps along one may stop earlier.
        assert at_surface.distance.abs().quantile(0.999) < 1e-4
        assert at_surface.distance.abs().max() < 1e-3
        share = np.linspace(0.02, 0.98, 25)[:, None, None]  # nothing stands in the way
        between = (pose[:, 3] + share * (points[::17] - pose[:, 3])).reshape(-1, 3)
        assert label_points(room, torch.tensor(between, dtype=torch.float32)).distance.min() > 0


def test_labels_of_points_are_those_of_their_pixels(room, views):
    camera, poses, images = views
    for pose, image in zip(poses, images):
        points = unproject(camera, pose, image.depth).reshape(-1, 3)
        found = label_points(room, torch.tensor(points, dtype=torch.float32)).labels
        for level in LEVELS:  # where two solids touch either may be nearer
            assert (found[level].cpu().numpy() == image.labels[level].reshape(-1)).mean() > 0.99


def test_views_agree_on_depth_and_labels(views):
    camera, poses, images = views
    shared = 0
    for a, b in ((0, 1), (1, 2), (3, 0), (4, 7), (8, 5)):
        points = unproject(camera, poses[a], images[a].depth).reshape(-1, 3)
        seen, row, column = seen_from(camera, poses[b], images[b].depth, points, 0.01)
        shared += seen.sum()
        labels = images[b].labels["part"]
        around = np.stack([np.roll(labels, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
        same = (around[:, row, column] == images[a].labels["part"].reshape(-1)).any(0)
        assert same[seen].mean() > 0.98  # the rest lies on borders, where 1 cm reaches another part
    assert shared > 5000


def test_a_camera_outside_sees_nothing(room):
    pose = look_at(np.array([0.0, 0.0, 9.0]), np.array([0.1, 0.0, 20.0]))
    image = render_scene(room, sample_camera(9, 8), pose)
    assert image.depth.max() == 0
    assert all(image.labels[level].max() == 0 for level in LEVELS)


def test_same_seed_same_room_other_seed_other_room(views, device):
    camera, poses, images = views
    again, other = (render_scene(build_scene(seed=seed, texel=0.5), camera, poses[0]) for seed in (0, 1))
    np.testing.assert_array_equal(again.colour, images[0].colour)
    np.testing.assert_array_equal(again.depth, images[0].depth)
    assert (other.colour != images[0].colour).mean() > 0.5
    assert (other.depth != images[0].depth).mean() > 0.1


def test_pictures_are_neither_dark_nor_flat(views):
    for image in views[2]:
        assert 60 < image.colour.mean() < 200
        assert image.colour.std() > 20


def test_render_refuses_lenses_and_other_poses(room):
    camera = sample_camera(8, 8)
    with pytest.raises(ValueError, match="c2w: expected shape"):
        render_scene(room, camera, np.eye(3))
    with pytest.raises(ValueError, match="pinhole"):
        render_scene(room, replace(camera, model=CameraModel.FISHEYE), np.eye(4))
