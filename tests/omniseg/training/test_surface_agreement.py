"""Agreement of photos about surfaces: high for a scene, low for fog before every lens."""

import pytest
import torch

from omniseg.rendering.renderer import Rendering
from omniseg.training.surface_agreement import NO_SURFACES, UNCERTAIN, surface_agreement
from tiny_scene import ball_config, ball_images, see_ball


class Seen:
    """A renderer of something that is known."""

    config = ball_config().marching

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def render(self, rays_o, rays_d, *, colour):
        assert not colour, "only depth is asked for"
        rgb, opacity, distance = see_ball(rays_o.cpu(), rays_d.cpu())
        if self.kind == "fog":  # everything ends a hand before the camera
            opacity, distance = torch.ones_like(opacity), torch.full_like(distance, 0.3)
        if self.kind == "noise":
            distance = distance * (1 + 0.3 * torch.randn_like(distance))
        if self.kind == "nothing":
            opacity = torch.zeros_like(opacity)
        return Rendering(*(t.to(rays_o.device) for t in (rgb, opacity, distance * opacity)))


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("ball", 0.9, 1.0), ("fog", 0.0, NO_SURFACES), ("noise", 0.05, UNCERTAIN), ("nothing", 0.0, 0.0)],
)
def test_agreement_tells_a_scene_from_fog(device, kind: str, low: float, high: float):
    torch.manual_seed(0)
    agreement = surface_agreement(Seen(kind), ball_images().to(device))  # type: ignore[arg-type]
    assert low <= agreement <= high


def test_the_same_seed_gives_the_same_agreement(device):
    images = ball_images().to(device)
    first, again, other = (surface_agreement(Seen("ball"), images, seed=seed) for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert first == again
    assert first != other
