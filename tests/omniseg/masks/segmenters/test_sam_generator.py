"""The generator of masks with a model that is a few lines: crops, thresholds, duplicates, specks, and its memory."""

import weakref

import numpy as np
import pytest
import torch
from torch import Tensor

from omniseg.masks.run_length import mask_borders
from omniseg.masks.segmenters.sam_generator import (
    SamConfig,
    crop_boxes,
    generate_masks,
    non_maximum_suppression,
    point_grid,
    remove_small_regions,
    row_runs,
)

ALL = SamConfig(points_per_side=4, crop_layers=0, iou=0, stability=0, box_nms=1, crop_nms=1, min_region=0)


class FakeModel:
    """Answers each point with squares of half-edges 2, 4 and 8 pixels about it, at one logit a pixel."""

    point_bytes = 100
    threshold = 0.0

    def __init__(self, ious: tuple[float, float, float] = (0.9, 0.9, 0.9)) -> None:
        self.ious = ious
        self.crops: list[tuple[int, int]] = []
        self.asked: list[int] = []
        self.enlarged: list[int] = []
        self.alive: list[weakref.ref] = []

    def encode(self, crop: np.ndarray) -> None:
        self.crops.append((crop.shape[1], crop.shape[0]))

    def predict(self, points: np.ndarray) -> tuple[Tensor, Tensor]:
        self.asked.append(len(points))
        at = torch.from_numpy(points).float()
        sizes = torch.tensor([2.0, 4.0, 8.0]).expand(len(points), 3)
        code = torch.cat([at[:, None].expand(-1, 3, -1), sizes[..., None]], dim=2)  # the "small logits" are x, y, size
        return code[:, :, None], torch.tensor(self.ious).expand(len(points), 3)

    def enlarge(self, logits: Tensor) -> Tensor:
        assert not any(ref() is not None for ref in self.alive), "masks of the last batch are still held in full"
        self.enlarged.append(len(logits))
        width, height = self.crops[-1]
        x, y, size = logits[:, 0, :, None, None].unbind(1)
        dx = (torch.arange(width) + 0.5 - x[..., 0, None]).abs()
        dy = (torch.arange(height)[:, None] + 0.5 - y[..., 0, None]).abs()
        full = size - torch.maximum(dx, dy)
        self.alive.append(weakref.ref(full))
        return full


def photo(width: int = 80, height: int = 64) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def square(x: float, y: float, size: float, width: int = 80, height: int = 64) -> np.ndarray:
    columns, rows = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    return (abs(columns - x) < size) & (abs(rows - y) < size)


def test_every_point_gives_its_three_masks():
    got = generate_masks(FakeModel(), photo(), ALL, 1.0)
    want = [square(x, y, size) for x, y in point_grid(4) * [80, 64] for size in (2, 4, 8)]
    assert (got.width, got.height) == (80, 64)
    assert {got.mask(k).tobytes() for k in range(len(got))} == {mask.tobytes() for mask in want}
    for borders, mask in zip(got.borders, (got.mask(k) for k in range(len(got)))):
        np.testing.assert_array_equal(borders, mask_borders(mask, 80, 64))


def test_batches_are_as_large_as_the_memory_allows_and_nothing_full_outlives_its_own():
    """Memory for 2.5 masks of 80 x 64 at 10 bytes a pixel, or for 3 points."""
    model = FakeModel()
    memory = 2.5 * 82 * 64 * 10
    model.point_bytes = int(memory / 3.5)
    generate_masks(model, photo(), ALL, memory / 1e9)
    assert max(model.asked) == 3
    assert sum(model.asked) == 16
    assert max(model.enlarged) == 2
    assert sum(model.enlarged) == 48
    model = FakeModel()
    generate_masks(model, photo(), ALL, 1e-12)
    assert set(model.asked) == set(model.enlarged) == {1}
    model = FakeModel()
    generate_masks(model, photo(), ALL, 100.0)
    assert model.asked == [16]
    assert model.enlarged == [48]


def test_the_result_does_not_depend_on_the_memory():
    config = SamConfig(points_per_side=5, stability=0.3, min_region=0)
    small, large = (generate_masks(FakeModel(), photo(), config, memory) for memory in (1e-6, 10.0))
    assert len(small) > 10
    assert [b.tolist() for b in small.borders] == [b.tolist() for b in large.borders]


def test_only_masks_that_the_model_rates_well_are_enlarged():
    model = FakeModel((0.87, 0.89, 0.5))
    got = generate_masks(model, photo(), SamConfig(points_per_side=4, crop_layers=0, stability=0, min_region=0), 1.0)
    assert sum(model.enlarged) == len(got) == 16
    assert set(got.areas) == {64}


