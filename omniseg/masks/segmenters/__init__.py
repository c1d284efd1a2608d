"""Where masks come from: segment-anything, colour alone, or a folder of somebody's masks."""

from typing import Protocol

import numpy as np

from omniseg.masks.run_length import MaskStack


class Segmenter(Protocol):
    """A source of masks, one photo at a time."""

    def knows(self, name: str) -> bool:
        """Whether there are masks for the photo of this name."""
        ...

    def segment(self, image: np.ndarray, name: str) -> MaskStack:
        """Masks of a photo (height, width, 3) uint8 RGB, of its size or of another with the same aspect.

        Raises:
            InputError: this photo's masks cannot be had; those of others may.
        """
        ...
