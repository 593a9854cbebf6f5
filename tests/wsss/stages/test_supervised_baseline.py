"""The fully supervised baseline: the same recipe on true masks, apart from the weak run."""

import json
import shutil
from pathlib import Path

import pytest

from tests.wsss.cli.command_line import wsss
from wsss import pipeline
from wsss.config import RunConfig
from wsss.errors import WsssError
from wsss.run.state import Run, config_of_round
from wsss.stages import export, supervised_baseline, train_seg


@pytest.fixture(scope="module")
def scored(finished: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run scored beside its baseline. To be read: a test that changes it takes a copy."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(finished.run, folder)
    result = wsss("evaluate", folder, "--ceiling")
    assert result.stdout == f"{folder / 'evaluation' / 'ceiling_val.json'}\n", result.output
    assert "ratio" in result.stderr and "scales + flip + CRF" in result.stderr
    return finished.model_copy(update={"run": folder})


@pytest.fixture
def run(scored: RunConfig, tmp_path: Path) -> RunConfig:
    """A copy of that run, to be changed."""
    shutil.copytree(scored.run, tmp_path / "run")
    return scored.model_copy(update={"run": tmp_path / "run"})


def contents(root: Path, *folders: str) -> dict[str, bytes]:
    files = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


WEAK = ("train_cls", "seeds", "pseudo_masks", "train_seg", "predictions")


def test_supervised_baseline_compare_is_of_two_runs_that_differ_in_their_masks_alone(
    scored: RunConfig, finished: RunConfig
) -> None:
    baseline = Run(Run(scored.run).ceiling)
    assert scored.data.root is not None
    for mask in (scored.data.root / "SegmentationClassAug").glob("train_*.png"):
        assert baseline.pseudo_mask(mask.stem).read_bytes() == mask.read_bytes()
    # the same recipe: the settings of the stage are those of the weak run
    weak, full = (
        json.loads((root / "train_seg" / "settings.json").read_text())
        for root in (scored.run, baseline.root)
    )
    assert weak.pop("pseudo_masks") != full.pop("pseudo_masks") and weak == full
    assert contents(scored.run, *WEAK) == contents(finished.run, *WEAK)


def test_supervised_baseline_compare_gives_the_ratio_of_every_column(scored: RunConfig) -> None:
    run, baseline = Run(scored.run), Run(Run(scored.run).ceiling)
    found = json.loads((scored.run / "evaluation" / "ceiling_val.json").read_text())
    assert list(found["columns"]) == ["single", "scales", "crf"]
    scores = [json.loads(r.evaluation("predictions", "val").read_text()) for r in (run, baseline)]
    for name, column in found["columns"].items():
        for figure in ("miou", "boundary_miou"):
            tags, true = (s["columns"][name][figure] for s in scores)
            assert (column["tags"][figure], column["full"][figure]) == (tags, true)
            assert column["ratio"][figure] == pytest.approx(tags / true)
    # the page is rewritten with every score
    page = (run.report / "index.html").read_text()
    assert "Tags over full supervision on val" in page and "scales + flip + CRF" in page


def test_supervised_baseline_prepare_changes_the_masks_alone(run: RunConfig) -> None:
    shutil.rmtree(Run(run.run).ceiling)
    baseline = supervised_baseline.prepare(run)
    for mask in (run.run / "pseudo_masks").glob("*.png"):
        shutil.copyfile(mask, Run(baseline.run).pseudo_mask(mask.stem))
    # on the weak masks the baseline is the weak run
    path = train_seg.run(baseline)
    assert path.read_bytes() == Run(run.run).model("train_seg").read_bytes()


def test_export_card_says_which_masks_a_model_was_trained_on(run: RunConfig) -> None:
    baseline = supervised_baseline.prepare(run)
    full, weak = (
        (export.run(config, "hub") / "README.md").read_text() for config in (baseline, run)
    )
    assert "fully supervised baseline" in full
    assert "weakly" not in full and "no mask" not in full
    assert "no mask was drawn by a person" in weak and "- weakly-supervised" in weak


def test_supervised_baseline_prepare_keeps_a_finished_baseline_until_the_recipe_changes(
    run: RunConfig,
) -> None:
    model = Run(Run(run.run).ceiling).model("train_seg")
    trained = model.stat().st_mtime_ns
    assert train_seg.run(supervised_baseline.prepare(run)) == model
    assert model.stat().st_mtime_ns == trained
    settings = run.train_seg.model_copy(update={"lr": 0.5})
    other = run.model_copy(update={"train_seg": settings})
    with pytest.raises(WsssError, match=r"run/train_seg .*train_seg\.lr=0\.001"):
        supervised_baseline.prepare(other)
    train_seg.run(other, overwrite=True)
    train_seg.run(supervised_baseline.prepare(other))
    assert model.stat().st_mtime_ns > trained
    Run(run.run).forget("train_cls")
    assert not Run(run.run).ceiling.exists()


def test_supervised_baseline_prepare_needs_a_segmenter_and_true_masks(
    run: RunConfig, copied: Path
) -> None:
    shutil.rmtree(Run(run.run).ceiling)
    (run.run / "train_seg" / "done.json").unlink()
    with pytest.raises(WsssError, match="wsss train-seg"):
        supervised_baseline.prepare(run)
    (run.run / "train_seg" / "done.json").write_text("{}")
    shutil.rmtree(copied / "SegmentationClassAug")
    data = run.data.model_copy(update={"root": copied})
    with pytest.raises(WsssError, match=r"no true masks at .*--ceiling"):
        supervised_baseline.prepare(run.model_copy(update={"data": data}))
    assert not Run(run.run).ceiling.exists()


def test_supervised_baseline_prepare_takes_one_baseline_for_all_rounds(run: RunConfig) -> None:
    trained = Run(Run(run.run).ceiling).model("train_seg")
    before = trained.stat().st_mtime_ns
    settings = {"crf": "none", "scales": (1.0,), "flip": False}
    changes = {
        "self_training": run.self_training.model_copy(update=settings),
        "evaluate": run.evaluate.model_copy(update={"fast": True}),
    }
    second = config_of_round(run.model_copy(update=changes), 2)
    pipeline.segmenter(second)
    path = pipeline.score_beside_ceiling(second)
    assert path == second.run / "evaluation" / "ceiling_val.json"
    assert trained.stat().st_mtime_ns == before
    assert not (second.run / "ceiling").exists()


def test_supervised_baseline_scored_on_its_own_images_says_so(run: RunConfig) -> None:
    result = wsss("evaluate", Run(run.run).ceiling, "--split", "train", "--fast")
    assert "learnt from true masks of 12 of the 12 images" in result.stderr, result.output
