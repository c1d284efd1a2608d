"""A run from Python: what it returns, what it refuses, and that it prints nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

import omniseg
from learned_ball import NORMALISATION, learned_ball, quarter_labels, write_run
from omniseg import BadArgument, InputError, NothingThere, Refused, Run
from omniseg.evaluation.segmentation import innermost
from omniseg.run_folder import FEATURES
from tiny_scene import SIDE, ball_cameras

VIEW = "train/0002"
HALF = quarter_labels(ball_cameras())[2]["object"] == 1
ROW, COLUMN = divmod(innermost(HALF), SIDE)


@pytest.fixture(scope="module")
def folder(device, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("api") / "run", learned_ball(device))


@pytest.fixture
def run(folder: Path, device) -> Run:
    return omniseg.load(str(folder), device.type)  # type: ignore[arg-type]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_run_says_what_it_is(run: Run, folder: Path, device):
    assert repr(run) == f"Run({str(folder)!r}, 8 views, features, {device.type})"
    assert run.view_names == tuple(f"train/000{k}" for k in range(8))
    assert run.held_out == ("train/0000", "train/0004")
    assert run.metrics == {}
    (folder / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics.json: cannot be read"):
        _ = run.metrics
    (folder / "metrics.json").unlink()


def test_a_view_is_rendered_once_and_its_arrays_are_images(run: Run):
    view = run.view(VIEW)
    assert view is run.view(VIEW)
    assert repr(view) == f"RenderedView('{VIEW}', {SIDE} x {SIDE})"
    assert (view.rgb.shape, view.depth.shape) == ((SIDE, SIDE, 3), (SIDE, SIDE))
    assert view.features.shape == (SIDE, SIDE, 8)
    wide = run.view(VIEW, width=2 * SIDE)
    assert wide.rgb.shape == (2 * SIDE, 2 * SIDE, 3)
    for k in range(8):  # more than are kept
        run.view(f"train/000{k}", width=30)
    assert run.view(VIEW, width=2 * SIDE) is not wide


def test_points_are_pixels_and_a_selection_holds_in_other_views(run: Run):
    view = run.view(VIEW)
    half = run.select(view, [(COLUMN, ROW)], threshold=0.8, name="half")
    assert half.name == "half"
    assert half.mask(view).shape == (SIDE, SIDE)
    assert overlap(half.mask(view), HALF) > 0.5
    session = run.session()
    session.show(view)
    session.click(COLUMN + 0.5, ROW + 0.5)  # image coordinates of the centre of that pixel
    assert session.current.clicks == half.clicks
    assert half.mask(run.view("train/0003")).any()
    assert run.select(VIEW, [(COLUMN, ROW)], threshold=0.8).clicks == half.clicks, "a view by its name"


def test_levels_count_from_the_finest(run: Run):
    view = run.view(VIEW)
    n_levels = run.n_levels(run.select(view, [(COLUMN, ROW)]), view)
    assert n_levels >= 2
    sizes = [run.select(view, [(COLUMN, ROW)], level=level).mask(view).sum() for level in range(n_levels)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    for level in (n_levels, -1, 0.5):
        with pytest.raises(BadArgument, match=rf"^level: expected 0 to {n_levels - 1} for these clicks, got {level}"):
            run.select(view, [(COLUMN, ROW)], level=level)  # type: ignore[arg-type]


def test_boxes_strokes_and_rejections(run: Run):
    view = run.view(VIEW)
    rows, columns = np.nonzero(HALF)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert overlap(run.select(view, box=box).mask(view), HALF) > 0.5
    stroke = run.select(view, stroke=[(COLUMN, ROW), (COLUMN, ROW + 3)])
    assert len(stroke.clicks) > 1
    other = np.argwhere(quarter_labels(ball_cameras())[2]["object"] == 2)[20]
    kept = run.select(view, [(COLUMN, ROW)], reject=[(int(other[1]), int(other[0]))], threshold=0.5)
    assert not kept.mask(view)[other[0], other[1]]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"points": [(0, 0)]}, NothingThere, "^point 0 0: nothing is there"),
        ({"points": [(SIDE, 3)]}, Refused, r"^point 24 3: outside the picture"),
        ({"reject": [(COLUMN, ROW)]}, Refused, "nothing is selected"),
        ({}, Refused, "nothing is selected"),
        ({"points": [(COLUMN, ROW)], "threshold": 2}, BadArgument, "^threshold: expected 0 to 1, got 2"),
        ({"points": [(COLUMN, ROW)], "level": 1, "threshold": 0.5}, BadArgument, "^level: .*give one"),
        ({"points": [(COLUMN, ROW)], "spatial_weight": -1}, BadArgument, "^spatial_weight: expected at least 0"),
        ({"points": [(COLUMN, ROW)], "name": " "}, BadArgument, "^name: "),
    ],
)
def test_what_cannot_be_selected_raises(run: Run, arguments: dict, error: type, words: str):
    with pytest.raises(error, match=words) as caught:
        run.select(VIEW, **arguments)
    if isinstance(caught.value, BadArgument):
        assert caught.value.as_option.startswith(f"--{words[1:].split(':')[0].replace('_', '-')}: ")


def test_an_unknown_view_and_a_missing_run_are_named(run: Run, tmp_path: Path):
    with pytest.raises(BadArgument, match=r"^view nobody: this run has no such view; it has train/0000"):
        run.view("nobody")
    with pytest.raises(InputError, match="no such run folder"):
        omniseg.load(tmp_path / "nowhere")


def test_selections_go_to_a_file_and_come_back(run: Run, tmp_path: Path):
    view = run.view(VIEW)
    half = run.select(view, [(COLUMN, ROW)], name="half")
    run.save_selections(str(tmp_path / "s.json"), half)
    assert run.load_selections(tmp_path / "s.json") == (half,)


def test_several_selections_get_names_and_colours_of_their_own(run: Run, tmp_path: Path):
    first, second = (run.select(VIEW, [(COLUMN, ROW)], level=level) for level in (0, 1))
    assert (first.name, first.colour) == (second.name, second.colour)
    run.save_selections(tmp_path / "s.json", [first, second, first])
    found = run.load_selections(tmp_path / "s.json")
    assert [selection.name for selection in found] == ["selection 1", "selection 2", "selection 3"]
    assert len({selection.colour for selection in found}) == 3
    run.export_masks(tmp_path / "out", [first, second], progress=False)
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == ["selection 1", "selection 2"]
    for empty in (lambda: run.save_selections(tmp_path / "e.json", []), lambda: run.export_masks(tmp_path / "e", ())):
        with pytest.raises(BadArgument, match="selection: expected at least one"):
            empty()
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"frames": 0}, "^frames: expected at least 1"),
        ({"width": 0}, "^width: expected at least 1"),
        ({"rate": 0}, "^rate: expected at least 1"),
        ({"out": "x.gif"}, r"^out .*x.gif: expected a file that ends in .mp4"),
        ({"show": "colour"}, "^show colour: expected rgb, depth, features, segments"),
        ({"path": "orbitt"}, "^path orbitt: neither orbit"),
        ({"show": "segments", "level": 9}, "^level: expected 0 to 6, got 9"),
    ],
)
def test_bad_arguments_of_render_are_named_before_anything_is_rendered(
    run: Run, tmp_path: Path, arguments: dict, words: str, monkeypatch
):
    monkeypatch.setattr(run.model.renderer, "render", lambda *_, **__: pytest.fail("rendered"))
    with pytest.raises(BadArgument, match=words):
        run.render(**{"out": tmp_path / "out", "progress": False, **arguments})
    with pytest.raises(BadArgument, match=r"^what rgbb: expected rgba or masks"):
        run.export_cut_pictures(tmp_path / "out", "rgbb", progress=False)  # type: ignore[arg-type]


def test_segments_have_one_id_in_views_and_points(run: Run):
    segments = run.segments(level=2, progress=False)
    view = run.view(VIEW)
    ids = segments.ids(view)
    assert ids.shape == (SIDE, SIDE)
    assert set(np.unique(ids)) <= set(range(len(segments) + 1))
    points = segments.points()
    assert points.xyz.shape == points.rgb.shape == (len(points), 3)
    assert (points.rgb.dtype, points.ids.min()) == (np.uint8, 1)
    # On the ball, in the capture's coordinates.
    scene = NORMALISATION.points(points.xyz)
    assert np.quantile(np.abs(np.linalg.norm(scene, axis=1) - 0.6), 0.8) < 0.15
    with pytest.raises(BadArgument, match=r"^level: expected 0 to 6, got 9"):
        run.segments(level=9)
    assert repr(points) == f"PointCloud({len(points)} points, {len(np.unique(points.ids))} segments)"
    assert repr(segments) == f"SceneSegments({len(segments)} segments at level 2)"


def test_points_have_the_colours_that_cameras_see(run: Run):
    """The colour of a point is close to that of the pixel that shows it."""
    points = run.segments(level=2, progress=False).points()
    view = run.view(VIEW)
    scene = torch.from_numpy(NORMALISATION.points(points.xyz)).float()
    xy, depth, inside = view.cameras.to("cpu").project(scene)
    column, row = xy[0].long().clamp(0, SIDE - 1).unbind(1)
    near = (depth[0] - torch.from_numpy(view.depth.copy())[row, column]).abs() < 0.1
    seen = (near & inside[0]).numpy()
    assert seen.sum() > 20
    pixels = view.rgb[row.numpy(), column.numpy()] * 255
    assert np.median(np.abs(pixels[seen] - points.rgb[seen])) < 25


def test_a_run_without_features_shows_pictures_and_says_what_is_missing(folder: Path, tmp_path: Path, device):
    import shutil

    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    (bare / FEATURES).unlink()
    run = omniseg.load(bare, device.type)  # type: ignore[arg-type]
    assert "no features" in repr(run)
    assert run.view(VIEW).rgb.any()
    for ask in (run.session, run.segments, lambda: run.select(VIEW, [(COLUMN, ROW)])):
        with pytest.raises(InputError, match=r"has no features yet; add them with: omniseg train"):
            ask()


def test_nothing_is_printed(run: Run, tmp_path: Path, capsys, bars_at_once):
    half = run.select(VIEW, [(COLUMN, ROW)], name="half")
    surface = run.export_mesh(tmp_path / "half.ply", selection={3: half}, resolution=48, progress=False)
    assert list(surface.segment_faces) == [3], "numbered as asked for"
    assert surface.n_faces == surface.segment_faces[3]
    assert run.export_masks(tmp_path / "masks", half, progress=False)[0] > 0
    n_pictures, n_seen = run.export_cut_pictures(tmp_path / "cut", "rgba", selection=half, path="test", progress=False)
    assert 1 <= n_seen <= n_pictures == 2
    for show in ("rgb", "features"):
        assert run.render(tmp_path / "shown", "test", show=show, progress=False) == 2
    run.export_segments(tmp_path / "ids", run.segments(level=2, progress=False), progress=False)
    assert capsys.readouterr() == ("", "")
