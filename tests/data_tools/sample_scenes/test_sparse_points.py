"""Sparse points: on surfaces, seen by three photos, as exact as triangulation, and readable as COLMAP's."""

import numpy as np
import pytest

from omniseg.cameras import Camera, look_at
from omniseg.data.formats.colmap import read_model
from omniseg_sample_scenes.render import SampleImage
from omniseg_sample_scenes.sparse_points import MIN_TRACK, PIXEL_ERROR, find_points, write_model

CAMERA = Camera(64, 48, 60.0, 60.0, 32.0, 24.0)


def photos(distance: float):
    """Return cameras in a row before a textured wall at z = `distance`, and their photos."""
    poses = np.stack([np.hstack([np.eye(3), [[0.25 * k], [0.1 * (k % 2)], [0.0]]]) for k in range(8)])
    noise = np.random.default_rng(0)
    depth = np.full((48, 64), distance, dtype=np.float32)
    images = [SampleImage(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8), depth, {}) for _ in poses]
    return images, poses


@pytest.fixture
def near():
    images, poses = photos(3.0)
    return find_points(images, CAMERA, poses, 300, np.random.default_rng(1)), poses


def test_as_many_points_as_asked_each_seen_by_three(near):
    points, poses = near
    assert points.xyz.shape == (300, 3)
    assert points.seen.shape == (300, len(poses))
    assert points.seen.sum(1).min() >= MIN_TRACK


def test_points_lie_where_their_pixels_see_them(near):
    points, poses = near
    for p in range(0, 300, 29):
        for v in np.flatnonzero(points.seen[p]):
            x, y, z = (points.xyz[p] - poses[v, :, 3]) @ poses[v, :, :3]
            found = np.array([60.0 * x / z + 32.0, 60.0 * y / z + 24.0])
            assert np.abs(found - points.pixels[p, v]).max() < 6 * PIXEL_ERROR
    assert 0.3 * PIXEL_ERROR < points.errors.mean() < 2 * PIXEL_ERROR


def test_far_points_are_less_exact(near):
    images, poses = photos(12.0)
    far = find_points(images, CAMERA, poses, 300, np.random.default_rng(1))
    error = np.median(np.abs(near[0].xyz[:, 2] - 3.0)), np.median(np.abs(far.xyz[:, 2] - 12.0))
    # By hand: depth changes by z^2 / (f b) for each pixel, with a baseline b of about a metre.
    assert error[0] < 3.0**2 / 60.0
    assert 4 < error[1] / error[0] < 40


def test_what_has_no_depth_or_no_texture_has_no_points():
    images, poses = photos(3.0)
    sky = [SampleImage(image.colour, 0 * image.depth, {}) for image in images]
    flat = [SampleImage(0 * image.colour, image.depth, {}) for image in images]
    for empty in (sky, flat):
        assert find_points(empty, CAMERA, poses, 50, np.random.default_rng(0)).xyz.shape == (0, 3)


def test_a_smooth_slope_of_grey_has_too_little_texture_to_matter():
    images, poses = photos(3.0)
    row, column = np.indices((48, 64))
    slope = np.repeat((2 * row + 3 * column)[..., None] % 256, 3, -1).astype(np.uint8)  # texture there rounds below 0
    points = find_points([SampleImage(slope, images[0].depth, {})] * 8, CAMERA, poses, 50, np.random.default_rng(0))
    assert np.isfinite(points.xyz).all()


def test_points_behind_something_are_not_seen():
    images, poses = photos(3.0)
    hidden = [SampleImage(image.colour, image.depth / 2, {}) for image in images[4:]]
    points = find_points([*images[:4], *hidden], CAMERA, poses, 200, np.random.default_rng(0))
    on_wall = np.abs(points.xyz[:, 2] - 3.0) < 0.5
    assert on_wall.sum() > 20
    assert not points.seen[on_wall][:, 4:].any()


def test_colmap_reads_the_model(near, tmp_path):
    points, poses = near
    turned = np.stack([look_at(pose[:, 3], np.array([0.3, 0.2, 3.0]))[:3] for pose in poses])
    write_model(tmp_path, points, CAMERA, turned, [f"{k}.png" for k in range(8)])
    model = read_model(tmp_path)
    assert list(model.cameras.values()) == [CAMERA]
    assert [image.name for image in model.images] == [f"{k}.png" for k in range(8)]
    np.testing.assert_allclose([image.c2w for image in model.images], turned, atol=1e-12)
    np.testing.assert_allclose(model.points.xyz, points.xyz, atol=1e-6)
    np.testing.assert_array_equal(model.points.track, points.seen.sum(1))


def test_pycolmap_agrees_with_the_tracks(near, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    points, poses = near
    write_model(tmp_path, points, CAMERA, poses, [f"{k}.png" for k in range(8)])
    model = pycolmap.Reconstruction(tmp_path)
    assert model.num_points3D() == 300
    for p in (1, 150, 300):
        track = {(element.image_id, element.point2D_idx) for element in model.points3D[p].track.elements}
        assert {image for image, _ in track} == {int(v) + 1 for v in np.flatnonzero(points.seen[p - 1])}
        for image, index in track:
            np.testing.assert_allclose(
                model.images[image].points2D[index].xy, points.pixels[p - 1, image - 1], atol=1e-3
            )
