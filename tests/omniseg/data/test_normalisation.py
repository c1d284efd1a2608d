import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniseg.cameras import Camera
from omniseg.cameras.poses import checked_pose, opengl_to_opencv
from omniseg.config import MarchingConfig
from omniseg.data.formats import read_scene
from omniseg.data.normalisation import Normalisation, place
from omniseg.data.scene import Scene, View, capture_kind
from omniseg.errors import InputError
from scene_files import IDENTITY, inverse_c2w, look_at, orbit, real_capture, sideways

CAMERA = Camera(240, 160, 200.0, 200.0, 120.0, 80.0)
HALF_VIEW = 80 / 200


def make_scene(poses, kind="unbounded", **kwargs) -> Scene:
    from pathlib import Path

    views = tuple(View(f"{i:04d}", {1: Path(f"{i}.png")}, CAMERA, pose) for i, pose in enumerate(poses))
    return Scene(Path("capture"), "colmap", kind, views, **kwargs)


def moved(poses, rotation, shift, scale):
    """The same capture in another reconstruction's coordinates."""
    position = scale * poses[:, :, 3] @ rotation.T + shift
    return np.concatenate([rotation @ poses[:, :, :3], position[:, :, None]], axis=2)


def random_rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def bound(placement):
    """Half edge of the outermost cube."""
    return MarchingConfig(cascades=placement.cascades).bound


def scene_poses(scene, placement):
    return placement.normalisation.c2w(np.stack([view.c2w for view in scene.views]))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_similarity_and_its_inverse(seed, scale):
    rng = np.random.default_rng(seed)
    normalisation = Normalisation(scale, random_rotation(seed), rng.normal(size=3))
    x = rng.normal(size=(5, 3))
    np.testing.assert_allclose(normalisation.inverse_points(normalisation.points(x)), x, atol=1e-9)
    poses = orbit(3)
    np.testing.assert_allclose(inverse_c2w(normalisation, normalisation.c2w(poses)), poses, atol=1e-9)
    # A point one unit in front of a camera stays in front of it, `scale` away.
    ahead = poses[:, :, 3] + poses[:, :, 2]
    out = normalisation.c2w(poses)
    np.testing.assert_allclose(normalisation.points(ahead), out[:, :, 3] + scale * out[:, :, 2], rtol=1e-9, atol=1e-9)
    saved = Normalisation.from_dict(json.loads(json.dumps(normalisation.to_dict())))
    np.testing.assert_array_equal(saved.points(x), normalisation.points(x))


def test_identity_changes_nothing():
    x = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(IDENTITY.points(x), x)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0},
        {"scale": "big"},
        {"rotation": [1, 2]},
        {"translation": [0, 0, float("nan")]},
        {"scale": None},
    ],
)
def test_a_damaged_dictionary(change):
    with pytest.raises(ValueError, match="normalisation"):
        Normalisation.from_dict({**IDENTITY.to_dict(), **change})


def test_a_box_fills_the_cube():
    box = np.array([[-3.0, -2.0, 0.0], [3.0, 2.0, 2.5]])
    placement = place(make_scene(orbit(5), "replica", aabb=box))
    corners = placement.normalisation.points(box)
    np.testing.assert_allclose(corners.mean(0), 0, atol=1e-12)
    assert 0.9 < corners.max() < 1  # a little volume is left behind the walls
    assert (placement.cascades, placement.box[0]) == (1, 1.0)


def test_nerf_synthetic_has_a_known_box():
    placement = place(make_scene(orbit(20, radius=4.0, height=0.5), "synthetic"))
    assert placement.normalisation.scale == pytest.approx(2 / 3)
    np.testing.assert_array_equal(placement.normalisation.translation, 0)
    np.testing.assert_array_equal(placement.normalisation.rotation, np.eye(3))
    assert placement.cascades == 1
    assert placement.near < 4 * 2 / 3 - np.sqrt(3)  # nothing of the cube is cut off


