"""Synthetic points, energies and volumes for the tests of the drop-in."""

import numpy as np

from wsss.crf.compat.checks import Matrix

LABELS = 4


def noisy_features(dimension: int, count: int) -> Matrix:
    """(d, count) features of four clusters, whose sizes shrink with the dimension.

    So points have neighbours within a few standard deviations in any dimension.
    """
    generator = np.random.default_rng(dimension)
    centres = generator.uniform(-3, 3, (dimension, LABELS))
    spread = generator.standard_normal((dimension, count)) * 2 / dimension
    points: Matrix = (centres[:, np.arange(count) % LABELS] + spread).astype(np.float32)
    return points


def energies(count: int, num_labels: int = LABELS) -> Matrix:
    """(L, count) energies that lean on the clusters of `noisy_features`."""
    generator = np.random.default_rng(count)
    logits = generator.standard_normal((num_labels, count))
    logits[np.arange(count) % num_labels, np.arange(count)] += 0.7
    probs = np.exp(logits) / np.exp(logits).sum(0)
    return np.ascontiguousarray(-np.log(probs), dtype=np.float32)


def compatibilities() -> dict[str, float | Matrix]:
    """A number, a vector and a matrix that is not symmetric."""
    generator = np.random.default_rng(0)
    return {
        "number": 3.0,
        "vector": -3 * generator.random(LABELS, dtype=np.float32),
        "matrix": 3 * generator.random((LABELS, LABELS), dtype=np.float32),
    }


def volume() -> tuple[Matrix, Matrix]:
    """A noisy ball in a scan of 14 × 16 × 10, and probabilities (2, …) that lean on it."""
    generator = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (14, 16, 10)), indexing="ij")
    ball = sum(axis**2 for axis in axes) < 0.5
    scan = ball + 0.2 * generator.standard_normal(ball.shape)
    logits = 2 * ball - 1 + generator.standard_normal(ball.shape)
    inside = 1 / (1 + np.exp(-logits))
    return scan.astype(np.float32), np.stack([1 - inside, inside]).astype(np.float32)
