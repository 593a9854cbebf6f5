"""Weak means weak: no stage that trains opens a true mask, or misses one that is not there."""

import shutil
from pathlib import Path

from wsss import pipeline
from wsss.config import RunConfig, load
from wsss.formats import voc
from wsss.stages import generate_pseudo_masks, supervised_baseline, train_cls, train_seg

FOLDER = "SegmentationClassAug"


def assert_same_models_and_masks(run: Path, other: Path) -> None:
    names = [f"{stage}/model.safetensors" for stage in ("train_cls", "train_seg")]
    names += [str(path.relative_to(other)) for path in other.glob("pseudo_masks/*.png")]
    assert len(names) == 2 + 12
    for name in names:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


def test_training_opens_no_true_mask(
    tmp_path: Path, copied: Path, tiny: Path, finished: RunConfig, opened: list[str]
) -> None:
    for id_ in voc.split_ids(copied, "train"):
        (copied / FOLDER / f"{id_}.png").write_bytes(b"unreadable")
    run = tmp_path / "run"
    config = load(tiny, [f"run={run}", f"data.root={copied}", "data.mask_split=train"])
    opened.clear()
    for stage in (train_cls, generate_pseudo_masks, train_seg):
        stage.run(config)
    assert any("JPEGImages" in path for path in opened), "the hook hears nothing"
    assert any(f"{run}/pseudo_masks" in path for path in opened)
    assert not [path for path in opened if FOLDER in path]
    assert_same_models_and_masks(run, finished.run)


def test_pipeline_run_needs_neither_true_masks_nor_a_list_to_score_on(
    tmp_path: Path, copied: Path, tiny: Path, finished: RunConfig
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
    assert_same_models_and_masks(config.run, finished.run)


def test_supervised_baseline_does_not_affect_the_weak_run(
    run: RunConfig, finished: RunConfig, opened: list[str]
) -> None:
    baseline = supervised_baseline.prepare(run)
    train_seg.run(baseline)
    assert [path for path in opened if FOLDER in path], "the baseline learns from true masks"
    opened.clear()
    weak = train_seg.run(run, overwrite=True)
    assert not [path for path in opened if FOLDER in path or str(baseline.run) in path]
    assert weak.read_bytes() == (finished.run / "train_seg" / "model.safetensors").read_bytes()
    assert weak.read_bytes() != (baseline.run / "train_seg" / "model.safetensors").read_bytes()
