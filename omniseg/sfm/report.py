"""Report on estimated poses that a person can act on."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omniseg.errors import InputError
from omniseg.sfm.sharpness import blurred

LEAST_REGISTERED = 0.5
"""Fraction of the images that must be registered."""
FEW_FEATURES = 300
"""Features of an image below which it is blurred, dark or without texture."""
FEW_PARTNERS = 2
"""Number of other images that an image must share details with."""
LITTLE_PARALLAX = 3.0
"""Median angle in degrees between the rays of a point below which its distance is uncertain."""
FLAT_PAIRS = 0.8
"""Fraction of image pairs explained by a plane or a mere turn of the camera from which there is no parallax."""
FEW_POINTS = 10
"""Points for each registered image below which the model is worth nothing: without parallax, points have no place."""
LARGE_ERROR = 2.0
"""Mean reprojection error in pixels from which poses are inexact."""
_LISTED = 5


@dataclass(frozen=True)
class ImageFacts:
    """One image.

    Attributes:
        name: relative path in the folder of images.
        features: number of features.
        partners: number of other images that share details with it.
        registered: True if it has a pose.
    """

    name: str
    features: int
    partners: int
    registered: bool


@dataclass(frozen=True)
class Facts:
    """Figures of a run of COLMAP.

    Attributes:
        images: all images.
        models: numbers of registered images of all models, the largest first.
        points: number of points of the largest model.
        error: its mean reprojection error, pixels.
        parallax: median over its points of the largest angle between two rays, degrees.
        flat_pairs: fraction of the matched pairs that a plane or a turn of the camera explains.
    """

    images: tuple[ImageFacts, ...]
    models: tuple[int, ...]
    points: int
    error: float
    parallax: float
    flat_pairs: float

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """Return the facts that the worker wrote."""
        images = tuple(ImageFacts(**image) for image in values["images"])
        return cls(**{**values, "images": images, "models": tuple(values["models"])})


@dataclass(frozen=True)
class PoseReport:
    """Result of structure from motion.

    Attributes:
        root: folder of the capture.
        n_images: number of images.
        n_registered: number of images that have a pose.
        error: mean reprojection error, pixels.
        n_points: number of points.
        parallax: median angle in degrees between the rays that see a point.
        failed: name of each image without a pose -> reason.
        warnings: sentences that say what to do.
    """

    root: Path
    n_images: int
    n_registered: int
    error: float
    n_points: int
    parallax: float
    failed: Mapping[str, str]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.root}: {self.n_registered} of {self.n_images} images registered, mean reprojection error "
            f"{self.error:.2f} pixels, {self.n_points} points, parallax {self.parallax:.1f} degrees"
        ]
        lines += [f"  without a pose: {name} ({reason})" for name, reason in list(self.failed.items())[:_LISTED]]
        if len(self.failed) > _LISTED:
            lines.append(f"  and {len(self.failed) - _LISTED} more, all in poses.json")
        return "\n".join([*lines, *(f"  warning: {warning}" for warning in self.warnings)])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "root": str(self.root), "failed": dict(self.failed)}

    @classmethod
    def from_dict(cls, root: Path, values: Mapping[str, Any]) -> PoseReport:
        """Return the report in the values of `to_dict`, of a capture that may have moved to `root`."""
        return cls(**{**values, "root": root, "warnings": tuple(values["warnings"])})


def judge(root: Path, facts: Facts, sharpness: Mapping[str, float], *, is_video: bool, sideways: int = 0) -> PoseReport:
    """Turn the figures of a run of COLMAP into a report.

    Args:
        root: folder of the capture.
        facts: of the run.
        sharpness: of each image, by name.
        is_video: True if the images are frames of a video.
        sideways: number of images that are stored sideways.
    Raises:
        InputError: fewer than half of the images are registered, or hardly any point has a place.
    """
    names = [image.name for image in facts.images]
    unsharp = {names[k] for k in blurred([sharpness[name] for name in names])}
    n, n_registered = len(names), sum(image.registered for image in facts.images)
    failed = {image.name: _reason(image, unsharp) for image in facts.images if not image.registered}
    if n_registered < LEAST_REGISTERED * n or facts.points < FEW_POINTS * n_registered:
        raise InputError(_refusal(root, facts, failed, unsharp, is_video))
    warnings = []
    if unsharp:
        warnings.append(f"{_some(unsharp)} blurred, which blurs the scene: hold the camera still, in more light")
    if failed and not unsharp >= set(failed):
        more = "a slower video, or a larger --frames" if is_video else "more photos between their neighbours"
        warnings.append(f"{_some(failed)} without a pose, so what only they show is missing: {more}")
    if len(facts.models) > 1 and (separate := sum(facts.models[1:])):
        warnings.append(
            f"the images fall into {len(facts.models)} parts without enough overlap; the largest is kept, "
            f"{separate} poses of the others are not used: add photos that lead from one part to the other"
        )
    if facts.parallax < LITTLE_PARALLAX:
        warnings.append(
            f"little parallax ({facts.parallax:.1f} degrees): distances are uncertain; walk around the subject instead "
            "of turning on the spot"
        )
    if facts.error > LARGE_ERROR:
        warnings.append(
            f"a mean reprojection error of {facts.error:.1f} pixels: poses are inexact; something may have moved, "
            "or zoom and focus changed"
        )
    if sideways:
        warnings.append(
            f"{sideways} photos are stored sideways and stay so, since they are used where they lie; "
            "another folder for the capture gets upright copies"
        )
    return PoseReport(
        root, n, n_registered, facts.error, facts.points, facts.parallax, failed, tuple(warnings)
    )  # fmt: skip


def _reason(image: ImageFacts, unsharp: set[str]) -> str:
    if image.name in unsharp:
        return "blurred"
    if not image.features:
        return "no features: it is dark, plain, or does not open"
    if image.features < FEW_FEATURES:
        return f"only {image.features} features: blurred, dark or without texture"
    if image.partners < FEW_PARTNERS:
        return f"shares details with {image.partners} other images: too little overlap"
    return "its matches fit no pose: repeated structure, or something moved"


def _refusal(root: Path, facts: Facts, failed: Mapping[str, str], unsharp: set[str], is_video: bool) -> str:
    n = len(facts.images)
    said = f"{root}: only {n - len(failed)} of {n} images can be registered"
    if failed:
        name, reason = next(iter(failed.items()))
        said += f" (not {name}: {reason})"
    has_no_depth = n > len(failed) and facts.points < FEW_POINTS * (n - len(failed))
    if has_no_depth or facts.flat_pairs >= FLAT_PAIRS:
        advice = (
            "no parallax: the camera turned on the spot, or saw a flat thing only; walk around the subject, "
            "a step between photos"
        )
    elif len(unsharp) > 0.2 * n or statistics.median(image.features for image in facts.images) < FEW_FEATURES:
        advice = "too few details: the images are blurred, dark or without texture; more light, a steady camera"
    elif statistics.median(image.partners for image in facts.images) < FEW_PARTNERS:
        overlap = "film more slowly, or give a larger --frames" if is_video else "neighbours should share two thirds"
        advice = f"too little overlap between the images: {overlap}"
    else:
        advice = "try --sfm.mapper global or --sfm.matching exhaustive, or add photos between those that fail"
    return f"{said}. {advice[0].upper()}{advice[1:]}"


def _some(names: Mapping[str, Any] | set[str]) -> str:
    """Return "3 images (a, b, ...) are" and the like."""
    ordered = sorted(names)
    listed = ", ".join(ordered[:3]) + (", ..." if len(ordered) > 3 else "")
    return f"{len(ordered)} images ({listed}) are" if len(ordered) > 1 else f"1 image ({listed}) is"
