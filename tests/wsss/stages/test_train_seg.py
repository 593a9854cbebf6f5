"""Stage 3 beside a person who edits masks."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from wsss.config import RunConfig
from wsss.data.mask_io import read_mask, write_mask
from wsss.engine.checkpoint import read_metadata
from wsss.errors import WsssError
from wsss.labels import IGNORE_INDEX
from wsss.run.state import Run
from wsss.stages import train_seg


def edit(config: RunConfig, value: int) -> Path:
    """Paint a value into a pseudo-mask, as a person would after the run."""
    path = sorted((config.run / "pseudo_masks").glob("*.png"))[0]
    mask = read_mask(path)
    mask[:4, :4] = value
    write_mask(path, mask)
    later = time.time() + 5
    os.utime(path, (later, later))
    return path


def test_train_seg_refuses_to_call_a_segmenter_of_older_masks_finished(run: RunConfig) -> None:
    train_seg.run(run)
    path = edit(run, 2)
    with pytest.raises(WsssError, match=rf"1 of 12 pseudo-masks, {path}.*--overwrite"):
        train_seg.run(run)


def test_train_seg_takes_a_copy_of_a_run_for_what_it_is(run: RunConfig) -> None:
    """`cp -r` and `scp -r` give the files times of their own, in any order."""
    train_seg.run(run, overwrite=True)
    for path in (run.run / "pseudo_masks").glob("*.png"):
        os.utime(path)
    assert train_seg.run(run) == Run(run.run).model("train_seg")


def test_train_seg_trains_on_edited_masks_when_overwriting(run: RunConfig) -> None:
    before = Run(run.run).model("train_seg").read_bytes()
    edit(run, 3)
    assert train_seg.run(run, overwrite=True).read_bytes() != before


def test_train_seg_notes_the_odds_of_the_background_where_its_loss_hides_them(
    run: RunConfig,
) -> None:
    edit(run, 2)
    paths = (run.run / "pseudo_masks").glob("*.png")
    labels = np.concatenate([read_mask(path).ravel() for path in paths])
    known = labels[labels != IGNORE_INDEX]
    for balanced, odds in ((True, np.sum(known == 0) / np.sum(known > 0)), (False, 1.0)):
        loss = run.train_seg.loss.model_copy(update={"balanced": balanced})
        settings = run.train_seg.model_copy(update={"loss": loss})
        path = train_seg.run(run.model_copy(update={"train_seg": settings}), overwrite=True)
        assert read_metadata(path, "segmenter")["background_odds"] == pytest.approx(odds)


def test_train_seg_refuses_an_edited_mask_of_an_unknown_class(run: RunConfig) -> None:
    path = edit(run, 77)
    with pytest.raises(WsssError, match=rf"{path}.*77"):
        train_seg.run(run, overwrite=True)
    assert Run(run.run).finished("train_seg") and np.any(read_mask(path) == 77)


def test_train_seg_refuses_a_batch_that_a_norm_cannot_take(run: RunConfig) -> None:
    small = run.train_seg.model_copy(update={"batch_size": 1, "crop": 32})
    with pytest.raises(WsssError, match=r"1 images of 32×32.*batch_size"):
        train_seg.run(run.model_copy(update={"train_seg": small}), overwrite=True)
    assert Run(run.run).finished("train_seg")
