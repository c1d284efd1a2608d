import pytest
import torch

from omniseg_kernels.occupancy import OccupancyBits, morton_encode, occupied, pack_bits
from omniseg_kernels.reference import visibility as reference
from omniseg_kernels.visibility import visible_cells

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def make_cameras(n, device):
    """Return cameras around the origin that look near it."""
    position = torch.nn.functional.normalize(torch.randn(n, 3), dim=1) * (0.5 + 1.5 * torch.rand(n, 1))
    forward = torch.nn.functional.normalize(0.5 * torch.randn(n, 3) - position, dim=1)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.randn(n, 3)), dim=1)
    c2w = torch.stack([right, torch.linalg.cross(forward, right), forward, position], 2)
    size = torch.randint(60, 200, (n, 2))
    focal = 80 + 100 * torch.rand(n, 2)
    centre = size * (0.3 + 0.4 * torch.rand(n, 2))
    return c2w.to(device), torch.cat([focal, centre], 1).to(device), size.to(device)


@pytest.mark.bounds
@pytest.mark.parametrize(("near", "margin"), [(0.0, 0.0), (0.7, 12.5)])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_visible_cells_match_reference(n, near, margin, device):
    cameras = make_cameras(n, device)
    got = visible_cells(3, 8, *cameras, near, margin)
    want = reference.visible_cells(3, 8, *cameras, near, margin)
    assert got.dtype == torch.bool
    assert got[want].all()
    assert (got != want).float().mean() < 1e-3  # in doubt by rounding, the kernel says visible


@pytest.mark.parametrize("near", [0.0, 0.5])
def test_no_seen_point_lies_in_an_invisible_cell(near, device):
    cascades, resolution = 2, 16
    c2w, intrinsics, size = make_cameras(3, torch.device("cpu"))
    visible = visible_cells(cascades, resolution, c2w.to(device), intrinsics.to(device), size.to(device), near)
    grid = OccupancyBits(pack_bits(visible.float(), 0.5), cascades, resolution)
    xy = torch.rand(20000, 3, 2) * size
    local = torch.cat([(xy - intrinsics[:, 2:]) / intrinsics[:, :2], torch.ones(20000, 3, 1)], 2)
    rays = torch.nn.functional.normalize(torch.einsum("vij,nvj->nvi", c2w[:, :, :3], local), dim=2)
    points = (c2w[:, :, 3] + rays * (near + 3 * torch.rand(20000, 3, 1))).reshape(-1, 3)
    points = points[points.abs().amax(1) < 2]
    assert occupied(points.to(device), grid).all()
    assert 0.05 < visible.float().mean() < 0.95  # the test would pass if everything were visible


def test_visible_cells_by_hand(device):
    c2w = torch.eye(3, 4, device=device)[None]  # at the origin, looks along z with half angles of 45 degrees
    intrinsics = torch.tensor([[50.0, 50.0, 50.0, 50.0]], device=device)
    size = torch.tensor([[100, 100]], device=device)
    visible = visible_cells(1, 32, c2w, intrinsics, size, near=0.4)[0]
    points = [[0.01, 0.01, 0.9], [0.6, 0.01, 0.7], [0.9, 0.01, 0.3], [0.01, 0.01, -0.5], [0.01, 0.01, 0.2]]
    ijk = ((torch.tensor(points) + 1) * 16).int().to(device)
    seen = visible[morton_encode(ijk).long()]
    # ahead; inside the edge; outside of the image; behind; nearer than near
    assert seen.tolist() == [True, True, False, False, False]
    wide = visible_cells(1, 32, c2w, intrinsics, size, near=0.1, margin=200.0)[0]
    assert wide[morton_encode(ijk).long()].tolist() == [True, True, True, False, True]


CAMERAS = (torch.zeros(2, 3, 4), torch.zeros(2, 4), torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 512, *CAMERAS), r"resolution: expected a power of two in \[2, 256\], got 512"),
        ((0, 4, *CAMERAS), "cascades: expected 1 to 16, got 0"),
        ((2, 4, torch.zeros(2, 4, 4), *CAMERAS[1:]), "c2w: expected shape"),
        ((2, 4, CAMERAS[0].double(), *CAMERAS[1:]), "c2w: expected torch.float32"),
        ((2, 4, CAMERAS[0], CAMERAS[1][:1], CAMERAS[2]), "intrinsics: expected shape"),
        ((2, 4, *CAMERAS[:2], torch.zeros(2)), "size: expected shape"),
    ],
)
def test_wrong_arguments(arguments, message, device):
    moved = [v.to(device) if isinstance(v, torch.Tensor) else v for v in arguments]
    with pytest.raises(ValueError, match=message):
        visible_cells(*moved)
