"""Speed of the contrastive loss, against its definition in loops, and of building mask hierarchies.

The loss is proved equal to the loops first. Everything runs on the CPU, the hierarchy on one core.
"""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import get_args

import numpy as np
import torch

from _timing import ROOT, Spread, compare
from omniseg.config import ContrastiveLoss, FeatureTrainingConfig
from omniseg.masks.hierarchy import absorb_covered, build_hierarchy
from omniseg.masks.run_length import MaskStack
from omniseg.training.contrastive import Clusters, hierarchical_contrastive

sys.path.append(str(ROOT / "tests"))  # the definition in loops, which the tests use too
looped_contrastive = import_module("looped_contrastive").looped_contrastive

_DIM = 16
_TRAINING = FeatureTrainingConfig()


def random_patches(n_pixels: int, n_patches: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return unit features, anchors, and the correlation of patches that share some of 60 masks."""
    members = torch.rand(n_patches, 60) < 0.05
    members[torch.arange(n_patches), torch.randint(60, (n_patches,))] = True
    anchors = torch.cat([torch.arange(n_patches), torch.randint(n_patches, (n_pixels - n_patches,))])
    features = torch.nn.functional.normalize(torch.randn(n_pixels, _DIM), dim=1)
    return features, anchors, (members.float() @ members.float().t()).to(torch.uint8)


def step(loss: Callable, features: torch.Tensor, *arguments) -> tuple[torch.Tensor, torch.Tensor]:
    """Return value and gradient of a loss."""
    leaf = features.clone().requires_grad_()
    value = loss(leaf, *arguments)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def time_loss(n_pixels: int, n_patches: int, rounds: int) -> dict[str, Spread]:
    """Time forward and backward of both forms of the loss, ours and in loops."""
    features, anchors, correlation = random_patches(n_pixels, n_patches)
    clusters = Clusters.from_patches(anchors, correlation, 1)
    rivals = {}
    for loss in get_args(ContrastiveLoss):
        arguments = _TRAINING.level_divisor, loss, _TRAINING.temperature_range
        forms = {
            "ours": partial(step, hierarchical_contrastive, features, clusters, *arguments),
            "loops": partial(step, looped_contrastive, features, anchors, correlation, *arguments),
        }
        got, want = (run() for run in forms.values())
        torch.testing.assert_close(got[0], want[0], rtol=1e-4, atol=0)
        torch.testing.assert_close(got[1], want[1], rtol=1e-2, atol=1e-3)  # a sum of thousands of terms
        rivals |= {f"{loss}, {name}": [lambda _, run=run: run()] for name, run in forms.items()}
    return {name: spreads[0] for name, spreads in compare(rivals, rounds).items()}


def nested_masks(width: int, height: int, n: int) -> MaskStack:
    """Draw blobs of all sizes with wavy borders, many within others, as a segmenter finds them."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    diagonal = float(np.hypot(width, height))

    def blob() -> np.ndarray:
        middle = random.uniform((0, 0), (width, height))
        radius = diagonal * 0.25 * random.uniform(0.05, 1) ** 2
        waves = 0.15 * radius * np.sin(x * 60 / diagonal + random.uniform(0, 6)) * np.sin(y * 70 / diagonal)
        return np.hypot(x - middle[0], y - middle[1]) + waves < radius

    return MaskStack.from_masks((blob() for _ in range(n)), width, height)


def time_hierarchy(width: int, height: int, n_masks: int, rounds: int) -> tuple[Spread, int]:
    """Time the hierarchy of a stack of masks; returns the time and the number of patches."""
    stack = nested_masks(width, height, n_masks)
    rivals = {"hierarchy": [lambda _: build_hierarchy(absorb_covered(stack))]}
    patches = len(build_hierarchy(absorb_covered(stack)).correlation)
    return compare(rivals, rounds, warm_up=1)["hierarchy"][0], patches


def lifting(quick: bool, rounds: int) -> dict:
    """Measure both, and print and return the results."""
    n_patches, sizes = (16, (128, 256)) if quick else (128, (2048, 4096, 8192, 16384))
    rows = []
    for n_pixels in sizes:
        spreads = time_loss(n_pixels, n_patches, rounds)
        rows.append({"pixels": n_pixels, "patches": n_patches, "seconds": {k: vars(v) for k, v in spreads.items()}})
        for loss in get_args(ContrastiveLoss):
            fast, slow = (spreads[f"{loss}, {name}"].median for name in ("ours", "loops"))
            what = f"loss, {loss}: {n_pixels} pixels, {n_patches} patches"
            print(f"{what}: {fast * 1e3:.1f} ms, loops {slow / fast:.0f} x", flush=True)
    width, height, n_masks = (96, 54, 20) if quick else (1920, 1080, 300)
    spread, found = time_hierarchy(width, height, n_masks, rounds)
    print(f"hierarchy: {width} x {height}, {n_masks} masks, {found} patches: {spread.median:.2f} s", flush=True)
    hierarchy = {"size": [width, height], "masks": n_masks, "patches": found, "seconds": vars(spread)}
    return {"loss": rows, "hierarchy": hierarchy}
