"""Stage 1 by itself."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from wsss.config import load
from wsss.config.schema import TrainClsConfig
from wsss.data.images import Sample
from wsss.data.open import open_tagged
from wsss.errors import WsssError
from wsss.models.backbone_pair import BackbonePair
from wsss.models.classifier import new_classifier
from wsss.models.frozen_heads import keep_features
from wsss.models.trained import load_classifier
from wsss.run.state import Run
from wsss.stages import train_cls

FROZEN = "train_cls.backbone_lr_factor=0"


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that learn alone take as few steps as the settings say."""
    monkeypatch.setattr(train_cls, "HEAD_STEPS", 1)


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
    run = train(tiny, synthetic, tmp_path / "run", FROZEN)
    config = load(tiny, [f"data.root={synthetic}"])
    before = new_classifier(config, 3).state_dict()
    after = load_file(run.model("train_cls"))
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and not any(name.startswith("backbone.") for name in changed)
    metrics = json.loads(run.metrics.read_text())
    assert not run.features.exists() and "least" in metrics and metrics["backbone_lr_factor"] == 0


@pytest.mark.parametrize("rate", ["0", "0.3"])
def test_train_cls_reads_a_second_backbone(
    tmp_path: Path, tiny: Path, synthetic: Path, rate: str
) -> None:
    source = timm.create_model("resnet18").state_dict()
    save_file(source, tmp_path / "w.safetensors")
    run = train(
        tiny,
        synthetic,
        tmp_path / "run",
        f"train_cls.backbone_lr_factor={rate}",
        "train_cls.second_backbone=resnet18",
        f"train_cls.second_backbone_weights={tmp_path / 'w.safetensors'}",
    )
    model = load_classifier(run.model("train_cls"), torch.device("cpu"))
    assert isinstance(model.backbone, BackbonePair)
    kernel = model.backbone.second.net.conv1.weight  # type: ignore[union-attr]
    assert torch.equal(kernel, source["conv1.weight"]) == (rate == "0")


def test_train_cls_of_heads_alone_goes_on_with_what_it_kept(
    tmp_path: Path, tiny: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tiny, copied, tmp_path / "whole", FROZEN)
    computed: list[int] = []

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    def counted(model: Any, samples: Sequence[Sample], *rest: Any) -> list[Sample]:
        computed.append(len(samples))
        return keep_features(model, samples, *rest)

    monkeypatch.setattr(train_cls, "keep_features", counted)
    with monkeypatch.context() as patched:
        patched.setattr(train_cls, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, copied, tmp_path / "run", FROZEN)
    gone, changed, *_ = sorted(Run(tmp_path / "run").features.iterdir())
    gone.unlink()
    image = copied / "JPEGImages" / f"{changed.stem}.jpg"
    other = image.with_suffix(".old")
    shutil.copy(image, other)
    os.utime(other, (0, 0))
    other.replace(image)  # a file that is older than the features of the one before
    run = train(tiny, copied, tmp_path / "run", FROZEN)
    assert computed == [10, 2]
    assert run.model("train_cls").read_bytes() == whole.model("train_cls").read_bytes()


def test_train_cls_of_heads_alone_leaves_out_damaged_images(
    tmp_path: Path, tiny: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = load(tiny, [f"data.root={copied}", "data.train_split=train"])
    kept = open_tagged(held.data, "train").split_holdout(held.train_cls.holdout, held.seed)[0]
    kept.samples[0].path.write_bytes(b"no image")
    with pytest.raises(WsssError, match=kept.samples[0].id):
        train(tiny, copied, tmp_path / "run", FROZEN)
    train(tiny, copied, tmp_path / "other", FROZEN, "data.skip_damaged=true")
    assert f"left out: The image {kept.samples[0].path}" in capsys.readouterr().err


def test_backbone_is_left_where_images_are_few_and_it_comes_with_weights() -> None:
    settings = TrainClsConfig()
    assert settings.backbone_rate(999, True) == 0
    assert settings.backbone_rate(1000, True) == settings.backbone_rate(10, False) == 0.3
    assert TrainClsConfig(backbone_lr_factor=0.1).backbone_rate(10, True) == 0.1
