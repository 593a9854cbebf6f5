"""Which segmenter another one starts from, where that is left open."""

from pathlib import Path
from typing import Any

import pytest

from wsss.config import RunConfig
from wsss.models.start_from import packaged_segmenter, start_file
from wsss.run.state import Run

packaged = pytest.mark.skipif(
    packaged_segmenter() is None, reason="this copy has no packaged model"
)


def config(root: Path, **sections: dict[str, Any]) -> RunConfig:
    own = {"images": root / "images", "tags": root / "tags.csv"}
    return RunConfig.model_validate({"run": root / "run", "data": own, **sections})


@packaged
def test_own_images_start_from_the_packaged_segmenter(tmp_path: Path) -> None:
    assert start_file(config(tmp_path), ("ball", "dog")) == packaged_segmenter()
    assert start_file(config(tmp_path), ("crack", "doghouse")) is None
    heads = {"second_backbone": "resnet18"}
    assert start_file(config(tmp_path, train_cls=heads), ("dog",)) == packaged_segmenter()
    longer = {"epochs": 40, "lr": 1e-4, "start_from": "auto"}
    assert start_file(config(tmp_path, train_seg=longer), ("dog",)) == packaged_segmenter()


@pytest.mark.parametrize(
    "said",
    [
        {"train_seg": {"start_from": None}},
        {"train_seg": {"backbone": "resnet18"}},
        {"train_seg": {"decoder": "fpn"}},
        {"train_seg": {"decoder_args": {"decoder_segmentation_channels": 64}}},
        {"train_seg": {"from_classifier": False}},
        {"backbone": {"name": "glnet_4g"}},
        {"backbone": {"weights": None}},
        {"backbone": {"weights": "own.safetensors"}},
        {"data": {"root": "VOC"}},
    ],
)
def test_what_is_said_of_the_network_counts(tmp_path: Path, said: dict[str, Any]) -> None:
    assert start_file(config(tmp_path, **said), ("dog",)) is None


@packaged
def test_later_round_goes_on_from_what_was_trained(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "round_2"
    later = config(tmp_path).model_copy(update={"round": 2, "run": folder})
    assert start_file(later, ("dog",)) == packaged_segmenter()
    first = Run(folder.parent).model("train_seg")
    first.parent.mkdir(parents=True)
    first.touch()
    assert start_file(later, ("dog",)) == first
    fresh = later.model_copy(
        update={"self_training": later.self_training.model_copy(update={"start": "fresh"})}
    )
    assert start_file(fresh, ("dog",)) == packaged_segmenter()
