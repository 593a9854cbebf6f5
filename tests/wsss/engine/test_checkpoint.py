"""Weights and states on disk: what isn't whole, of that kind or of that model is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wsss.engine.checkpoint import load_state, load_trained, read_metadata, save_model, save_state
from wsss.errors import WsssError

CPU = torch.device("cpu")


def linear(width: int = 2) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, linear(), {"kind": "classifier", "width": 2, "class_names": ["cat", "dog"]})
    return path


def build(metadata: dict[str, Any]) -> nn.Module:
    return linear(metadata["width"])


def test_a_model_comes_back_with_its_metadata(weights: Path) -> None:
    model, metadata = load_trained(weights, "classifier", build, CPU)
    for name, value in linear().state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert metadata == {"kind": "classifier", "width": 2, "class_names": ["cat", "dog"]}
    assert not model.training


def test_others_may_read_weights(weights: Path) -> None:
    usual = weights.with_name("usual")
    usual.write_text("")
    assert weights.stat().st_mode == usual.stat().st_mode


def test_other_classes_are_refused(weights: Path) -> None:
    load_trained(weights, "classifier", build, CPU, class_names=("cat", "dog"))
    with pytest.raises(WsssError) as error:
        load_trained(weights, "classifier", build, CPU, class_names=("cat", "cow", "dog"))
    assert str(error.value) == (
        f"{weights} knows the classes cat, dog, the data have cat, cow, dog: train the classifier "
        "again, or give it the data it was trained on."
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def garbage(path: Path) -> None:
    path.write_bytes(b"not at all weights, but long enough for a header of them")


def no_metadata(path: Path) -> None:
    save_model(path, linear(), {})


def other_kind(path: Path) -> None:
    save_model(path, linear(), {"kind": "segmenter"})


def lacks_a_key(path: Path) -> None:
    save_model(path, linear(), {"kind": "classifier"})


def other_shape(path: Path) -> None:
    save_model(path, linear(4), {"kind": "classifier", "width": 2})


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "No weights at .*model.safetensors: train the classifier first"),
    "cut": (cut, "model.safetensors is not a valid safetensors file .*: give a trained classifier"),
    "garbage": (
        garbage,
        "model.safetensors is not a valid safetensors file .*: give a trained classifier",
    ),
    "no metadata": (no_metadata, "holds other weights, not a classifier: give the file of a cl"),
    "other kind": (other_kind, "holds segmenter, not a classifier: give the file of a classifier"),
    "lacks a key": (lacks_a_key, "lacks 'width' in its metadata: train the classifier again"),
    "other shape": (
        other_shape,
        "holds the weights of another model .*of another shape, the first 0.weight",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_weights_has_its_sentence(weights: Path, fault: str) -> None:
    damage, sentence = FAULTS[fault]
    damage(weights)
    with pytest.raises(WsssError, match=sentence) as error:
        load_trained(weights, "classifier", build, CPU)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_weights(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match="is not a valid safetensors file"):
        read_metadata(tmp_path, "classifier")


def test_a_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    assert load_state(path) is None
    save_state(path, {"step": 3, "weights": torch.arange(3.0)})
    state = load_state(path)
    assert state is not None and state["step"] == 3
    assert torch.equal(state["weights"], torch.arange(3.0))


@pytest.mark.parametrize("damage", [cut, garbage])
def test_a_damaged_state_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "checkpoint.pt"
    save_state(path, {"step": 3, "weights": torch.arange(3.0)})
    damage(path)
    with pytest.raises(
        WsssError, match=r"checkpoint.pt is not a valid checkpoint \(.*\): delete it to st"
    ):
        load_state(path)
