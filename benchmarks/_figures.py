"""Figures of a trained and measured run, as one row of a table."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from omniseg.config import Config
from omniseg.data.formats import read_scene
from omniseg.data.images import view_cameras
from omniseg.data.normalisation import place
from omniseg.data.splits import split_views
from omniseg.errors import InputError
from omniseg.run_folder import METRICS

FIGURES = ("click_miou", "prompt_miou", "recall_50", "recall_75")
"""Figures of a level in `metrics.json`."""


@dataclass(frozen=True)
class Row:
    """Figures of one capture, a row of the table.

    Attributes:
        photos: width, height and number of the test views.
        seconds: training time by stage.
        levels: figures by level of the labels; empty without labels or features.
        surface_agreement: share of what a photo sees that another photo confirms, 0 to 1; None in an older run.
    """

    scene: str
    format: str
    photos: tuple[int, int, int]
    seconds: dict[str, float]
    psnr: float
    ssim: float
    levels: dict[str, dict[str, float]] = field(default_factory=dict)
    surface_agreement: float | None = None

    @property
    def cells(self) -> list[str]:
        """Cells of the row."""
        width, height, count = self.photos
        seconds = " + ".join(f"{seconds:.0f}" for seconds in self.seconds.values())
        return [
            self.scene, self.format, f"{width} x {height}", str(count), seconds, f"{self.psnr:.2f}", f"{self.ssim:.3f}",
            *(self._level(level) for level in ("part", "object", "group")),
        ]  # fmt: skip

    def _level(self, level: str) -> str:
        if level not in self.levels:
            return ""
        click, prompt, recall_50, recall_75 = (self.levels[level][name] for name in FIGURES)
        return f"{click:.3f}, {prompt:.3f}, {recall_50:.2f} / {recall_75:.2f}"


def read_row(run: Path) -> Row:
    """Read the figures of a run folder.

    Raises:
        InputError: it has none, or its capture is gone.
    """
    config = Config.load(run / "config.yaml")
    try:
        metrics = json.loads((run / METRICS).read_text())
        psnr, ssim, seconds = metrics["psnr"], metrics["ssim"], metrics["train_seconds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run}: holds no figures; measure it with: python apps/evaluate.py {run}") from error
    scene = read_scene(config.scene)
    views = [scene.views[v] for v in split_views(scene, config.test_every).test]
    size = view_cameras(views, place(scene).normalisation, config.downsample).size[0].tolist()
    levels = {level: {name: figures[name] for name in FIGURES} for level, figures in metrics.get("levels", {}).items()}
    path = Path(config.scene)
    name = f"{path.parent.name}/{path.name}" if path.is_file() else path.name
    photos, agreement = (size[0], size[1], len(views)), metrics.get("surface_agreement")
    return Row(name, scene.format, photos, seconds, psnr, ssim, levels, agreement)
