"""Data in which every pixel is one of the tags, through every stage after the classifier."""

import json
from pathlib import Path

import numpy as np
import pytest

from wsss.config import RunConfig
from wsss.data.mask_io import read_mask
from wsss.run.state import Run
from wsss.stages import evaluate, export, generate_pseudo_masks, predict, train_seg, visualize


@pytest.fixture
def without(run: RunConfig) -> RunConfig:
    """The finished run, its data declared to have no background."""
    data = run.data.model_copy(update={"background": False})
    return run.model_copy(update={"data": data})


def values(folder: Path) -> set[int]:
    return {int(v) for path in folder.glob("*.png") for v in np.unique(read_mask(path))}


def test_no_mask_holds_the_background_where_data_have_none(without: RunConfig) -> None:
    trained = Run(without.run).model("train_cls").stat().st_mtime_ns
    masks = generate_pseudo_masks.run(without, overwrite=True)
    assert 0 not in values(masks)
    train_seg.run(without)
    assert Run(without.run).model("train_cls").stat().st_mtime_ns == trained
    assert not values(predict.run_split(without)) & {0, 255}
    found = json.loads(evaluate.run(without, "predictions").read_text())
    assert found["iou"]["background"] is None and found["miou"] is not None
    assert found["protocol"]["ignored"] == [0, 255]
    visualize.run(without)

    file = export.run(without, "safetensors")
    assert without.data.root is not None
    images = without.data.root / "JPEGImages" / "val_00000.jpg"
    assert not values(predict.run(without, images, without.run / "out", model=file)) & {0, 255}

    second = without.model_copy(update={"run": without.run / "round_2", "round": 2})
    assert 0 not in values(generate_pseudo_masks.run(second))


def test_seeds_are_scored_by_the_best_class_where_there_is_no_background(
    without: RunConfig,
) -> None:
    generate_pseudo_masks.run(without, overwrite=True)
    found = json.loads(evaluate.run(without, "seeds").read_text())
    assert found["iou"]["background"] is None and "oracle" not in found
    masks = json.loads(evaluate.run(without, "pseudo-masks").read_text())
    assert masks["protocol"]["unsure"] == "wrong"
