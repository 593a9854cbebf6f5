"""The pydensecrf backend: the field's own call, by our names."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss.crf import CRFParameters, DenseCRF
from wsss.errors import WsssError


def test_reference_equals_the_fields_own_call(synthetic: tuple[Tensor, Tensor]) -> None:
    dcrf = pytest.importorskip("pydensecrf.densecrf")
    utils = pytest.importorskip("pydensecrf.utils")
    image, probs = synthetic
    crf = dcrf.DenseCRF2D(image.shape[2], image.shape[1], len(probs))
    crf.setUnaryEnergy(utils.unary_from_softmax(probs.numpy()))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    rgb = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    crf.addPairwiseBilateral(sxy=50, srgb=5, rgbim=rgb, compat=10)
    expected = torch.from_numpy(np.array(crf.inference(10))).view_as(probs)
    ours = DenseCRF("irn", backend="pydensecrf")(image[None], probs[None])[0]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert (ours.argmax(0) != probs.argmax(0)).any()  # it did refine


def test_reference_takes_potts_as_ones_off_the_diagonal(synthetic: tuple[Tensor, Tensor]) -> None:
    pytest.importorskip("pydensecrf")
    image, probs = synthetic
    potts = CRFParameters(3, 3, 50, 5, 10)
    matrix = CRFParameters(3, 3, 50, 5, 10, compatibility=1 - torch.eye(3))
    one, other = (
        DenseCRF(p, backend="pydensecrf")(image[None], probs[None]) for p in (potts, matrix)
    )
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_reference_says_that_pydensecrf_is_missing(
    synthetic: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    image, probs = synthetic
    with pytest.raises(WsssError, match=r"take backend='torch'.*pip install pydensecrf2"):
        DenseCRF(backend="pydensecrf")(image[None], probs[None])
