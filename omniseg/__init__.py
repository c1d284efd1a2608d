"""Objects in 3D from posed photos and their 2D masks.

    import omniseg

    run = omniseg.load("runs/sample")
    view = run.view("0005")
    sofa = run.select(view, points=[(120, 88), (150, 65)], level=2)
    mask = sofa.mask(run.view("0030"))

docs/api.md is the tour. Names are imported when they are first used, so that `import omniseg` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omniseg.api.capture import capture
    from omniseg.api.run import Run, load
    from omniseg.api.scene_segments import PointCloud, SceneSegments
    from omniseg.api.training import check, preset, train
    from omniseg.config import Config
    from omniseg.data.formats import read_scene
    from omniseg.errors import BadArgument, InputError, NothingThere, Refused
    from omniseg.rendering.view import RenderedView
    from omniseg.selection.selections import Selection
    from omniseg.selection.session import SegmentationSession

_HOMES = {
    "BadArgument": "omniseg.errors",
    "Config": "omniseg.config",
    "InputError": "omniseg.errors",
    "NothingThere": "omniseg.errors",
    "PointCloud": "omniseg.api.scene_segments",
    "Refused": "omniseg.errors",
    "RenderedView": "omniseg.rendering.view",
    "Run": "omniseg.api.run",
    "SceneSegments": "omniseg.api.scene_segments",
    "SegmentationSession": "omniseg.selection.session",
    "Selection": "omniseg.selection.selections",
    "capture": "omniseg.api.capture",
    "check": "omniseg.api.training",
    "load": "omniseg.api.run",
    "preset": "omniseg.api.training",
    "read_scene": "omniseg.data.formats",
    "train": "omniseg.api.training",
}
"""Module of each public name."""

__all__ = [  # noqa: RUF022 (in the order of use)
    "load",
    "train",
    "capture",
    "check",
    "preset",
    "read_scene",
    "Run",
    "RenderedView",
    "Selection",
    "SceneSegments",
    "PointCloud",
    "SegmentationSession",
    "Config",
    "InputError",
    "BadArgument",
    "Refused",
    "NothingThere",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'omniseg' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
