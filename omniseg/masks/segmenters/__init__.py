"""Sources of masks: segment-anything, colour alone, or a folder of masks made elsewhere."""

from typing import Protocol

import numpy as np

from omniseg.masks.run_length import MaskStack


class Segmenter(Protocol):
    """A source of masks, one photo at a time."""

    def knows(self, name: str) -> bool:
        """Tell whether there are masks for the photo of this name."""
        ...

    def segment(self, image: np.ndarray, name: str) -> MaskStack:
        """Return the masks of a photo (height, width, 3) uint8 RGB, in its size or another of the same aspect.

        Raises:
            InputError: there are no masks of this photo; other photos may have some.
        """
        ...