def test_only_stable_masks_stay():
    """A square of half-edge s is stable by (s - 1)^2 / (s + 1)^2: 0.11, 0.36, 0.6."""

    def areas(**options: float) -> set[int]:
        config = SamConfig(points_per_side=4, crop_layers=0, iou=0, box_nms=1, min_region=0, **options)
        return set(generate_masks(FakeModel(), photo(), config, 1.0).areas)

    assert areas(stability=0.3) == {64, 256}
    assert areas(stability=0.5) == {256}
    assert areas(stability=0.9) == set()
    assert areas(stability=0.9, stability_offset=0.0) == {16, 64, 256}


def test_crops_cover_the_photo_and_overlap():
    boxes = crop_boxes(1500, 1000, 2)
    assert [layer for layer, _ in boxes] == [0] + [1] * 4 + [2] * 16
    assert boxes[0][1] == (0, 0, 1500, 1000)
    for wanted in (1, 2):
        covered = np.zeros((1000, 1500), int)
        for _, (left, top, right, bottom) in (box for box in boxes if box[0] == wanted):
            covered[top:bottom, left:right] += 1
        assert covered.min() == 1
        assert covered.max() == 4
    assert {(r - left, b - top) for layer, (left, top, r, b) in boxes if layer == 1} == {
        (921, 671),
        (920, 671),
        (921, 670),
        (920, 670),
    }
    for size in ((1, 1), (2, 3), (7, 100)):
        assert all(r > left and b > top for _, (left, top, r, b) in crop_boxes(*size, 2))


def test_masks_of_crops_lie_where_they_are_in_the_photo_unless_the_crop_cuts_them_off():
    config = SamConfig(points_per_side=4, crop_layers=1, iou=0, stability=0, box_nms=1, crop_nms=1, min_region=0)
    model = FakeModel()
    got = generate_masks(model, photo(240, 200), config, 1.0)
    assert model.crops == [(right - left, bottom - top) for _, (left, top, right, bottom) in crop_boxes(240, 200, 1)]
    want = set()
    for _, box in crop_boxes(240, 200, 1):
        left, top, right, bottom = box
        for x, y in point_grid(4) * [right - left, bottom - top] + [left, top]:
            for size in (2, 4, 8):
                mask = square(x, y, size, 240, 200)
                mask[:top], mask[bottom:], mask[:, :left], mask[:, right:] = False, False, False, False
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                edges = np.array([columns[0], rows[0], columns[-1], rows[-1]])
                cut = (abs(edges - box) <= 20) & (abs(edges - [0, 0, 240, 200]) > 20)
                if not cut.any():
                    want.add(mask.tobytes())
    assert {got.mask(k).tobytes() for k in range(len(got))} == want
    assert len(want) < 5 * 48


def test_of_duplicates_the_better_one_stays_and_between_crops_that_of_the_smaller():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 10, 5.0]])
    scores = np.array([0.5, 0.9, 0.9, 0.1, 0.2])
    assert non_maximum_suppression(boxes, scores, 0.7).tolist() == [1, 4, 3]
    assert non_maximum_suppression(boxes, scores, 0.4).tolist() == [1, 3]
    assert non_maximum_suppression(boxes[:0], scores[:0], 0.7).tolist() == []


def test_suppression_leaves_what_its_definition_leaves():
    rng = np.random.default_rng(0)
    for n, grid in ((1, 5), (40, 4), (300, 30), (300, 1000)):
        corners = np.sort(rng.integers(0, grid, (n, 2, 2)), axis=1).astype(float)
        boxes, scores = corners.reshape(n, 4), rng.integers(0, 10, n) / 10  # boxes of no area, and equal scores
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        kept = []
        for k in np.argsort(-scores, kind="stable"):
            corner = np.minimum(boxes[kept, 2:], boxes[k, 2:]) - np.maximum(boxes[kept, :2], boxes[k, :2])
            shared = corner.clip(0).prod(1)
            if not (shared / np.maximum(area[kept] + area[k] - shared, 1e-9) > 0.7).any():
                kept.append(k)
        assert non_maximum_suppression(boxes, scores, 0.7).tolist() == kept


def test_between_crops_the_mask_of_the_smaller_one_stays():
    class Square(FakeModel):
        """Sees a square at 30, which looks taller on the whole photo."""

        def enlarge(self, logits: Tensor) -> Tensor:
            width, height = self.crops[-1]
            full = torch.full((len(logits), height, width), -1.0)
            full[:, 30 : 61 if len(self.crops) == 1 else 60, 30:60] = 1.0
            return full

    config = SamConfig(points_per_side=1, crop_layers=1, iou=0, stability=0, min_region=0)
    got = generate_masks(Square(), photo(300, 300), config, 1.0)
    at = [got.mask(k) for k in range(len(got)) if got.mask(k)[30, 30]]
    assert [mask.sum() for mask in at] == [900]
    assert len(got) == 4  # in the other crops it is elsewhere


