"""Where `pretrained=True` looks, and what it says when there is nothing."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import glmix  # noqa: F401  registers the models
from glmix import pretrained


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without weights: its hub cache is a temporary folder."""
    monkeypatch.delenv("GLMIX_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(pretrained, "PACKAGED", tmp_path / "packaged")
    return tmp_path


def weights(name: str = "glnet_nano") -> dict[str, torch.Tensor]:
    return {k: v.contiguous() for k, v in timm.create_model(name).state_dict().items()}


def test_nothing_there_names_the_file_the_places_and_the_source(empty_machine: Path) -> None:
    with pytest.raises(ValueError) as error:
        timm.create_model("glnet_4g", pretrained=True)
    sentence = str(error.value)
    assert str(empty_machine / "torch" / "hub" / "checkpoints" / "glnet_4g.pth") in sentence
    assert "GLMIX_WEIGHTS" in sentence and "https://github.com/rayleizhu/GLMix" in sentence


@pytest.mark.parametrize("source", ["packaged", "named", "cache"])
def test_weights_are_taken_from_each_place(
    source: str, empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = empty_machine / ("torch/hub/checkpoints" if source == "cache" else source)
    folder.mkdir(parents=True)
    if source == "named":
        monkeypatch.setenv("GLMIX_WEIGHTS", str(folder))
    saved = weights()
    if source == "packaged":
        save_file(saved, folder / "glnet_nano.safetensors")
    else:
        torch.save({"model": saved}, folder / "glnet_nano.pth")
    model = timm.create_model("glnet_nano", pretrained=True)
    assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())


def test_pretrained_weights_adapt_to_channels_and_classes(empty_machine: Path) -> None:
    (empty_machine / "packaged").mkdir()
    saved = weights()
    save_file(saved, empty_machine / "packaged" / "glnet_nano.safetensors")
    model = timm.create_model("glnet_nano", pretrained=True, in_chans=1, num_classes=20)
    stem = model.state_dict()["downsample_layers.0.1.weight"]
    torch.testing.assert_close(stem, saved["downsample_layers.0.1.weight"].sum(1, keepdim=True))
    assert model.head.out_features == 20


def test_a_file_that_changed_since_first_seen_is_refused(empty_machine: Path) -> None:
    folder = empty_machine / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    path = folder / "glnet_nano.pth"
    torch.save(weights(), path)
    timm.create_model("glnet_nano", pretrained=True)
    assert (folder / "glnet_nano.pth.sha256").read_text().endswith("  glnet_nano.pth\n")
    torch.save(weights(), path)
    with pytest.raises(ValueError, match="when it was first seen"):
        timm.create_model("glnet_nano", pretrained=True)
