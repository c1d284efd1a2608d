import dataclasses

import pytest
import torch
from torch.testing import assert_close

import omniseg_kernels as kernels
from analytic_scene import paint, poses_around, trace
from helpers import noncontiguous
from omniseg_kernels import PinholeViews, SweepRule, _sweep_strips, plane_sweep
from omniseg_kernels.reference import plane_sweep as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")

SCORE_TOLERANCE = {"rtol": 0.0, "atol": 5e-4}
"""A variance is a difference of sums that nearly cancel in a window of little contrast; its floor is 1e-4."""

SIZES = [(37, 23), (20, 70), (17, 1), (1, 9), (3, 2)]
"""Odd sizes, several strips of rows, one row, one column, less than a window."""


def make_views(sizes, device):
    """Return cameras in disorder that look the same way, within a few degrees."""
    n, sizes = len(sizes), torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)
    turn = 0.1 * torch.randn(n, 3, 3)
    rotation = torch.linalg.matrix_exp(turn - turn.transpose(1, 2))
    focal = sizes.amax(1, keepdim=True) * torch.tensor([0.9, 1.0])
    c2w = torch.cat([rotation, 0.2 * torch.randn(n, 3, 1)], 2)
    return PinholeViews(sizes, c2w.to(device), torch.cat([focal, sizes * 0.5 + 0.3], 1).to(device))


def make_sweep(sizes, n_neighbours, device):
    """Return the arguments of `plane_sweep` with random values; view v has up to v % 3 neighbours."""
    views = make_views(sizes, device)
    near = 0.5 + torch.rand(views.n_pixels)
    neighbours = torch.full((len(sizes), n_neighbours), -1)
    for v in range(len(sizes)):
        others = [u for u in reversed(range(len(sizes))) if u != v][: min(v % 3, n_neighbours)]
        neighbours[v, : len(others)] = torch.tensor(others, dtype=torch.int64)
    spans = torch.stack([near, near * (1 + 3 * torch.rand(views.n_pixels))], 1)
    return views, torch.rand(views.n_pixels).to(device), spans.to(device), neighbours.to(device)


def assert_same_sweep(args, rule):
    """Compare with the twin: scores everywhere, distances where no other plane scores nearly as much."""
    views, _, _, neighbours = args
    got, want = plane_sweep(*args, rule), reference.plane_sweep(*args, rule)
    assert_close(got.scores, want.scores, **SCORE_TOLERANCE)
    for view in range(len(views)):
        pixels = slice(views.offsets[view], views.offsets[view + 1])
        distances, right = got.distances[pixels], want.distances[pixels]
        if (neighbours[view] < 0).all():
            assert (distances == 0).all()
            assert (got.scores[pixels] == -1).all()
            continue
        volume = reference.plane_scores(*args, rule, view).flatten(1)
        first, second = volume.topk(2, 0).values
        clear = first - second > 4 * SCORE_TOLERANCE["atol"]
        # The parabola divides by the curvature of scores, which may be as small as the gap to the second.
        assert_close(distances[clear], right[clear], rtol=2e-2, atol=0)
        assert ((distances - right).abs()[clear] < 1e-4 * right[clear]).float().mean() > 0.97 or not clear.any()


@pytest.mark.parametrize(
    "rule",
    [
        SweepRule(planes=9),
        SweepRule(planes=12, spacing="logarithmic", radius=1, best=1),
        SweepRule(planes=2, radius=4, variance_floor=1e-2, best=3),
    ],
    ids=["inverse", "logarithmic", "few planes"],
)
def test_matches_reference(rule, device):
    assert_same_sweep(make_sweep(SIZES, 3, device), rule)


@pytest.mark.bounds
@pytest.mark.parametrize("n_neighbours", [0, 1, 2])
@pytest.mark.parametrize("sizes", [[], [(5, 4)], [(1, 1), (1, 1)], [(19, 7), (2, 1), (3, 5)]], ids=len)
def test_matches_reference_on_small_sizes(sizes, n_neighbours, device):
    args = make_sweep(sizes, n_neighbours, device)
    assert_same_sweep(args, SweepRule(planes=4, radius=1))


@pytest.mark.parametrize(("name", "value"), [("_MOST_TASKS", 1), ("_MOST_SCRATCH", 1), ("_STRIP_ROWS", 3)])
def test_tasks_and_strips_change_nothing(name, value, device, monkeypatch):
    if device.type != "cpu":
        pytest.skip("tasks and strips are the CPU's")
    args = make_sweep(SIZES, 2, device)
    want = plane_sweep(*args, SweepRule(planes=6))
    monkeypatch.setattr(_sweep_strips, name, value)
    got = plane_sweep(*args, SweepRule(planes=6))
    assert torch.equal(got.scores, want.scores)
    assert torch.equal(got.distances, want.distances)