def test_a_mask_as_wide_as_the_photo_is_one_run():
    class Band(FakeModel):
        def enlarge(self, logits: Tensor) -> Tensor:
            width, height = self.crops[-1]
            full = torch.full((len(logits), height, width), -1.0)
            full[:, 10:20] = 1.0
            return full

    config = SamConfig(points_per_side=1, crop_layers=0, iou=0, stability=0, min_region=0)
    got = generate_masks(Band(), photo(), config, 1.0)
    assert [b.tolist() for b in got.borders] == [[10 * 80, 20 * 80]]


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (3, 17)])
def test_tiny_photos(size: tuple[int, int]):
    got = generate_masks(FakeModel(), photo(*size), SamConfig(points_per_side=2, iou=0, stability=0), 1.0)
    assert (got.width, got.height) == size
    assert len(got)


def test_a_model_that_finds_nothing():
    got = generate_masks(FakeModel((0.1, 0.2, 0.3)), photo(), SamConfig(points_per_side=2), 1.0)
    assert len(got) == 0


@pytest.mark.parametrize("shape", [(1, 1), (4, 7), (9, 5)])
def test_row_runs_are_the_mask(shape: tuple[int, int]):
    masks = torch.rand(6, *shape) > 0.5
    masks[0], masks[1] = False, True
    for mask, runs in zip(masks.numpy(), row_runs(masks)):
        again = np.zeros(shape, bool)
        for row, start, end in runs:
            assert end > start
            assert not again[row, start:end].any()
            again[row, start:end] = True
        np.testing.assert_array_equal(again, mask)


def tidy(mask: np.ndarray, min_region: int) -> tuple[np.ndarray, bool]:
    mask = mask.copy()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    changed = remove_small_regions(mask, np.array([columns[0], rows[0], columns[-1], rows[-1]]), min_region)
    return mask, changed


def test_small_holes_are_filled_and_specks_removed():
    mask = np.zeros((40, 50), bool)
    mask[10:30, 10:40] = True
    clean = mask.copy()
    mask[15:18, 15:18] = False  # a hole of 9
    mask[2, 2] = mask[35:37, 45:47] = True  # specks of 1 and 4
    assert tidy(mask, 10)[1]
    np.testing.assert_array_equal(tidy(mask, 10)[0], clean)
    np.testing.assert_array_equal(tidy(mask, 9)[0], np.where(clean, mask, False))
    got, changed = tidy(mask, 1)
    assert not changed
    np.testing.assert_array_equal(got, mask)
    corner = np.ones((40, 50), bool)
    corner[:2, :3] = False  # cut off by the edge of the photo
    assert tidy(corner, 7)[0].all()
    assert not tidy(corner, 6)[1]


def test_the_surroundings_of_a_small_mask_are_no_hole():
    mask = np.zeros((40, 50), bool)
    mask[20:23, 20:23] = True
    got, changed = tidy(mask, 20)
    assert not changed
    np.testing.assert_array_equal(got, mask)
    mask[5, 5] = True
    np.testing.assert_array_equal(tidy(mask, 20)[0], np.where(np.arange(50) >= 20, mask, False))  # the largest stays


def test_masks_are_tidied_and_become_fewer():
    class Holed(FakeModel):
        def enlarge(self, logits: Tensor) -> Tensor:
            width, height = self.crops[-1]
            full = torch.full((len(logits), height, width), -1.0)
            full[:, 10:40, 10:40] = 1.0
            for k in range(len(logits)):
                full[k, 20, 20 + k] = -1.0
                full[k, 50, 60 + k] = 1.0
            return full

    config = SamConfig(points_per_side=1, crop_layers=0, iou=0, stability=0, box_nms=1, crop_nms=1, min_region=0)
    assert generate_masks(Holed(), photo(), config, 1.0).areas.tolist() == [900, 900, 900]
    config = SamConfig(points_per_side=1, crop_layers=0, iou=0, stability=0, box_nms=0.9, crop_nms=0.9, min_region=5)
    got = generate_masks(Holed(), photo(), config, 1.0)
    assert got.areas.tolist() == [900]
    assert got.mask(0)[10:40, 10:40].all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("points_per_side", 0), ("crop_layers", -1), ("crop_layers", 9), ("iou", 1.5), ("stability_offset", -1.0)],
)
def test_bad_configurations_are_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        SamConfig(**{name: value})
