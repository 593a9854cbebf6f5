"""Weights and states on disk: what isn't whole, of that kind or of that model is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wsss.engine.checkpoint import (
    load_state,
    load_trained,
    read_metadata,
    save_model,
    save_state,
    write_weights,
)
from wsss.errors import WsssError

CPU = torch.device("cpu")


def linear(width: int = 2) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, linear(), {"kind": "classifier", "width": 2, "class_names": ["cat", "dog"]})
    return path


def build(metadata: dict[str, Any]) -> nn.Module:
    return linear(metadata["width"])


def test_load_trained_gives_weights_and_metadata(weights: Path) -> None:
    model, metadata = load_trained(weights, "classifier", build, CPU)
    for name, value in linear().state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert metadata == {"kind": "classifier", "width": 2, "class_names": ["cat", "dog"]}
    assert not model.training


def test_save_model_has_the_usual_permissions(weights: Path) -> None:
    usual = weights.with_name("usual")
    usual.write_text("")
    assert weights.stat().st_mode == usual.stat().st_mode


def test_load_trained_refuses_other_classes(weights: Path) -> None:
    load_trained(weights, "classifier", build, CPU, class_names=("cat", "dog"))
    with pytest.raises(WsssError, match=rf"{weights} .* cat, dog, .* cat, cow, dog"):
        load_trained(weights, "classifier", build, CPU, class_names=("cat", "cow", "dog"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def garbage(path: Path) -> None:
    path.write_bytes(b"not at all weights, but long enough for a header of them")


def no_metadata(path: Path) -> None:
    save_model(path, linear(), {})


def other_kind(path: Path) -> None:
    save_model(path, linear(), {"kind": "segmenter"})


def lacks_a_key(path: Path) -> None:
    save_model(path, linear(), {"kind": "classifier", "class_names": ["cat"]})


def other_shape(path: Path) -> None:
    save_model(path, linear(4), {"kind": "classifier", "width": 2, "class_names": ["cat"]})


def no_classes(path: Path) -> None:
    save_model(path, linear(), {"kind": "classifier", "width": 2, "class_names": [1]})


def damaged_metadata(path: Path) -> None:
    write_weights(path, linear().state_dict(), {"wsss": '{"kind": "classifier"'})


def no_network(path: Path) -> None:
    metadata = {"kind": "classifier", "width": "two", "class_names": ["cat"]}
    save_model(path, linear(), metadata)


def diverged(path: Path) -> None:
    model = linear()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    save_model(path, model, {"kind": "classifier", "width": 2, "class_names": ["cat"]})


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, r"model\.safetensors: train the classifier"),
    "cut": (cut, r"model\.safetensors is not a valid"),
    "garbage": (garbage, r"model\.safetensors is not a valid"),
    "no metadata": (no_metadata, "not a classifier"),
    "other kind": (other_kind, "segmenter, not a classifier"),
    "lacks a key": (lacks_a_key, "'width'"),
    "no classes": (no_classes, "class_names"),
    "damaged metadata": (damaged_metadata, "not a classifier"),
    "no network": (no_network, "describes no classifier"),
    "diverged": (diverged, r"0\.weight that are infinite or none"),
    "other shape": (other_shape, r"another shape.* 0\.weight"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_load_trained_names_the_file_and_its_fault(weights: Path, fault: str) -> None:
    damage, found = FAULTS[fault]
    damage(weights)
    with pytest.raises(WsssError, match=found) as error:
        load_trained(weights, "classifier", build, CPU)
    assert "\n" not in str(error.value)


def test_read_metadata_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=str(tmp_path)):
        read_metadata(tmp_path, "classifier")


def test_load_state_gives_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    assert load_state(path) is None
    save_state(path, {"step": 3, "weights": torch.arange(3.0)})
    state = load_state(path)
    assert state is not None and state["step"] == 3
    assert torch.equal(state["weights"], torch.arange(3.0))


@pytest.mark.parametrize("damage", [cut, garbage])
def test_load_state_refuses_a_damaged_file(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_state(path, {"step": 3, "weights": torch.arange(3.0)})
    damage(path)
    with pytest.raises(WsssError, match=r"checkpoint\.pt is not a valid"):
        load_state(path)


def test_load_state_refuses_what_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save([1], path)
    with pytest.raises(WsssError, match=r"checkpoint\.pt .* holds no training state"):
        load_state(path)
