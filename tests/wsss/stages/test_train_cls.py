"""Stage 1 with the losses that group: they are logged, they act, and off they do not exist."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from wsss.config import GroupingConfig, load
from wsss.run_dir import RunDir
from wsss.stages import train_cls

TERMS = [name for name in GroupingConfig.model_fields if name != "blocks"]
ALL = [f"train_cls.grouping.{term}=0.5" for term in TERMS]


def train(tiny: Path, drawn: Path, run: Path, *settings: str) -> RunDir:
    common = [f"run={run}", f"data.root={drawn}", "data.train_split=train"]
    train_cls.run(load(tiny, [*common, *settings]))
    return RunDir(run)


def test_grouping_is_logged_and_adds_no_weights(tmp_path: Path, tiny: Path, drawn: Path) -> None:
    blocks = "train_cls.grouping.blocks=['8.0','16.0']"
    grouped = train(tiny, drawn, tmp_path / "on", *ALL, blocks, "runtime.precision=bf16")
    logged = [json.loads(line) for line in grouped.log("train_cls").read_text().splitlines()]
    assert all(set(TERMS) <= set(line) for line in logged)
    plain = train(tiny, drawn, tmp_path / "off", "runtime.precision=bf16")
    mine, theirs = (load_file(run.model("train_cls")) for run in (grouped, plain))
    assert mine.keys() == theirs.keys()
    assert any((mine[name] != theirs[name]).any() for name in mine)


def test_a_short_training_is_told(
    tmp_path: Path, tiny: Path, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny, drawn, tmp_path / "run")
    told = "train-cls has only 2 steps (10 pictures, batches of 5, 1 epochs), which teach little: "
    assert capsys.readouterr().err.startswith(f"{told}train_cls.epochs=100 would give 200.\n")


def test_off_costs_nothing(
    tmp_path: Path, tiny: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_cls, "grouping_loss", None)  # a call would raise
    run = train(tiny, drawn, tmp_path / "run", "train_cls.grouping.blocks=['99.0']")
    assert run.finished("train_cls")
