"""Which images get pseudo-masks: those that are scored first, then a draw by the seed."""

from pathlib import Path

import pytest

from wsss.config import DataConfig
from wsss.data.open import choose_masked, open_tagged
from wsss.errors import WsssError


def data(root: Path, **values: object) -> DataConfig:
    return DataConfig.model_validate({"root": root, "mask_split": "train_aug", **values})


def ids(data: DataConfig, seed: int = 0) -> list[str]:
    tagged = choose_masked(data, seed, open_tagged(data, data.mask_split))
    return [sample.id for sample in tagged.samples]


@pytest.fixture
def partly_scored(copied: Path) -> Path:
    """Twelve images, of which `train` lists the last three."""
    scored = [f"train_{i:05d}" for i in (9, 10, 11)]
    (copied / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(scored))
    return copied


def test_all_of_the_split_by_default(synthetic: Path) -> None:
    everything = [sample.id for sample in open_tagged(data(synthetic), "train_aug").samples]
    assert ids(data(synthetic)) == everything and len(everything) == 12
    assert (
        ids(data(synthetic, mask_images=12)) == ids(data(synthetic, mask_images=99)) == everything
    )


def test_a_part_begins_with_those_that_are_scored(partly_scored: Path) -> None:
    part = ids(data(partly_scored, mask_images=5))
    assert len(part) == 5 and part == sorted(part)
    assert set(part) >= {"train_00009", "train_00010", "train_00011"}
    assert ids(data(partly_scored, mask_images=5)) == part
    others = {tuple(ids(data(partly_scored, mask_images=5), seed)) for seed in range(8)}
    assert len(others) > 1
    # a larger part holds the smaller one, so that its masks are kept
    assert set(part) <= set(ids(data(partly_scored, mask_images=8)))
    assert len(ids(data(partly_scored, mask_images=2))) == 2


def test_a_root_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"No folder at data.root=.*: give a folder in VOC layout"):
        open_tagged(data(tmp_path / "gone"), "train")
