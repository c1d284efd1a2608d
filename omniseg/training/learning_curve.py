"""How the error of a training falls, and what more steps would still bring."""

import math

import torch
from torch import Tensor

_PARTS = 20
"""Number of equal parts of a training whose mean errors are kept."""
_MIDDLE, _END = (0.4, 0.5), (0.9, 1.0)
"""Parts of a training whose errors are compared, as fractions of it."""


class LearningCurve:
    """Mean squared error of each twentieth of a training, kept on its device, so that the host never waits.

    Args:
        device: device of the errors.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(_PARTS, dtype=torch.float64, device=device)
        self._counts = [0] * _PARTS

    def add(self, done: float, error: Tensor) -> None:
        """Add the error, a scalar, of a step that began when a fraction `done` of the training was used."""
        part = min(int(done * _PARTS), _PARTS - 1)
        self._sums[part] += error
        self._counts[part] += 1

    def gain_of_doubling(self) -> float | None:
        """Estimate by how many dB twice as many steps would raise the PSNR of the training photos.

        It is the rise from the middle of the training to its end. A training of half the steps ends somewhat better
        than this one is at its middle, as its learning rate has fallen; but gains shrink from one doubling to the
        next by about as much. docs/lab_notes.md compares the estimate with longer trainings.

        Returns:
            None if the training went on from a checkpoint behind its middle.
        """
        middle, end = (self._decibels(*part) for part in (_MIDDLE, _END))
        return None if middle is None or end is None else max(end - middle, 0.0)

    def _decibels(self, begin: float, end: float) -> float | None:
        """Return -10 log10 of the mean error between two fractions of the training; None where no step is known."""
        parts = slice(round(begin * _PARTS), round(end * _PARTS))
        count = sum(self._counts[parts])
        return -10 * math.log10(max(float(self._sums[parts].sum()) / count, 1e-10)) if count else None
