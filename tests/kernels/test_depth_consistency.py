import pytest
import torch

from analytic_scene import poses_around, trace
from omniseg_kernels import PinholeViews, agreeing_views
from omniseg_kernels.reference import depth_consistency as reference
from omniseg_kernels.reference.plane_sweep import camera_rays

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def make_scene(sizes, device):
    """Return views around the ball and the true distances of their pixels."""
    n, sizes = len(sizes), torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)
    focal = sizes.amax(1, keepdim=True) * torch.tensor([0.9, 1.0])
    c2w = torch.from_numpy(poses_around(n, arc=0.2 * n)).float().reshape(-1, 3, 4)
    views = PinholeViews(sizes, c2w, torch.cat([focal, sizes / 2], 1))
    distances = [torch.zeros(0)]
    for v in range(n):
        origin, directions = camera_rays(views, v)
        directions = directions.reshape(-1, 3)
        distances.append(trace(origin.expand_as(directions), directions))
    views = PinholeViews(sizes.to(device), views.c2w.to(device), views.intrinsics.to(device))
    return views, torch.cat(distances).to(device)


def all_others(n, device):
    """Return (n, n - 1) of each view, all other ones."""
    return torch.tensor([[u for u in range(n) if u != v] for v in range(n)], device=device).reshape(n, max(n - 1, 0))


@pytest.mark.bounds
@pytest.mark.parametrize("known", [1.0, 0.6])
@pytest.mark.parametrize(
    "sizes", [[], [(7, 5)], [(1, 1), (3, 2)], [(31, 17), (16, 29), (9, 1), (20, 15)]], ids=lambda sizes: str(len(sizes))
)
def test_matches_reference(sizes, known, device):
    views, truth = make_scene(sizes, device)
    distances = truth * (1 + 0.1 * torch.rand(len(truth)).to(device)) * (torch.rand(len(truth)) < known).to(device)
    partners = all_others(len(sizes), device).long()
    partners[::2, 1:2] = -1
    got = agreeing_views(views, distances, partners, 0.1)
    want = reference.agreeing_views(views, distances, partners, 0.1)
    # A point on the border of two pixels, or a difference of just the tolerance, may fall on either side.
    assert (got != want).sum() <= 0.003 * len(want)
    assert got.dtype == torch.int32
    assert (got[distances == 0] == 0).all()


def test_by_hand(device):
    c2w = torch.eye(3, 4, device=device).repeat(3, 1, 1)
    c2w[1:, 0, 3] = 1.0
    lens = torch.tensor([[2.0, 2, 0.5, 0.5]] * 3, device=device)
    views = PinholeViews(torch.tensor([[1, 1], [4, 1], [4, 1]], device=device), c2w, lens)
    # The point (0, 0, 2) lies left of the other views' pictures, (1, 0, 2) would be on their axis.
    c2w[1:, 0, 3] = -1.0
    views = PinholeViews(views.sizes, c2w, lens)  # from x = -1, (0, 0, 2) is at column 2 * 1 / 2 + 0.5 = 1.5
    far = 5**0.5
    distances = torch.tensor([2.0, 0, far * 1.04, 0, 0, far, far * 0.94, far, far], device=device)
    partners = torch.tensor([[1, 2], [0, -1], [-1, -1]], device=device)
    assert agreeing_views(views, distances, partners, 0.05).tolist()[0] == 1
    assert agreeing_views(views, distances, partners, 0.07).tolist()[0] == 2
    assert agreeing_views(views, distances, partners, 0.03).tolist()[0] == 0
    # Seen from view 1, column 1 hits the point (0.04, 0, 2.08), where view 0 is off by less than 4 %.
    assert agreeing_views(views, distances, partners, 0.05).tolist()[1:5] == [0, 1, 0, 0]
    assert agreeing_views(views, distances, partners, 0.03).tolist()[1:5] == [0, 0, 0, 0]


def test_true_surfaces_agree_and_others_do_not(device):
    views, truth = make_scene([(40, 30)] * 5, device)
    partners = all_others(5, device)
    right = agreeing_views(views, truth, partners, 0.03)
    assert (right >= 2).float().mean() > 0.55  # of two views at the ends of the arc, much is hidden
    wrong = agreeing_views(views, truth * (0.5 + torch.rand(len(truth)).to(device)), partners, 0.03)
    assert (wrong >= 2).float().mean() < 0.1


@pytest.mark.bounds
def test_values_that_are_no_numbers_stay_in_bounds(device):
    views, truth = make_scene([(9, 5), (8, 6)], device)
    for bad in (torch.nan, torch.inf, 1e30):
        agreeing_views(views, truth * bad, all_others(2, device), 0.1)
        c2w = views.c2w.clone()
        c2w[0, :, 3] = bad
        agreeing_views(PinholeViews(views.sizes, c2w, views.intrinsics), truth, all_others(2, device), 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distances": torch.zeros(4)}, r"distances: expected shape \(93\), got \(4,\)"),
        ({"distances": torch.zeros(93).double()}, "distances: expected torch.float32"),
        ({"partners": torch.tensor([[1], [2]])}, "partners: expected views from 0 to 1, or -1 for none, got 1 to 2"),
        ({"partners": torch.zeros(3, 1, dtype=torch.int64)}, r"partners: expected shape \(2, any\)"),
        ({"tolerance": 0.0}, "tolerance: expected above 0, got 0.0"),
    ],
)
def test_refuses(change, message, device):
    views, truth = make_scene([(9, 5), (8, 6)], device)
    args = {"distances": truth, "partners": all_others(2, device), "tolerance": 0.1}
    args |= {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in change.items()}
    with pytest.raises(ValueError, match=message):
        agreeing_views(views, **args)
