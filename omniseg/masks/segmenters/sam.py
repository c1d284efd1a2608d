"""Masks from segment-anything (Kirillov et al., arXiv 2304.02643), loaded from a local checkpoint."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from omniseg.errors import InputError
from omniseg.masks.run_length import MaskStack
from omniseg.masks.segmenters.sam_generator import SamConfig, generate_masks

SamModel = Literal["auto", "vit_h", "vit_l", "vit_b"]

_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Models by the width of their image encoder, which is the first size of the tensor `_WIDTH_KEY`."""
_WIDTH_KEY = "image_encoder.patch_embed.proj.weight"


class SamSegmenter:
    """Segmenter that returns all masks which segment-anything finds, on a CPU or, in half precision, on a GPU."""

    def __init__(
        self,
        checkpoint: Path,
        *,
        model: SamModel = "auto",
        device: torch.device | str = "cpu",
        config: SamConfig | None = None,
        memory: float = 2.0,
    ) -> None:
        """Load the model.

        Args:
            checkpoint: the published file, or any that holds the same tensors.
            model: the model that the checkpoint must be of; "auto" takes any.
            device: to compute on.
            config: masks to look for, and those that stay.
            memory: GB that a batch of points or masks may take beside the model.
        Raises:
            InputError: segment-anything is not installed, or the checkpoint is missing, damaged or of another model.
        """
        self._config = config or SamConfig()
        self._memory = memory
        self._points = SamPoints(load_sam(checkpoint, model), torch.device(device))

    def knows(self, name: str) -> bool:
        """Return True: every photo can be segmented."""
        return True

    def segment(self, image: np.ndarray, name: str) -> MaskStack:
        """Return the masks of a photo (height, width, 3) uint8, in its size.

        Raises:
            InputError: the GPU has too little memory.
        """
        try:
            return generate_masks(self._points, image, self._config, self._memory)
        except torch.OutOfMemoryError as error:
            size = f"{image.shape[1]} x {image.shape[0]}"
            raise InputError(
                f"{name}: {size} pixels do not fit the GPU's memory; give a smaller --memory, --downsample or --model"
            ) from error


class SamPoints:
    """Encoder and decoder of segment-anything as a `PointModel`.

    The image encoder runs in half precision on a GPU. Positions of points stay in single precision: half precision
    would move them by half a pixel.
    """

    point_bytes = 40_000_000
    """Memory for one point; 30 MB were measured in single precision."""

    def __init__(self, sam: Any, device: torch.device) -> None:
        """Move a model of segment-anything to a device."""
        from segment_anything.utils.transforms import ResizeLongestSide

        self._model = sam.to(device).eval().requires_grad_(False)
        self._half = device.type == "cuda"
        if self._half:
            self._model.image_encoder.half()
        self._device = device
        self._resize = ResizeLongestSide(self._model.image_encoder.img_size)
        self._size = self._input_size = (0, 0)
        self._features = torch.empty(0)
        self.threshold = float(self._model.mask_threshold)

    @torch.inference_mode()
    def encode(self, crop: np.ndarray) -> None:
        """Encode a picture (h, w, 3) uint8, which `predict` and `enlarge` are then about."""
        self._features = torch.empty(0)  # frees those of the last picture before the encoder needs memory
        resized = torch.from_numpy(self._resize.apply_image(crop)).to(self._device)
        pixels = self._model.preprocess(resized.permute(2, 0, 1)[None].float())
        self._size, self._input_size = crop.shape[:2], tuple(resized.shape[:2])
        self._features = self._model.image_encoder(pixels.half() if self._half else pixels).float()

    @torch.inference_mode()
    def predict(self, points: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return logits (n, 3, 256, 256) and estimated IoU (n, 3) at points (n, 2) x y in pixels of the picture."""
        coords = torch.from_numpy(self._resize.apply_coords(points, self._size)).float().to(self._device)
        labels = torch.ones(len(points), 1, dtype=torch.int32, device=self._device)
        sparse, dense = self._model.prompt_encoder(points=(coords[:, None], labels), boxes=None, masks=None)
        with torch.autocast(self._device.type, torch.float16, enabled=self._half):
            logits, ious = self._model.mask_decoder(
                image_embeddings=self._features,
                image_pe=self._model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
        return logits.float(), ious.float()

    @torch.inference_mode()
    def enlarge(self, logits: Tensor) -> Tensor:
        """Resize small logits (k, 256, 256) to the picture (k, h, w)."""
        return self._model.postprocess_masks(logits[:, None], self._input_size, self._size)[:, 0]


def load_sam(checkpoint: Path, model: SamModel) -> Any:
    """Load a model of segment-anything with the weights of a checkpoint, on the CPU.

    Raises:
        InputError: segment-anything is not installed, or the checkpoint is missing, damaged or of another model.
    """
    try:
        from segment_anything import sam_model_registry
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not match torch
        raise InputError(
            f"segment-anything cannot be imported ({error}); install it: pip install 'omniseg3d[sam]'"
        ) from error
    state = read_checkpoint(checkpoint)
    kind = _checked_kind(checkpoint, state, model)
    sam = sam_model_registry[kind]()
    try:
        sam.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{checkpoint}: is not a complete checkpoint of {kind}; download it again") from error
    return sam


def read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a checkpoint by name; nothing but tensors is unpickled.

    Raises:
        InputError: the file is missing, damaged, or no checkpoint of segment-anything.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: does not exist; --checkpoint is a file that you download from segment-anything's page"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        LookupError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(f"{path}: is damaged or no PyTorch checkpoint; download it again") from error
    if not isinstance(state, Mapping) or not isinstance(state.get(_WIDTH_KEY), Tensor):
        raise InputError(f"{path}: is no checkpoint of segment-anything; give one of vit_h, vit_l or vit_b")
    return state


def _checked_kind(path: Path, state: Mapping[str, Tensor], model: SamModel) -> str:
    """Return the model that a checkpoint is of: vit_b, vit_l or vit_h.

    Raises:
        InputError: it is of another model, or not of the one asked for.
    """
    kind = _WIDTHS.get(state[_WIDTH_KEY].shape[0])
    if kind is None:
        raise InputError(f"{path}: is of a model other than vit_h, vit_l and vit_b; download one of those")
    if model not in ("auto", kind):
        raise InputError(f"{path}: is a checkpoint of {kind}, not of {model}; give --model {kind}, or no --model")
    return kind
