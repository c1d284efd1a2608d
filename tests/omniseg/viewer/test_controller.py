"""What mouse, keys and buttons do, without a window."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from learned_ball import learned_ball, write_run
from omniseg.rendering.visualize import FeatureColours
from omniseg.selection.session import SegmentationSession
from omniseg.selection.survey import feature_colours
from omniseg.selection.tree_building import SEGMENTS
from omniseg.viewer.controller import SHOWN, Workbench
from omniseg.viewer.keymap import HELP, KEYS
from omniseg.viewer.panels import Panels

WIDTH, HEIGHT = 80, 60
BALL = 40.0, 30.0
BESIDE = 2.0, 2.0


@pytest.fixture(scope="module")
def colours(device: torch.device) -> FeatureColours:
    return feature_colours(learned_ball(device))


@pytest.fixture
def bench(device: torch.device, colours: FeatureColours, tmp_path: Path) -> Workbench:
    """One that has rendered its first view."""
    model = learned_ball(device)
    session = SegmentationSession(model, "f")
    bench = Workbench(session, Panels(session, colours), model.viewpoints, tmp_path / "run")
    bench.size = WIDTH, HEIGHT
    settle(bench)
    return bench


def settle(bench: Workbench) -> None:
    while bench.work():
        pass


def drag(bench: Workbench, *points: tuple[float, float], button="left", modified: bool = False) -> None:
    bench.press(button, *points[0], modified)
    for point in points[1:]:
        bench.move(*point)
    bench.release(*points[-1])


def direct(bench: Workbench) -> SegmentationSession:
    """Another session that looks at the same."""
    session = SegmentationSession(bench.session.model, "f")
    session.look(bench.navigation.cameras(WIDTH, HEIGHT))
    return session


def same_edits(a: SegmentationSession, b: SegmentationSession) -> bool:
    return [s.clicks for s in a.selections.all] == [s.clicks for s in b.selections.all] and all(
        x.threshold == pytest.approx(y.threshold, abs=1e-6) for x, y in zip(a.selections.all, b.selections.all)
    )


def test_a_click_is_the_sessions(bench: Workbench):
    other = direct(bench)
    for at, button, modified in ((BALL, "left", False), ((44.0, 35.0), "right", False), ((36.0, 25.0), "left", True)):
        drag(bench, at, (at[0] + 3, at[1]), button=button, modified=modified)  # a hand is not quite still
        assert bench.message == str(other.click(*at, accept=button == "left" and not modified))
        assert same_edits(bench.session, other)
    drag(bench, BESIDE)
    assert "nothing is there" in bench.message
    drag(bench, BALL, button="middle")
    assert same_edits(bench.session, other)


def test_clicks_can_be_switched_off(bench: Workbench):
    bench.selects = False
    drag(bench, BALL)
    assert "switched off" in bench.message
    assert not bench.session.current.clicks


@pytest.mark.parametrize(("button", "modified"), [("left", False), ("left", True), ("middle", False), ("right", False)])
def test_a_drag_moves_the_camera_and_selects_nothing(bench: Workbench, button, modified: bool):
    bench.press("left", *BALL)
    bench.release(*BALL)
    edits, message, before = bench.session.selections, bench.message, bench.navigation
    drag(bench, BALL, (45.0, 30.0), (45.0, 50.0), button=button, modified=modified)
    after = bench.navigation
    assert bench.session.selections is edits
    assert bench.message == message
    if button == "right":
        assert after.distance > before.distance
        assert (after.heading, after.pitch) == (before.heading, before.pitch)
    elif button == "middle" or modified:
        assert after.target != before.target
        assert (after.heading, after.pitch) == (before.heading, before.pitch)
    else:
        assert after.heading < before.heading
        assert after.pitch < before.pitch


def test_what_is_dragged_stays_under_the_mouse(bench: Workbench):
    frame = bench.session.view
    assert frame is not None
    middle = frame.positions[(HEIGHT // 2) * WIDTH + WIDTH // 2]  # half a pixel beside the middle of the picture
    drag(bench, BALL, (52.0, 24.0), button="middle")
    seen = bench.navigation.cameras(WIDTH, HEIGHT).to(middle.device).project(middle[None]).xy[0, 0]
    assert seen.tolist() == pytest.approx([52.5, 24.5], abs=0.1)


def test_it_turns_around_what_is_in_the_middle(bench: Workbench):
    frame = bench.session.view
    assert frame is not None
    drag(bench, BALL, (50.0, 30.0))
    position = frame.positions[(HEIGHT // 2) * WIDTH + WIDTH // 2]
    assert bench.navigation.target == pytest.approx(position.tolist(), abs=0.05)


@pytest.mark.parametrize(("column", "row"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_click_in_any_of_four(bench: Workbench, column: int, row: int):
    bench.show("all four")
    settle(bench)
    other = direct(bench)
    drag(bench, (BALL[0] / 2 + column * WIDTH / 2, BALL[1] / 2 + row * HEIGHT / 2))
    assert bench.message == str(other.click(*BALL))
    assert same_edits(bench.session, other)


def test_box(bench: Workbench):
    bench.use("box")
    other = direct(bench)
    bench.press("left", 22.0, 12.0)
    bench.move(50.0, 30.0)
    bench.move(60.0, 50.0)
    assert bench.sketch is not None
    assert bench.sketch.points[-1] == pytest.approx((60 / WIDTH, 50 / HEIGHT))
    before = bench.navigation
    bench.release(60.0, 50.0)
    assert bench.message == str(other.box(22.0, 12.0, 60.0, 50.0))
    assert same_edits(bench.session, other)
    assert bench.sketch is None
    assert bench.navigation == before
    drag(bench, BALL)
    assert bench.message == str(other.click(*BALL)), "a tool in hand, a click is a click"


@pytest.mark.parametrize(("button", "modified"), [("left", False), ("left", True), ("right", False)])
def test_stroke(bench: Workbench, button, modified: bool):
    bench.use("stroke")
    other = direct(bench)
    points = [(30.0, 30.0), (40.0, 32.0), (45.0, 28.0)]
    drag(bench, *points, button=button, modified=modified)
    assert bench.message == str(other.scribble(points, accept=button == "left" and not modified))
    assert len(bench.session.current.clicks) == len(other.current.clicks) > 2
    bench.use("stroke")
    assert bench.tool == "click"


def test_a_picture_is_made_only_when_something_changes(bench: Workbench):
    assert bench.picture()[1]
    first, changed = bench.picture()
    assert not changed
    assert first.shape == (HEIGHT, WIDTH, 3)
    for change in (
        lambda: drag(bench, BALL),
        lambda: bench.act(KEYS["f"]),
        lambda: bench.act(KEYS["u"]),
        lambda: bench.act(KEYS[" "]),
        lambda: (drag(bench, BALL, (60.0, 30.0)), settle(bench)),
    ):
        change()
        assert bench.picture()[1]
        assert not bench.picture()[1]


@pytest.mark.parametrize("shown", SHOWN)
def test_every_kind_of_picture_fills_the_window(bench: Workbench, shown):
    bench.show(shown)
    drag(bench, BALL)
    for size in ((81, 63), (200, 30)):
        bench.size = size
        settle(bench)
        assert bench.picture()[0].shape == (size[1], size[0], 3)


def test_a_moving_camera_is_seen_moving_and_then_sharp(bench: Workbench):
    bench.size, bench._frames.budget = (640, 480), 1e-6  # even the coarsest picture takes several steps
    shown = set()
    for _ in range(40):
        bench.hold({"d"}, 0.01)
        bench.work()
        shown.add(bench.session.view)
    assert len(shown) > 5
    bench.size, bench._frames.budget = (WIDTH, HEIGHT), 0.04
    settle(bench)
    frame = bench.session.view
    assert frame is not None
    assert (frame.width, frame.height) == (WIDTH, HEIGHT)
    assert frame.cameras.c2w.equal(bench.navigation.cameras(WIDTH, HEIGHT).c2w)
    bench.finest = 20
    bench.hold({"d"}, 0.01)
    settle(bench)
    assert bench.session.view.width == 20
    assert bench.picture()[0].shape == (HEIGHT, WIDTH, 3)


def test_keys_that_are_held(bench: Workbench):
    eye, z = np.array(bench.navigation.eye), bench.navigation.eye[2]
    bench.hold({"w", "e"}, 1.0)
    assert np.linalg.norm(bench.navigation.eye) < np.linalg.norm(eye) or bench.navigation.eye[2] > z
    bench.hold({"s", "q"}, 1.0)
    assert np.array(bench.navigation.eye) == pytest.approx(eye, abs=1e-5)
    distance = bench.navigation.distance
    bench.hold({"i"}, 0.1)
    assert bench.navigation.distance < distance
    bench.hold(set(), 1.0)


def test_photos_one_after_the_other(bench: Workbench):
    names, cameras = bench.viewpoints.names, bench.viewpoints.cameras
    for key, view in (("right", 1), ("left", 0), ("left", len(names) - 1), ("right", 0)):
        bench.act(KEYS[key])
        assert bench.message == f"photo {view + 1} of {len(names)}: {names[view]}"
        assert bench.navigation.eye == pytest.approx(cameras.c2w[view, :, 3].tolist(), abs=1e-5)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_answers(bench: Workbench, key: str):
    bench.message = ""
    bench.act(KEYS[key])
    assert bench.message
    drag(bench, BALL)
    bench.act(KEYS[key])


def test_edits_by_key(bench: Workbench):
    drag(bench, BALL)
    one = bench.session.selections
    bench.act(KEYS["n"])
    assert len(bench.session.selections.all) == 2
    bench.act(KEYS["tab"])
    assert bench.session.selections.active == 0
    bench.act(KEYS["c"])
    assert not bench.session.current.clicks
    for _ in range(3):
        bench.act(KEYS["ctrl+z"])
    assert bench.session.selections == one
    bench.act(KEYS["ctrl+y"])
    assert len(bench.session.selections.all) == 2
    bench.act(KEYS["m"])
    assert bench.session.mode == "multi"


def test_save_and_load(bench: Workbench):
    bench.act(KEYS["ctrl+l"])
    assert "cannot be read" in bench.message
    drag(bench, BALL)
    kept = bench.session.selections
    bench.act(KEYS["ctrl+s"])
    assert bench.message == "saved run/selections.json"
    assert bench.written == [bench.folder / "selections.json"]
    bench.act(KEYS["c"])
    bench.act(KEYS["ctrl+l"])
    assert bench.session.selections == kept


def test_screenshots_are_numbered(bench: Workbench):
    for number in ("0000", "0001"):
        bench.act(KEYS["p"])
        assert bench.message == f"saved run/screenshots/{number}.png"
    saved = cv2.imread(str(bench.folder / "screenshots" / "0001.png"))
    assert (saved[..., ::-1] == bench.picture()[0]).all()


def test_export(bench: Workbench):
    bench.act(KEYS["x"])
    assert "nothing is selected" in bench.message
    drag(bench, BALL)
    bench.hold({"d"}, 0.1)
    bench.act(KEYS["x"])
    assert "as soon as" in bench.message
    settle(bench)
    out = bench.folder / "exports" / "0000"
    assert bench.message.endswith("run/exports/0000")
    mask = cv2.imread(str(out / "masks" / "selection 1" / "view.png"), cv2.IMREAD_UNCHANGED)
    cut = cv2.imread(str(out / "cutouts" / "selection 1" / "view.png"), cv2.IMREAD_UNCHANGED)
    assert (mask > 0).tolist() == bench.session.mask().tolist()
    assert cut.shape == (HEIGHT, WIDTH, 4)
    assert (cut[..., 3] == mask).all()
    assert json.loads((out / "selections.json").read_text())["features"] == "f"


def test_files_that_cannot_be_written_are_said(bench: Workbench):
    bench.folder.write_text("no folder")
    drag(bench, BALL)
    for key in ("ctrl+s", "p", "x"):
        bench.act(KEYS[key])
        bench.work()
        assert "cannot be written" in bench.message


def test_unsaved_selections_are_left_only_on_purpose(bench: Workbench):
    drag(bench, BALL)
    bench.act(KEYS["escape"])
    assert not bench.leaves
    assert "not saved" in bench.message
    drag(bench, (45.0, 30.0))
    bench.act(KEYS["escape"])
    assert not bench.leaves, "another edit, another question"
    bench.act(KEYS["escape"])
    assert bench.leaves


def test_saved_selections_and_none_are_left_at_once(bench: Workbench):
    drag(bench, BALL)
    bench.act(KEYS["ctrl+s"])
    bench.act(KEYS["escape"])
    assert bench.leaves


def test_a_click_closes_the_help_and_does_nothing_else(bench: Workbench):
    bench.act(KEYS["h"])
    assert bench.helps
    drag(bench, BALL)
    assert not bench.helps
    assert not bench.session.current.clicks
    assert max(map(len, HELP.splitlines())) < 64, "wider than a small window"


def test_segments_of_everything_are_shown_and_kept(bench: Workbench):
    write_run(bench.folder, bench.session.model)
    bench.act(KEYS["g"])
    assert bench.shown == "segments"
    assert (bench.folder / SEGMENTS).exists()
    settle(bench)
    coarse, _ = bench.picture()
    bench.act(lambda bench: bench.set_segment_level(0))
    fine, changed = bench.picture()
    assert changed
    assert len(np.unique(fine.reshape(-1, 3), axis=0)) > len(np.unique(coarse.reshape(-1, 3), axis=0))
