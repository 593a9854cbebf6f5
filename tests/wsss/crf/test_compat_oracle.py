"""The drop-in gives pydensecrf's answers; all pairs of points show what both approximate."""

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from wsss.crf.compat import densecrf, utils

from .points import LABELS, compatibilities, energies, noisy_features, volume

KERNELS = range(3)
NORMALIZATIONS = range(4)
COMPATIBILITIES = ("number", "vector", "matrix")


@pytest.fixture(scope="module")
def pydensecrf() -> ModuleType:
    return pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf is not installed")


def assert_same(ours: Any, theirs: Any) -> None:
    ours, theirs = np.array(ours), np.array(theirs)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    assert ours.strides == theirs.strides
    assert np.abs(ours - theirs).max() < 1e-3
    assert (ours.argmax(0) == theirs.argmax(0)).mean() >= 0.9999


@pytest.mark.parametrize("dimension", range(1, 10))
def test_dense_crf_equals_pydensecrf(pydensecrf: ModuleType, dimension: int) -> None:
    features, unary = noisy_features(dimension, 600), energies(600)
    for kernel, side, kind in itertools.product(KERNELS, NORMALIZATIONS, COMPATIBILITIES):
        found = []
        for module in (densecrf, pydensecrf):
            crf = module.DenseCRF(600, LABELS)
            crf.setUnaryEnergy(unary)
            crf.addPairwiseEnergy(features, compatibilities()[kind], kernel, side)
            found.append(crf.inference(5))
        assert_same(*found)


@pytest.mark.parametrize("side", NORMALIZATIONS)
def test_dense_crf_of_many_terms_equals_pydensecrf(pydensecrf: ModuleType, side: int) -> None:
    found = []
    for module in (densecrf, pydensecrf):
        crf = module.DenseCRF(600, LABELS)
        crf.setUnaryEnergy(energies(600))
        for dimension, compatibility in zip((2, 5, 3, 3), compatibilities().values(), strict=False):
            features = noisy_features(dimension, 600)
            crf.addPairwiseEnergy(features, compatibility, normalization=side)
        crf.addPairwiseEnergy(noisy_features(4, 600), 2)
        found.append(crf.inference(5))
    assert_same(*found)


def test_dense_crf_of_a_volume_equals_pydensecrf(pydensecrf: ModuleType) -> None:
    scan, probs = volume()
    found = []
    for module in (densecrf, pydensecrf):
        crf = module.DenseCRF(scan.size, 2)
        crf.setUnaryEnergy(utils.unary_from_softmax(probs))
        crf.addPairwiseEnergy(utils.create_pairwise_gaussian((2, 2, 1), scan.shape), 3)
        crf.addPairwiseEnergy(utils.create_pairwise_bilateral((8, 8, 4), 0.3, scan), 6)
        found.append(crf.inference(5))
    assert_same(*found)
    assert (np.array(found[0]).argmax(0) != probs.reshape(2, -1).argmax(0)).mean() > 0.02


def image_and_energies() -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = blocks.repeat(6, 0).repeat(6, 1)[:34, :46].copy()
    return image, energies(34 * 46)


@pytest.mark.parametrize(
    ("sxy", "srgb"), [(3, 13), ((3, 7), (5, 20, 40)), ((0.5, 20), 30.0), ((np.float32(4), 4), 3)]
)
def test_dense_crf_2d_equals_pydensecrf(pydensecrf: ModuleType, sxy: Any, srgb: Any) -> None:
    image, unary = image_and_energies()
    found = []
    for module in (densecrf, pydensecrf):
        crf = module.DenseCRF2D(46, 34, LABELS)
        crf.setUnaryEnergy(unary)
        crf.addPairwiseGaussian(sxy=sxy, compat=3)
        crf.addPairwiseBilateral(sxy=30, srgb=srgb, rgbim=image, compat=10)
        found.append(crf.inference(10))
    assert_same(*found)


