"""The session on a learned ball, whose halves are objects of two parts each."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from learned_ball import learned_ball, quarter_labels
from omniseg.config import LevelConfig, MaskConfig
from omniseg.errors import InputError, NothingThere, Refused
from omniseg.evaluation.segmentation import iou
from omniseg.selection.session import SegmentationSession
from tiny_scene import SIDE, ball_cameras

VIEW = 2
BESIDE = (1.5, 1.5)
LABELS = quarter_labels(ball_cameras())


@pytest.fixture
def session(device) -> SegmentationSession:
    model = learned_ball(device)
    session = SegmentationSession(model, "fingerprint")
    session.look(model.viewpoints.cameras, VIEW)
    return session


def half(view: int, side: int) -> torch.Tensor:
    """(SIDE * SIDE,) bool, one true half of the ball."""
    return torch.from_numpy(LABELS[view]["object"].reshape(-1) == side)


def middle(mask: torch.Tensor) -> tuple[float, float]:
    """A point well within a mask."""
    y, x = mask.view(SIDE, SIDE).nonzero().double().mean(0).tolist()
    return x + 0.5, y + 0.5


def selected(session: SegmentationSession) -> torch.Tensor:
    return torch.from_numpy(session.mask()).reshape(-1)


def best_level(session: SegmentationSession, wanted: torch.Tensor) -> float:
    """IoU with what the level selects that fits best: which one a session begins with is a matter of taste."""
    ious = []
    for level in range(len(session.levels())):
        session.set_level(level)
        ious.append(iou(selected(session), wanted))
    return max(ious)


def test_levels_lead_from_part_to_object_in_every_view(session):
    part = torch.from_numpy(LABELS[VIEW]["part"].reshape(-1) == 1)
    edit = session.click(*middle(part))
    assert "pixels" in str(edit)
    assert (edit.selection, edit.n_pixels) == (session.current, int(selected(session).sum()))
    reached = {}
    session.set_level(0)
    while True:
        for level in ("part", "object"):
            ious = []
            for view in (VIEW, 1, 3):
                session.look(session.model.viewpoints.cameras, view)
                ious.append(iou(selected(session), torch.from_numpy(LABELS[view][level].reshape(-1) == 1)))
            reached[level] = max(reached.get(level, 0), min(ious))
        session.look(session.model.viewpoints.cameras, VIEW)
        try:
            session.step_level(+1)
        except Refused:
            break
    assert reached["part"] > 0.55
    assert reached["object"] > 0.5


def test_steps_go_there_and_back(session):
    session.click(*middle(half(VIEW, 1)))
    counts = [plateau.count for plateau in session.levels()]
    assert len(counts) > 1
    for level, count in enumerate(counts):
        edit = session.set_level(level)
        assert int(selected(session).sum()) == count == edit.n_pixels
        assert (edit.level, edit.n_levels) == (level, len(counts))
        assert f"level {level} of 0 to {len(counts) - 1}" in str(edit)
    assert session.set_level(99).level == len(counts) - 1
    for level in reversed(range(len(counts) - 1)):
        assert session.step_level(-1).level == level
        assert int(selected(session).sum()) < counts[-1]
    with pytest.raises(Refused, match="smallest level"):
        session.step_level(-1)
    assert int(selected(session).sum()) == counts[0]


def test_single_mode_replaces_and_multi_mode_adds(session):
    left, right = middle(half(VIEW, 1)), middle(half(VIEW, 2))
    session.click(*left)
    session.click(*right)
    assert len(session.current.clicks) == 1
    session.mode = "multi"
    session.click(*left)
    assert len(session.current.clicks) == 2
    assert best_level(session, half(VIEW, 1) | half(VIEW, 2)) > 0.8


def test_a_rejected_click_takes_its_half_away(session):
    session.click(*middle(half(VIEW, 1)))
    session.set_threshold(0.05)
    both = selected(session)
    assert iou(both, half(VIEW, 1) | half(VIEW, 2)) > 0.85
    session.click(*middle(half(VIEW, 2)), accept=False)
    assert len(session.current.clicks) == 2
    assert iou(selected(session), half(VIEW, 1)) > 0.75


def test_a_rejected_click_alone_says_so(session):
    edit = session.click(*middle(half(VIEW, 2)), accept=False)
    assert "click on something" in str(edit)
    assert edit.n_pixels == 0
    assert not selected(session).any()


def test_spatial_weight_keeps_what_is_near(session):
    x, y = middle(half(VIEW, 1))
    session.click(x, y)
    session.set_threshold(0.6)
    everywhere = selected(session)
    session.set_spatial_weight(3.0)
    near = selected(session)
    assert 0 < near.sum() < everywhere.sum()
    assert near.view(SIDE, SIDE)[int(y), int(x)]
    assert not (near & ~everywhere).any()


def test_a_box_selects_what_fills_it(session):
    wanted = half(VIEW, 1)
    y, x = wanted.view(SIDE, SIDE).nonzero().unbind(1)
    edit = session.box(float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))
    assert edit.n_pixels == int(selected(session).sum())
    assert iou(selected(session), wanted) > 0.7


def test_a_scribble_clicks_along_the_line(session):
    (ax, ay), (bx, by) = middle(half(VIEW, 1)), middle(half(VIEW, 2))
    session.scribble([(ax, ay), (bx, by)])
    assert len(session.current.clicks) > 1
    assert best_level(session, half(VIEW, 1) | half(VIEW, 2)) > 0.75


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda s: s.click(-3, 5), "outside the picture"),
        (lambda s: s.click(5, SIDE + 1), "outside the picture"),
        (lambda s: s.click(*BESIDE), "nothing is there"),
        (lambda s: s.scribble([BESIDE, (3, 1.5)]), "nothing is there"),
        (lambda s: s.scribble([]), "outside the picture"),
        (lambda s: s.box(0, 0, 3, 3), "nothing is there"),
        (lambda s: s.box(5, 5, 5.5, 9), "smaller than"),
        (lambda s: s.box(-9, -9, -2, -2), "outside"),
        (lambda s: s.step_level(1), "click on something"),
        (lambda s: s.set_level(1), "click on something"),
        (lambda s: s.undo(), "nothing to undo"),
        (lambda s: s.redo(), "nothing to redo"),
        (lambda s: s.activate(4), "no selection 5"),
        (lambda s: s.rename("  "), "empty or taken"),
    ],
)
def test_what_cannot_be_done_changes_nothing(session, act: Callable, words: str):
    before = session.selections
    with pytest.raises(Refused, match=words) as refused:
        act(session)
    assert (refused.type is NothingThere) == (words == "nothing is there")
    assert session.selections is before
    with pytest.raises(Refused):
        session.undo()


def test_edits_say_what_they_did(session, device):
    x, y = middle(half(VIEW, 1))
    edit = session.click(x, y)
    pixels = f"selection 1: {edit.n_pixels} pixels at threshold {session.current.threshold:.3f}"
    assert str(edit) == f"{pixels}, level {edit.level} of 0 to {edit.n_levels - 1}"
    assert edit.n_levels == len(session.levels())
    assert session.levels()[edit.level].threshold == session.current.threshold
    assert str(session.clear()) == "cleared; selection 1: no clicks"
    assert str(session.undo()) == f"undone; {pixels}"
    assert str(session.redo()) == "redone; selection 1: no clicks"
    assert str(session.rename("ball")) == "renamed; ball: no clicks"
    assert str(session.new_selection()) == "new selection; selection 2: no clicks"
    assert str(session.remove()) == "removed selection 2; ball: no clicks"
    unseen = SegmentationSession(learned_ball(device), "fingerprint")
    session.undo()
    session.activate(0)
    session.click(x, y)
    assert str(session.set_threshold(7)) == f"ball: {int(session.mask().sum())} pixels at threshold 1.000"
    assert unseen.set_threshold(0.5).n_pixels is None


def test_a_file_is_counted_and_needs_no_view(session, device, tmp_path: Path):
    session.click(*middle(half(VIEW, 1)))
    session.save(str(tmp_path / "s.json"))
    unseen = SegmentationSession(learned_ball(device), "fingerprint")
    edit = unseen.load(str(tmp_path / "s.json"))
    assert str(edit) == f"loaded 1 selection from {tmp_path / 's.json'}; selection 1: 1 click"
    assert edit.n_pixels is None
    with pytest.raises(RuntimeError, match="look"):
        unseen.mask()


def test_masks_scores_and_labels_are_pictures_of_their_own(session):
    session.click(*middle(half(VIEW, 1)))
    mask, score, labels = session.mask(), session.score(), session.labels()
    assert mask.shape == score.shape == labels.shape == (SIDE, SIDE)
    assert (mask.dtype, score.dtype, labels.dtype) == (bool, np.float32, np.uint8)
    assert np.array_equal(mask, session.current.mask(session.view))
    for picture, again in ((mask, session.mask), (score, session.score), (labels, session.labels)):
        before = picture.copy()
        picture[:] = 0
        assert np.array_equal(again(), before), "what a caller does with it changes nothing here"


def test_levels_follow_the_configuration(session):
    session.click(*middle(half(VIEW, 1)))
    assert len(session.levels()) > 1
    few = replace(session.model.config, levels=LevelConfig(max_levels=1))
    session.model = replace(session.model, config=few)
    assert len(session.levels()) == 1


def test_small_pieces_follow_the_configuration(session):
    assert session.current.min_piece == session.model.config.masks.min_piece > 0
    masks = []
    for share in (0.05, 0.0):
        session.model = replace(session.model, config=replace(session.model.config, masks=MaskConfig(min_piece=share)))
        session.new_selection()
        session.look(session.model.viewpoints.cameras, VIEW)
        session.click(*middle(half(VIEW, 1)))
        # The clicked half has the feature of the click, the other half another one, but for a speck.
        feature = session.view.unit_features.new_tensor(session.current.clicks[0].feature)
        ours, speck = half(VIEW, 1), int(half(VIEW, 2).nonzero()[len(half(VIEW, 2).nonzero()) // 2])
        ours[speck] = True
        session.show(
            replace(session.view, unit_features=torch.where(ours[:, None].to(feature.device), feature, -feature))
        )
        masks.append(selected(session))
        assert session.set_threshold(0.9).n_pixels == int(masks[-1].sum())
        assert (selected(session) == torch.from_numpy(session.current.mask(session.view)).view(-1)).all()
    clean, raw = masks
    assert (clean != raw).nonzero()[:, 0].tolist() == [speck]
    assert raw[speck]


def test_undo_and_redo(session):
    x, y = middle(half(VIEW, 1))
    session.click(x, y)
    after_click = session.selections
    for threshold in (0.5, 0.6, 0.7):  # one slide of a slider
        session.set_threshold(threshold)
    session.clear()
    session.undo()
    assert session.current.threshold == 0.7
    session.undo()
    assert session.selections == after_click
    session.undo()
    assert session.current.clicks == ()
    for _ in range(3):
        session.redo()
    assert session.current.clicks == ()
    with pytest.raises(Refused):
        session.redo()
    session.undo()
    session.click(x, y)
    with pytest.raises(Refused):
        session.redo()  # another future


def test_several_selections_have_names_and_colours_of_their_own(session):
    session.click(*middle(half(VIEW, 1)))
    session.new_selection()
    session.click(*middle(half(VIEW, 2)))
    session.rename("right half")
    first, second = session.selections.all
    assert (first.name, second.name) == ("selection 1", "right half")
    assert first.colour != second.colour
    labels = torch.from_numpy(session.labels()).reshape(-1)
    for number in (1, 2):
        found = labels == number
        assert found.sum() > 20
        assert (found & half(VIEW, number)).sum() > 0.85 * found.sum()
    with pytest.raises(Refused, match="taken"):
        session.rename("selection 1")
    session.activate(0)
    assert session.current is first
    session.remove()
    assert session.selections.all == (second,)
    session.remove()
    assert session.current.clicks == ()


def test_marks_show_where_clicks_landed(session):
    x, y = middle(half(VIEW, 1))
    session.mode = "multi"
    session.click(x, y)
    session.click(*middle(half(VIEW, 2)), accept=False)
    first, second = session.marks()
    assert (first.x, first.y) == pytest.approx((x, y), abs=0.6)
    assert (first.accept, second.accept) == (True, False)
    cameras = session.model.viewpoints.cameras
    behind = (VIEW + len(cameras) // 2) % len(cameras)
    session.look(cameras, behind)
    assert len(session.marks()) < 2


def test_a_file_replays_the_same_result(session, device, tmp_path: Path):
    session.mode = "multi"
    session.click(*middle(half(VIEW, 1)))
    session.click(*middle(half(VIEW, 2)), accept=False)
    session.set_spatial_weight(0.5)
    session.new_selection("other")
    session.click(*middle(half(VIEW, 2)))
    session.save(tmp_path / "s.json")
    labels, score = session.labels(), session.score()
    other = SegmentationSession(learned_ball(device), "fingerprint")
    other.load(tmp_path / "s.json")
    other.look(other.model.viewpoints.cameras, VIEW)
    assert other.selections == session.selections
    assert np.array_equal(other.score(), score)
    assert np.array_equal(other.labels(), labels)
    other.undo()
    assert other.current.clicks == ()


def test_a_file_of_another_run_is_refused(session, device, tmp_path: Path):
    session.click(*middle(half(VIEW, 1)))
    session.save(tmp_path / "s.json")
    other = SegmentationSession(learned_ball(device), "another")
    before = other.selections
    with pytest.raises(InputError, match="another feature field"):
        other.load(tmp_path / "s.json")
    assert other.selections is before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(format=9), "format"),
        (lambda c: c.update(active=1), "active"),
        (lambda c: c.update(active=True), "active"),
        (lambda c: c.update(selections=[]), "active"),
        (lambda c: c["selections"][0].pop("threshold"), "threshold"),
        (lambda c: c["selections"][0].update(threshold=2), "threshold"),
        (lambda c: c["selections"][0].update(spatial_weight=float("nan")), "spatial_weight"),
        (lambda c: c["selections"][0].update(min_piece=1.0), "min_piece"),
        (lambda c: c["selections"][0].update(colour=[1, 2]), "expected 3"),
        (lambda c: c["selections"][0].update(colour=[1, 2, 999]), "colour"),
        (lambda c: c["selections"][0].update(name=""), "name"),
        (lambda c: c["selections"].append(c["selections"][0]), "name"),
        (lambda c: c["selections"][0]["clicks"][0].update(accept=1), "accept"),
        (lambda c: c["selections"][0]["clicks"][0].update(position=[0, 0]), "expected 3"),
        (lambda c: c["selections"][0]["clicks"][0]["feature"].pop(), "feature"),
        (lambda c: c["selections"][0]["clicks"][0]["feature"].__setitem__(0, float("inf")), "finite"),
    ],
)
def test_a_damaged_file_is_refused(session, tmp_path: Path, change: Callable, words: str):
    path = tmp_path / "s.json"
    session.click(*middle(half(VIEW, 1)))
    session.save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words) as refused:
        session.load(path)
    assert str(path) in str(refused.value)


def test_no_json_and_no_file(session, tmp_path: Path):
    (tmp_path / "s.json").write_bytes(b"\x89PNG")
    for name, words in (("s.json", "not a selection file"), ("none.json", "cannot be read")):
        with pytest.raises(InputError, match=words):
            session.load(tmp_path / name)


def test_a_model_without_features_is_refused(device):
    with pytest.raises(ValueError, match="feature field"):
        SegmentationSession(replace(learned_ball(device), features=None), "x")