def test_other_objects_without_surroundings():
    target = np.array([10.0, -5.0, 2.0])
    scene = make_scene(orbit(12, radius=1.0, height=0.3, target=target), "synthetic")
    placement = place(scene)
    np.testing.assert_allclose(placement.normalisation.points(target), 0, atol=1e-6)
    assert placement.cascades == 1
    assert placement.normalisation.scale == pytest.approx(1 / (np.hypot(1, 0.3) * HALF_VIEW), rel=1e-3)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100.0), n=st.integers(3, 20), height=st.floats(0.0, 3.0))
def test_an_orbit_is_placed_alike_in_any_coordinates(seed, scale, n, height):
    poses = orbit(n, height=height)
    here = place(make_scene(poses))
    there_poses = moved(poses, random_rotation(seed), np.random.default_rng(seed).normal(size=3) * 10, scale)
    there = place(make_scene(there_poses))
    assert there.cascades == here.cascades
    assert there.near == pytest.approx(here.near, rel=1e-3)
    ours, theirs = scene_poses(make_scene(poses), here), scene_poses(make_scene(there_poses), there)
    np.testing.assert_allclose(theirs[:, 2], ours[:, 2], atol=1e-3)  # heights, up to a turn around z
    np.testing.assert_allclose(
        np.linalg.norm(theirs[:, :2, 3], axis=1), np.linalg.norm(ours[:, :2, 3], axis=1), rtol=1e-3
    )
    assert (-theirs[:, 2, 1] > 0).all()  # z is up
    assert np.abs(theirs[:, :, 3]).max() <= bound(there)


def test_a_capture_from_one_side_faces_y():
    placement = place(make_scene(moved(sideways(7), random_rotation(3), np.ones(3), 2.0), "forward"))
    forward = scene_poses(make_scene(moved(sideways(7), random_rotation(3), np.ones(3), 2.0)), placement)[:, :, 2]
    np.testing.assert_allclose(forward.mean(0), [0, 1, 0], atol=1e-6)


def test_points_tell_what_a_forward_capture_looks_at():
    rng = np.random.default_rng(0)
    wall = np.stack([rng.uniform(-3, 3, 2000), rng.normal(0, 0.1, 2000), rng.uniform(-2, 2, 2000)], axis=1)
    placement = place(make_scene(sideways(9, distance=5.0), "forward", points=wall))
    np.testing.assert_allclose(placement.normalisation.inverse_points(np.zeros(3)), 0, atol=0.2)
    # The larger half view, 120 / 200, at distance 5 becomes 1.
    assert placement.normalisation.scale == pytest.approx(1 / 3, rel=0.03)
    nearest = 4.7 * placement.normalisation.scale
    assert 0.5 * nearest < placement.near < 0.8 * nearest


def test_points_outvote_nearly_parallel_axes_that_cross_elsewhere():
    poses = np.stack([look_at([x, -5, 0], [0.6 * x, -3, 0]) for x in np.linspace(-1.5, 1.5, 9)])  # cross at y = 0
    wall = np.random.default_rng(0).normal([0, 20, 0], [3, 0.1, 3], (500, 3))
    centre = place(make_scene(poses, "forward", points=wall)).normalisation.inverse_points(np.zeros(3))
    np.testing.assert_allclose(centre, [0, 20, 0], atol=1)


def test_far_background_adds_cascades_up_to_a_limit():
    rng = np.random.default_rng(0)
    near = rng.normal(0, 0.5, (900, 3))
    for distance, cascades in ((2.0, 3), (10.0, 4), (1e4, 8)):
        far = rng.normal(size=(100, 3))
        far *= distance / np.linalg.norm(far, axis=1, keepdims=True)
        assert place(make_scene(orbit(9), points=np.concatenate([near, far]))).cascades == cascades


