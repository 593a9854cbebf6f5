"""The mean of segmenters' weights."""

from pathlib import Path

import average_weights
import pytest
import torch
from safetensors.torch import load_file

from wsss.config import RunConfig
from wsss.engine.checkpoint import load_trained, read_metadata, save_model
from wsss.errors import WsssError
from wsss.models.segmenter import build_segmenter
from wsss.run.state import Run


def moved(path: Path, by: float, out: Path, **metadata: object) -> Path:
    """A copy of a segmenter whose weights are all larger."""
    model, known = load_trained(path, "segmenter", build_segmenter, torch.device("cpu"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by
    save_model(out, model, {**known, **metadata})
    return out


def test_average_is_the_mean_with_the_firsts_metadata(finished: RunConfig, tmp_path: Path) -> None:
    own = Run(finished.run).model("train_seg")
    other = moved(own, 0.5, tmp_path / "other.safetensors", background_odds=9.0)
    average_weights.average(tmp_path / "mean.safetensors", [own, other])
    model, _ = load_trained(own, "segmenter", build_segmenter, torch.device("cpu"))
    found = load_file(tmp_path / "mean.safetensors")
    for name, value in model.named_parameters():
        torch.testing.assert_close(found[name], value + 0.25)
    assert read_metadata(tmp_path / "mean.safetensors", "segmenter") == read_metadata(
        own, "segmenter"
    )


def test_average_refuses_other_classes(finished: RunConfig, tmp_path: Path) -> None:
    own = Run(finished.run).model("train_seg")
    names = read_metadata(own, "segmenter")["class_names"]
    other = moved(own, 0, tmp_path / "other.safetensors", class_names=names[::-1])
    with pytest.raises(WsssError, match=r"other\.safetensors"):
        average_weights.average(tmp_path / "mean.safetensors", [own, other])
    assert not (tmp_path / "mean.safetensors").exists()
