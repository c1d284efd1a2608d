"""The controller: mouse, keys and buttons, without a window."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from learned_ball import learned_ball, write_run
from omniseg.api.run import Run
from omniseg.config import SegmentTreeConfig
from omniseg.rendering.visualize import FeatureColours
from omniseg.run_folder import SEGMENTS
from omniseg.selection.session import SegmentationSession
from omniseg.selection.survey import feature_colours
from omniseg.selection.tree_building import build_tree, surface_points
from omniseg.viewer import actions
from omniseg.viewer.controller import Controller, Message
from omniseg.viewer.gestures import BoxGesture
from omniseg.viewer.keymap import HELP, KEYS, hold
from omniseg.viewer.live_view import LiveView
from omniseg.viewer.panels import SHOWN

WIDTH, HEIGHT = 80, 60
BALL = 40.0, 30.0
BESIDE = 2.0, 2.0


@pytest.fixture(scope="module")
def colours(device: torch.device) -> FeatureColours:
    return feature_colours(learned_ball(device))


@pytest.fixture
def controller(device: torch.device, colours: FeatureColours, tmp_path: Path) -> Controller:
    """A controller that has rendered its first view."""
    model = learned_ball(device)
    session = SegmentationSession(model, "f")
    live = LiveView(session, colours, model.viewpoints)
    live.size = WIDTH, HEIGHT
    controller = Controller(session, live, tmp_path / "run")
    settle(controller)
    return controller


def settle(controller: Controller) -> None:
    while controller.update():
        pass


def drag(controller: Controller, *points: tuple[float, float], button="left", modified: bool = False) -> None:
    controller.press(button, *points[0], modified)
    for point in points[1:]:
        controller.move(*point)
    controller.release(*points[-1])


def direct(controller: Controller) -> SegmentationSession:
    """Another session that looks at the same."""
    session = SegmentationSession(controller.session.model, "f")
    session.look(controller.live.camera.cameras(WIDTH, HEIGHT))
    return session


def same_edits(a: SegmentationSession, b: SegmentationSession) -> bool:
    return [s.clicks for s in a.selections.all] == [s.clicks for s in b.selections.all] and all(
        x.threshold == pytest.approx(y.threshold, abs=1e-6) for x, y in zip(a.selections.all, b.selections.all)
    )


def test_a_click_is_passed_to_the_session(controller: Controller):
    other = direct(controller)
    for at, button, modified in ((BALL, "left", False), ((44.0, 35.0), "right", False), ((36.0, 25.0), "left", True)):
        drag(controller, at, (at[0] + 3, at[1]), button=button, modified=modified)  # a hand is not quite still
        assert controller.message == Message(str(other.click(*at, accept=button == "left" and not modified)))
        assert same_edits(controller.session, other)
    assert not controller.message.is_refusal
    drag(controller, BESIDE)
    assert "nothing is there" in controller.message.text
    assert controller.message.is_refusal
    drag(controller, BALL, button="middle")
    assert same_edits(controller.session, other)


def test_clicks_can_be_switched_off(controller: Controller):
    controller.click_selects = False
    drag(controller, BALL)
    assert "switched off" in controller.message.text
    assert controller.message.is_refusal
    controller.tool = "box"
    before = controller.live.camera
    drag(controller, BALL, (60.0, 50.0))
    assert controller.live.camera != before, "a drag turns the scene, whatever the tool"
    assert not controller.session.current.clicks


@pytest.mark.parametrize(("button", "modified"), [("left", False), ("left", True), ("middle", False), ("right", False)])
def test_a_drag_moves_the_camera_and_selects_nothing(controller: Controller, button, modified: bool):
    controller.press("left", *BALL)
    controller.release(*BALL)
    edits, message, before = controller.session.selections, controller.message, controller.live.camera
    drag(controller, BALL, (45.0, 30.0), (45.0, 50.0), button=button, modified=modified)
    after = controller.live.camera
    assert controller.session.selections is edits
    assert controller.message == message
    if button == "right":
        assert after.distance > before.distance
        assert (after.heading, after.pitch) == (before.heading, before.pitch)
    elif button == "middle" or modified:
        assert after.target != before.target
        assert (after.heading, after.pitch) == (before.heading, before.pitch)
    else:
        assert after.heading < before.heading
        assert after.pitch < before.pitch


def test_what_is_dragged_stays_under_the_mouse(controller: Controller):
    view = controller.session.view
    assert view is not None
    middle = view.positions[(HEIGHT // 2) * WIDTH + WIDTH // 2]  # half a pixel beside the middle of the picture
    drag(controller, BALL, (52.0, 24.0), button="middle")
    seen = controller.live.camera.cameras(WIDTH, HEIGHT).to(middle.device).project(middle[None]).xy[0, 0]
    assert seen.tolist() == pytest.approx([52.5, 24.5], abs=0.1)


def test_it_turns_around_what_is_in_the_middle(controller: Controller):
    view = controller.session.view
    assert view is not None
    drag(controller, BALL, (50.0, 30.0))
    position = view.positions[(HEIGHT // 2) * WIDTH + WIDTH // 2]
    assert controller.live.camera.target == pytest.approx(position.tolist(), abs=0.05)


def test_a_press_renders_nothing_again(controller: Controller):
    view, before = controller.session.view, controller.live.camera
    controller.press("left", *BALL)
    assert controller.live.camera.target != before.target
    assert not controller.update()
    assert controller.session.view is view


@pytest.mark.parametrize(("column", "row"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_click_in_any_of_four(controller: Controller, column: int, row: int):
    actions.show(controller, "all four")
    settle(controller)
    other = direct(controller)
    drag(controller, (BALL[0] / 2 + column * WIDTH / 2, BALL[1] / 2 + row * HEIGHT / 2))
    assert controller.message == Message(str(other.click(*BALL)))
    assert same_edits(controller.session, other)


def test_box(controller: Controller):
    actions.toggle_tool(controller, "box")
    other = direct(controller)
    controller.press("left", 22.0, 12.0)
    controller.move(50.0, 30.0)
    controller.move(60.0, 50.0)
    assert isinstance(controller.gestures.sketch, BoxGesture)
    assert controller.gestures.sketch.end == pytest.approx((60 / WIDTH, 50 / HEIGHT))
    before = controller.live.camera
    controller.release(60.0, 50.0)
    assert controller.message == Message(str(other.box(22.0, 12.0, 60.0, 50.0)))
    assert same_edits(controller.session, other)
    assert controller.gestures.sketch is None
    assert controller.live.camera == before
    drag(controller, BALL)
    assert controller.message == Message(str(other.click(*BALL))), "a tool in hand, a click is a click"


@pytest.mark.parametrize(("button", "modified"), [("left", False), ("left", True), ("right", False)])
def test_stroke(controller: Controller, button, modified: bool):
    actions.toggle_tool(controller, "stroke")
    other = direct(controller)
    points = [(30.0, 30.0), (40.0, 32.0), (45.0, 28.0)]
    drag(controller, *points, button=button, modified=modified)
    assert controller.message == Message(str(other.scribble(points, accept=button == "left" and not modified)))
    assert len(controller.session.current.clicks) == len(other.current.clicks) > 2
    actions.toggle_tool(controller, "stroke")
    assert controller.tool == "click"


def test_a_picture_is_drawn_only_when_something_changes(controller: Controller):
    picture = controller.picture()
    assert controller.picture() is picture
    assert picture.shape == (HEIGHT, WIDTH, 3)
    for change in (
        lambda: drag(controller, BALL),
        lambda: controller.act(KEYS["f"]),
        lambda: controller.act(KEYS["u"]),
        lambda: controller.act(KEYS[" "]),
        lambda: (drag(controller, BALL, (60.0, 30.0)), settle(controller)),
    ):
        change()
        before, picture = picture, controller.picture()
        assert picture is not before
        assert controller.picture() is picture


@pytest.mark.parametrize("shown", SHOWN)
def test_every_kind_of_picture_fills_the_window(controller: Controller, shown):
    actions.show(controller, shown)
    drag(controller, BALL)
    for size in ((81, 63), (200, 30)):
        controller.live.size = size
        settle(controller)
        assert controller.picture().shape == (size[1], size[0], 3)


def test_a_moving_camera_is_seen_moving_and_then_sharp(controller: Controller):
    controller.live.size, controller.live._frames.budget = (
        (640, 480),
        1e-6,
    )  # even the coarsest picture takes several steps
    shown = set()
    for _ in range(40):
        hold(controller.live, {"d"}, 0.01)
        controller.update()
        shown.add(controller.session.view)
    assert len(shown) > 5
    controller.live.size, controller.live._frames.budget = (WIDTH, HEIGHT), 0.04
    settle(controller)
    view = controller.session.view
    assert view is not None
    assert (view.width, view.height) == (WIDTH, HEIGHT)
    assert view.cameras.c2w.equal(controller.live.camera.cameras(WIDTH, HEIGHT).c2w)
    controller.live.render_width = 20
    hold(controller.live, {"d"}, 0.01)
    settle(controller)
    assert controller.session.view.width == 20
    assert controller.picture().shape == (HEIGHT, WIDTH, 3)


def test_keys_that_are_held(controller: Controller):
    eye, z = np.array(controller.live.camera.eye), controller.live.camera.eye[2]
    hold(controller.live, {"w", "e"}, 1.0)
    assert np.linalg.norm(controller.live.camera.eye) < np.linalg.norm(eye) or controller.live.camera.eye[2] > z
    hold(controller.live, {"s", "q"}, 1.0)
    assert np.array(controller.live.camera.eye) == pytest.approx(eye, abs=1e-5)
    distance = controller.live.camera.distance
    hold(controller.live, {"i"}, 0.1)
    assert controller.live.camera.distance < distance
    hold(controller.live, set(), 1.0)


def test_photos_one_after_the_other(controller: Controller):
    names, cameras = controller.live.viewpoints.names, controller.live.viewpoints.cameras
    for key, view in (("right", 1), ("left", 0), ("left", len(names) - 1), ("right", 0)):
        controller.act(KEYS[key])
        assert controller.message == Message(f"photo {view + 1} of {len(names)}: {names[view]}")
        assert controller.live.camera.eye == pytest.approx(cameras.c2w[view, :, 3].tolist(), abs=1e-5)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_answers(controller: Controller, key: str):
    controller.message = Message("")
    controller.act(KEYS[key])
    assert controller.message.text
    drag(controller, BALL)
    controller.act(KEYS[key])


def test_edits_by_key(controller: Controller):
    drag(controller, BALL)
    one = controller.session.selections
    controller.act(KEYS["n"])
    assert len(controller.session.selections.all) == 2
    controller.act(KEYS["tab"])
    assert controller.session.selections.active == 0
    controller.act(KEYS["c"])
    assert not controller.session.current.clicks
    for _ in range(3):
        controller.act(KEYS["ctrl+z"])
    assert controller.session.selections == one
    controller.act(KEYS["ctrl+y"])
    assert len(controller.session.selections.all) == 2
    controller.act(KEYS["m"])
    assert controller.session.mode == "multi"


def test_save_and_load(controller: Controller):
    controller.act(KEYS["ctrl+l"])
    assert "cannot be read" in controller.message.text
    drag(controller, BALL)
    kept = controller.session.selections
    controller.act(KEYS["ctrl+s"])
    assert controller.message == Message("saved run/selections.json")
    assert controller.files.take_written() == [controller.files.folder / "selections.json"]
    controller.act(KEYS["c"])
    controller.act(KEYS["ctrl+l"])
    assert controller.session.selections == kept


def test_screenshots_are_numbered(controller: Controller):
    for number in ("0000", "0001"):
        controller.act(KEYS["p"])
        assert controller.message == Message(f"saved run/screenshots/{number}.png")
        assert not controller.message.is_refusal
    saved = cv2.imread(str(controller.files.folder / "screenshots" / "0001.png"))
    assert (saved[..., ::-1] == controller.picture()).all()


def test_export(controller: Controller):
    controller.act(KEYS["x"])
    assert "nothing is selected" in controller.message.text
    drag(controller, BALL)
    hold(controller.live, {"d"}, 0.1)
    controller.act(KEYS["x"])
    assert "as soon as" in controller.message.text
    settle(controller)
    out = controller.files.folder / "exports" / "0000"
    assert controller.message.text.endswith("run/exports/0000")
    mask = cv2.imread(str(out / "masks" / "selection 1" / "view.png"), cv2.IMREAD_UNCHANGED)
    cut = cv2.imread(str(out / "cutouts" / "selection 1" / "view.png"), cv2.IMREAD_UNCHANGED)
    assert ((mask > 0) == controller.session.mask()).all()
    assert cut.shape == (HEIGHT, WIDTH, 4)
    assert (cut[..., 3] == mask).all()
    assert json.loads((out / "selections.json").read_text())["features"] == "f"


def test_a_file_that_cannot_be_written_is_a_refusal(controller: Controller):
    controller.files.folder.write_text("no folder")
    drag(controller, BALL)
    for key in ("ctrl+s", "p", "x"):
        controller.act(KEYS[key])
        controller.update()
        assert "cannot be written" in controller.message.text
        assert controller.message.is_refusal
    assert not controller.files.take_written()


def test_unsaved_selections_are_lost_only_on_purpose(controller: Controller):
    drag(controller, BALL)
    controller.act(KEYS["escape"])
    assert not controller.should_close
    assert "not saved" in controller.message.text
    drag(controller, (45.0, 30.0))
    controller.act(KEYS["escape"])
    assert not controller.should_close, "another edit, another question"
    controller.act(KEYS["escape"])
    assert controller.should_close


def test_undone_edits_are_no_reason_to_ask(controller: Controller):
    drag(controller, BALL)
    controller.act(KEYS["ctrl+s"])
    drag(controller, (45.0, 30.0))
    controller.act(KEYS["u"])
    controller.act(KEYS["escape"])
    assert controller.should_close


def test_with_saved_selections_or_none_the_window_closes_at_once(controller: Controller):
    drag(controller, BALL)
    controller.act(KEYS["ctrl+s"])
    controller.act(KEYS["escape"])
    assert controller.should_close


def test_a_click_closes_the_help_and_does_nothing_else(controller: Controller):
    controller.act(KEYS["h"])
    assert controller.show_help
    drag(controller, BALL)
    assert not controller.show_help
    assert not controller.session.current.clicks
    assert max(map(len, HELP.splitlines())) < 64, "wider than a small window"


def test_segments_of_everything_are_shown_and_kept(controller: Controller):
    model, run = controller.session.model, controller.files.folder
    write_run(run, model)
    assert Controller.from_run(Run(run, model), progress=False).live.segments is None
    controller.act(KEYS["g"])
    assert controller.live.shown == "segments"
    assert (run / SEGMENTS).exists()
    settle(controller)
    coarse = controller.picture()
    controller.act(lambda controller: actions.set_segment_level(controller, 0))
    fine = controller.picture()
    assert len(np.unique(fine.reshape(-1, 3), axis=0)) > len(np.unique(coarse.reshape(-1, 3), axis=0))

    other = Controller.from_run(Run(run, model), render_width=20, progress=False)
    assert other.live.segments is not None
    other.live.size = WIDTH, HEIGHT
    settle(other)
    assert other.session.view.width == 20


@pytest.mark.parametrize("progress", [True, False])
def test_segmenting_everything_shows_bars_unless_told_not_to(controller, capsys, bars_at_once, progress):
    model, run = controller.session.model, controller.files.folder
    write_run(run, model)
    controller = Controller.from_run(Run(run, model), progress=progress)
    capsys.readouterr()
    controller.act(KEYS["g"])
    assert ("surface" in capsys.readouterr().err) == progress


def test_segments_of_a_view_are_computed_once(controller: Controller):
    live, model = controller.live, controller.session.model
    controller.act(lambda controller: actions.set_segment_level(controller, 0))
    assert controller.message.is_refusal, "there are none yet"
    few = SegmentTreeConfig(views=2, rays=4000)
    points = surface_points(replace(model, config=replace(model.config, segment_tree=few)), progress=False)
    live.set_tree(build_tree(*points, few))
    view = controller.session.view
    ids = live.segments.ids(view)
    assert live.segments.ids(view) is ids
    assert ids.shape == (HEIGHT, WIDTH)
    live.segments.level = 0
    assert live.segments.ids(view).max() > ids.max()
    live.size = 40, 30
    settle(controller)
    assert live.segments.ids(controller.session.view).shape == (30, 40)


def test_a_click_on_a_segment_takes_it(controller: Controller):
    few = SegmentTreeConfig(views=2, rays=4000)
    model = controller.session.model
    points = surface_points(replace(model, config=replace(model.config, segment_tree=few)), progress=False)
    controller.live.set_tree(build_tree(*points, few))
    layer = controller.live.segments
    layer.level = 5  # what is finer than the ball's four quarters is parted by nothing but place
    drag(controller, BALL)
    assert "segment" not in controller.message.text, "only where segments are shown"
    actions.show(controller, "segments")
    drag(controller, BALL)
    view = controller.session.view
    number = layer.ids(view)[int(BALL[1]), int(BALL[0])]
    assert controller.message.text.startswith(f"segment {number} of level {layer.level}, ")
    first, taken = controller.session.selections.all
    assert first.clicks, "the selection before it stays"
    wanted, got = layer.ids(view) == number, taken.mask(view)
    assert (wanted & got).sum() > 0.8 * (wanted | got).sum()
    controller.act(KEYS["u"])
    controller.act(KEYS["u"])
    assert controller.session.selections.all == (first,)
    drag(controller, BESIDE)
    assert controller.message == Message("no segment is there; click on one", is_refusal=True)
    assert controller.session.selections.all == (first,)


def test_levels_of_the_slider(controller: Controller):
    assert controller.level() == (0, 0)
    drag(controller, BALL)
    found = controller.session.levels()
    for level in range(len(found)):
        controller.session.set_level(level)
        assert controller.level() == (level, len(found))


def test_people_beside_each_other_have_cameras_and_sessions_of_their_own(controller: Controller):
    other = controller.beside(shares_session=False)
    other.live.size = WIDTH, HEIGHT
    settle(other)
    view = controller.session.view
    drag(other, BALL)
    hold(other.live, {"d"}, 0.1)
    settle(other)
    assert not controller.session.current.clicks
    assert controller.session.view is view


def test_people_who_share_a_session_have_cameras_of_their_own(controller: Controller):
    other = controller.beside(shares_session=True)
    other.take_turn()
    assert controller.session.view is None, "nothing has been rendered for the other"
    drag(other, BALL)
    assert "not there yet" in other.message.text
    other.live.size = 40, 30
    hold(other.live, {"d"}, 0.1)
    settle(other)
    theirs = controller.session.view
    drag(other, (20.0, 15.0))
    controller.take_turn()
    assert controller.session.view is not theirs
    assert controller.session.view.width == WIDTH
    assert len(controller.session.current.clicks) == 1
    controller.act(KEYS["u"])
    other.take_turn()
    assert controller.session.view is theirs
    assert not other.session.current.clicks
