"""Pictures of a session's view: colour with the selections, depth, features, score, segments, or four at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np

from omniseg.data.drawing import distinct_colours, paint_ids
from omniseg.rendering.view import RenderedView
from omniseg.rendering.visualize import FeatureColours, depth_picture, to_uint8
from omniseg.selection.session import Mark, SegmentationSession
from omniseg.viewer.gestures import BoxGesture, StrokeGesture
from omniseg.viewer.panes import four_panes

Kind = Literal["colour", "depth", "features", "score", "segments"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Shown: TypeAlias = Kind | Literal["all four"]
SHOWN: tuple[Shown, ...] = (*KINDS, "all four")

_BACKGROUND = 0.12
"""Grey level of the background, in [0, 1]."""
_HEAT_OPACITY = 0.85
"""Opacity of the heat where the score is highest, in [0, 1]."""
_ACCEPT_COLOUR, _REJECT_COLOUR = (70, 230, 110), (255, 70, 60)
_SEGMENT_COLOURS = 4096
"""Number of different colours of segments; further segments take them again."""


@dataclass(frozen=True)
class Overlay:
    """What is drawn over a picture.

    Attributes:
        show_mask: in colour, tint what is selected; otherwise show the score as heat.
        sketch: box or stroke that is being drawn.
        segments: (height, width) int64 automatic segment of each pixel of the view, 0 for none; drawn instead of the
            selections where segments are shown.
    """

    show_mask: bool = True
    sketch: BoxGesture | StrokeGesture | None = None
    segments: np.ndarray | None = None


class Panels:
    """Draws pictures of a session's current view at any size.

    Pictures that depend on the view alone are kept until the session has another view.

    Args:
        session: must have a view when a picture is drawn.
        colours: of the features.
    """

    def __init__(self, session: SegmentationSession, colours: FeatureColours) -> None:
        self.session, self.colours = session, colours
        self._view: RenderedView | None = None
        self._cache: dict[str, np.ndarray] = {}

    def picture(self, shown: Shown, width: int, height: int, overlay: Overlay = Overlay()) -> np.ndarray:
        """Draw a picture (height, width, 3) uint8 with the clicks and the overlay.

        "all four" are colour, depth, features and, unless there are automatic segments, the score.

        Raises:
            RuntimeError: the session has no view yet.
        """
        view, marks = self._current_view(), self.session.marks()
        if shown == "all four":
            return self._four(view, marks, width, height, overlay)
        return self._one(shown, view, marks, width, height, overlay)

    def _current_view(self) -> RenderedView:
        view = self.session.view
        if view is None:
            raise RuntimeError("the session has no view yet: call look() first")
        if view is not self._view:
            self._view, self._cache = view, {}
        return view

    def _one(
        self, kind: Kind, view: RenderedView, marks: Sequence[Mark], width: int, height: int, overlay: Overlay
    ) -> np.ndarray:
        picture = self._content(kind, view, overlay)
        shrinks = width < view.width
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        _draw_marks(picture, marks, view)
        if overlay.sketch is not None:
            _draw_sketch(picture, overlay.sketch)
        return picture

    def _four(self, view: RenderedView, marks: Sequence[Mark], width: int, height: int, overlay: Overlay) -> np.ndarray:
        kinds: tuple[Kind, ...] = ("colour", "depth", "features", "score" if overlay.segments is None else "segments")
        whole = np.empty((height, width, 3), np.uint8)
        for kind, pane in zip(kinds, four_panes(width, height)):
            picture = self._one(kind, view, marks, pane.width, pane.height, overlay)
            _draw_title(picture, kind)
            whole[pane.y : pane.y + pane.height, pane.x : pane.x + pane.width] = picture
        return whole

    def _content(self, kind: Kind, view: RenderedView, overlay: Overlay) -> np.ndarray:
        if kind == "colour":
            colour = self._colour(view)
            return self._with_selections(colour) if overlay.show_mask else self._heat(colour)
        if kind == "depth":
            return self._cached("depth", lambda: depth_picture(view.rendering, view.width))
        if kind == "features":
            return self._cached("features", lambda: self._features(view))
        if kind == "score":
            return self._score()
        grey = self._cached("grey", lambda: _grey(self._colour(view)))
        if overlay.segments is None:
            return self._with_selections(grey)
        ids = np.where(overlay.segments > 0, (overlay.segments - 1) % _SEGMENT_COLOURS + 1, 0)
        return paint_ids(grey, ids, distinct_colours(_SEGMENT_COLOURS))

    def _cached(self, name: str, draw: Callable[[], np.ndarray]) -> np.ndarray:
        if name not in self._cache:
            self._cache[name] = draw()
        return self._cache[name]

    def _colour(self, view: RenderedView) -> np.ndarray:
        shape = view.height, view.width, 3
        return self._cached("colour", lambda: to_uint8(view.rendering.over(_BACKGROUND).view(shape)))

    def _features(self, view: RenderedView) -> np.ndarray:
        return self.colours.picture(view.unit_features, view.solid, view.width)

    def _with_selections(self, picture: np.ndarray) -> np.ndarray:
        selections = self.session.selections.all
        if not any(selection.clicks for selection in selections):
            return picture
        return paint_ids(
            picture, self.session.labels(), np.array([selection.colour for selection in selections], np.uint8)
        )

    def _relative_score(self) -> np.ndarray:
        """Return the score (height, width) scaled so that unrelated pixels are at 0 and the click at 1."""
        unrelated = self.session.model.config.levels.unrelated
        return np.clip((self.session.score() - unrelated) / (1 - unrelated), 0, 1)

    def _heat(self, picture: np.ndarray) -> np.ndarray:
        if not self.session.current.clicks:
            return picture
        score = self._relative_score()
        opacity = _HEAT_OPACITY * np.sqrt(score)[..., None]
        return (_grey(picture) * (1 - opacity) + _inferno(score) * opacity).round().astype(np.uint8)

    def _score(self) -> np.ndarray:
        """Draw the score in colours, the outline of the mask in white."""
        picture = _inferno(self._relative_score())
        return paint_ids(
            picture, self.session.mask().astype(np.uint8), np.array([[255, 255, 255]], np.uint8), strength=0.0
        )


def _draw_marks(picture: np.ndarray, marks: Sequence[Mark], view: RenderedView) -> None:
    height, width = picture.shape[:2]
    radius = max(round(min(width, height) / 70), 4)
    for mark in marks:
        at = round(mark.x * width / view.width - 0.5), round(mark.y * height / view.height - 0.5)
        # A light ring between dark ones stands out against any background.
        for colour, thickness in (
            ((0, 0, 0), 7),
            ((255, 255, 255), 5),
            (_ACCEPT_COLOUR if mark.accept else _REJECT_COLOUR, 3),
        ):
            cv2.circle(picture, at, radius, colour, thickness, cv2.LINE_AA)


def _draw_sketch(picture: np.ndarray, sketch: BoxGesture | StrokeGesture) -> None:
    height, width = picture.shape[:2]
    corners = (sketch.start, sketch.end) if isinstance(sketch, BoxGesture) else sketch.points
    points = np.round(np.array(corners) * (width, height) - 0.5).astype(np.int32)
    accept = isinstance(sketch, BoxGesture) or sketch.accept
    for colour, thickness in (((0, 0, 0), 5), (_ACCEPT_COLOUR if accept else _REJECT_COLOUR, 2)):
        if isinstance(sketch, BoxGesture):
            cv2.rectangle(picture, points[0].tolist(), points[-1].tolist(), colour, thickness, cv2.LINE_AA)
        else:
            cv2.polylines(picture, [points], False, colour, thickness, cv2.LINE_AA)


def _draw_title(picture: np.ndarray, text: str) -> None:
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.45
    (width, height), _ = cv2.getTextSize(text, font, scale, 1)
    picture[: height + 14, : width + 14] //= 4
    cv2.putText(picture, text, (7, height + 6), font, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _inferno(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cv2.applyColorMap((values * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1])
