"""Depth from the photos of a capture before its training, and what too little of it says about the poses."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from omniseg.config import Config
from omniseg.data.drawing import contact_sheet
from omniseg.data.image_io import save_image
from omniseg.data.images import ImageSet
from omniseg.data.photo_depth import PhotoDepth, photo_depth
from omniseg.rendering.visualize import distance_picture

CAUSES = (
    "check the camera axes (OpenGL or OpenCV), the order of photos and poses, the scale of positions and image sizes, "
    "then whether things move, and whether neighbouring photos overlap and show texture"
)
"""Causes of too little depth, and of fog, the likeliest first."""

_LITTLE = 0.1
"""Coverage of the quick look below which poses are probably wrong; right ones have 0.4 to 0.8. Share of pixels with
texture below which nothing can be said; photos of rooms have 0.6 to 0.9."""
_MANY_TIMES = 4.0
"""Factor by which the coverage is larger with the other camera axes, if these are the right ones."""
_NEAREST = 1e-3
"""Nearest distance at which depth is looked for where rays begin at the camera, scene units."""
_FEWEST = 3
"""Number of photos below which depth cannot be confirmed by two others."""
_NO_DEPTH = "no depth from the photos, so that their poses are not judged and the training goes on without:"
_SHOWN = 4
"""Most photos in the picture of depth."""

_log = logging.getLogger("omniseg")


@dataclass(frozen=True)
class PhotoCheck:
    """Depth from the photos, and a judgement of the poses.

    Attributes:
        depth: depth that was found.
        warning: why the poses are probably wrong, and what to do; empty if nothing is.
    """

    depth: PhotoDepth
    warning: str

    def __str__(self) -> str:
        depth = self.depth
        return f"depth from the photos: {100 * depth.coverage:.0f} % of pixels in {depth.seconds:.0f} s"


def check_photos(images: ImageSet, config: Config, *, progress: bool = True) -> PhotoCheck:
    """Estimate depth from photos and judge their poses by how much is found.

    Args:
        images: training views.
        config: configuration of the run.
        progress: show progress bars.
    """
    near, box = max(config.marching.near, _NEAREST), config.marching.box
    depth = photo_depth(images, near, box, config.photo_depth, progress=progress)
    if len(images) < _FEWEST:
        return PhotoCheck(depth, f"{_NO_DEPTH} it takes at least three photos")
    if depth.look_coverage >= _LITTLE:
        return PhotoCheck(depth, "")
    if depth.texture < _LITTLE:
        return PhotoCheck(depth, f"{_NO_DEPTH} only {100 * depth.texture:.0f} % of pixels show texture")
    found = f"depth from the photos: only {100 * depth.look_coverage:.1f} % of pixels agree between photos"
    few_planes = replace(config.photo_depth, planes=2)  # the quick look alone
    other = photo_depth(_other_axes(images), near, box, few_planes, progress=progress)
    if other.look_coverage > max(_LITTLE, _MANY_TIMES * depth.look_coverage):
        advice = (
            f"with the other camera axes it would be {100 * other.look_coverage:.0f} %, so the poses are OpenCV's and "
            'read as OpenGL\'s, or the reverse: set "camera_axes" to "opencv" (or "opengl") in the capture\'s JSON file'
        )
        return PhotoCheck(depth, f"{found}; {advice}")
    return PhotoCheck(depth, f"{found}, so the training may end in fog: {CAUSES}")


def _other_axes(images: ImageSet) -> ImageSet:
    """Return the photos with the y and z axes of their cameras turned around."""
    c2w = images.cameras.c2w.clone()
    c2w[:, :, 1:3] = -c2w[:, :, 1:3]
    return replace(images, cameras=replace(images.cameras, c2w=c2w))


def save_depth_picture(path: Path, images: ImageSet, depth: PhotoDepth) -> None:
    """Write some photos, each above the depth that was found for it: near red, far blue, unknown black.

    Raises:
        InputError: the file cannot be written.
    """
    columns, cameras = [], images.cameras.to("cpu")
    views = np.unique(np.linspace(0, len(images) - 1, _SHOWN).round().astype(int)).tolist()
    sizes = {tuple(images.sizes[view].tolist()) for view in views}
    for view in views if len(sizes) == 1 else views[:1]:
        distance = depth.maps.image(cameras, view).numpy()
        photo = images.image(view).cpu().numpy()[..., :3]
        columns.append(np.concatenate([photo, distance_picture(distance, distance > 0)]))
    save_image(path, contact_sheet([columns]))