@pytest.mark.bounds
def test_values_that_are_no_numbers_stay_in_bounds(device):
    views, grey, spans, neighbours = make_sweep([(9, 5), (8, 6)], 1, device)
    for bad in (torch.nan, torch.inf, 1e30):
        broken = views.c2w.clone()
        broken[0, :, 3] = bad
        intrinsics = views.intrinsics.clone()
        intrinsics[1, 2] = bad
        for changed in ({"c2w": broken}, {"intrinsics": intrinsics}):
            plane_sweep(dataclasses.replace(views, **changed), grey, spans, neighbours, SweepRule(planes=3))
        plane_sweep(views, grey * bad, spans, neighbours, SweepRule(planes=3))


def shifted_pair(device, disparity=3, width=24, height=11):
    """Return two views 0.5 apart, the second picture the first one moved by `disparity`: z = 0.5 * 12 / 3 = 2."""
    c2w = torch.eye(3, 4).repeat(2, 1, 1)
    c2w[1, 0, 3] = 0.5
    lens = torch.tensor([[12.0, 12, width / 2, height / 2]]).repeat(2, 1)
    views = PinholeViews(torch.tensor([[width, height]] * 2), c2w.to(device), lens.to(device))
    picture = torch.rand(height, width + disparity)
    grey = torch.cat([picture[:, :width].reshape(-1), picture[:, disparity:].reshape(-1)]).to(device)
    x, y = (torch.arange(width) + 0.5 - width / 2) / 12, (torch.arange(height) + 0.5 - height / 2) / 12
    lengths = (1 + x[None] ** 2 + y[:, None] ** 2).sqrt().to(device)
    spans = lengths.flatten().repeat(2)[:, None] * torch.tensor([1.0, 4.0], device=device)
    return views, grey, spans, lengths


def test_by_hand(device):
    # Inverse z-depths 1, .75, .5, .25 of the planes are disparities of 6, 4.5, 3 and 1.5 pixels.
    views, grey, spans, lengths = shifted_pair(device)
    neighbours = torch.tensor([[1], [-1]], device=device)
    rule = SweepRule(planes=4, radius=1, best=1, variance_floor=1e-6)
    found = plane_sweep(views, grey, spans, neighbours, rule)
    score, distance = (x[: lengths.numel()].view_as(lengths) for x in (found.scores, found.distances))
    seen = slice(5, None)  # on plane 1, column 5 is at 0.5 of the neighbour
    assert_close(score[:, seen], torch.ones_like(score[:, seen]), rtol=0, atol=1e-3)
    volume = reference.plane_scores(views, grey, spans, neighbours, rule, 0)[:, :, seen]
    shift = 0.5 * (volume[1] - volume[3]) / (volume[1] - 2 * volume[2] + volume[3])
    assert_close(distance[:, seen], lengths[:, seen] / (0.5 - 0.25 * shift), rtol=1e-3, atol=0)
    assert (found.scores[lengths.numel() :] == -1).all()
    assert (score[:, 0] < 0.9).all()  # at column -3 of the neighbour, or another place by chance


def test_outside_of_the_neighbour_is_no_score(device):
    views, grey, spans, lengths = shifted_pair(device)
    spans = (spans / spans[:, :1]) * spans[:, :1] * 2  # only planes of at most 3 pixels of disparity
    rule = SweepRule(planes=2, radius=1, best=1)
    volume = reference.plane_scores(views, grey, spans, torch.tensor([[1], [-1]], device=device), rule, 0)
    assert (volume[0, :, :3] == -1).all()
    turned = views.c2w.clone()
    turned[1] = torch.tensor([[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0]])
    away = dataclasses.replace(views, c2w=turned)
    found = plane_sweep(away, grey, spans, torch.tensor([[1], [-1]], device=device), rule)
    assert (found.scores == -1).all()
    assert_close(found.distances[: lengths.numel()], spans[: lengths.numel(), 0])


def test_missing_neighbours_count_against_a_plane(device):
    views, grey, spans, lengths = shifted_pair(device)
    one = plane_sweep(views, grey, spans, torch.tensor([[1], [-1]], device=device), SweepRule(planes=4, best=1))
    two = plane_sweep(views, grey, spans, torch.tensor([[1, -1], [-1, -1]], device=device), SweepRule(planes=4, best=2))
    n = lengths.numel()
    assert_close(two.scores[:n], (one.scores[:n] - 1) / 2)


def analytic(device, n=12, size=(80, 60)):
    """Return the arguments of a sweep of the ball on the floor, and the true distances."""
    sizes = torch.tensor([size] * n)
    lens = torch.tensor([[0.9 * size[0], 0.9 * size[0], size[0] / 2, size[1] / 2]]).repeat(n, 1)
    views = PinholeViews(sizes, torch.from_numpy(poses_around(n, arc=1.5)).float(), lens)
    rays = [reference.camera_rays(views, v) for v in range(n)]
    rays_o = torch.cat([o.expand(size[0] * size[1], 3) for o, _ in rays])
    rays_d = torch.cat([d.reshape(-1, 3) for _, d in rays])
    distances = trace(rays_o, rays_d)
    grey = paint(rays_o + distances[:, None] * rays_d).mean(1)
    spans = torch.tensor([0.8, 8.0]).repeat(len(grey), 1)
    neighbours = (torch.arange(n)[:, None] - torch.arange(n)).abs().topk(min(n, 4), largest=False).indices[:, 1:]
    views = PinholeViews(sizes, views.c2w.to(device), lens.to(device))
    return (views, grey.to(device), spans.to(device), neighbours.to(device)), distances.to(device)


