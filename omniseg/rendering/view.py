"""Rendered views, ready to be clicked in: rendered at once, or coarse first and then finer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from omniseg.cameras import Cameras
from omniseg.config import SmoothingConfig
from omniseg.rendering.renderer import Renderer, Rendering
from omniseg.rendering.smoothing import edge_guides, smooth_picture

_FEWEST_RAYS = 256
"""Rays of the shortest step of a progressive rendering."""


@dataclass(frozen=True, eq=False, repr=False)
class RenderedView:
    """One camera's picture with features: flat tensors for computing, numpy pictures to look at.

    Tensors have one row for each pixel, row by row from the top left, and stay on the device of the renderer.

    Attributes:
        cameras: the one camera, at the size of this picture.
        rendering: of its height * width rays; its features are not smoothed.
        unit_features: (height * width, dim) of unit length, smooth within edges (`SmoothingConfig`); 0 where
            nothing is seen; dim is 0 without features.
        positions: (height * width, 3) surface points, scene coordinates.
        solid: (height * width,) bool, true where something opaque is seen.
        width, height: pixels.
        name: of the view; empty for a camera without one.
    """

    cameras: Cameras
    rendering: Rendering
    unit_features: Tensor
    positions: Tensor
    solid: Tensor
    width: int
    height: int
    name: str = field(default="", kw_only=True)

    @classmethod
    def from_rendering(
        cls,
        cameras: Cameras,
        rays_o: Tensor,
        rays_d: Tensor,
        rendering: Rendering,
        smoothing: SmoothingConfig,
        *,
        name: str = "",
    ) -> RenderedView:
        """Make the view of one camera from all of its rays (height * width, 3) and their rendering, with colour.

        Raises:
            ValueError: there is not one ray for each pixel.
        """
        width, height = cameras.size[0].tolist()
        if len(rays_o) != width * height:
            raise ValueError(f"rays_o, rays_d: expected {width * height} rays, one for each pixel, got {len(rays_o)}")
        positions = rays_o + rendering.distance[:, None] * rays_d
        none = rendering.rgb.new_zeros(len(rays_o), 0)
        features = none if rendering.features is None else F.normalize(rendering.features, dim=1)
        features = smooth_picture(features, rendering, width, height, smoothing)
        return cls(cameras, rendering, features, positions, rendering.solid, width, height, name=name)

    def __repr__(self) -> str:
        return f"RenderedView({self.name!r}, {self.width} x {self.height})"

    @property
    def rgb(self) -> np.ndarray:
        """Colour (height, width, 3) float32 in [0, 1] over black; read-only."""
        return self._grid(self.rendering.rgb)

    @property
    def depth(self) -> np.ndarray:
        """Distance (height, width) float32 along each ray, scene units; 0 where nothing is seen; read-only."""
        return self._grid(self.rendering.distance)

    @property
    def features(self) -> np.ndarray:
        """Smooth features (height, width, dim) float32 of unit length; read-only.

        They are 0 where nothing is seen; dim is 0 where the run has no feature field.
        """
        return self._grid(self.unit_features)

    @property
    def opacity(self) -> np.ndarray:
        """Opacity (height, width) float32 in [0, 1]; read-only."""
        return self._grid(self.rendering.opacity)

    def _grid(self, values: Tensor) -> np.ndarray:
        """Return values (height * width, ...) of all pixels as a read-only array (height, width, ...)."""
        array = values.detach().cpu().numpy().reshape(self.height, self.width, *values.shape[1:])
        array.flags.writeable = False  # on a CPU it is the tensor's own memory
        return array


def render_view(renderer: Renderer, cameras: Cameras, view: int = 0, *, name: str = "") -> RenderedView:
    """Render one of these cameras, with features if there are any.

    Args:
        renderer: of the fields.
        cameras: at the size of the picture.
        view: index of the camera.
        name: of the view.
    """
    rays_o, rays_d = cameras.image_rays(view)
    rendering = renderer.render(rays_o, rays_d, features=renderer.features is not None)
    return RenderedView.from_rendering(cameras[[view]], rays_o, rays_d, rendering, renderer.smoothing, name=name)


def smooth_at(
    features: Tensor, rendering: Rendering, xy: Tensor, view: RenderedView, config: SmoothingConfig
) -> Tensor:
    """Return smooth features of single rays, by one more round over the 4 x 4 pixels of a view around each.

    Weights also fall to 0 at two pixels from the point, so that they change smoothly with it.

    Args:
        features: (n, dim) of unit length.
        rendering: of these n rays, with colour.
        xy: (n, 2) points of the view at which they pass, pixels.
        view: what its camera sees.
        config: rounds, and what makes an edge.
    Returns:
        (n, dim) of unit length.
    """
    if not config.rounds:
        return features
    offsets = torch.tensor([-1, 0, 1, 2], device=xy.device)
    columns, rows = ((xy - 0.5).floor().long()[:, :, None] + offsets).unbind(1)
    across, down = (
        (1 - 0.5 * (xy[:, k, None] - places - 0.5).abs()).clamp(min=0) for k, places in ((0, columns), (1, rows))
    )
    x, y = columns.clamp(0, view.width - 1), rows.clamp(0, view.height - 1)
    pixels = (y[:, :, None] * view.width + x[:, None]).view(-1)
    near = view.unit_features[pixels].view(len(xy), 16, -1)
    seen = Rendering(*(values[pixels] for values in (view.rendering.rgb, view.rendering.opacity, view.rendering.depth)))
    apart = (edge_guides(seen, config).view(len(xy), 16, -1) - edge_guides(rendering, config)[:, None]).square().sum(2)
    weights = torch.exp(config.agreement * ((near * features[:, None]).sum(2) - 1) - 0.5 * apart)
    weights = weights * seen.solid.view(len(xy), 16) * (down[:, :, None] * across[:, None]).view(len(xy), 16)
    return F.normalize(features + (weights[..., None] * near).sum(1), dim=1)


class ProgressiveViews:
    """Renders a camera in steps short enough for a window to stay alive: coarse first, then finer.

    Args:
        renderer: with a feature field.
        budget: seconds that one step should take; a window reads mouse and keys between steps.
        coarsest: the first picture has at most this many times fewer pixels along each side than the last one.
        first: seconds that the first picture may take, as fine as that allows; None: one step.
    """

    def __init__(
        self, renderer: Renderer, budget: float = 0.03, coarsest: int = 16, first: float | None = None
    ) -> None:
        self.renderer, self.budget, self.coarsest = renderer, budget, coarsest
        self.first = first
        self._rays_a_second = 2e4
        self._steps: Iterator[RenderedView | None] = iter(())

    def look(self, cameras: Cameras) -> None:
        """Start over with this one camera."""
        self._steps = self._refine(cameras)

    def advance(self) -> RenderedView | None:
        """Work for about the budget. Return a view when one is complete, each finer than the one before."""
        return next(self._steps, None)

    def _refine(self, cameras: Cameras) -> Iterator[RenderedView | None]:
        width, height = cameras.size[0].tolist()
        # As fine as the time allows: a GPU begins with the whole picture.
        seconds = self.budget if self.first is None else self.first
        shrink = min(max((width * height / (self._rays_a_second * seconds)) ** 0.5, 1.0), float(self.coarsest))
        while shrink > 1:
            yield from self._render(cameras.resized(max(int(width / shrink), 1)))
            shrink = shrink / 2 if shrink >= 3 else 1.0  # no two pictures that hardly differ
        yield from self._render(cameras)

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
        yield RenderedView.from_rendering(cameras, rays_o, rays_d, Rendering.cat(parts), self.renderer.smoothing)
