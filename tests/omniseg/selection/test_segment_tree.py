"""The tree of segments on clouds whose parts are known, and on the learned ball."""

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from learned_ball import learned_ball, quarter_labels, write_run
from omniseg.config import SegmentTreeConfig
from omniseg.errors import InputError
from omniseg.evaluation.segmentation import best_matches
from omniseg.rendering.view import render_view
from omniseg.run_folder import SEGMENTS, read_tensors, write_tensors
from omniseg.selection import tree_building
from omniseg.selection.segment_tree import check_level
from omniseg.selection.tree_building import build_tree, require_sklearn, segment_everything, surface_points
from tiny_scene import RADIUS, SIDE

N = 60
CONFIG = SegmentTreeConfig()
LEVELS = CONFIG.levels


def clouds(device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two objects far from each other, each of two parts; features tell parts a little, objects much apart."""
    generator = torch.Generator().manual_seed(5)
    part = torch.arange(4).repeat_interleave(N)
    features = torch.eye(8)[part // 2] + 0.4 * torch.eye(8)[4 + part]
    features = F.normalize(features + 0.02 * torch.randn(4 * N, 8, generator=generator), dim=1)
    middles = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [1.0, 1, 0], [1.2, 1, 0]])
    positions = middles[part] + 0.05 * torch.randn(4 * N, 3, generator=generator)
    return features.to(device), positions.to(device), part


def agree(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two labellings are the same but for the names."""
    pairs = {(int(x), int(y)) for x, y in zip(a, b)}
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})