def test_finds_the_surfaces_of_a_scene(device):
    args, truth = analytic(device)
    views, neighbours = args[0], args[3]
    found = plane_sweep(*args, SweepRule(planes=64))
    known = torch.where(found.scores > 0.5, found.distances, 0)
    confident = kernels.agreeing_views(views, known, neighbours, 0.05) >= 2
    error = (found.distances - truth).abs() / truth
    assert confident.float().mean() > 0.6
    assert error[confident].median() < 0.01
    assert (error[confident] < 0.1).float().mean() > 0.95


def test_plain_pictures_have_no_score(device):
    (views, grey, spans, neighbours), _ = analytic(device, n=3, size=(20, 15))
    faint = 0.5 + 1e-3 * (grey - 0.5)
    assert plane_sweep(views, faint, spans, neighbours).scores.max() < 0.1


def test_noncontiguous_and_learned_input(device):
    views, grey, spans, neighbours = make_sweep([(9, 5), (8, 6)], 1, device)
    want = plane_sweep(views, grey, spans, neighbours, SweepRule(planes=4))
    leaf = noncontiguous(grey).requires_grad_()
    got = plane_sweep(views, leaf, noncontiguous(spans), noncontiguous(neighbours), SweepRule(planes=4))
    assert_close(got.distances, want.distances)
    assert not got.scores.requires_grad
    assert leaf.grad is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grey": torch.zeros(5)}, r"grey: expected shape \(93\), got \(5,\)"),
        ({"grey": torch.zeros(93).double()}, "grey: expected torch.float32 on .* as c2w"),
        ({"spans": torch.ones(93)}, r"spans: expected shape \(93, 2\)"),
        ({"spans": torch.tensor([[2.0, 1.0]]).repeat(93, 1)}, "spans: expected 0 < near <= far"),
        ({"spans": torch.tensor([[1.0, torch.nan]]).repeat(93, 1)}, "spans: expected 0 < near <= far"),
        (
            {"neighbours": torch.tensor([[2], [0]])},
            "neighbours: expected views from 0 to 1, or -1 for none, got 0 to 2",
        ),
        ({"neighbours": torch.tensor([[-2], [0]])}, "neighbours: expected views from 0 to 1"),
        ({"neighbours": torch.zeros(2, 1)}, "neighbours: expected torch.int64"),
        ({"neighbours": torch.zeros(2, 9, dtype=torch.int64)}, "neighbours: expected at most 8 for each view, got 9"),
    ],
)
def test_refuses_arguments(change, message, device):
    views, grey, spans, neighbours = make_sweep([(9, 5), (8, 6)], 1, device)
    args = {"grey": grey, "spans": spans, "neighbours": neighbours}
    args |= {name: value.to(device) for name, value in change.items()}
    with pytest.raises(ValueError, match=message):
        plane_sweep(views, **args)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": torch.tensor([[4, 4, 4]])}, r"sizes: expected shape \(any, 2\)"),
        ({"sizes": torch.tensor([[4, 4]], dtype=torch.int32)}, "sizes: expected torch.int64"),
        ({"sizes": torch.tensor([[0, 4]])}, "sizes: expected at least 1, got 0"),
        ({"c2w": torch.zeros(2, 3, 4)}, r"c2w: expected shape \(1, 3, 4\)"),
        ({"c2w": torch.zeros(1, 3, 4).double()}, "c2w: expected torch.float32"),
        ({"intrinsics": torch.zeros(1, 4)}, "intrinsics: expected focal lengths above 0"),
        ({"intrinsics": torch.ones(1, 3)}, r"intrinsics: expected shape \(1, 4\)"),
    ],
)
def test_refuses_views(change, message):
    good = {"sizes": torch.tensor([[4, 4]]), "c2w": torch.zeros(1, 3, 4), "intrinsics": torch.ones(1, 4)}
    with pytest.raises(ValueError, match=message):
        PinholeViews(**(good | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"planes": 1}, "planes: expected 2 to 4096, got 1"),
        ({"spacing": "even"}, "spacing: expected 'inverse' or 'log', got 'even'"),
        ({"radius": 0}, "radius: expected 1 to 4, got 0"),
        ({"variance_floor": 0.0}, "variance_floor: expected above 0"),
        ({"best": 0}, "best: expected 1 to 8, got 0"),
    ],
)
def test_refuses_rules(change, message):
    with pytest.raises(ValueError, match=message):
        SweepRule(**change)
