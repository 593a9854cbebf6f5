"""The file names of a run."""

from pathlib import Path

import pytest

from wsss.config import EvaluateConfig
from wsss.run.layout import Layout, round_folder


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("config.yaml", lambda run: run.config_file),
        ("train_cls/model.safetensors", lambda run: run.model("train_cls")),
        ("train_cls/metrics.json", lambda run: run.metrics),
        ("train_seg/checkpoint.pt", lambda run: run.checkpoint("train_seg")),
        ("train_seg/log.jsonl", lambda run: run.log("train_seg")),
        ("seeds/sub/a.npz", lambda run: run.seed("sub/a")),
        ("pseudo_masks/2007_000033.png", lambda run: run.pseudo_mask("2007_000033")),
        # an id is not a file name: what follows its dot stays
        ("pseudo_masks/a.b.png", lambda run: run.pseudo_mask("a.b")),
        ("predictions/val", lambda run: run.predictions("val")),
        ("predictions/val.crf", lambda run: run.predictions("val", "crf")),
        ("evaluation/pseudo_masks_train.json", lambda run: run.evaluation("pseudo-masks", "train")),
        ("evaluation/confusion_val.csv", lambda run: run.confusion("val")),
        ("report", lambda run: run.report),
        ("ceiling", lambda run: run.ceiling),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_layout_names_every_file(tmp_path: Path, name: str, found: object) -> None:
    assert callable(found) and found(Layout(tmp_path)) == tmp_path / name


def test_layout_columns_are_folders_beside_the_config_s_own(tmp_path: Path) -> None:
    root = tmp_path / "predictions"
    names = Layout(tmp_path).columns(EvaluateConfig(), "val")
    assert names == {"single": root / "val", "scales": root / "val.scales", "crf": root / "val.crf"}


def test_round_folder_lies_in_the_round_before(tmp_path: Path) -> None:
    assert round_folder(tmp_path, 1) == tmp_path
    assert round_folder(tmp_path, 3) == tmp_path / "round_2" / "round_3"


def test_layout_stage_makes_its_folder(tmp_path: Path) -> None:
    assert Layout(tmp_path / "run").stage("train_cls").is_dir()
