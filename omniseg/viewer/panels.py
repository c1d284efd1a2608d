"""What a window shows of a session's frame: its colour with what is selected, depth, features, score, segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from omniseg.data.drawing import distinct_colours, paint_ids
from omniseg.rendering.view import RenderedView
from omniseg.rendering.visualize import FeatureColours, depth_picture, to_uint8
from omniseg.selection.session import SegmentationSession

Kind = Literal["colour", "depth", "features", "score", "segments"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_BACKGROUND = 0.12
_ACCEPTED, _REJECTED = (70, 230, 110), (255, 70, 60)
_COLOURS = 4096


@dataclass(frozen=True)
class Sketch:
    """What a hand is drawing.

    Attributes:
        kind: a box from its first point to its last, or a stroke along all of them.
        points: (x, y), at least one, in shares of the picture's width and height.
        accept: whether what is drawn around or over is wanted.
    """

    kind: Literal["box", "stroke"]
    points: tuple[tuple[float, float], ...]
    accept: bool = True


class Panels:
    """Pictures (height, width, 3) uint8 of a session's current frame, at any size.

    What depends on the frame alone is kept until the session looks at another one.

    Args:
        session: looks at a frame whenever a picture is asked for.
        colours: of the features.
    """

    def __init__(self, session: SegmentationSession, colours: FeatureColours) -> None:
        self.session, self.colours = session, colours
        self._frame: RenderedView | None = None
        self._kept: dict[str, np.ndarray] = {}

    def picture(
        self,
        kind: Kind,
        width: int,
        height: int,
        *,
        binary: bool = True,
        sketch: Sketch | None = None,
        segments: np.ndarray | None = None,
    ) -> np.ndarray:
        """One kind of picture, with the clicks and what is being drawn.

        Args:
            kind: what to show.
            width, height: of the picture.
            binary: in colour, tint what is selected; else show the score as heat.
            sketch: what is being drawn.
            segments: (height, width) int64 automatic segments of the frame, 0: none; shown instead of the selections.
        """
        frame = self._current()
        picture = self._content(kind, frame, binary, segments)
        shrinks = width < frame.width
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        self._draw_marks(picture, frame)
        if sketch is not None:
            _draw_sketch(picture, sketch)
        return picture

    def four(
        self,
        width: int,
        height: int,
        *,
        binary: bool = True,
        sketch: Sketch | None = None,
        segments: np.ndarray | None = None,
    ) -> np.ndarray:
        """Colour, depth, features and, unless there are automatic segments, the score, each half as large."""
        rows = []
        kinds: tuple[Kind, ...] = ("colour", "depth", "features", "score" if segments is None else "segments")
        for k, row in enumerate((kinds[:2], kinds[2:])):
            parts = []
            for j, kind in enumerate(row):
                size = (width + 1 - j) // 2, (height + 1 - k) // 2
                part = self.picture(kind, *size, binary=binary, sketch=sketch, segments=segments)
                _write(part, kind)
                parts.append(part)
            rows.append(np.concatenate(parts, axis=1))
        return np.concatenate(rows, axis=0)

    def _current(self) -> RenderedView:
        frame = self.session.view
        if frame is None:
            raise RuntimeError("the session has to look at something first")
        if frame is not self._frame:
            self._frame, self._kept = frame, {}
        return frame

    def _content(self, kind: Kind, frame: RenderedView, binary: bool, segments: np.ndarray | None) -> np.ndarray:
        if kind == "colour":
            return self._selected(self._colour(frame)) if binary else self._heat(self._colour(frame))
        if kind == "depth":
            return self._keep("depth", lambda: depth_picture(frame.rendering, frame.width))
        if kind == "features":
            return self._keep("features", lambda: self._features(frame))
        if kind == "score":
            return self._score()
        grey = self._keep("grey", lambda: _grey(self._colour(frame)))
        if segments is None:
            return self._selected(grey)
        ids = np.where(segments > 0, (segments - 1) % _COLOURS + 1, 0)
        return paint_ids(grey, ids, distinct_colours(_COLOURS))

    def _keep(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def _colour(self, frame: RenderedView) -> np.ndarray:
        shape = frame.height, frame.width, 3
        return self._keep("colour", lambda: to_uint8(frame.rendering.over(_BACKGROUND).view(shape)))

    def _features(self, frame: RenderedView) -> np.ndarray:
        return self.colours.picture(frame.unit_features, frame.solid, frame.width)

    def _selected(self, picture: np.ndarray) -> np.ndarray:
        every = self.session.selections.all
        if not any(selection.clicks for selection in every):
            return picture
        ids = self.session.labels()
        return paint_ids(picture, ids, np.array([selection.colour for selection in every], np.uint8))

    def _level(self) -> np.ndarray:
        """Score (height, width) with what is unrelated at 0 and what was clicked at 1."""
        unrelated = self.session.model.config.levels.unrelated
        return np.clip((self.session.score() - unrelated) / (1 - unrelated), 0, 1)

    def _heat(self, picture: np.ndarray) -> np.ndarray:
        if not self.session.current.clicks:
            return picture
        level = self._level()
        share = 0.85 * np.sqrt(level)[..., None]
        return (_grey(picture) * (1 - share) + _inferno(level) * share).round().astype(np.uint8)

    def _score(self) -> np.ndarray:
        """The score in colours, what the threshold selects outlined."""
        picture = _inferno(self._level())
        mask = self.session.mask()
        return paint_ids(picture, mask.astype(np.uint8), np.array([[255, 255, 255]], np.uint8), strength=0.0)

    def _draw_marks(self, picture: np.ndarray, frame: RenderedView) -> None:
        height, width = picture.shape[:2]
        radius = max(round(min(width, height) / 70), 4)
        for mark in self.session.marks():
            at = round(mark.x * width / frame.width - 0.5), round(mark.y * height / frame.height - 0.5)
            # A light ring between dark ones is seen before anything.
            for size, colour, thick in (
                (radius, (0, 0, 0), 7),
                (radius, (255, 255, 255), 5),
                (radius, _ACCEPTED if mark.accept else _REJECTED, 3),
            ):
                cv2.circle(picture, at, size, colour, thick, cv2.LINE_AA)


def _draw_sketch(picture: np.ndarray, sketch: Sketch) -> None:
    height, width = picture.shape[:2]
    points = np.round(np.array(sketch.points) * (width, height) - 0.5).astype(np.int32)
    for colour, thick in (((0, 0, 0), 5), (_ACCEPTED if sketch.accept else _REJECTED, 2)):
        if sketch.kind == "box":
            cv2.rectangle(picture, points[0].tolist(), points[-1].tolist(), colour, thick, cv2.LINE_AA)
        else:
            cv2.polylines(picture, [points], False, colour, thick, cv2.LINE_AA)


def _write(picture: np.ndarray, text: str) -> None:
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.45
    (width, height), _ = cv2.getTextSize(text, font, scale, 1)
    picture[: height + 14, : width + 14] //= 4
    cv2.putText(picture, text, (7, height + 6), font, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _inferno(level: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1])
