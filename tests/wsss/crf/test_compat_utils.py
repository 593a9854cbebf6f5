"""The drop-in's utils equal pydensecrf's."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from wsss.crf.compat import utils


@pytest.fixture
def pydensecrf_utils(caplog: pytest.LogCaptureFixture) -> Iterator[ModuleType]:
    yield pytest.importorskip("pydensecrf.utils", reason="pydensecrf is not installed")


RNG = np.random.default_rng(0)
PROBS = RNG.dirichlet(np.ones(3), (4, 5)).transpose(2, 0, 1)
LABELS = RNG.integers(0, 4, (4, 5))
COLOUR = RNG.integers(0, 256, (4, 5, 6, 2), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("unary_from_labels", (LABELS, 3, 0.7)),
        ("unary_from_labels", (LABELS, 4, 0.7, False)),
        ("unary_from_labels", (LABELS.astype(np.uint8), 4, 0.9, False)),
        ("unary_from_softmax", (PROBS,)),
        ("unary_from_softmax", (PROBS.astype(np.float32), 0.6)),
        ("unary_from_softmax", (PROBS, None, 0.2)),
        ("unary_from_softmax", (PROBS, 1.0, None)),
        ("compute_unary", (LABELS, 3)),
        ("compute_unary", (LABELS, 3, 0.8)),
        ("softmax_to_unary", (PROBS,)),
        ("softmax_to_unary", (PROBS, 0.5)),
        ("create_pairwise_gaussian", ((3, 5), (4, 6))),
        ("create_pairwise_gaussian", ([3.0, 0.5, 2], (4, 6, 3))),
        ("create_pairwise_bilateral", ((3, 5), 0.3, PROBS[0])),
        (
            "create_pairwise_bilateral",
            ((3, 5), (13, 4, 2), COLOUR[0, :, :, :].repeat(2, 2)[..., :3], 2),
        ),
        ("create_pairwise_bilateral", ((3, 5), (13, 4, 2), PROBS, 0)),
        ("create_pairwise_bilateral", ((3, 5, 2), [20.0, 30], COLOUR, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*former name")
def test_utils_equal_pydensecrf(
    pydensecrf_utils: ModuleType, name: str, arguments: tuple[Any, ...]
) -> None:
    ours, theirs = getattr(utils, name)(*arguments), getattr(pydensecrf_utils, name)(*arguments)
    assert ours.dtype == theirs.dtype and ours.flags.c_contiguous
    np.testing.assert_array_equal(ours, theirs)


def test_former_names_warn() -> None:
    with pytest.warns(FutureWarning, match="use unary_from_labels"):
        utils.compute_unary(LABELS, 3)
    with pytest.warns(FutureWarning, match="use unary_from_softmax"):
        utils.softmax_to_unary(PROBS)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: utils.unary_from_labels(LABELS, 3, 1.0), "gt_prob is 1.0"),
        (lambda: utils.unary_from_labels(LABELS, 1, 0.7), "n_labels is 1"),
        (lambda: utils.unary_from_labels(LABELS / 2, 4, 0.7), "float64.*integers"),
        (lambda: utils.unary_from_labels(LABELS, 2, 0.7), "hold 3.*right n_labels"),
        (lambda: utils.unary_from_labels(LABELS * 0 - 1, 2, 0.7), "hold -1"),
        (lambda: utils.unary_from_softmax(PROBS, scale=2), "scale is 2"),
        (lambda: utils.create_pairwise_bilateral((3, 5), 3, COLOUR[0]), "sdims.*chdim"),
    ],
)
def test_utils_say_what_is_wrong(call: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
