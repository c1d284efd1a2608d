"""Pictures of a session: what each kind shows where, clicks on any background, and four at once."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from learned_ball import learned_ball
from omniseg.data.drawing import distinct_colours
from omniseg.rendering.visualize import FeatureColours, depth_picture, to_uint8
from omniseg.selection.session import SegmentationSession
from omniseg.selection.survey import feature_colours
from omniseg.viewer.gestures import BoxGesture, StrokeGesture
from omniseg.viewer.panels import KINDS, Overlay, Panels, _draw_marks
from tiny_scene import ball_cameras

SIZE = 72
MIDDLE = SIZE / 2, SIZE / 2


@pytest.fixture(scope="module")
def colours(device: torch.device) -> FeatureColours:
    return feature_colours(learned_ball(device))


@pytest.fixture
def session(device: torch.device) -> SegmentationSession:
    session = SegmentationSession(learned_ball(device), "f")
    session.look(ball_cameras(1).to(device).resized(SIZE))
    return session


@pytest.fixture
def panels(session: SegmentationSession, colours: FeatureColours) -> Panels:
    return Panels(session, colours)


def is_grey(picture: np.ndarray) -> np.ndarray:
    return picture.max(2) == picture.min(2)


def away_from(x: float, y: float, pixels: int = 12) -> np.ndarray:
    """(SIZE, SIZE) bool, where no mark of a click there is drawn and no outline passes."""
    rows, columns = np.indices((SIZE, SIZE)) + 0.5
    return np.hypot(columns - x, rows - y) > pixels


def inside(mask: np.ndarray) -> np.ndarray:
    """A mask without its border."""
    return cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0).astype(bool)


def test_without_clicks_colour_depth_and_features_are_the_views(session: SegmentationSession, panels: Panels, colours):
    view = session.view
    assert view is not None
    shown = {kind: panels.picture(kind, SIZE, SIZE) for kind in KINDS}
    plain = to_uint8(view.rendering.over(0.12).view(SIZE, SIZE, 3))
    assert (shown["colour"] == plain).all()
    assert (shown["depth"] == depth_picture(view.rendering, SIZE)).all()
    assert (shown["features"] == colours.picture(view.unit_features, view.solid, SIZE)).all()
    assert is_grey(shown["segments"]).all()
    assert (panels.picture("colour", SIZE, SIZE, Overlay(show_mask=False)) == plain).all()
    assert shown["score"].max() < 10


def test_what_is_selected_is_tinted(session: SegmentationSession, panels: Panels):
    before = panels.picture("colour", SIZE, SIZE).astype(int)
    session.click(*MIDDLE)
    after = panels.picture("colour", SIZE, SIZE).astype(int)
    colour = np.array(session.current.colour)
    selected, other = inside(session.mask()) & away_from(*MIDDLE), inside(~session.mask()) & away_from(*MIDDLE)
    assert selected.any()
    assert other.any()
    closer = np.abs(before - colour).sum(2) - np.abs(after - colour).sum(2)
    assert (closer[selected] > 0).all()
    assert (after[other] == before[other]).all()


def test_every_selection_has_its_colour(session: SegmentationSession, panels: Panels):
    session.click(36.0, 26.0)
    session.new_selection()
    session.click(36.0, 50.0)
    labels = session.labels()
    shown = panels.picture("segments", SIZE, SIZE)
    for number, selection in enumerate(session.selections.all, 1):
        area = inside(labels == number) & away_from(36.0, 50.0)
        assert area.any()
        tint = shown[area].astype(float).mean(0) - shown[area].mean()
        wanted = np.array(selection.colour) - np.mean(selection.colour)
        assert tint @ wanted / np.linalg.norm(tint) / np.linalg.norm(wanted) > 0.95
    assert is_grey(shown)[inside(labels == 0) & away_from(36.0, 50.0)].all()


def test_heat_and_score_say_how_well_it_fits(session: SegmentationSession, panels: Panels):
    session.click(*MIDDLE)
    score = session.score()
    alike = (score > 0.98) & away_from(*MIDDLE) & inside(session.mask())
    unlike = (score < 0.4) & away_from(*MIDDLE) & inside(~session.mask())
    assert alike.any()
    assert unlike.any()
    shown, heat = (panels.picture(kind, SIZE, SIZE, Overlay(show_mask=False)) for kind in ("score", "colour"))
    assert shown[alike].min(0).max() > 200
    assert shown[unlike].max() < 30
    assert is_grey(heat)[unlike].all()
    assert not is_grey(heat)[alike].any()


def test_automatic_segments_have_colours_of_their_own(session: SegmentationSession, panels: Panels):
    ids = np.zeros((SIZE, SIZE), np.int64)
    ids[: SIZE // 2], ids[SIZE // 2 :, 30:] = 5, 10**6
    shown = panels.picture("segments", SIZE, SIZE, Overlay(segments=ids)).astype(int)
    assert is_grey(shown)[SIZE // 2 + 3 :, :27].all()
    upper, lower = shown[5:30], shown[45:, 35:]
    assert not is_grey(upper).any()
    assert np.abs(upper.mean((0, 1)) - lower.mean((0, 1))).max() > 30
    other = np.where(ids == 5, 5, 7)
    again = panels.picture("segments", SIZE, SIZE, Overlay(segments=other)).astype(int)
    assert (again[5:30] == upper).all(), "what a segment looks like depends on its number alone"
    assert len(np.unique(distinct_colours(50), axis=0)) == 50


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255), (70, 230, 110), (255, 70, 60), (128, 128, 128)])
@pytest.mark.parametrize("accept", [True, False])
def test_marks_are_seen_on_any_background(session: SegmentationSession, panels, monkeypatch, background, accept: bool):
    session.click(*MIDDLE, accept=accept)
    monkeypatch.setattr(panels, "_content", lambda *_: np.full((SIZE, SIZE, 3), background, np.uint8))
    shown = panels.picture("colour", 4 * SIZE, 4 * SIZE).astype(int)
    row = shown[2 * SIZE, 2 * SIZE - 20 : 2 * SIZE]
    contrast = np.abs(row - np.array(background)).max(1)
    assert contrast.max() > 90
    red, green, _ = row[np.argmax(row.max(1) - row.min(1))] if background[0] in (0, 128) else (0, 0, 0)
    if background[0] in (0, 128):
        assert (green > red) == accept
    assert (shown[~np.kron(~away_from(*MIDDLE), np.ones((4, 4), bool))] == np.array(background)).all()


def test_a_mark_is_where_the_click_was_at_any_size(session: SegmentationSession, panels: Panels):
    session.click(20.5, 40.5)
    for size in (36, 72, 200):
        plain, marked = np.zeros((2, size, size, 3), np.uint8)
        _draw_marks(marked, session.marks(), session.view)
        rows, columns = (marked != plain).any(2).nonzero()
        assert columns.mean() + 0.5 == pytest.approx(20.5 * size / SIZE, abs=1)
        assert rows.mean() + 0.5 == pytest.approx(40.5 * size / SIZE, abs=1)


POINTS = (0.25, 0.25), (0.5, 0.25), (0.75, 0.75)


@pytest.mark.parametrize(
    ("sketch", "accept"),
    [
        (BoxGesture(POINTS[0], POINTS[-1]), True),
        (StrokeGesture(POINTS, True), True),
        (StrokeGesture(POINTS, False), False),
    ],
)
def test_what_is_being_drawn_is_shown(session: SegmentationSession, panels: Panels, sketch, accept: bool):
    plain, drawn = (panels.picture("depth", 200, 100, Overlay(sketch=s)).astype(int) for s in (None, sketch))
    changed = (plain != drawn).any(2)
    assert changed[25, 55:95].all(), "both begin along this line"
    assert changed[75, 60:140].all() == isinstance(sketch, BoxGesture)
    red, green, _ = drawn[25, 75]
    assert (green > red) == accept
    assert not changed[:20].any()
    assert not changed[:, :40].any()


@pytest.mark.parametrize("size", [(72, 72), (101, 67), (2, 2)])
def test_four_at_once(session: SegmentationSession, panels: Panels, size: tuple[int, int]):
    session.click(*MIDDLE)
    width, height = size
    shown = panels.picture("all four", width, height)
    assert shown.shape == (height, width, 3)
    left, upper = (width + 1) // 2, (height + 1) // 2
    lower = shown[upper:, left:]
    if width > 50:
        score = panels.picture("score", width - left, height - upper)
        assert (lower[27:] == score[27:]).all(), "below its name"
        overlay = Overlay(segments=np.ones((SIZE, SIZE), np.int64))
        other = panels.picture("all four", width, height, overlay)[upper:, left:]
        assert (other[27:] == panels.picture("segments", width - left, height - upper, overlay)[27:]).all()


def test_another_view_is_another_picture(session: SegmentationSession, panels: Panels, device, tmp_path: Path):
    before = {kind: panels.picture(kind, SIZE, SIZE) for kind in ("colour", "depth", "features", "segments")}
    session.look(ball_cameras(3).to(device).resized(30), 1)
    for kind, picture in before.items():
        assert (panels.picture(kind, SIZE, SIZE) != picture).any()


def test_a_session_that_looks_at_nothing_has_no_picture(device: torch.device, colours: FeatureColours):
    with pytest.raises(RuntimeError, match="no view yet"):
        Panels(SegmentationSession(learned_ball(device), "f"), colours).picture("colour", 8, 8)
