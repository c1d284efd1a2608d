"""Matrix of sample scenes: every kind with several seeds, without depth images."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from _figures import FIGURES, Row
from omniseg_sample_scenes.capture import make_sample
from omniseg_sample_scenes.kinds import KINDS, KindName

SEEDS = (0, 1, 2)
"""Seeds by default."""

CHOOSING: tuple[KindName, ...] = ("room", "tabletop")
"""Kinds on which parameters may be chosen; the others are only for reporting."""

LEVELS = ("part", "object", "group")


def make_scene(parent: Path, kind: KindName, seed: int, small: bool = False) -> Path:
    """Make a scene without depth images in a subfolder of `parent`, KIND-SEED, unless it is there.

    Args:
        parent: folder of scenes.
        kind, seed: which scene.
        small: make a few tiny photos, to see that everything runs.
    """
    out = parent / f"{kind}-{seed}"
    if not out.is_dir():
        parent.mkdir(parents=True, exist_ok=True)
        few: dict[str, Any] = {
            "train_views": 12,
            "width": 32,
            "height": 24,
            "points": min(KINDS[kind].points, 200),
            "progress": False,
        }
        make_sample(out, scene=kind, seed=seed, depth=False, **(few if small else {}))
    return out


def matrix_table(rows: Sequence[Row]) -> str:
    """Format runs of scenes KIND-SEED as a Markdown table, one line a kind: means over its seeds."""
    by_kind: dict[str, list[Row]] = {}
    for row in rows:
        by_kind.setdefault(row.scene.rpartition("-")[0], []).append(row)
    four = "click, prompt, recall 50 / 75"
    heads = ["kind", "for", "seeds", "PSNR, dB", "surfaces agree", f"part: {four}", "object", "group", "training, s"]
    lines = [heads, ["---"] * len(heads), *(_cells(kind, of_kind) for kind, of_kind in by_kind.items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(kind: str, rows: Sequence[Row]) -> list[str]:
    psnr = [row.psnr for row in rows]
    agreement = [row.surface_agreement for row in rows if row.surface_agreement is not None]
    stages = [f"{fmean(row.seconds.get(stage, 0.0) for row in rows):.0f}" for stage in rows[0].seconds]
    return [
        kind,
        "choosing" if kind in CHOOSING else "reporting",
        ", ".join(row.scene.rpartition("-")[2] for row in rows),
        f"{fmean(psnr):.2f} ({min(psnr):.2f} to {max(psnr):.2f})",
        f"{fmean(agreement):.2f}" if agreement else "",
        *(_level([row.levels[level] for row in rows if level in row.levels]) for level in LEVELS),
        " + ".join(stages),
    ]


def _level(figures: Sequence[dict[str, float]]) -> str:
    if not figures:
        return ""
    click, prompt, recall_50, recall_75 = (fmean(each[name] for each in figures) for name in FIGURES)
    return f"{click:.3f}, {prompt:.3f}, {recall_50:.2f} / {recall_75:.2f}"
