"""The fully supervised baseline: the same recipe on true masks, apart from the weak run."""

import json
import shutil
from pathlib import Path

import pytest

from wsss import pipeline
from wsss.config import RunConfig
from wsss.errors import WsssError
from wsss.run.state import Run, config_of_round
from wsss.stages import export, supervised_baseline, train_seg


@pytest.fixture
def run(finished: RunConfig, tmp_path: Path) -> RunConfig:
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished.run, tmp_path / "run")
    return finished.model_copy(update={"run": tmp_path / "run"})


def contents(root: Path, *folders: str) -> dict[str, bytes]:
    files = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


WEAK = ("train_cls", "seeds", "pseudo_masks", "train_seg", "predictions")


def test_the_ratio_is_of_two_runs_that_differ_in_their_masks_alone(run: RunConfig) -> None:
    before = contents(run.run, *WEAK)
    path = pipeline.score_beside_ceiling(run)
    assert path == run.run / "evaluation" / "ceiling_val.json"
    baseline = Run(Run(run.run).ceiling)
    assert run.data.root is not None
    for mask in (run.data.root / "SegmentationClassAug").glob("train_*.png"):
        assert baseline.pseudo_mask(mask.stem).read_bytes() == mask.read_bytes()
    # the same recipe: the settings of the stage are those of the weak run
    weak, full = (
        json.loads((root / "train_seg" / "settings.json").read_text())
        for root in (run.run, baseline.root)
    )
    assert weak.pop("pseudo_masks") != full.pop("pseudo_masks") and weak == full
    assert contents(run.run, *WEAK) == before
    found = json.loads(path.read_text())
    assert list(found["columns"]) == ["single", "scales", "crf"]
    scores = [
        json.loads(r.evaluation("predictions", "val").read_text()) for r in (Run(run.run), baseline)
    ]
    for name, column in found["columns"].items():
        for figure in ("miou", "boundary_miou"):
            tags, true = (s["columns"][name][figure] for s in scores)
            assert (column["tags"][figure], column["full"][figure]) == (tags, true)
            assert column["ratio"][figure] == pytest.approx(tags / true)


def test_the_baseline_on_the_weak_masks_is_the_weak_run(run: RunConfig) -> None:
    """What it trains on is all that tells the two apart."""
    baseline = supervised_baseline.prepare(run)
    for mask in (run.run / "pseudo_masks").glob("*.png"):
        shutil.copyfile(mask, Run(baseline.run).pseudo_mask(mask.stem))
    path = train_seg.run(baseline)
    assert path.read_bytes() == Run(run.run).model("train_seg").read_bytes()


def test_the_card_of_a_baseline_tells_of_its_masks(run: RunConfig) -> None:
    baseline = supervised_baseline.prepare(run)
    train_seg.run(baseline)
    text = (export.run(baseline, "hub") / "README.md").read_text()
    assert "trained on the true masks of its images: the fully supervised baseline" in text
    assert "weakly" not in text and "no mask" not in text
    weak = (export.run(run, "hub") / "README.md").read_text()
    assert "no mask was drawn by a person" in weak and "- weakly-supervised" in weak


def test_a_finished_baseline_is_kept_until_the_recipe_changes(run: RunConfig) -> None:
    baseline = supervised_baseline.prepare(run)
    model = train_seg.run(baseline)
    trained = model.stat().st_mtime_ns
    assert train_seg.run(supervised_baseline.prepare(run)).stat().st_mtime_ns == trained
    settings = run.train_seg.model_copy(update={"lr": 0.5})
    other = run.model_copy(update={"train_seg": settings})
    with pytest.raises(WsssError, match=r"run/train_seg was made with train_seg.lr=0.001"):
        supervised_baseline.prepare(other)
    train_seg.run(other, overwrite=True)
    assert train_seg.run(supervised_baseline.prepare(other)).stat().st_mtime_ns > trained
    Run(run.run).forget("train_cls")
    assert not Run(run.run).ceiling.exists()


def test_what_has_no_ceiling(run: RunConfig, tmp_path: Path, copied: Path) -> None:
    (run.run / "train_seg" / "done.json").unlink()
    with pytest.raises(WsssError, match="has no finished train_seg: run `wsss train-seg`"):
        supervised_baseline.prepare(run)
    (run.run / "train_seg" / "done.json").write_text("{}")
    shutil.rmtree(copied / "SegmentationClassAug")
    data = run.data.model_copy(update={"root": copied})
    with pytest.raises(WsssError, match=r"no true masks at .*: --ceiling needs"):
        supervised_baseline.prepare(run.model_copy(update={"data": data}))
    assert not Run(run.run).ceiling.exists()


def test_the_rounds_of_a_run_have_one_baseline(run: RunConfig) -> None:
    second = config_of_round(run, 2)
    pipeline.segmenter(second)
    trained = Run(train_seg.run(supervised_baseline.prepare(run)).parents[1])
    before = trained.model("train_seg").stat().st_mtime_ns
    path = pipeline.score_beside_ceiling(second)
    assert path == second.run / "evaluation" / "ceiling_val.json"
    assert trained.model("train_seg").stat().st_mtime_ns == before
    assert not (second.run / "ceiling").exists()
