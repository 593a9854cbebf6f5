"""Stage 1 by itself."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wsss.config import load
from wsss.models.classifier import new_classifier
from wsss.run.state import Run
from wsss.stages import train_cls


def train(tiny: Path, synthetic: Path, run: Path, *settings: str) -> Run:
    common = [f"run={run}", f"data.root={synthetic}", "data.train_split=train"]
    train_cls.run(load(tiny, [*common, *settings]))
    return Run(run)


def test_train_cls_warns_of_a_short_training(
    tmp_path: Path, tiny: Path, synthetic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny, synthetic, tmp_path / "run")
    warning = capsys.readouterr().err.splitlines()[0]
    assert "only 2 steps" in warning and "train_cls.epochs=100 would give 200" in warning


def test_train_cls_leaves_a_backbone_of_rate_0(tmp_path: Path, tiny: Path, synthetic: Path) -> None:
    run = train(tiny, synthetic, tmp_path / "run", "train_cls.backbone_lr_factor=0")
    config = load(tiny, [f"data.root={synthetic}"])
    before = new_classifier(config, 3).state_dict()
    after = load_file(run.model("train_cls"))
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and not any(name.startswith("backbone.") for name in changed)
