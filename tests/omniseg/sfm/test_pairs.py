import numpy as np

from omniseg.sfm.pairs import exhaustive_pairs, sequential_pairs, similar_pairs


def test_exhaustive_pairs_are_all_pairs_once():
    assert exhaustive_pairs(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_sequential_pairs_are_neighbours_and_distant_anchors():
    pairs = sequential_pairs(60, overlap=5)
    assert {(7, 7 + step) for step in (1, 2, 3, 4, 5, 8, 16, 32)} <= set(pairs)
    assert (7, 13) not in pairs
    assert (5, 55) in pairs  # closes a loop
    assert all(a < b < 60 for a, b in pairs)
    assert len(set(pairs)) == len(pairs) < len(exhaustive_pairs(60))


def photos_on_a_circle(n: int) -> list[np.ndarray]:
    """Return descriptors of photos, each of which shows the details of the next few as well, the last of the first."""
    rng = np.random.default_rng(0)
    details = rng.integers(0, 256, (20 * n, 128))
    noisy = [np.roll(details, -20 * k, axis=0)[:100] + rng.normal(0, 8, (100, 128)) for k in range(n)]
    return [photo.clip(0, 255).astype(np.uint8) for photo in noisy]


def test_similar_pairs_find_the_photos_that_show_the_same_details():
    n = 30
    pairs = set(similar_pairs(photos_on_a_circle(n), neighbours=4))
    assert {(k, k + 1) for k in range(n - 1)} <= pairs
    assert (0, n - 1) in pairs  # only the details say so
    distances = [min(b - a, n - (b - a)) for a, b in pairs]
    assert max(distances) <= 4
    assert len(pairs) <= 4 * n


def test_similar_pairs_of_photos_without_details_are_their_neighbours():
    pairs = similar_pairs([np.zeros((0, 128), np.uint8), *photos_on_a_circle(5)], neighbours=1)
    assert {(0, 1), (1, 2)} <= set(pairs)
