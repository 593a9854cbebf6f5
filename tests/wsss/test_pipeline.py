"""What `pipeline.run` refuses before anything is trained."""

from pathlib import Path

import pytest

from wsss import pipeline
from wsss.config import load
from wsss.errors import WsssError


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("data.mask_split=val", r"12 images of data\.score_split=train"),
        ("data.mask_images=11", r"1 images of data\.score_split=train"),
        ("data.val_split=none", r"none\.txt"),
        ("data.score_split=none", r"none\.txt"),
        ("data.mask_split=none", r"none\.txt"),
        ("pseudo_masks.crf=psaa", "'psaa'"),
        ("evaluate.crf=psaa", "'psaa'"),
        ("evaluate.test_crf=psaa", "'psaa'"),
        ("self_training.crf=psaa", "'psaa'"),
        ("pseudo_masks.walks=[{block: '9.9'}]", r"'9\.9'"),
        ("train_seg.decoder_args={wings: 2}", "wings"),
    ],
)
def test_pipeline_run_refuses_what_would_stop_a_later_stage(
    tmp_path: Path, tiny: Path, synthetic: Path, setting: str, fault: str
) -> None:
    common = [f"run={tmp_path / 'run'}", f"data.root={synthetic}", "data.mask_split=train"]
    with pytest.raises(WsssError, match=fault):
        pipeline.run(load(tiny, [*common, setting]))
    assert not (tmp_path / "run").exists()


def test_pipeline_score_of_data_without_true_masks(tmp_path: Path, tiny: Path) -> None:
    own = [f"run={tmp_path}", f"data.images={tmp_path}", "data.tags=tags.csv"]
    for of in ("seeds", "predictions"):
        with pytest.raises(WsssError, match=f"no true masks at {tmp_path}"):
            pipeline.score(load(tiny, own), of)
    assert list(tmp_path.iterdir()) == []