def test_instant_ngp_tells_the_extent():
    assert place(make_scene(orbit(9), extent=12.0)).cascades == 4
    assert place(make_scene(orbit(9), extent=0.5)).cascades == 3  # the cameras need that much


def test_cameras_inside_looking_around():
    eyes = np.random.default_rng(0).uniform(-1, 1, (30, 3)) * [1, 1, 0.1]
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    poses = [look_at(eye, np.add(eye, [np.cos(a), np.sin(a), 0])) for eye, a in zip(eyes, angles)]
    walls = np.random.default_rng(1).uniform(-3, 3, (3000, 3))
    walls[:, 0] = np.sign(walls[:, 0]) * 3
    with_points = place(make_scene(poses, points=walls))
    assert np.abs(with_points.normalisation.inverse_points(np.zeros(3))).max() < 1.6
    assert 1 / 5 < with_points.normalisation.scale < 1 / 2
    without = place(make_scene(poses))
    assert np.abs(without.normalisation.inverse_points(np.zeros(3))).max() < 0.5
    assert without.near < 0.5


@pytest.mark.parametrize("kind", ["unbounded", "forward", "synthetic"])
@pytest.mark.parametrize(
    "poses",
    [
        orbit(1),
        np.stack([look_at([5, 5, 5 + 1e-6 * a], [5 + np.cos(a), 5 + np.sin(a), 5]) for a in range(6)]),
        np.stack([look_at([x, 0, 0], [x, 1, 0]) for x in range(4)]),
        np.stack([look_at([x, 0, 9], [x, 0, 0], up=[0, 1, 0]) for x in range(4)]),
        np.stack([look_at([0, 0, z], [0, 0, -9], up=[0, 1, 0]) for z in range(3)]),
    ],
    ids=[
        "one",
        "turning nearly on the spot",
        "parallel",
        "looking down",
        "moving ahead",
    ],
)
@pytest.mark.parametrize("with_points", [False, True])
def test_degenerate_captures_are_placed(kind, poses, with_points):
    points = np.random.default_rng(0).normal(size=(100, 3)) if with_points else None
    placement = place(make_scene(poses, kind, points=points))
    normalisation = placement.normalisation
    assert 1e-6 < normalisation.scale < 1e6
    np.testing.assert_allclose(normalisation.rotation @ normalisation.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(normalisation.rotation) > 0
    assert np.isfinite(normalisation.translation).all()
    assert placement.near >= 0.02
    assert 1 <= placement.cascades <= 5


def test_nan_pose_names_the_view():
    poses = orbit(4)
    poses[2, 1, 1] = np.nan
    with pytest.raises(InputError, match=r"view 0002 .*NaN"):
        place(make_scene(poses))


def test_a_few_stray_views_do_not_move_the_centre():
    poses = np.concatenate([orbit(30), [look_at([4, 0, 1], [40, 9, 3]), look_at([0, 4, 1], [-20, 50, 0])]])
    placement = place(make_scene(poses))
    np.testing.assert_allclose(placement.normalisation.inverse_points(np.zeros(3)), 0, atol=0.05)


def test_kinds():
    assert capture_kind(sideways(9)) == "forward"
    assert capture_kind(orbit(9)) == "unbounded"
    assert capture_kind(np.stack([look_at([0, y, 0], [0, 99, 0]) for y in range(5)])) == "unbounded"  # a drive
    assert capture_kind(orbit(1)) == "forward"


def test_opengl_axes_twice_is_nothing():
    poses = orbit(3)
    np.testing.assert_array_equal(opengl_to_opencv(opengl_to_opencv(poses)), poses)
    np.testing.assert_array_equal(opengl_to_opencv(poses)[:, :, 3], poses[:, :, 3])


def test_poses_come_out_orthonormal():
    pose = checked_pose(orbit(1)[0] + 1e-4 * np.random.default_rng(0).normal(size=(3, 4)), "file")
    np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-12)


