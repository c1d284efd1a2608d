"""Selections say what they are, get names and colours, and become labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from learned_ball import learned_ball
from omniseg.rendering.view import render_view
from omniseg.selection.query import Click
from omniseg.selection.selections import Selection, Selections, empty_selection, labels_from_masks
from tiny_scene import SIDE

YES, NO = (Click(accept, (0.0, 0.0, 0.0), (1.0, 0.0)) for accept in (True, False))


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection("sofa", (0, 0, 0), (YES,), 0.75), "Selection('sofa': 1 click, threshold 0.750)"),
        (Selection("a", (0, 0, 0), (YES, NO, YES)), "Selection('a': 3 clicks, 1 rejected, threshold 0.900)"),
        (Selection("b", (0, 0, 0), (), 1, 2.5), "Selection('b': 0 clicks, threshold 1.000, spatial weight 2.5)"),
    ],
)
def test_a_selection_says_what_it_is(selection: Selection, said: str):
    assert repr(selection) == said


def test_without_an_accepted_click_it_is_empty():
    selection = Selection("a", (0, 0, 0))
    assert selection.is_empty
    assert replace(selection, clicks=(NO,)).is_empty
    assert not replace(selection, clicks=(NO, YES)).is_empty


def test_new_ones_have_other_names_and_the_least_used_colour():
    found = ()
    for _ in range(9):
        found = (*found, empty_selection(found))
    assert [selection.name for selection in found] == [f"selection {k}" for k in range(1, 10)]
    assert len({selection.colour for selection in found[:8]}) == 8
    assert found[8].colour == found[0].colour
    assert empty_selection(found, "sofa").name == "sofa"
    assert empty_selection(found, "selection 3").name == "selection 10"


def test_the_active_one_is_replaced():
    one, two, three = (Selection(name, (0, 0, 0)) for name in "abc")
    found = Selections((one, two), 1).replace_current(three)
    assert found.all == (one, three)
    assert found.current is three


def test_of_several_masks_the_last_labels_a_pixel():
    masks = [np.array([[True, True], [False, False]]), np.array([[False, True], [False, True]])]
    labels = labels_from_masks(masks)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[1, 2], [0, 2]]


def test_a_mask_is_a_picture_of_what_is_selected(device):
    model = learned_ball(device)
    view = render_view(model.renderer, model.viewpoints.cameras, 1)
    pixel = (SIDE // 2) * SIDE + SIDE // 2
    click = Click(True, tuple(view.positions[pixel].tolist()), tuple(view.unit_features[pixel].tolist()))
    selection = Selection("a", (0, 0, 0), (click,), 0.8)
    mask = selection.mask(view)
    assert mask.shape == (SIDE, SIDE)
    assert mask.dtype == bool
    assert mask[SIDE // 2, SIDE // 2]
    assert not mask[~view.solid.view(SIDE, SIDE).cpu().numpy()].any()
    flat = selection.select(view.unit_features, view.positions) & view.solid
    assert torch.equal(torch.from_numpy(mask).view(-1), flat.cpu())
    everything = replace(selection, threshold=0.0).mask(view)
    assert (everything == view.solid.view(SIDE, SIDE).cpu().numpy()).all()


def test_a_mask_loses_small_pieces_unless_they_were_clicked(device):
    model = learned_ball(device)
    view = render_view(model.renderer, model.viewpoints.cameras, 1)
    features, at = torch.zeros_like(view.unit_features), SIDE // 2
    features[:, 0] = 1
    features.view(SIDE, SIDE, -1)[at - 3 : at + 3, at - 3 : at + 3] = torch.eye(8, device=device)[1]
    features.view(SIDE, SIDE, -1)[at, at] = features[0]  # a hole
    features.view(SIDE, SIDE, -1)[at + 5, at] = features[0].roll(1)  # a speck
    view = replace(view, unit_features=features)
    clicks = [
        Click(True, tuple(view.positions.view(SIDE, SIDE, 3)[row, at].tolist()), tuple(features[0].roll(1).tolist()))
        for row in (at - 2, at + 5)
    ]
    ragged = Selection("a", (0, 0, 0), (clicks[0],), 0.9)
    assert ragged.mask(view).sum() == 36
    clean = replace(ragged, min_piece=0.1).mask(view)
    assert clean.sum() == 36
    assert clean[at, at]
    assert not clean[at + 5, at]
    both = replace(ragged, clicks=tuple(clicks), min_piece=0.1).mask(view)
    assert both.sum() == 37
    assert both[at + 5, at]
