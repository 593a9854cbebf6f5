"""Presets carry the field's numbers; nonsense is refused with a sentence."""

import pytest
import torch

from wsss.crf import PRESETS, CRFParameters, DenseCRF
from wsss.errors import WsssError

FIELD = {  # field.md, section 4: Gaussian sxy, weight; bilateral sxy, srgb, weight
    "psa": (3, 3, 80, 13, 10),
    "irn": (3, 3, 50, 5, 10),
    "deeplab": (1, 3, 67, 3, 4),
    "afa": (3, 3, 64, 5, 4),
    "toco": (1, 1, 121, 5, 4),
    "mctformer": (4, 3, 83, 5, 3),
}


def test_presets_are_the_fields() -> None:
    assert {name: CRFParameters(*numbers) for name, numbers in FIELD.items()} == PRESETS
    assert {parameters.iterations for parameters in PRESETS.values()} == {10}


def test_unknown_preset_gets_a_sentence_with_the_nearest_name() -> None:
    with pytest.raises(WsssError, match=r"'deeplap'.*did you mean 'deeplab'"):
        DenseCRF("deeplap")


def test_iterations_replace_the_presets() -> None:
    assert DenseCRF("psa", iterations=3).parameters == CRFParameters(3, 3, 80, 13, 10, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gaussian_sxy": 0}, "gaussian_sxy is 0"),
        ({"bilateral_srgb": float("nan")}, "bilateral_srgb is nan"),
        ({"bilateral_sxy": "3"}, "bilateral_sxy is '3'"),
        ({"iterations": -1}, "iterations is -1"),
        ({"compatibility": torch.zeros(2, 3)}, r"compatibility has the shape \(2, 3\)"),
    ],
)
def test_parameters_no_crf_can_be_made_of(change: dict[str, object], says: str) -> None:
    values: dict[str, object] = {
        "gaussian_sxy": 3,
        "gaussian_weight": 3,
        "bilateral_sxy": 50,
        "bilateral_srgb": 5,
        "bilateral_weight": 10,
    }
    with pytest.raises(WsssError, match=says):
        CRFParameters(**{**values, **change})  # type: ignore[arg-type]


def test_unknown_backend_gets_a_sentence() -> None:
    with pytest.raises(WsssError, match="no CRF backend 'gpu'"):
        DenseCRF(backend="gpu")  # type: ignore[arg-type]
