"""Configuration of depth from the photos."""

from dataclasses import dataclass, field

from omniseg.config.true_or_false import TrueOrFalse


@dataclass(frozen=True, kw_only=True)
class NeighbourConfig:
    """Choice of neighbours: a photo's gain is the mean, over points on rays of another that both see, of

        min(angle / ideal, 1)^1.5 exp(-max(angle - ideal, 0)^2 / (2 spread^2)) exp(-ln(ratio)^2 / (2 ratio_spread^2))

    with the angle between both lines of sight and the ratio of both distances.
    """

    ideal_angle: float = 10.0
    """Angle between both lines of sight that is best, in degrees."""
    angle_spread: float = 15.0
    """Standard deviation of larger angles, in degrees."""
    ratio_spread: float = 0.5
    """Standard deviation of the logarithm of the ratio of distances."""
    probes: int = 6
    """Rows and columns of rays."""
    depths: tuple[float, float, float] = (0.25, 0.5, 0.8)
    """Places of points on a ray, as fractions of its length in the box."""
    reach: float = 8.0
    """Longest length that counts, scene units."""
    candidates: int = 48
    """Photos that are looked at closely, by their gain at the points of the middle ray."""


@dataclass(frozen=True, kw_only=True)
class PhotoDepthConfig:
    """Depth from the photos: size and planes of the sweep, and what counts as known.

    Where the sweep knows nothing, points that COLMAP found in a photo give the distance of the pixel they are in.
    """

    sweep: TrueOrFalse = True
    """Compare photos with one another; False: only the points of COLMAP give depth."""
    longest: int = 80
    """Longest side of the small pictures, in pixels."""
    shortest: int = 64
    """Longest side of the quick look's pictures, and of all where there are too many for `budget`."""
    planes: int = 48
    """Planes of the sweep, even in inverse distance."""
    neighbours: int = 3
    """Photos that each is compared with."""
    best: int = 2
    """Neighbours that agree best, whose mean is the score."""
    radius: int = 2
    """Radius of the compared window, in pixels of the small pictures."""
    contrast: float = 2.5 / 255
    """Standard deviation, in [0, 1], below which texture hardly counts."""
    min_score: float = 0.5
    """Score above which a distance may be known."""
    tolerance: float = 0.05
    """Relative difference of distances up to which another photo agrees."""
    min_agreeing: int = 2
    """Other photos that must agree."""
    look_planes: int = 40
    """Planes of the quick look, even in the logarithm of the distance."""
    look_min_score: float = 0.6
    """Same as `min_score`, of the quick look."""
    look_tolerance: float = 0.15
    """Same as `tolerance`, of the quick look."""
    look_min_pixels: int = 200
    """Known pixels below which the quick look says nothing about the nearest distance."""
    near_quantile: float = 0.01
    """Share of the quick look's known distances that is nearer than what counts as nearest."""
    near_factor: float = 0.75
    """Distance of the first plane, as a fraction of the nearest one."""
    budget: int = 200_000_000
    """Most comparisons of a pixel with a neighbour on a plane; with more photos, pictures shrink, then photos are
    left out evenly. One takes about 15 ns of a CPU core."""
    choice: NeighbourConfig = field(default_factory=NeighbourConfig)
    """How neighbours are chosen."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("shortest", 8, self.longest),
            ("planes", 2, 4096),
            ("look_planes", 2, 4096),
            ("neighbours", 1, 8),
            ("best", 1, 8),
            ("radius", 1, 4),
            ("min_agreeing", 0, 10**6),
            ("budget", 1, 10**12),
            ("tolerance", 1e-6, 1),
            ("look_tolerance", 1e-6, 1),
            ("contrast", 1e-6, 1),
            ("near_quantile", 0, 1),
            ("near_factor", 1e-6, 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: expected {low} to {high}, got {value}")
