"""The builder: axes, turns, and the names that solids are filed under."""

import numpy as np
import pytest

from omniseg_sample_scenes.builder import LEVELS, Builder, Paint, linear_colour, rotation

AABB = np.array([[-1.0, -1.0, 0.0], [1.0, 1.0, 2.0]])
WHITE = Paint("#ffffff")


def test_turns_are_roll_then_pitch_then_yaw():
    # By hand: roll 90 takes z to x, pitch 90 takes y to z, yaw 90 takes x to y.
    np.testing.assert_allclose(rotation(roll=90) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rotation(pitch=90) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation(yaw=90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    both = rotation(yaw=30) @ rotation(pitch=20) @ rotation(roll=10)
    np.testing.assert_allclose(rotation(30, 20, 10), both, atol=1e-12)


def test_a_box_lies_where_its_builder_stands():
    b = Builder(np.random.default_rng(0))
    with b.at((1, 0, 0), yaw=90).group("group") as g, g.object("thing") as o:
        o.box("part", (0.5, 0, 0), (0.2, 0.4, 0.6), WHITE)
    row = b.finish(AABB, []).shapes[0]
    np.testing.assert_allclose(row[:3], [1, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(row[3:12].reshape(3, 3), rotation(yaw=90).T, atol=1e-6)
    np.testing.assert_allclose(row[12:], [0.1, 0.2, 0.3, 0, 0.1, 0.2, 0.3, 0], atol=1e-6)


def test_one_name_in_one_object_is_one_part():
    b = Builder(np.random.default_rng(0))
    with b.group("group") as g:
        for name in ("chair 1", "chair 2"):
            with g.object(name) as o:
                for part in ("leg", "leg", "seat"):
                    o.ball(part, (0, 0, 0), 0.1, WHITE)
    plan = b.finish(AABB, [])
    assert [plan.ids[level].tolist() for level in LEVELS] == [[1, 1, 2, 3, 3, 4], [1, 1, 1, 2, 2, 2], [1] * 6]
    assert plan.names["part"][3].name == "chair 2: leg"


def test_solids_outside_of_an_object_are_refused():
    b = Builder(np.random.default_rng(0))
    with pytest.raises(ValueError, match="'leg': add it inside of a group and an object"):
        b.ball("leg", (0, 0, 0), 0.1, WHITE)


def test_lights_are_padded_and_end_with_their_solid():
    lights = Builder(np.random.default_rng(0)).finish(AABB, [([1, 2, 3, 4, 5, 6, 7], 5), ([0] * 8, 2)]).lights
    assert lights.tolist() == [[1, 2, 3, 4, 5, 6, 7, 0, 5], [0] * 8 + [2]]


def test_colours_are_linear():
    np.testing.assert_allclose(linear_colour("#ff8000"), [1, 0.2158605, 0], atol=1e-6)  # sRGB, IEC 61966-2-1
