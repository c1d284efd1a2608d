"""Gestures from presses, moves and releases, without a session."""

import pytest

from omniseg.viewer.gestures import BoxGesture, ClickGesture, DragGesture, Gestures, StrokeGesture
from omniseg.viewer.panes import Pane, four_panes

PANE = Pane(0, 0, 80, 40)


def gestures_of(button, *points: tuple[float, float], pane: Pane = PANE, **options) -> list:
    """All that a press, moves and a release report."""
    gestures = Gestures()
    gestures.press(button, *points[0], pane, **options)
    reported = [gestures.move(*point) for point in points[1:]]
    return [gesture for gesture in (*reported, gestures.release(*points[-1])) if gesture is not None]


@pytest.mark.parametrize(
    ("button", "reject", "accept"),
    [("left", False, True), ("left", True, False), ("right", False, False), ("right", True, False)],
)
@pytest.mark.parametrize("tool", ["click", "box", "stroke"])
def test_a_hand_that_is_not_quite_still_clicks_where_it_pressed(button, reject: bool, accept: bool, tool):
    found = gestures_of(button, (20.0, 10.0), (24.0, 6.0), (21.0, 10.0), tool=tool, reject=reject)
    assert found == [ClickGesture((0.25, 0.25), accept)]


def test_the_middle_button_does_not_click():
    assert gestures_of("middle", (20.0, 10.0), (22.0, 10.0)) == []


@pytest.mark.parametrize(
    ("button", "reject", "kind"),
    [("left", False, "orbit"), ("left", True, "pan"), ("middle", False, "pan"), ("right", False, "zoom")],
)
def test_a_drag_is_reported_move_by_move(button, reject: bool, kind):
    found = gestures_of(button, (20.0, 10.0), (25.0, 12.0), (25.0, 12.0), (26.0, 9.0), reject=reject)
    assert found == [DragGesture(kind, 5.0, 2.0, PANE), DragGesture(kind, 1.0, -3.0, PANE)]


def test_a_drag_that_comes_back_is_no_click():
    found = gestures_of("left", (20.0, 10.0), (30.0, 10.0), (20.0, 10.0))
    assert [gesture.dx for gesture in found] == [10.0, -10.0]


def test_a_release_elsewhere_ends_a_drag_there():
    gestures = Gestures()
    gestures.press("left", 20.0, 10.0, PANE)
    assert gestures.release(40.0, 10.0) == DragGesture("orbit", 20.0, 0.0, PANE)
    assert gestures.move(50.0, 10.0) is None
    assert gestures.release(50.0, 10.0) is None


def test_box():
    assert gestures_of("left", (20.0, 10.0), (30.0, 30.0), (60.0, 20.0), tool="box") == [
        BoxGesture((0.25, 0.25), (0.75, 0.5))
    ]


@pytest.mark.parametrize(("button", "reject", "kind"), [("left", True, "pan"), ("right", False, "zoom")])
def test_a_box_takes_nothing_away(button, reject: bool, kind):
    (drag,) = gestures_of(button, (20.0, 10.0), (30.0, 30.0), tool="box", reject=reject)
    assert drag.kind == kind


@pytest.mark.parametrize(("button", "reject"), [("left", False), ("left", True), ("right", False)])
def test_stroke(button, reject: bool):
    (stroke,) = gestures_of(button, (20.0, 10.0), (40.0, 10.0), (40.0, 20.0), tool="stroke", reject=reject)
    assert stroke == StrokeGesture(((0.25, 0.25), (0.5, 0.25), (0.5, 0.5)), button == "left" and not reject)


def test_the_middle_button_pans_whatever_the_tool():
    assert gestures_of("middle", (20.0, 10.0), (30.0, 10.0), tool="stroke") == [DragGesture("pan", 10.0, 0.0, PANE)]


@pytest.mark.parametrize("tool", ["box", "stroke"])
def test_a_sketch_grows_until_the_release(tool):
    gestures = Gestures()
    gestures.press("left", 20.0, 10.0, PANE, tool=tool)
    assert gestures.sketch is None
    gestures.move(40.0, 20.0)
    first = gestures.sketch
    gestures.move(60.0, 20.0)
    assert first is not None
    assert first != gestures.sketch == gestures.release(60.0, 20.0)
    assert gestures.sketch is None


def test_a_second_button_is_ignored():
    gestures = Gestures()
    gestures.press("left", 20.0, 10.0, PANE)
    gestures.press("right", 60.0, 30.0, PANE)
    assert gestures.release(20.0, 10.0) == ClickGesture((0.25, 0.25), True)


def test_a_gesture_stays_in_the_pane_in_which_it_began():
    upper_left, _, _, lower_right = four_panes(81, 41)
    assert gestures_of("left", (41.0, 21.0), pane=lower_right) == [ClickGesture((0.0, 0.0), True)]
    (box,) = gestures_of("left", (10.25, 10.5), (70.0, 50.0), tool="box", pane=upper_left)
    assert box == BoxGesture((0.25, 0.5), (1.0, 1.0))


@pytest.mark.parametrize(("width", "height"), [(80, 40), (81, 41), (1, 1)])
def test_four_panes_cover_the_picture_once(width: int, height: int):
    panes = four_panes(width, height)
    assert all(pane.x + pane.width <= width and pane.y + pane.height <= height for pane in panes)
    for x in range(width):
        for y in range(height):
            assert sum(pane.contains(x, y) for pane in panes) == 1
