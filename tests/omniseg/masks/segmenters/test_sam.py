"""The model of segment-anything: its own generator of masks as the oracle, its checkpoints, and how they can be bad."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from omniseg.errors import InputError
from omniseg.masks.segmenters.sam import SamPoints, SamSegmenter, load_sam
from omniseg.masks.segmenters.sam_generator import SamConfig, generate_masks

WIDTH = "image_encoder.patch_embed.proj.weight"


def need_sam():
    return pytest.importorskip("segment_anything", reason="needs segment-anything: pip install -e '.[sam]'")


class _Points(nn.Module):
    """Instead of embedding points, hands them on."""

    def forward(self, points: tuple[Tensor, Tensor], boxes: None, masks: None) -> tuple[Tensor, Tensor]:
        return points[0].float(), torch.zeros(1)

    def get_dense_pe(self) -> Tensor:
        return torch.zeros(1)


class _Discs(nn.Module):
    """Three discs of different sizes about each point; sizes and scores depend on where it is and what is there."""

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        assert multimask_output
        points = sparse_prompt_embeddings
        noise = torch.frac(points.sum(2) * torch.tensor([0.618, 0.414, 0.732]) + image_embeddings.float().mean())
        radii = torch.tensor([6.0, 18.0, 45.0]) * (0.5 + noise)
        at = (torch.arange(32) + 0.5) * 4
        dx, dy = (
            at[None, None, None, :] - points[:, :, 0, None, None],
            at[None, None, :, None] - points[:, :, 1, None, None],
        )
        logits = (radii[:, :, None, None] - (dx**2 + dy**2).sqrt()) / 4
        return logits, 0.8 + 0.2 * torch.frac(noise * 7)


def disc_sam():
    """A model of segment-anything's own classes, with a small encoder and a decoder that draws discs."""
    need_sam()
    from segment_anything.modeling import ImageEncoderViT, Sam

    encoder = ImageEncoderViT(img_size=128, depth=1, embed_dim=16, num_heads=2, out_chans=8, global_attn_indexes=(0,))
    return Sam(encoder, _Points(), _Discs()).eval()  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("size", [(90, 60), (61, 133), (300, 220)])
@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("min_region", [0, 40])
def test_finds_the_masks_that_their_generator_finds(size: tuple[int, int], layers: int, min_region: int):
    model = disc_sam()
    from segment_anything import SamAutomaticMaskGenerator

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    config = SamConfig(
        points_per_side=6, crop_layers=layers, crop_points_divisor=2, min_region=min_region, stability=0.6
    )
    got = generate_masks(SamPoints(model, torch.device("cpu")), image, config, 1e-4)
    theirs = SamAutomaticMaskGenerator(
        model,
        points_per_side=6,
        points_per_batch=5,
        pred_iou_thresh=0.88,
        stability_score_thresh=0.6,
        crop_n_layers=layers,
        crop_n_points_downscale_factor=2,
        min_mask_region_area=min_region,
    ).generate(image)
    want = {annotation["segmentation"].tobytes() for annotation in theirs}
    assert len(want) > 5
    assert {got.mask(k).tobytes() for k in range(len(got))} == want
    assert len(got) == len(theirs)


def refused(path: Path, *words: object, model: str = "auto") -> None:
    need_sam()
    with pytest.raises(InputError) as raised:
        load_sam(path, model)  # pyright: ignore[reportArgumentType]
    message = str(raised.value)
    assert "\n" not in message
    for word in (path, *words):
        assert str(word) in message, message


def test_a_missing_checkpoint(tmp_path: Path):
    refused(tmp_path / "sam.pth", "does not exist", "download")
    refused(tmp_path, "does not exist")


@pytest.mark.parametrize("content", [b"", b"hello" * 100, b"PK\x03\x04" + b"x" * 100, pickle.dumps({"a": 1}, 2), "cut"])
def test_a_damaged_checkpoint(tmp_path: Path, content: bytes | str):
    path = tmp_path / "sam.pth"
    torch.save({WIDTH: torch.zeros(768, 3, 16, 16)}, path)
    path.write_bytes(path.read_bytes()[:-5000] if isinstance(content, str) else content)
    refused(path)


class _Evil:
    def __reduce__(self):
        return (sys.exit, ("a checkpoint ran code",))


def test_a_checkpoint_runs_no_code(tmp_path: Path):
    torch.save({WIDTH: torch.zeros(768, 3, 16, 16), "evil": _Evil()}, tmp_path / "sam.pth")
    refused(tmp_path / "sam.pth", "no PyTorch checkpoint")


@pytest.mark.parametrize("content", [{"weight": torch.zeros(3)}, torch.zeros(3), {WIDTH: 3}, [1, 2]])
def test_a_checkpoint_of_something_else(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "sam.pth")
    refused(tmp_path / "sam.pth", "no checkpoint of segment-anything")


@pytest.mark.parametrize(("width", "kind"), [(768, "vit_b"), (1024, "vit_l"), (1280, "vit_h")])
def test_the_model_is_seen_in_the_checkpoint(tmp_path: Path, width: int, kind: str):
    path = tmp_path / "sam.pth"
    torch.save({WIDTH: torch.zeros(width, 3, 16, 16)}, path)
    for other in {"vit_b", "vit_l", "vit_h"} - {kind}:
        refused(path, f"is a checkpoint of {kind}, not of {other}", f"--model {kind}", model=other)
    if kind == "vit_b":  # the others take seconds to build
        refused(path, "is not a complete checkpoint of vit_b")
    torch.save({WIDTH: torch.zeros(100, 3, 16, 16)}, path)
    refused(path, "other than vit_h, vit_l and vit_b")


def test_without_segment_anything_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(InputError, match=r"segment-anything cannot be imported .*pip install 'omniseg3d\[sam\]'"):
        SamSegmenter(tmp_path / "sam.pth")
