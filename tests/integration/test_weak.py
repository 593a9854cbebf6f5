"""Weak means weak: no stage that trains opens a true mask, or misses one that isn't there."""

import shutil
from pathlib import Path

import pytest

from wsss import pipeline
from wsss.config import RunConfig, load
from wsss.formats import voc
from wsss.stages import generate_pseudo_masks, supervised_baseline, train_cls, train_seg

FOLDER = "SegmentationClassAug"


def weak_pipeline(tiny: Path, run: Path, root: Path) -> RunConfig:
    config = load(tiny, [f"run={run}", f"data.root={root}", "data.mask_split=train"])
    train_cls.run(config)
    generate_pseudo_masks.run(config)
    train_seg.run(config)
    return config


@pytest.mark.parametrize("damage", ["gone", "garbage"])
def test_training_does_without_true_masks(
    tmp_path: Path, synthetic: Path, tiny: Path, finished: RunConfig, damage: str
) -> None:
    root = tmp_path / "VOC"
    shutil.copytree(synthetic, root)
    shutil.rmtree(root / FOLDER)
    if damage == "garbage":
        (root / FOLDER).mkdir()
        for id_ in voc.split_ids(root, "train"):
            (root / FOLDER / f"{id_}.png").write_bytes(b"unreadable")
    config = weak_pipeline(tiny, tmp_path / "run", root)
    # the same bytes as a run beside true masks: they must not matter
    for name in ("train_cls/model.safetensors", "train_seg/model.safetensors"):
        assert (config.run / name).read_bytes() == (finished.run / name).read_bytes(), name
    for mask in (config.run / "pseudo_masks").glob("*.png"):
        assert mask.read_bytes() == (finished.run / "pseudo_masks" / mask.name).read_bytes()


def test_a_voc_folder_without_masks_needs_no_list_to_score_on(
    tmp_path: Path, copied: Path, tiny: Path
) -> None:
    shutil.rmtree(copied / FOLDER)
    lists = copied / "ImageSets" / "Segmentation"
    (lists / "all.txt").write_text((lists / "train.txt").read_text())
    for name in ("train", "train_aug", "val"):
        (lists / f"{name}.txt").unlink()
    splits = ["data.train_split=all", "data.mask_split=all"]
    config = load(tiny, [f"run={tmp_path / 'run'}", f"data.root={copied}", *splits])
    page = pipeline.run(config)
    assert "Scores" not in page.read_text() and (page.parent / "all.png").is_file()


def test_a_supervised_baseline_does_not_affect_the_weak_run(
    tmp_path: Path, finished: RunConfig, opened: list[str]
) -> None:
    config = finished.model_copy(update={"run": tmp_path / "run"})
    shutil.copytree(finished.run, config.run)
    baseline = supervised_baseline.prepare(config)
    train_seg.run(baseline)
    assert [path for path in opened if FOLDER in path], "the baseline learns from true masks"
    opened.clear()
    weak = train_seg.run(config, overwrite=True)
    assert not [path for path in opened if FOLDER in path or str(baseline.run) in path]
    assert weak.read_bytes() == (finished.run / "train_seg" / "model.safetensors").read_bytes()
    assert weak.read_bytes() != (baseline.run / "train_seg" / "model.safetensors").read_bytes()


def test_no_file_of_the_true_masks_is_opened(
    tmp_path: Path, synthetic: Path, tiny: Path, opened: list[str]
) -> None:
    weak_pipeline(tiny, tmp_path / "run", synthetic)
    assert any("JPEGImages" in path for path in opened), "the hook hears nothing"
    assert any(f"{tmp_path}/run/pseudo_masks" in path for path in opened)
    assert not [path for path in opened if FOLDER in path]
