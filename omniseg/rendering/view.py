"""What one camera sees, ready to be clicked in; whole, or finer and finer while somebody is looking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from omniseg.cameras import Cameras
from omniseg.rendering.renderer import Renderer, Rendering

_COARSEST = 8
_FEWEST_RAYS = 256


@dataclass(frozen=True)
class RenderedView:
    """A rendered view, pixel by pixel, rows from the top.

    Attributes:
        cameras: the one camera, at the size of this picture.
        rendering: of its height * width rays.
        features: (height * width, dim) of unit length, 0 where nothing is.
        positions: (height * width, 3) what is seen there, scene coordinates.
    """

    cameras: Cameras
    rendering: Rendering
    features: Tensor
    positions: Tensor

    @classmethod
    def of(cls, cameras: Cameras, rays_o: Tensor, rays_d: Tensor, rendering: Rendering) -> RenderedView:
        """Of a camera, its rays and what they see, features among it."""
        assert rendering.features is not None
        positions = rays_o + rendering.distance[:, None] * rays_d
        return cls(cameras, rendering, F.normalize(rendering.features, dim=1), positions)

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return int(self.cameras.size[0, 0])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.cameras.size[0, 1])

    @property
    def solid(self) -> Tensor:
        """(height * width,) bool, whether anything is seen there."""
        return self.rendering.opacity > 0.5


def render_view(renderer: Renderer, cameras: Cameras, view: int = 0, *, colour: bool = True) -> RenderedView:
    """Render one of these cameras, colour or not, with features."""
    rays_o, rays_d = cameras.image_rays(view)
    rendering = renderer.render(rays_o, rays_d, colour=colour, features=True)
    return RenderedView.of(cameras[[view]], rays_o, rays_d, rendering)


class ProgressiveFrames:
    """Renders a camera in steps short enough for a window to stay alive: coarse first, then finer.

    Args:
        renderer: with a feature field.
        budget: seconds that one step should take.
        coarsest: the first frame has this many times fewer pixels a side.
    """

    def __init__(self, renderer: Renderer, budget: float = 0.06, coarsest: int = _COARSEST) -> None:
        self.renderer, self.budget, self.coarsest = renderer, budget, coarsest
        self._rays_a_second = 2e4
        self._steps: Iterator[RenderedView | None] = iter(())

    def look(self, cameras: Cameras) -> None:
        """Begin anew with this one camera."""
        self._steps = self._refine(cameras)

    def advance(self) -> RenderedView | None:
        """Work for about the budget. Returns a frame when one is complete, each finer than the one before."""
        return next(self._steps, None)

    def _refine(self, cameras: Cameras) -> Iterator[RenderedView | None]:
        width, height = cameras.size[0].tolist()
        shrink = self.coarsest
        while shrink > 1 and width * height / shrink**2 < self._rays_a_second * self.budget / 4:
            shrink //= 2  # as fine as one step manages: a GPU begins with the whole picture
        while shrink:
            small = cameras.resized(max(width // shrink, 1))
            yield from self._render(small)
            shrink //= 2

    def _render(self, cameras: Cameras) -> Iterator[RenderedView | None]:
        rays_o, rays_d = cameras.image_rays(0)
        parts, done = [], 0
        while done < len(rays_o):
            count = max(int(self._rays_a_second * self.budget), _FEWEST_RAYS)
            begin = time.perf_counter()
            part = slice(done, done + count)
            parts.append(self.renderer.render(rays_o[part], rays_d[part], features=True))
            speed = len(rays_o[part]) / max(time.perf_counter() - begin, 1e-6)
            self._rays_a_second = 0.5 * (self._rays_a_second + speed)
            done += count
            if done < len(rays_o):
                yield None
        yield RenderedView.of(cameras, rays_o, rays_d, Rendering.cat(parts))
