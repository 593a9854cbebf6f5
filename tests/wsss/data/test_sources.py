"""Which pictures get pseudo-masks: those that are scored first, then a draw by the seed."""

from pathlib import Path

import pytest

from wsss.config import DataConfig
from wsss.data.sources import open_masked, open_tagged
from wsss.errors import WsssError


def data(root: Path, **values: object) -> DataConfig:
    return DataConfig.model_validate({"root": root, "mask_split": "train_aug", **values})


def ids(data: DataConfig, seed: int = 0) -> list[str]:
    return [picture.id for picture in open_masked(data, seed).pictures]


@pytest.fixture
def partly_scored(copied: Path) -> Path:
    """Twelve pictures, of which `train` lists the last three."""
    scored = [f"train_{i:05d}" for i in (9, 10, 11)]
    (copied / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(scored))
    return copied


def test_all_of_the_split_by_default(drawn: Path) -> None:
    everything = [picture.id for picture in open_tagged(data(drawn), "train_aug").pictures]
    assert ids(data(drawn)) == everything and len(everything) == 12
    assert ids(data(drawn, mask_pictures=12)) == ids(data(drawn, mask_pictures=99)) == everything


def test_a_part_begins_with_those_that_are_scored(partly_scored: Path) -> None:
    part = ids(data(partly_scored, mask_pictures=5))
    assert len(part) == 5 and part == sorted(part)
    assert set(part) >= {"train_00009", "train_00010", "train_00011"}
    assert ids(data(partly_scored, mask_pictures=5)) == part
    others = {tuple(ids(data(partly_scored, mask_pictures=5), seed)) for seed in range(8)}
    assert len(others) > 1
    # a larger part holds the smaller one, so that its masks are kept
    assert set(part) <= set(ids(data(partly_scored, mask_pictures=8)))
    assert len(ids(data(partly_scored, mask_pictures=2))) == 2


def test_a_root_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"No folder at data.root=.*: give a folder in VOC layout"):
        open_masked(data(tmp_path / "gone"), 0)
