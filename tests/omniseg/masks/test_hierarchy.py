"""Patches and correlation of masks: by their definition, from files, and of what is no hierarchy at all."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniseg.errors import InputError
from omniseg.masks import hierarchy as hierarchy_module
from omniseg.masks.hierarchy import MaskHierarchy, absorb_covered, build_hierarchy, load_hierarchy
from omniseg.masks.run_length import MaskStack

WIDTH, HEIGHT = 12, 10


def stack_of(masks) -> MaskStack:
    return MaskStack.from_masks(masks, WIDTH, HEIGHT)


def random_masks(seed: int, n: int, coarse: bool) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    if coarse:
        return [np.kron(random.random((5, 6)) < 0.4, np.ones((2, 2))) > 0 for _ in range(n)]
    return [random.random((HEIGHT, WIDTH)) < 0.4 for _ in range(n)]


@given(st.integers(0, 2**16), st.integers(0, 9), st.booleans())
def test_equals_the_definition(seed, n, coarse):
    masks = random_masks(seed, n, coarse)
    found = build_hierarchy(stack_of(masks))
    members = np.stack(masks).reshape(n, -1).astype(int) if n else np.zeros((0, HEIGHT * WIDTH), int)
    ids = found.indices.reshape(-1)
    shared = found.correlation[ids][:, ids]
    assert np.array_equal(shared, members.T @ members)
    assert np.array_equal(ids == 0, members.sum(0) == 0), "id 0 is in no mask"
    assert found.correlation[0].sum() == 0
    same = (members[:, :, None] == members[:, None, :]).all(0)
    assert np.array_equal(same, ids[:, None] == ids[None]), "a patch is what no mask divides"


@given(st.integers(0, 2**16), st.integers(0, 8), st.booleans())
def test_absorbing_equals_the_definition(seed, n, coarse):
    masks = sorted(random_masks(seed, n, coarse), key=lambda mask: mask.sum())
    masks += [np.roll(masks[0], 1, axis=0)] if masks else []
    masks.sort(key=lambda mask: mask.sum())
    want = [mask.copy() for mask in masks]
    for m in range(len(want)):
        for k in range(m + 1, len(want)):
            if (want[m] & want[k]).sum() > 0.9 * want[m].sum():
                want[k] |= want[m]
    found = absorb_covered(stack_of(masks))
    distinct = {mask.tobytes() for mask in want if mask.any()}
    assert sorted(found.mask(k).tobytes() for k in range(len(found))) == sorted(distinct)


def test_a_larger_mask_takes_the_rest_of_one_it_covers():
    large, small = np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
    large[:, :6] = True
    small[:, 4:6] = small[0, 6] = True  # 20 of 21 pixels in the large one
    found = absorb_covered(stack_of([large, small]))
    assert found.areas.tolist() == [21, 61]
    assert found.mask(1)[0, 6]


def test_counts_saturate():
    found = build_hierarchy(stack_of([np.ones((HEIGHT, WIDTH))] * 300))
    assert found.correlation[1, 1] == 255


def test_too_many_patches_leave_the_smallest_unlabelled(monkeypatch):
    monkeypatch.setattr(hierarchy_module, "MOST_PATCHES", 3)
    masks = [np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) < k for k in (5, 15, 50)]
    found = build_hierarchy(stack_of(masks))
    assert found.correlation.shape == (3, 3)
    assert (found.indices == 0).sum() == HEIGHT * WIDTH - 45
    assert not found.labelled[0, 0]


def test_two_thousand_patches():
    pixels = np.arange(50 * 50).reshape(50, 50)
    masks = [(pixels >> bit) & 1 for bit in range(11)]
    found = build_hierarchy(MaskStack.from_masks(masks, 50, 50))
    assert len(found.correlation) == 2048
    assert found.correlation.max() == 11


def test_equal_keys_are_noticed(monkeypatch):
    class Same:
        calls = 0

        def integers(self, low, high, n, dtype, endpoint):
            Same.calls += 1
            return np.full(n, 5, np.uint64) if Same.calls == 1 else np.arange(1, n + 1).astype(np.uint64) * 7919

    monkeypatch.setattr(hierarchy_module.np.random, "default_rng", lambda seed: Same())
    masks = [np.eye(HEIGHT, WIDTH) > 0, np.eye(HEIGHT, WIDTH, 1) > 0]
    found = build_hierarchy(stack_of(masks))
    assert Same.calls == 2
    assert len(found.correlation) == 3


def test_resizing_takes_the_nearest_pixel():
    found = MaskHierarchy(np.arange(6, dtype=np.int16).reshape(2, 3), np.eye(6, dtype=np.uint8))
    assert found.resized(3, 2) is found
    assert found.resized(6, 4).indices.tolist() == np.kron(found.indices, np.ones((2, 2))).tolist()
    big = build_hierarchy(stack_of(random_masks(0, 4, True)))
    assert np.array_equal(big.resized(6, 5).indices, big.indices[1::2, 1::2])


def test_slivers_are_left_out():
    indices = np.zeros((8, 12), np.int16)
    indices[:, :4], indices[:, 4], indices[:, 5:8], indices[:, 9:11] = 1, 2, 3, 4
    correlation = np.diag([0, 1, 2, 1, 1]).astype(np.uint8)
    correlation[1, 2] = correlation[2, 1] = 1
    found = MaskHierarchy(indices, correlation).without_slivers()
    assert np.unique(found.indices[:, :4]) == 1
    assert not found.labelled[:, 4].any(), "one pixel wide"
    assert not found.labelled[:, 9:].any(), "two pixels wide"
    assert found.labelled[:, 5:8].all()
    assert found.correlation.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_file_comes_back(tmp_path: Path):
    saved = build_hierarchy(stack_of(random_masks(1, 5, True)))
    saved.save(tmp_path / "sam" / "deep" / "a.npz")
    loaded = load_hierarchy(tmp_path / "sam" / "deep" / "a.npz")
    assert np.array_equal(loaded.indices, saved.indices)
    assert np.array_equal(loaded.correlation, saved.correlation)
    assert loaded.indices.dtype == np.int16
    assert loaded.correlation.dtype == np.uint8


def test_a_file_in_which_every_pixel_is_in_a_mask(tmp_path: Path):
    """OmniSeg3D numbers patches from 0 whether or not there is a pixel in no mask."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, indices=np.array([[0, 1]], np.int16), correlation=np.array([[2, 1], [1, 1]], np.uint8))
    assert load_hierarchy(path).labelled.all()


