"""Which segmenter another one starts from, where that is left open."""

from pathlib import Path
from typing import Any

import pytest

from wsss.config import RunConfig
from wsss.files import write_json
from wsss.models.start_from import packaged_segmenter, start_file
from wsss.run.recipe import as_begun
from wsss.run.stages import settings_of
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
def test_training_begun_before_the_setting_keeps_its_backbone(tmp_path: Path) -> None:
    own = config(tmp_path)
    assert as_begun(own) == own
    noted = Run(own.run).settings("train_seg")
    noted.parent.mkdir(parents=True)
    write_json(noted, settings_of(own, "train_seg"))
    assert as_begun(own) == own
    before = settings_of(own, "train_seg")
    del before["train_seg"]["start_from"]
    write_json(noted, before)
    begun = as_begun(own)
    assert begun.train_seg.start_from is None
    assert Run(own.run).changes("train_seg", begun) == []
    named = config(tmp_path, train_seg={"start_from": "packaged"})
    assert as_begun(named) == named
