"""Pairs of photos that are compared: all, neighbours in time, or those that look alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WORDS = 64
"""Number of visual words, which are found in the photos themselves."""
_TRAINING_DESCRIPTORS = 20_000
_ROUNDS = 8

Pair = tuple[int, int]


def exhaustive_pairs(n: int) -> list[Pair]:
    """Return all pairs of n photos."""
    return [(a, b) for a in range(n) for b in range(a + 1, n)]


def sequential_pairs(n: int, overlap: int) -> list[Pair]:
    """Return pairs of each frame with the next ones, with frames 2, 4, 8... later, and of every `overlap`-th frame with
    every other such frame, which closes loops.
    """
    steps = {*range(1, overlap + 1), *(2**k for k in range(1, overlap + 1))}
    pairs = {(a, a + step) for a in range(n) for step in steps if a + step < n}
    anchors = range(0, n, overlap)
    pairs |= {(a, b) for a in anchors for b in anchors if a < b}
    return sorted(pairs)


def similar_pairs(descriptors: Sequence[np.ndarray], neighbours: int) -> list[Pair]:
    """Return pairs of each photo with the photos that look most like it, and with the next two.

    Photos are compared by their residuals to visual words (VLAD, Jégou et al., CVPR 2010), which are learned from the
    descriptors of these photos: no vocabulary is downloaded.

    Args:
        descriptors: (n, 128) uint8 or float of each photo.
        neighbours: number of alike photos of each.
    """
    signatures = _signatures(descriptors)
    alike = signatures @ signatures.T
    np.fill_diagonal(alike, -np.inf)
    n = len(descriptors)
    pairs = {(a, b) for a in range(n) for b in (a + 1, a + 2) if b < n}
    for a, order in enumerate(np.argsort(-alike, axis=1)[:, : min(neighbours, n - 1)]):
        pairs |= {(min(a, int(b)), max(a, int(b))) for b in order}
    return sorted(pairs)


def _signatures(descriptors: Sequence[np.ndarray]) -> np.ndarray:
    """Return (photos, WORDS * 128) float32 signatures of length 1."""
    rng = np.random.default_rng(0)
    everything = np.concatenate([d for d in descriptors if len(d)]).astype(np.float32)
    if len(everything) > _TRAINING_DESCRIPTORS:
        everything = everything[rng.choice(len(everything), _TRAINING_DESCRIPTORS, replace=False)]
    words = everything[rng.choice(len(everything), min(WORDS, len(everything)), replace=False)]
    for _ in range(_ROUNDS):
        nearest = _nearest(everything, words)
        for k in np.unique(nearest):
            words[k] = everything[nearest == k].mean(0)
    out = np.zeros((len(descriptors), *words.shape), np.float32)
    for k, found in enumerate(descriptors):
        if len(found):
            values = found.astype(np.float32)
            nearest = _nearest(values, words)
            np.add.at(out[k], nearest, values - words[nearest])
            out[k] /= np.maximum(np.linalg.norm(out[k], axis=1, keepdims=True), 1e-6)
    out = out.reshape(len(descriptors), -1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)


def _nearest(points: np.ndarray, words: np.ndarray) -> np.ndarray:
    return (points @ words.T - 0.5 * (words**2).sum(1)).argmax(1)
