"""The drop-in by itself: how it is imported, what it returns, and what mistakes are told."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from wsss.crf import DenseCRF
from wsss.crf.compat import densecrf as dcrf
from wsss.crf.compat.utils import create_pairwise_bilateral, unary_from_softmax
from wsss.errors import WsssError

from .points import LABELS, energies, noisy_features
from .synthetic import draw

IMPORTS = """
import wsss.crf.compat.densecrf as first
from wsss.crf.compat import densecrf as second, utils
from wsss.crf.compat.densecrf import DenseCRF2D
from wsss.crf.compat.utils import unary_from_labels, unary_from_softmax
assert first is second and first.DenseCRF2D is DenseCRF2D
import sys, wsss.crf
strangers = {name.partition(".")[0] for name in sys.modules} & {
    "timm", "cv2", "pydantic", "yaml", "torchvision", "scipy", "PIL", "typer", "rich",
    "safetensors", "jinja2", "glmix", "pydensecrf", "matplotlib",
}
ours = {name for name in sys.modules if name.startswith("wsss.") and "wsss.crf" not in name}
print(sorted(strangers), sorted(ours))
"""


def test_crf_imports_torch_alone() -> None:
    found = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    assert found.stdout.split("\n")[0] == "[] ['wsss.errors']"


def test_readme_of_pydensecrf_runs() -> None:
    """Its examples, with the arguments that pydensecrf needs where its README is out of date."""
    image, probs = draw(48, 64, 5)
    im = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    d = dcrf.DenseCRF2D(64, 48, 5)
    U = -np.log(probs.numpy())
    d.setUnaryEnergy(U.reshape((5, -1)))
    d.setUnary(dcrf.ConstUnary(U.reshape((5, -1))))
    d.addPairwiseGaussian(
        sxy=(3, 3), compat=3, kernel=dcrf.DIAG_KERNEL, normalization=dcrf.NORMALIZE_SYMMETRIC
    )
    d.addPairwiseBilateral(
        sxy=(80, 80),
        srgb=(13, 13, 13),
        rgbim=im,
        compat=10,
        kernel=dcrf.DIAG_KERNEL,
        normalization=dcrf.NORMALIZE_SYMMETRIC,
    )
    Q = d.inference(5)
    labels = np.argmax(Q, axis=0).reshape((48, 64))
    assert (labels != probs.numpy().argmax(0)).mean() > 0.1
    Q, tmp1, tmp2 = d.startInference()
    divergences = []
    for _ in range(5):
        divergences.append(d.klDivergence(Q))
        d.stepInference(Q, tmp1, tmp2)
    assert divergences == sorted(divergences, reverse=True)
    np.testing.assert_allclose(np.array(Q), d.inference(5), atol=1e-5)
    d = dcrf.DenseCRF(100, 5)
    d.addPairwiseEnergy(noisy_features(7, 100), compat=3)
    np.testing.assert_allclose(d.inference(5), 0.2, atol=1e-6)


def test_dense_crf_2d_equals_the_preset() -> None:
    image, probs = draw(40, 50, 7)
    crf = dcrf.DenseCRF2D(50, 40, 7)
    crf.setUnaryEnergy(unary_from_softmax(probs.numpy()))
    crf.addPairwiseGaussian(3, 3)
    crf.addPairwiseBilateral(80, 13, np.ascontiguousarray(image.permute(1, 2, 0).numpy()), 10)
    ours = DenseCRF("psa")([image], [probs])[0]
    np.testing.assert_allclose(crf.inference(10).reshape(7, 40, 50), ours, atol=1e-6)


def test_dense_crf_2d_equals_dense_crf_with_features() -> None:
    image, probs = draw(40, 50, 3)
    rgb = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    plane, points = dcrf.DenseCRF2D(50, 40, 3), dcrf.DenseCRF(2000, 3)
    for crf in (plane, points):
        crf.setUnaryEnergy(unary_from_softmax(probs.numpy()))
    plane.addPairwiseBilateral((30, 20), (5, 9, 13), rgb, 4)
    features = create_pairwise_bilateral((20, 30), (5, 9, 13), rgb, chdim=2)
    points.addPairwiseEnergy(features[[1, 0, 2, 3, 4]], 4)
    np.testing.assert_allclose(plane.inference(5), points.inference(5), atol=1e-5)


def test_inference_can_be_repeated_and_terms_added_between() -> None:
    crf = dcrf.DenseCRF(200, LABELS)
    crf.setUnaryEnergy(energies(200))
    crf.addPairwiseEnergy(noisy_features(2, 200), 3)
    first = crf.inference(3)
    assert np.array_equal(first, crf.inference(3))
    crf.addPairwiseEnergy(noisy_features(3, 200), 3)
    assert np.abs(first - crf.inference(3)).max() > 1e-3


def test_arguments_are_left_as_they_were() -> None:
    unary, features = energies(200), noisy_features(3, 200)
    kept = unary.copy(), features.copy()
    unary.flags.writeable = features.flags.writeable = False
    crf = dcrf.DenseCRF(200, LABELS)
    crf.setUnaryEnergy(unary)
    crf.addPairwiseEnergy(features, np.ones(LABELS, np.float32))
    crf.inference(2)
    assert np.array_equal(unary, kept[0]) and np.array_equal(features, kept[1])


def test_features_far_apart_are_hashed_and_stay_apart() -> None:
    features = noisy_features(8, 200)
    features[:, 100:] += 5e4
    unary = energies(200)
    crf = dcrf.DenseCRF(200, LABELS)
    crf.setUnaryEnergy(unary)
    crf.addPairwiseEnergy(features, 5)
    alone = dcrf.DenseCRF(100, LABELS)
    alone.setUnaryEnergy(unary[:, :100].copy())
    alone.addPairwiseEnergy(features[:, :100].copy(), 5)
    np.testing.assert_allclose(crf.inference(3)[:, :100], alone.inference(3), atol=1e-5)


IMAGE = np.zeros((6, 9, 3), np.uint8)
UNARY = energies(54)
FEATURES = noisy_features(2, 54)


def plane(**options: Any) -> dcrf.DenseCRF2D:
    return dcrf.DenseCRF2D(9, 6, LABELS, **options)


def bilateral(image: Any, **options: Any) -> None:
    plane().addPairwiseBilateral(**{"sxy": 3, "srgb": 3, "rgbim": image, "compat": 3, **options})


def pairwise(features: Any = FEATURES, compat: Any = 3, *options: Any) -> None:
    plane().addPairwiseEnergy(features, compat, *options)


def with_value(value: float, rows: Any = 0) -> Any:
    ruined = UNARY.copy()
    ruined[rows, 5] = value
    return ruined


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: bilateral(IMAGE.astype(np.float32)), "float32.*uint8 of 0..255.*by 255"),
        (lambda: bilateral(IMAGE.astype(np.int64)), "int64.*uint8"),
        (lambda: bilateral(IMAGE.transpose(1, 0, 2).copy()), r"transposed.*\(width, height"),
        (lambda: bilateral(IMAGE.transpose(2, 0, 1).copy()), "channels come last"),
        (lambda: bilateral(IMAGE[..., :1].copy()), "RGB.*create_pairwise_bilateral"),
        (lambda: bilateral(IMAGE[:5]), r"\(5, 9, 3\), not .* = \(6, 9, 3\): resize"),
        (lambda: bilateral(np.zeros((6, 9, 6), np.uint8)[..., ::2]), "image.*ascontiguousarray"),
        (lambda: bilateral(IMAGE, sxy=0), "sxy is 0"),
        (lambda: bilateral(IMAGE, srgb=(3, 3)), r"srgb is \(3, 3\).*3 of them"),
        (lambda: bilateral(IMAGE, compat=np.ones(LABELS)), "compatibility is float64.*float32"),
        (lambda: bilateral(IMAGE, compat=np.ones(2, np.float32)), r"shape \(2,\).*4 labels"),
        (lambda: bilateral(IMAGE, compat=np.ones((4, 4, 4), np.float32)), "3 dimensions"),
        (lambda: bilateral(IMAGE, kernel=3), "no kernel 3.*FULL_KERNEL"),
        (lambda: bilateral(IMAGE, normalization=7), "no normalization 7.*NORMALIZE_BEFORE"),
        (lambda: plane().setUnaryEnergy(UNARY.astype(float)), "float64.*astype"),
        (lambda: plane().setUnaryEnergy(UNARY.T.copy()), "transposed.*u.T"),
        (lambda: plane().setUnaryEnergy(UNARY.T.copy().T), "not C-contiguous"),
        (lambda: plane().setUnaryEnergy(UNARY.reshape(4, 6, 9)), r"reshape\(labels, -1\)"),
        (lambda: plane().setUnaryEnergy(UNARY[1:]), r"\(3, 54\), not .* = \(4, 54\)"),
        (lambda: plane().setUnaryEnergy(np.exp(-UNARY)), "as probabilities do.*-np.log"),
        (lambda: plane().setUnaryEnergy(-UNARY), "sign is wrong"),
        (lambda: plane().setUnaryEnergy(with_value(np.nan)), "NaN"),
        (lambda: plane().setUnaryEnergy(with_value(np.inf, slice(None))), "clip probabilities"),
        (lambda: dcrf.LogisticUnary(UNARY, FEATURES), r"\(4, 54\).*\(2, 54\)"),
        (lambda: pairwise(FEATURES.T.copy()), "transposed.*features.T"),
        (lambda: pairwise(FEATURES * np.float32(np.inf)), "standard deviations"),
        (lambda: pairwise(FEATURES.astype(np.float16)), "float16"),
        (lambda: dcrf.DenseCRF2D(0, 3, 2), "width is 0"),
        (lambda: dcrf.DenseCRF(10, 2.5), "number of labels is 2.5"),  # type: ignore[arg-type]
        (lambda: plane().inference(-1), "iterations is -1"),
        (lambda: plane().klDivergence(UNARY[:, 1:]), "Q .*startInference"),
    ],
)
def test_mistakes_get_a_sentence(call: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert isinstance(caught.value, WsssError)


def test_check_values_can_be_left_out() -> None:
    crf = plane(check_values=False)
    crf.setUnaryEnergy(np.exp(-UNARY))
    assert np.isfinite(crf.inference(2)).all()
