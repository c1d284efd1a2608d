"""The picture in the window: rendered coarse while the camera moves and finer while it rests, drawn on a change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from omniseg.rendering.view import ProgressiveViews, RenderedView
from omniseg.rendering.visualize import FeatureColours
from omniseg.run_folder import Viewpoints
from omniseg.selection.segment_tree import Segments, SegmentTree
from omniseg.selection.session import SegmentationSession
from omniseg.viewer.gestures import BoxGesture, DragGesture, StrokeGesture
from omniseg.viewer.orbit_camera import OrbitCamera
from omniseg.viewer.panels import Overlay, Panels, Shown
from omniseg.viewer.panes import Pane, four_panes

DRAG_ZOOM = 20.0
"""Zoom steps in a drag of one focal length."""


class SegmentLayer:
    """Automatic segments of the current view.

    Attributes:
        tree: of the segments.
        level: from 0, the finest.
    """

    def __init__(self, tree: SegmentTree, level: int) -> None:
        self.tree, self.level = tree, level
        self._cut: tuple[int, Segments] | None = None
        self._ids: tuple[RenderedView, Segments, np.ndarray] | None = None

    def cut(self) -> Segments:
        """Return the segments of the level; kept until it changes."""
        if self._cut is None or self._cut[0] != self.level:
            self._cut = self.level, self.tree.cut(self.level)
        return self._cut[1]

    def ids(self, view: RenderedView) -> np.ndarray:
        """Return the segment of each pixel, (height, width) int64, 0 for none; kept for the same view and level."""
        segments = self.cut()
        if self._ids is None or self._ids[0] is not view or self._ids[1] is not segments:
            self._ids = view, segments, segments.ids_in(view)
        return self._ids[2]


@dataclass(frozen=True)
class _Target:
    """A picture to render."""

    camera: OrbitCamera
    width: int
    height: int


class LiveView:
    """A camera that moves, and the picture of what it sees.

    Attributes:
        session: gets every rendered view.
        viewpoints: of the photos; the camera starts at the first one.
        render_width: limit of the width that is rendered, pixels, or None; a wider picture is enlarged.
        budget, first: seconds that one step of rendering should take, and the first picture of a camera; see
            `ProgressiveViews`.
        colours: of the features.
        size: width and height of the picture, pixels; set by the window.
        camera: may be replaced at any time.
        photo: index of the photo at which the camera stood last.
        shown: kind of the picture.
        show_mask: whether colour shows what is selected, or the score as heat.
        segments: automatic segments, if there are any.
    """

    def __init__(
        self,
        session: SegmentationSession,
        colours: FeatureColours,
        viewpoints: Viewpoints,
        *,
        render_width: int | None = None,
        budget: float = 0.03,
        first: float | None = None,
    ) -> None:
        self.session, self.viewpoints, self.render_width = session, viewpoints, render_width
        self.colours, self.budget, self.first = colours, budget, first
        self.size: tuple[int, int] = 1, 1
        self.photo, self.camera = 0, OrbitCamera.from_viewpoint(viewpoints.cameras)
        self.shown: Shown = "colour"
        self.show_mask = True
        self.segments: SegmentLayer | None = None
        self._panels = Panels(session, colours)
        self._frames = ProgressiveViews(session.renderer, budget, first=first)
        self._view: RenderedView | None = None
        self._rendering: _Target | None = None
        self._is_visible = True  # a picture of it, however coarse, has been shown
        self._picture = np.zeros((1, 1, 3), np.uint8)
        self._drawn_from: tuple[object, ...] = ()

    def render(self) -> bool:
        """Render one step. Returns whether the picture is not yet as sharp as it will be."""
        target = self._target()
        # Each target is shown, however coarse, before the next one begins: otherwise a moving camera shows nothing.
        if target != self._rendering and self._is_visible:
            self._frames.look(target.camera.cameras(target.width, target.height))
            self._rendering, self._is_visible = target, False
        finished = self._frames.advance()
        if finished is not None:
            self._view = finished
            self.session.show(finished)
            self._is_visible = True
        view = self.session.view
        return view is None or not self._shows(target) or view.width != target.width

    def take_turn(self) -> None:
        """Make this picture's view the session's current one: several people may share a session."""
        self.session.view = self._view

    def picture(self, sketch: BoxGesture | StrokeGesture | None = None) -> np.ndarray:
        """Return the picture, (height, width, 3) uint8; the same array for as long as nothing changes.

        Args:
            sketch: box or stroke that is being drawn.
        """
        view = self.session.view
        if view is None:
            return self._picture
        level = None if self.segments is None else self.segments.level
        drawn_from = view, self.session.selections, self.size, self.shown, self.show_mask, sketch, level
        if drawn_from != self._drawn_from:
            ids = None
            if self.segments is not None and self.shown in ("segments", "all four"):
                ids = self.segments.ids(view)
            self._picture = self._panels.picture(self.shown, *self.size, Overlay(self.show_mask, sketch, ids))
            self._drawn_from = drawn_from
        return self._picture

    def pane_at(self, x: float, y: float) -> Pane:
        """Return the pane at a point of the picture, pixels."""
        width, height = self.size
        if self.shown != "all four":
            return Pane(0, 0, width, height)
        panes = four_panes(width, height)
        return next((pane for pane in panes if pane.contains(x, y)), panes[0])

    def drag(self, drag: DragGesture) -> None:
        """Move the camera by a drag of the mouse."""
        focal = self.camera.focal_length(drag.pane.width, drag.pane.height)
        dx, dy = drag.dx / focal, drag.dy / focal
        if drag.kind == "zoom":
            self.camera = self.camera.zoom(-DRAG_ZOOM * dy)
        elif drag.kind == "orbit":
            self.camera = self.camera.orbit(dx, dy)
        else:
            self.camera = self.camera.pan(dx, dy)

    def set_tree(self, tree: SegmentTree) -> None:
        """Set the automatic segments, at their default level."""
        self.segments = SegmentLayer(tree, round(tree.config.default_level))

    def go_to_photo(self, photo: int) -> None:
        """Move the camera to where a photo was taken."""
        self.photo, self.camera = photo, OrbitCamera.from_viewpoint(self.viewpoints.cameras, photo)

    def focus(self) -> None:
        """Move the camera's target to the surface in the middle of the picture; the view stays the same."""
        target, view = self._rendering, self.session.view
        if target is None or view is None or not self._shows(replace(target, camera=self.camera)):
            return
        middle = (view.height // 2) * view.width + view.width // 2
        if view.solid[middle]:
            rendering = view.rendering
            self.camera = self.camera.focused(float(rendering.depth[middle] / rendering.opacity[middle]))
            self._rendering = replace(target, camera=self.camera)  # nothing to render again

    def _target(self) -> _Target:
        width = max(min(self.size[0], self.render_width or self.size[0]), 1)
        return _Target(self.camera, width, max(round(width * self.size[1] / self.size[0]), 1))

    def _shows(self, target: _Target) -> bool:
        """Return whether the picture shows this target, be it coarse."""
        return self._is_visible and self._rendering == target
