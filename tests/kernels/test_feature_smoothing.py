import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from helpers import noncontiguous
from omniseg_kernels import smooth_features
from omniseg_kernels.reference import feature_smoothing as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")

# Of sums of a few dozen products of numbers below 1.
TOLERANCE = {"rtol": 1e-5, "atol": 2e-6}


def make_picture(height, width, dim, n_guides, device, share=0.8):
    """Return features near a common direction, guides and a mask of this share."""
    features = F.normalize(torch.ones(dim) + 0.5 * torch.randn(height, width, dim), dim=2)
    guides, solid = torch.randn(height, width, n_guides), torch.rand(height, width) < share
    return features.to(device), guides.to(device), solid.to(device)


@pytest.mark.bounds
@pytest.mark.parametrize(("dim", "n_guides"), [(1, 1), (3, 4), (32, 4), (70, 2)])
@pytest.mark.parametrize("size", [(0, 5), (1, 1), (1, 9), (13, 1), (7, 5), (30, 41)], ids=str)
def test_matches_reference(size, dim, n_guides, device):
    args = make_picture(*size, dim, n_guides, device)
    for numbers in ({"rounds": 0, "agreement": 5.0}, {"rounds": 3, "agreement": 8.0}, {"rounds": 2, "agreement": 0.0}):
        got = smooth_features(*args, **numbers)
        assert_close(got, reference.smooth_features(*args, **numbers), **TOLERANCE)


def test_takes_slices_and_leaves_its_inputs_alone(device):
    features, guides, solid = make_picture(9, 11, 4, 3, device)
    args = noncontiguous(features).requires_grad_(), noncontiguous(guides), solid.t().contiguous().t()
    got = smooth_features(*args, rounds=2, agreement=3.0)
    assert not got.requires_grad
    assert_close(got, reference.smooth_features(features, guides, solid, rounds=2, agreement=3.0), **TOLERANCE)
    assert (args[0] == features).all()


def test_by_hand(device):
    features = torch.tensor([[[1.0, 0], [0.6, 0.8], [0, 1]]], device=device)
    guides = torch.tensor([[[0.0], [1.0], [1.0]]], device=device)
    solid = torch.ones(1, 3, dtype=torch.bool, device=device)
    got = smooth_features(features, guides, solid, rounds=1, agreement=2.0)
    weight = torch.tensor(2.0 * (0.6 - 1) - 0.5 - 0.25).exp()
    assert_close(got[0, 0].cpu(), F.normalize(torch.tensor([1 + 0.6 * weight, 0.8 * weight]), dim=0))


def test_speckle_goes_and_an_edge_of_depth_or_feature_stays(device):
    height, width = 40, 60
    truth = torch.zeros(height, width, 8)
    truth[:, :30, 0], truth[:, 30:, 1] = 1, 1
    noisy = F.normalize(truth + 0.12 * torch.randn_like(truth), dim=2).to(device)
    solid = torch.ones(height, width, dtype=torch.bool, device=device)
    same, depth = torch.zeros(height, width, 1, device=device), 20 * truth[..., :1].to(device)
    truth = truth.to(device)
    before = (noisy * truth).sum(2)
    for guides, agreement in ((same, 20.0), (depth, 0.0)):
        after = (smooth_features(noisy, guides, solid, rounds=3, agreement=agreement) * truth).sum(2)
        assert (1 - after).mean() < 0.15 * (1 - before).mean()
        assert (1 - after[:, 28:32]).mean() < 0.15 * (1 - before).mean()


def test_transparent_pixels_neither_give_nor_take(device):
    features, guides, _ = make_picture(20, 30, 6, 2, device)
    solid = torch.ones(20, 30, dtype=torch.bool, device=device)
    solid[:, 12:18] = False
    other = torch.where(solid[..., None], features, torch.full_like(features, 3.0))
    got, with_others = (smooth_features(f, guides, solid, rounds=4, agreement=1.0) for f in (features, other))
    assert (got[~solid] == features[~solid]).all()
    assert (got[solid] == with_others[solid]).all()
    assert (got[solid] != features[solid]).any(1).all()


@pytest.mark.bounds
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
def test_values_that_are_no_numbers_stay_in_bounds(bad, device):
    features, guides, solid = make_picture(6, 7, 3, 2, device, share=1.0)
    got = smooth_features(features, guides * bad, solid, rounds=2, agreement=2.0)
    assert got.shape == features.shape
    smooth_features(features * bad, guides, solid, rounds=2, agreement=2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(4, 5)}, r"features: expected shape \(any, any, any\), got \(4, 5\)"),
        ({"features": torch.zeros(4, 5, 3).double()}, "features: expected torch.float32"),
        ({"features": torch.zeros(4, 5, 0)}, "expected at least one channel, got 0 and 2"),
        ({"guides": torch.zeros(4, 4, 2)}, r"guides: expected shape \(4, 5, any\)"),
        ({"solid": torch.zeros(5, 4) > 1}, r"solid: expected shape \(4, 5\)"),
        ({"solid": torch.zeros(4, 5)}, "solid: expected torch.bool"),
        ({"rounds": -1}, "rounds: expected 0 to 16, got -1"),
        ({"agreement": float("nan")}, "agreement: expected a finite number of at least 0, got nan"),
    ],
)
def test_refuses(change, message, device):
    features, guides, solid = make_picture(4, 5, 3, 2, device)
    args = {"features": features, "guides": guides, "solid": solid, "rounds": 1, "agreement": 1.0}
    args |= {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in change.items()}
    with pytest.raises(ValueError, match=message):
        smooth_features(**args)
