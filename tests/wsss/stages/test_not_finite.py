"""Networks whose numbers overflow: no mask is written, and what to do is said."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from wsss.config import RunConfig
from wsss.engine.checkpoint import read_metadata
from wsss.errors import WsssError
from wsss.run.state import Run
from wsss.stages import generate_pseudo_masks, predict


def overflowing(model: Path, kind: str, layer: str) -> None:
    """Let the outputs of a layer overflow."""
    metadata = {"wsss": json.dumps(read_metadata(model, kind))}
    weights = load_file(model)
    weights[next(name for name in weights if layer in name)] *= 3e38
    save_file(weights, model, metadata=metadata)


@pytest.mark.parametrize("crf", ["none", "irn"])
def test_predict_refuses_answers_that_are_not_finite(
    run: RunConfig, tmp_path: Path, crf: str
) -> None:
    overflowing(Run(run.run).model("train_seg"), "segmenter", "segmentation_head.0.weight")
    run.evaluate = run.evaluate.model_copy(update={"crf": crf})
    assert run.data.root is not None
    with pytest.raises(WsssError, match=r"not finite|infinite.*runtime\.precision=fp32"):
        predict.run(run, run.data.root / "JPEGImages", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize("crf", ["none", "irn"])
def test_pseudo_masks_of_seeds_that_are_not_finite_are_refused(run: RunConfig, crf: str) -> None:
    overflowing(Run(run.run).model("train_cls"), "classifier", "norm3.weight")
    for stage in ("pseudo_masks", "train_seg"):
        shutil.rmtree(run.run / stage)
    run.pseudo_masks = run.pseudo_masks.model_copy(update={"crf": crf})
    with pytest.raises(WsssError, match=r"not finite|infinite.*runtime\.precision=fp32"):
        generate_pseudo_masks.run(run)
    assert not list((run.run / "pseudo_masks").glob("*.png"))
