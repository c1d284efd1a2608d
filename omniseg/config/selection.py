"""Configuration of selecting: smooth features, levels of a click, strokes and boxes, segments of everything."""

import math
from dataclasses import dataclass

from omniseg.config.require import require


@dataclass(frozen=True, kw_only=True)
class SmoothingConfig:
    """Edge-aware mean of the features of a picture; it takes ragged borders, specks and holes from masks."""

    rounds: int = 3
    """Number of rounds in a picture whose longest side has `side` pixels; each reaches twice as far as the one before.
    A picture twice as large gets one more, so that all are smoothed over the same part of the scene. 0: off."""
    side: float = 240.0
    """See `rounds`."""
    agreement: float = 20.0
    """Sharpness in features: a neighbour weighs exp(agreement * (cosine - 1))."""
    colour: float = 0.1
    """Difference in colour, of values in [0, 1], that makes an edge."""
    distance: float = 0.03
    """Difference in distance from the camera that makes an edge, as a fraction of the distance."""

    def __post_init__(self) -> None:
        require(0 <= self.rounds <= 16, "rounds", "0 to 16", self.rounds)
        require(1 <= self.side < math.inf, "side", ">= 1", self.side)
        require(0 <= self.agreement < math.inf, "agreement", ">= 0", self.agreement)
        for name in ("colour", "distance"):
            require(0 < getattr(self, name) < math.inf, name, "> 0", getattr(self, name))

    def rounds_in(self, longest_side: int) -> int:
        """Return the number of rounds in a picture of this longest side, pixels."""
        if not self.rounds:
            return 0
        return min(max(self.rounds + round(math.log2(longest_side / self.side)), 1), 16)


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Masks of selections in a view."""

    min_piece: float = 0.01
    """Smallest piece of a mask, as a share of its largest one. Smaller ones go unless they were clicked in, and
    holes that small are filled; 0: off."""

    def __post_init__(self) -> None:
        require(0 <= self.min_piece < 1, "min_piece", "in [0, 1)", self.min_piece)


@dataclass(frozen=True, kw_only=True)
class LevelConfig:
    """Levels of a click. As the threshold falls, a selection grows in leaps; a level is a plateau between two leaps."""

    bins: int = 1024
    """Number of bins that count points by the angle between their feature and the click's, from 0 to pi."""
    tolerance: float = 0.08
    """Along a plateau the number of selected points differs from that of its middle by at most this share."""
    min_width: float = 0.05
    """Shortest plateau that is a level, radians between features."""
    min_growth: float = 1.25
    """A level selects at least this many times as many points as the level below it."""
    min_share: float = 1 / 4000
    """A level selects at least this share of what the view shows."""
    max_share: float = 0.98
    """A level selects at most this share of what the view shows."""
    unrelated: float = 0.45
    """Below this score a pixel shares no mask with the click; plateaus are not searched there."""
    max_levels: int = 7
    """Most levels of a click; the widest plateaus are kept."""
    first_width: float = 0.5
    """A first click selects the smallest level whose width is at least this fraction of the widest level's."""
    min_step: float = 1.1
    """One level up or down changes the number of selected pixels by at least this factor."""

    def __post_init__(self) -> None:
        require(self.bins >= 16, "bins", ">= 16", self.bins)
        require(0 <= self.tolerance < 1, "tolerance", "in [0, 1)", self.tolerance)
        require(0 <= self.min_width < math.pi, "min_width", "in [0, pi)", self.min_width)
        require(1 < self.min_growth < math.inf, "min_growth", "> 1", self.min_growth)
        require(
            0 <= self.min_share < self.max_share <= 1,
            "min_share, max_share",
            "0 <= min_share < max_share <= 1",
            (self.min_share, self.max_share),
        )
        require(0 <= self.unrelated < 1, "unrelated", "in [0, 1)", self.unrelated)
        require(self.max_levels >= 1, "max_levels", ">= 1", self.max_levels)
        require(0 <= self.first_width <= 1, "first_width", "in [0, 1]", self.first_width)
        require(1 <= self.min_step < math.inf, "min_step", ">= 1", self.min_step)


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """Prompts: how strokes and boxes become clicks, and which clicks a view shows."""

    scribble_clicks: int = 16
    """Most clicks along a stroke."""
    scribble_spacing: float = 2.0
    """Clicks along a stroke are at least this far apart, pixels."""
    box_grid: int = 8
    """Candidate clicks of a box lie on a grid with this many rows and columns."""
    box_pixels: int = 32_768
    """Candidates of a box are compared on about this many pixels of the view."""
    box_thresholds: int = 64
    """Number of thresholds that are tried for each candidate."""
    box_angles: tuple[float, float] = (0.05, 2.0)
    """Smallest and largest threshold that is tried, as an angle between features, radians."""
    box_cover: float = 0.25
    """Exponent of the share of the box that is covered; higher prefers larger selections, which fit it less well."""
    hidden_margin: float = 0.03
    """A click is hidden if the surface before it is nearer by more than this fraction of the surface's distance."""

    def __post_init__(self) -> None:
        for name in ("scribble_clicks", "box_grid", "box_pixels", "box_thresholds"):
            require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        require(0 < self.scribble_spacing < math.inf, "scribble_spacing", "> 0", self.scribble_spacing)
        low, high = self.box_angles
        require(0 <= low <= high <= math.pi, "box_angles", "0 <= smallest <= largest <= pi", self.box_angles)
        require(0 <= self.box_cover < math.inf, "box_cover", ">= 0", self.box_cover)
        require(0 <= self.hidden_margin < math.inf, "hidden_margin", ">= 0", self.hidden_margin)


@dataclass(frozen=True, kw_only=True)
class SegmentTreeConfig:
    """Segments of everything: points of the surface, and the tree that joins them."""

    views: int = 40
    """Surface points are collected from at most this many photos' views, spread evenly."""
    rays: int = 250_000
    """About this many rays are rendered in all of these views."""
    max_points: int = 40_000
    """Most points of the tree, approximately."""
    rays_per_point: int = 6
    """Smallest number of surface rays for each point, approximately."""
    voxel: float = 0.025
    """First guess of the edge of the voxels that rays are averaged in, scene units; then fitted to `max_points`."""
    min_rays: int = 3
    """A voxel hit by fewer rays is dropped: it lies on an edge, where depth mixes the front with what is behind it."""
    neighbours: int = 20
    """Each point is smoothed over, and can be joined with, this many nearest points."""
    agreement: float = 40.0
    """Sharpness of smoothing: a neighbour weighs exp(agreement * (cosine - 1))."""
    position_weight: float = 0.1
    """Weight of positions beside features when points are joined; positions are in median distances from the middle."""
    min_points: int = 6
    """A segment of fewer points is not split off at any level."""
    candidates: int = 16
    """A pixel or vertex takes the segment of the most similar one of this many nearest points."""
    levels: int = 7
    """Number of levels. Level k cuts the tree at its largest height * 2^(k - levels)."""
    default_level: float = 3.0
    """Level that is shown and exported unless another one is given."""

    def __post_init__(self) -> None:
        for name in ("views", "rays", "max_points", "rays_per_point", "min_rays", "neighbours", "min_points"):
            require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        for name in ("candidates", "levels"):
            require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        require(0 < self.voxel < math.inf, "voxel", "> 0", self.voxel)
        require(0 <= self.agreement < math.inf, "agreement", ">= 0", self.agreement)
        require(0 <= self.position_weight < math.inf, "position_weight", ">= 0", self.position_weight)
        top = self.levels - 1
        require(0 <= self.default_level <= top, "default_level", f"0 to levels - 1 = {top}", self.default_level)
