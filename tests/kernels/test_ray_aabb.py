import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import TOLERANCE, noncontiguous
from omniseg_kernels.ray_aabb import ray_aabb
from omniseg_kernels.reference import ray_aabb as reference

pytestmark = pytest.mark.usefixtures("poisoned_memory")

BOX = [-1.0, -2.0, -0.5, 1.0, 0.5, 3.0]


def make_rays(n, device):
    origins = 3 * torch.randn(n, 3)
    directions = torch.randn(n, 3)
    directions[::3, 0] = 0  # parallel to one pair of faces, then to two
    directions[::5, :2] = 0
    origins[::4] *= 0.1  # inside
    return origins.to(device), torch.nn.functional.normalize(directions, dim=1).to(device)


@pytest.mark.bounds
@pytest.mark.parametrize("near", [0.0, 0.3])
@pytest.mark.parametrize("n", [0, 1, 7, 1031])
def test_matches_reference(n, near, device):
    rays_o, rays_d = make_rays(n, device)
    box = torch.tensor(BOX, device=device)
    t_min, t_max = ray_aabb(rays_o, rays_d, box, near)
    want_min, want_max = reference.ray_aabb(rays_o, rays_d, box, near)
    assert_close(t_min, want_min, **TOLERANCE[torch.float32])
    assert_close(t_max, want_max, **TOLERANCE[torch.float32])
    if n > 7:
        assert 0.05 < (t_max > t_min).float().mean() < 0.95


@pytest.mark.parametrize(
    ("origin", "direction", "interval"),
    [
        ((-3, 0, 0), (1, 0, 0), (2, 4)),  # through the middle, two zero components
        ((0, 0, 0), (0, 0, -1), (0.25, 0.5)),  # from inside: starts at near
        ((0, 0, 0), (0, -0.6, 0.8), (0.25, 10 / 3)),
        ((-3, 0, 0), (-1, 0, 0), (0.25, 0.25)),  # box behind
        ((-3, 1, 0), (1, 0, 0), (0.25, 0.25)),  # parallel, beside
        ((-3, 0.5, 0), (1, 0, 0), (2, 4)),  # parallel, along a face
        ((1, 0, 0), (1, 0, 0), (0.25, 0.25)),  # leaves from a face
        ((-1, 0, 0), (1, 0, 0), (0.25, 2)),  # enters at a face
        ((0, 0, 2.9), (0, 0, 1), (0.25, 0.25)),  # the box ends before near
        ((0, 0, 0), (0, 0, 0), (0.25, 0.25)),  # no direction
        ((0, 0, 0), (1, 1e-38, 0), (0.25, 1)),
    ],
)
def test_by_hand(origin, direction, interval, device):
    rays = torch.tensor([origin, direction], dtype=torch.float32, device=device)
    t = torch.stack(ray_aabb(rays[:1], rays[1:], torch.tensor(BOX, device=device), near=0.25))
    assert_close(t[:, 0].cpu(), torch.tensor(interval, dtype=torch.float32))


ANY = st.floats(width=32)
VECTOR = st.tuples(ANY, ANY, ANY)


@settings(max_examples=150)
@given(origin=VECTOR, direction=VECTOR, near=st.floats(0, 100, width=32))
def test_never_nan_and_never_reversed(origin, direction, near, device):
    rays = torch.tensor([origin, direction], device=device)
    t_min, t_max = ray_aabb(rays[:1], rays[1:], torch.tensor(BOX, device=device), near)
    assert torch.isfinite(t_min).all()
    assert torch.isfinite(t_max).all()
    assert near <= t_min.item() <= t_max.item()


def test_interval_lies_in_the_box(device):
    rays_o, rays_d = make_rays(500, device)
    box = torch.tensor(BOX, device=device)
    t_min, t_max = ray_aabb(rays_o, rays_d, box)
    hit = t_max > t_min
    for fraction in (0.01, 0.5, 0.99):
        inside = rays_o + (t_min + fraction * (t_max - t_min))[:, None] * rays_d
        assert ((inside >= box[:3] - 1e-5) & (inside <= box[3:] + 1e-5)).all(1)[hit].all()
    outside = rays_o + (1.01 * t_max + 1e-3)[:, None] * rays_d
    assert not ((outside >= box[:3]) & (outside <= box[3:])).all(1)[hit].any()


def test_noncontiguous(device):
    rays_o, rays_d = make_rays(9, device)
    box = torch.tensor(BOX, device=device)
    got = ray_aabb(noncontiguous(rays_o), noncontiguous(rays_d), noncontiguous(box))
    assert_close(got, ray_aabb(rays_o, rays_d, box))


def test_not_differentiable(device):
    rays_o, rays_d = make_rays(3, device)
    rays_o.requires_grad_()
    t_min, _ = ray_aabb(rays_o, rays_d, torch.tensor(BOX, device=device))
    assert not t_min.requires_grad
    assert rays_o.grad is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rays_o": torch.zeros(4, 2)}, r"rays_o: expected shape \(any, 3\)"),
        ({"rays_o": torch.zeros(4, 3, dtype=torch.float64)}, "rays_o: expected torch.float32"),
        ({"rays_d": torch.zeros(5, 3)}, r"rays_d: expected shape \(4, 3\), got \(5, 3\)"),
        ({"rays_d": torch.zeros(4, 3, dtype=torch.float64)}, "rays_d: expected torch.float32 on"),
        ({"aabb": torch.zeros(2, 3)}, r"aabb: expected shape \(6\), got \(2, 3\)"),
        ({"near": -1.0}, "near: expected"),
        ({"near": float("nan")}, "near: expected"),
    ],
)
def test_wrong_arguments(change, message, device):
    arguments = {"rays_o": torch.zeros(4, 3), "rays_d": torch.ones(4, 3), "aabb": torch.tensor(BOX)} | change
    moved = {name: v.to(device) if isinstance(v, torch.Tensor) else v for name, v in arguments.items()}
    with pytest.raises(ValueError, match=message):
        ray_aabb(**moved)