def test_dense_crf_2d_in_steps_equals_pydensecrf(pydensecrf: ModuleType) -> None:
    image, unary = image_and_energies()
    divergences, found = [], []
    for module in (densecrf, pydensecrf):
        crf = module.DenseCRF2D(46, 34, LABELS)
        crf.setUnaryEnergy(unary)
        crf.addPairwiseGaussian(3, 3)
        crf.addPairwiseBilateral(30, 13, image, compatibilities()["matrix"])
        marginals, spare, other = crf.startInference()
        divergences.append([])
        for _ in range(4):
            divergences[-1].append(crf.klDivergence(marginals))
            crf.stepInference(marginals, spare, other)
        found.append(marginals)
    assert_same(*found)
    np.testing.assert_allclose(divergences[0], divergences[1], rtol=1e-4)


def test_dense_crf_without_pairwise_or_unary_energy_equals_pydensecrf(
    pydensecrf: ModuleType,
) -> None:
    found: list[list[Any]] = []
    for module in (densecrf, pydensecrf):
        bare, unary = module.DenseCRF(8, 3), module.DenseCRF(8, 3)
        unary.setUnaryEnergy(energies(8, 3))
        found.append([bare.inference(2), bare.startInference()[0], unary.inference(2)])
    for ours, theirs in zip(*found, strict=True):
        assert_same(ours, theirs)


def test_unary_objects_equal_pydensecrf(pydensecrf: ModuleType) -> None:
    generator = np.random.default_rng(0)
    weights = generator.random((3, 12), dtype=np.float32)
    features = generator.random((12, 12), dtype=np.float32)
    found: list[list[Any]] = []
    for module in (densecrf, pydensecrf):
        marginals = []
        for unary in (module.ConstUnary(weights), module.LogisticUnary(weights, features)):
            crf = module.DenseCRF(12, 3)
            crf.setUnary(unary)
            marginals.append(crf.inference(0))
        crf.setUnaryEnergy(weights, features)
        found.append([*marginals, crf.inference(0)])
    for ours, theirs in zip(*found, strict=True):
        assert_same(ours, theirs)


def test_large_energies_equal_pydensecrf(pydensecrf: ModuleType) -> None:
    unary = 1e5 * energies(600)
    unary[0, :50] = np.inf
    found = []
    for module in (densecrf, pydensecrf):
        crf = module.DenseCRF(600, LABELS)
        crf.setUnaryEnergy(unary)
        crf.addPairwiseEnergy(noisy_features(3, 600), 1000.0)
        found.append(crf.inference(5))
    assert_same(*found)


@pytest.mark.parametrize("side", NORMALIZATIONS)
def test_dense_crf_is_near_all_pairs(side: int) -> None:
    features, unary = noisy_features(2, 600), energies(600)
    crf = densecrf.DenseCRF(600, LABELS)
    crf.setUnaryEnergy(unary)
    weight = 0.05 if side == densecrf.NO_NORMALIZATION else 3.0
    crf.addPairwiseEnergy(features, weight, normalization=side)
    kernel = np.exp(-((features[:, :, None] - features[:, None]) ** 2).sum(0) / 2)
    sums = kernel.sum(0)
    before, after = {
        densecrf.NO_NORMALIZATION: (1, 1),
        densecrf.NORMALIZE_BEFORE: (1 / sums, 1),
        densecrf.NORMALIZE_AFTER: (1, 1 / sums),
        densecrf.NORMALIZE_SYMMETRIC: (sums**-0.5, sums**-0.5),
    }[densecrf.NormalizationType(side)]
    expected = softmax(-unary)
    for _ in range(5):
        expected = softmax(-unary + weight * ((expected * before) @ kernel) * after)
    apart = np.abs(crf.inference(5) - expected).mean()
    assert apart < 0.03  # the lattice's kernel in two dimensions is 0.87 of the Gaussian's height
    assert apart < 0.5 * np.abs(softmax(-unary) - expected).mean()


def softmax(logits: Any) -> Any:
    likely = np.exp(logits - logits.max(0))
    return likely / likely.sum(0)