def test_cuts_are_parts_then_objects_and_nest(device):
    features, positions, part = clouds(device)
    tree = build_tree(features, positions, CONFIG)
    cuts = [tree.cut(level / 4).ids.cpu() for level in range(4 * LEVELS)]
    assert any(agree(cut, part) for cut in cuts)
    assert any(agree(cut, part // 2) for cut in cuts)
    for finer, coarser in pairwise(cuts):
        assert int(finer.max()) >= int(coarser.max())
        assert len({(int(a), int(b)) for a, b in zip(finer, coarser)}) == int(finer.max())  # within one coarser each


def test_ids_begin_at_one_with_the_largest(device):
    features, positions, _ = clouds(device)
    tree = build_tree(features[: 3 * N + 20], positions[: 3 * N + 20], CONFIG)
    for level in (0, 2.5, LEVELS - 1):
        ids = tree.cut(level).ids
        counts = torch.bincount(ids)[1:]
        assert int(ids.min()) == 1
        assert counts.tolist() == sorted(counts.tolist(), reverse=True)
        assert len(tree.cut(level)) == len(counts)


def test_other_points_get_the_segment_of_what_is_like_them(device):
    features, positions, _ = clouds(device)
    segments = build_tree(features, positions, CONFIG).cut(LEVELS / 2)
    found = segments.ids_at(features.flip(0), positions.flip(0))
    assert agree(found.cpu(), segments.ids.flip(0).cpu())
    # between two parts the feature decides
    between = positions[:1] * 0 + torch.tensor([0.1, 0, 0], device=device)
    for k in (0, N):
        assert int(segments.ids_at(features[[k]], between)) == int(segments.ids[k])


def test_few_points(device):
    features, positions, _ = clouds(device)
    assert build_tree(features[:2], positions[:2], CONFIG).cut(0).ids.tolist() == [1, 1]
    with pytest.raises(InputError, match="no surface"):
        build_tree(features[:1], positions[:1], CONFIG)


def test_surface_points_lie_on_the_ball(device):
    features, positions = surface_points(learned_ball(device))
    assert len(features) == len(positions) > 50
    assert abs(float(positions.norm(dim=1).median()) - RADIUS) < 0.05
    assert float((features.norm(dim=1) - 1).abs().max()) < 1e-4


def test_parts_of_the_ball_are_found_in_every_view(device, tmp_path: Path):
    model = learned_ball(device)
    run = write_run(tmp_path / "run", model)
    tree = segment_everything(run, model)
    cuts = [tree.cut(level / 2) for level in range(2 * LEVELS)]
    for view in (0, 3):
        rendered = render_view(model.renderer, model.viewpoints.cameras, view)
        ids = [cut.ids_in(rendered) for cut in cuts]
        assert ids[0].shape == (SIDE, SIDE)
        assert not any(found[0, 0] for found in ids)
        labels = quarter_labels(model.viewpoints.cameras.to("cpu"))[view]
        matches = best_matches(labels["part"], ids, min_pixels=20)
        assert len(matches) > 1
        assert min(matches.values()) > 0.6


def test_they_are_kept_in_the_run(device, tmp_path: Path, monkeypatch):
    model = learned_ball(device)
    run = write_run(tmp_path / "run", model)
    first = segment_everything(run, model)
    monkeypatch.setattr(tree_building, "build_tree", lambda *_: pytest.fail("made again"))
    again = segment_everything(run, model)
    assert torch.equal(first.children, again.children)
    assert torch.equal(first.cut(3).ids, again.cut(3).ids)


def test_those_of_older_features_are_made_again(device, tmp_path: Path):
    model = learned_ball(device)
    run = write_run(tmp_path / "run", model)
    segment_everything(run, model)
    before = (run / SEGMENTS).read_bytes()
    path = run / "features.safetensors"
    path.write_bytes(path.read_bytes() + b"\0")  # another field, as far as the fingerprint knows
    segment_everything(run, model)
    assert (run / SEGMENTS).read_bytes() != before


def changed(model, **values):
    """The model with other numbers for its tree."""
    tree = replace(model.config.segment_tree, **values)
    return replace(model, config=replace(model.config, segment_tree=tree))


def rewrite(path: Path, change: Callable[[dict, dict], object]) -> None:
    """Change the tensors and the metadata of a file."""
    tensors, metadata = read_tensors(path, torch.device("cpu"))
    change(tensors, metadata)
    write_tensors(path, tensors, metadata)


def test_a_tree_of_another_configuration_is_made_again(device, tmp_path: Path):
    model = learned_ball(device)
    run = write_run(tmp_path / "run", model)
    segment_everything(run, model, progress=False)
    before = load_file(run / SEGMENTS)  # not bytes: the order of what a safetensors header says varies
    tree = segment_everything(run, changed(model, neighbours=5), progress=False)
    assert tree.config.neighbours == 5
    other = load_file(run / SEGMENTS)
    assert not other["heights"].equal(before["heights"])
    segment_everything(run, model, progress=False)
    again = load_file(run / SEGMENTS)
    assert all(again[name].equal(before[name]) for name in before)


def test_a_file_without_a_configuration_has_the_defaults(device, tmp_path: Path, monkeypatch):
    model = learned_ball(device)
    run = write_run(tmp_path / "run", model)
    segment_everything(run, model, progress=False)
    for lacks in (lambda _, metadata: metadata["config"].pop("levels"), lambda _, metadata: metadata.pop("config")):
        rewrite(run / SEGMENTS, lacks)
        with monkeypatch.context() as patched:
            patched.setattr(tree_building, "build_tree", lambda *_: pytest.fail("made again"))
            assert segment_everything(run, model, progress=False).config == CONFIG
    assert segment_everything(run, changed(model, levels=5), progress=False).config.levels == 5


def test_without_scikit_learn_nothing_is_rendered(device, tmp_path: Path, monkeypatch):
    model = learned_ball(device)
    run = write_run(tmp_path / "run", model)
    segment_everything(run, model, progress=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(tree_building, "surface_points", lambda *_, **__: pytest.fail("rendered"))
    segment_everything(run, model, progress=False)  # one that is there needs no library
    with pytest.raises(InputError, match="scikit-learn"):
        segment_everything(run, changed(model, neighbours=5), progress=False)
    with pytest.raises(InputError, match="scikit-learn"):
        require_sklearn()


def test_levels_are_checked():
    check_level(0, CONFIG)
    check_level(6, CONFIG)
    for level in (-0.5, 6.5, float("nan")):
        with pytest.raises(InputError, match=r"^level: expected 0 to 6, got"):
            check_level(level, CONFIG)


def test_trees_and_segments_say_what_they_are(device):
    features, positions, _ = clouds(device)
    tree = build_tree(features, positions, CONFIG)
    assert repr(tree) == f"SegmentTree({4 * N} points, levels 0 to 6)"
    assert repr(tree.cut(6)) == f"Segments({len(tree.cut(6))} segments of {4 * N} points)"


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, _: tensors.pop("heights"),
        lambda tensors, _: tensors.update(heights=tensors["heights"][1:]),
        lambda tensors, _: tensors.update(positions=tensors["positions"][:, :2]),
        lambda tensors, _: tensors["children"].__setitem__((0, 0), 10**6),
        lambda tensors, _: tensors["children"].__setitem__((0, 0), -1),
        lambda tensors, _: tensors.update(children=tensors["children"].float()),
    ],
)
def test_tensors_that_do_not_fit_are_refused(device, tmp_path: Path, change: Callable):
    model = learned_ball(device)
    run = write_run(tmp_path / "run", model)
    segment_everything(run, model, progress=False)
    rewrite(run / SEGMENTS, change)
    with pytest.raises(InputError, match=r"segments\.safetensors.*remove it"):
        segment_everything(run, model, progress=False)


def test_a_damaged_file_is_told(device, tmp_path: Path):
    model = learned_ball(device)
    run = write_run(tmp_path / "run", model)
    (run / SEGMENTS).write_bytes(b"nothing")
    with pytest.raises(InputError, match="segments"):
        segment_everything(run, model)


def test_best_matches_by_hand():
    labels = np.array([[1, 1, 2, 0]])
    cuts = [np.array([[1, 1, 1, 2]]), np.array([[3, 1, 1, 0]])]
    assert best_matches(labels, cuts, 1) == pytest.approx({1: 2 / 3, 2: 1 / 2})
    assert best_matches(labels, cuts, 2) == pytest.approx({1: 2 / 3})
