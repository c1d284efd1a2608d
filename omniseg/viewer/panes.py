"""Panes: the rectangles of the window's picture that show the view, one of them or four."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pane:
    """A rectangle of the window's picture, pixels.

    Attributes:
        x, y: upper left corner.
        width, height: size.
    """

    x: int
    y: int
    width: int
    height: int

    def contains(self, x: float, y: float) -> bool:
        """Return whether a point of the picture lies in the pane."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height

    def fractions(self, x: float, y: float) -> tuple[float, float]:
        """Return the nearest point in the pane, as fractions of its width and height."""
        return min(max((x - self.x) / self.width, 0.0), 1.0), min(max((y - self.y) / self.height, 0.0), 1.0)


def four_panes(width: int, height: int) -> tuple[Pane, Pane, Pane, Pane]:
    """Split a picture in two rows of two panes: upper left, upper right, lower left, lower right."""
    left, upper = (width + 1) // 2, (height + 1) // 2
    right, lower = width - left, height - upper
    return (
        Pane(0, 0, left, upper),
        Pane(left, 0, right, upper),
        Pane(0, upper, left, lower),
        Pane(left, upper, right, lower),
    )