GOOD = {"indices": np.zeros((2, 2), np.int16), "correlation": np.zeros((1, 1), np.uint8)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"indices": GOOD["indices"]}, "has no correlation"),
        ({}, "has no correlation and no indices"),
        ({**GOOD, "indices": np.full((2, 2), 3, np.int16)}, "indices run from 3 to 3, but correlation has 1 patches"),
        ({**GOOD, "indices": np.full((2, 2), -1, np.int16)}, "indices run from -1"),
        ({**GOOD, "indices": np.full((2, 2), 0.5)}, "indices: expected an image of whole numbers, got .* of float64"),
        ({**GOOD, "indices": np.zeros(4, np.int16)}, "indices: expected an image of whole numbers"),
        ({**GOOD, "indices": np.zeros((0, 2), np.int16)}, "indices: expected an image of whole numbers"),
        ({**GOOD, "correlation": np.zeros((1, 2), np.uint8)}, "correlation: expected a square matrix"),
        ({**GOOD, "correlation": np.array([[1, 2], [3, 4]], np.uint8)}, "correlation is not symmetric"),
        ({**GOOD, "indices": np.array([[{}]])}, "holds pickled objects, which are never opened"),
    ],
)
def test_bad_content_is_named(tmp_path: Path, arrays, message):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load_hierarchy(path)
    assert str(path) in str(caught.value)
    assert "omniseg run_sam" in str(caught.value)


def test_whole_numbers_may_be_floats(tmp_path: Path):
    indices, shared = np.array([[0, 1], [1, 2]], np.float32), np.array([[0, 0, 0], [0, 2, 1], [0, 1, 300]], np.float64)
    np.savez_compressed(tmp_path / "a.npz", indices=indices, correlation=shared)
    loaded = load_hierarchy(tmp_path / "a.npz")
    assert (loaded.indices.dtype, loaded.indices.tolist()) == (np.int16, [[0, 1], [1, 2]])
    assert loaded.correlation.tolist() == [[0, 0, 0], [0, 2, 1], [0, 1, 255]]
    np.savez_compressed(tmp_path / "a.npz", indices=np.full((2, 2), np.nan), correlation=shared)
    with pytest.raises(InputError, match=r"save it as docs/data.md says"):
        load_hierarchy(tmp_path / "a.npz")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", pickle.dumps(Bomb()), b"\x93NUMPY\x01\x00"])
def test_foreign_files_are_named(tmp_path: Path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz: "):
        load_hierarchy(path)
    with pytest.raises(InputError, match="does not exist"):
        load_hierarchy(tmp_path / "b.npz")


def test_a_truncated_file(tmp_path: Path):
    path = tmp_path / "a.npz"
    build_hierarchy(stack_of(random_masks(1, 5, False))).save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"damaged|pickled"):
            load_hierarchy(path)
