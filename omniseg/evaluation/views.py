"""Image quality of held-out views: renders them and compares them with the photos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from omniseg.data.drawing import contact_sheet
from omniseg.data.image_io import save_image
from omniseg.data.images import ImageSet
from omniseg.errors import InputError
from omniseg.evaluation.image_metrics import SSIM_WINDOW, has_measurable, psnr, ssim
from omniseg.rendering.visualize import depth_picture, to_uint8
from omniseg.run_folder import RENDERS, Model, update_metrics
from omniseg.selection.survey import feature_colours

_SHOWN = 4
"""Most views side by side in renders/test.png."""


@dataclass(frozen=True)
class ViewQuality:
    """PSNR (dB) and SSIM of one rendered view."""

    name: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class ImageQuality:
    """PSNR (dB) and SSIM of each held-out view, and their means over the views."""

    psnr: float
    ssim: float
    views: tuple[ViewQuality, ...]


def photo_and_background(images: ImageSet, view: int) -> tuple[Tensor, float]:
    """Return a photo (height, width, 3) in [0, 1] and the grey level behind renderings that are compared with it.

    Photos with transparency are shown over white, and their renderings too; those of opaque photos over black.
    """
    pixels = images.image(view).to(images.device).float() / 255
    if pixels.shape[2] == 3:
        return pixels, 0.0
    rgb, alpha = pixels[..., :3], pixels[..., 3:]
    return rgb * alpha + (1 - alpha), 1.0


def check_sizes(images: ImageSet) -> None:
    """Check that photos are large enough for SSIM, and show something that is measured.

    Raises:
        InputError: one is smaller than its window, or its mask leaves out everything.
    """
    if int(images.sizes.min()) < SSIM_WINDOW:
        width, height = images.sizes[int(images.sizes.min(1).values.argmin())].tolist()
        raise InputError(
            f"photos of {width} x {height} pixels cannot be measured; "
            f"train with a smaller --downsample, for at least {SSIM_WINDOW} pixels a side"
        )
    for view, name in enumerate(images.names):
        valid = images.valid_mask(view)
        if valid is not None and not has_measurable(valid):
            raise InputError(f"held-out view {name}: its mask leaves out every pixel; hold out other views")


def evaluate_views(model: Model, images: ImageSet, run: Path, *, progress: bool = True) -> ImageQuality:
    """Render every view of `images`, compare it with its photo, and write figures and pictures.

    Write `renders/test/NAME.png`, `renders/test.png` (photo, rendering, depth and, where there are any, features of
    a few views side by side) and the image part of `metrics.json`; other parts of that file stay.

    Args:
        model: trained.
        images: photos of the held-out views.
        run: folder that is written to.
        progress: show a bar.
    Raises:
        InputError: the run folder cannot be written, or the photos are too small to measure.
    """
    check_sizes(images)
    colours = feature_colours(model, progress=progress) if model.features is not None else None
    views, rows = [], []
    shown = {int(v) for v in np.linspace(0, len(images.names) - 1, min(_SHOWN, len(images.names)))}
    for view, name in enumerate(tqdm(images.names, desc="test views", unit="view", disable=not progress)):
        photo, background = photo_and_background(images, view)
        rendering = model.renderer.render_image(images.cameras, view, features=colours is not None and view in shown)
        picture = rendering.over(background).clamp(0, 1).view_as(photo)
        valid = images.valid_mask(view)
        views.append(ViewQuality(name, psnr(picture, photo, valid), ssim(picture, photo, valid)))
        save_image(run / RENDERS / "test" / f"{name}.png", to_uint8(picture))
        if view in shown:
            rows.append([to_uint8(photo), to_uint8(picture), depth_picture(rendering, photo.shape[1])])
            if colours is not None and rendering.features is not None:
                rows[-1].append(colours.picture(rendering.features, rendering.solid, photo.shape[1]))
    save_image(run / RENDERS / "test.png", contact_sheet(rows))
    quality = ImageQuality(
        psnr=float(np.mean([v.psnr for v in views])),
        ssim=float(np.mean([v.ssim for v in views])),
        views=tuple(views),
    )
    per_view = {v.name: {"psnr": v.psnr, "ssim": v.ssim} for v in views}
    update_metrics(
        run,
        {
            "psnr": quality.psnr,
            "ssim": quality.ssim,
            "train_seconds": model.train_seconds,
            "views": per_view,
        },
    )
    return quality