def test_fox_is_placed_alike_by_both_of_its_files():
    colmap = read_scene(real_capture("fox"))
    transforms = read_scene(real_capture("fox") / "transforms.json")
    a, b = place(colmap), place(transforms)
    assert a.cascades == b.cascades
    ours, theirs = scene_poses(colmap, a), scene_poses(transforms, b)
    assert np.linalg.norm(ours[:, :, 3] - theirs[:, :, 3], axis=1).max() < 0.15  # of 2.6
    assert np.degrees(np.arccos(np.clip((ours[:, :, 2] * theirs[:, :, 2]).sum(1), -1, 1))).max() < 3
    assert 0.3 < b.near < a.near < 1
    assert np.abs(ours[:, :, 3]).max() < bound(a)


def test_fern_is_placed_alike_by_both_of_its_files(tmp_path):
    colmap = read_scene(real_capture("fern"))
    for name in ("poses_bounds.npy", "images_8"):
        (tmp_path / name).symlink_to(real_capture("fern") / name)
    llff = read_scene(tmp_path)
    a, b = place(colmap), place(llff)
    assert a.cascades == b.cascades
    assert a.near == pytest.approx(b.near, rel=0.2)
    ours, theirs = scene_poses(colmap, a), scene_poses(llff, b)
    assert np.linalg.norm(ours[:, :, 3] - theirs[:, :, 3], axis=1).max() < 0.1  # of 1.6
    points = a.normalisation.points(colmap.points)
    assert (np.abs(points).max(1) < 1).mean() > 0.8
    assert (np.abs(points).max(1) < bound(a)).mean() > 0.98


def test_lego_is_placed_in_its_known_box():
    placement = place(read_scene(real_capture("lego")))
    assert placement.normalisation.scale == pytest.approx(2 / 3)
    assert placement.cascades == 1


def test_placement_needs_no_change_of_the_scene():
    scene = make_scene(orbit(4))
    assert place(scene).near == place(replace(scene)).near


GEOREFERENCED = np.array([448262.0, 5411932.0, 230.0])


@pytest.mark.parametrize("size", [0.05, 1.0, 300.0])
@pytest.mark.parametrize("with_points", [False, True])
@pytest.mark.parametrize("path", [orbit, sideways], ids=["around", "sideways"])
def test_georeferenced_captures_are_placed_as_if_at_the_origin(size, with_points, path):
    poses = path(12)
    poses[:, :, 3] *= size
    kind = capture_kind(poses)
    points = size * np.random.default_rng(0).normal(size=(400, 3)) if with_points else None
    far = poses.copy()
    far[:, :, 3] += GEOREFERENCED
    here = make_scene(poses, kind, points=points)
    there = make_scene(far, kind, points=None if points is None else points + GEOREFERENCED)
    want, got = place(here), place(there)
    assert got.normalisation.scale == pytest.approx(want.normalisation.scale, rel=1e-5)
    assert (got.cascades, got.near) == (want.cascades, pytest.approx(want.near, rel=1e-5))
    np.testing.assert_allclose(scene_poses(there, got), scene_poses(here, want), atol=1e-5)


@pytest.mark.parametrize("shift", [np.zeros(3), GEOREFERENCED], ids=["origin", "georeferenced"])
def test_cameras_at_one_place_are_refused(shift):
    poses = orbit(5)
    poses[:, :, 3] = shift
    with pytest.raises(InputError, match="all 5 cameras stand at one place"):
        place(make_scene(poses))
    with pytest.raises(InputError, match="all 5 poses are identical"):
        place(make_scene(poses[[0] * 5], aabb=np.array([[-1.0] * 3, [1.0] * 3])))
    place(make_scene(poses[:1]))
    turning = make_scene(poses)
    measured = tuple(replace(view, depth_path=view.image_path) for view in turning.views)
    place(replace(turning, views=measured))  # depth images say how far things are
