"""Confidence beside the pseudo-masks by its commands: kept where asked, needed where weighed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import sentence, wsss

from wsss import voc
from wsss.config import RunConfig
from wsss.data.confidence import read_confidence
from wsss.run_dir import RunDir


@pytest.fixture
def run(tmp_path: Path, finished: RunConfig) -> Path:
    return Path(shutil.copytree(finished.run, tmp_path / "run"))


def test_masks_that_are_weighed_need_their_confidence(run: Path) -> None:
    found = sentence("train-seg", run, "--overwrite", "train_seg.loss.confidence=1")
    assert f"the first {run / 'confidence' / 'train_00000.png'}: set" in found
    assert found.endswith("generate-pseudo-masks --overwrite, or leave the setting out.")


def test_confidence_is_kept_and_weighed(run: Path, finished: RunConfig) -> None:
    result = wsss("generate-pseudo-masks", run, "--overwrite", "pseudo_masks.save_confidence=true")
    assert result.exit_code == 0, result.output
    made = RunDir(run)
    for id_ in (f"train_{i:05d}" for i in range(12)):
        # the masks are the same, and 255 is where no label reaches the confidence of 0.5
        mask = voc.read_mask(made.pseudo_mask(id_))
        assert np.array_equal(mask, voc.read_mask(RunDir(finished.run).pseudo_mask(id_)))
        sure = read_confidence(made.confidence(id_))
        assert (sure[mask != 255] >= 127).all() and (sure[mask == 255] <= 128).all()
    made.confidence("train_00003").unlink()
    (run / "pseudo_masks" / "done.json").unlink()
    wsss("generate-pseudo-masks", run)
    assert made.confidence("train_00003").is_file()

    unweighed = (finished.run / "train_seg" / "model.safetensors").read_bytes()
    for power, same in ((0, True), (2, False)):
        result = wsss("train-seg", run, "--overwrite", f"train_seg.loss.confidence={power}")
        assert result.exit_code == 0, result.output
        assert (made.model("train_seg").read_bytes() == unweighed) is same
