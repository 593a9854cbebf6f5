"""Bad settings, and stages that do not fit the run: exit code 2 and one sentence."""

import shutil
from pathlib import Path

import pytest

from wsss.config import RunConfig

from .command_line import sentence


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train_cls.epocs=3", "unknown key train_cls.epocs (did you mean epochs?)"),
        ("train_cls.epochs=many", "train_cls.epochs is 'many': expected a number"),
        ("runtime.device=cuda:99", "Device 'cuda:99' can't be used here"),
        ("backbone.name=glnet_mini", "backbone.name is 'glnet_mini': expected one of"),
        ("backbone.args.depth=3", "backbone.args"),
        ("backbone.weights=gone.pth", "No weights at gone.pth"),
        ("train_cls.slot_block='9.9'", "train_cls.slot_block is '9.9'"),
        ("data.train_split=none", "none.txt"),
    ],
)
def test_each_fault_of_the_settings(
    tmp_path: Path, tiny: Path, synthetic: Path, setting: str, words: str
) -> None:
    run = tmp_path / "run"
    assert words in sentence("train-cls", tiny, f"run={run}", f"data.root={synthetic}", setting)
    assert not (run / "train_cls" / "done.json").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["pseudo_masks.walks=[{block: '9.0', steps: 1}]"], "which has no slots in this backbone"),
        (["pseudo_masks.crf=irm"], "no CRF preset 'irm'"),
        (["--shard", "2/2"], "--shard is '2/2': expected i/n with 0 ≤ i < n"),
        (["--shard", "half"], "--shard is 'half'"),
    ],
)
def test_each_fault_of_the_masks_settings(
    tmp_path: Path, finished: RunConfig, settings: list[str], words: str
) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    shutil.rmtree(run / "pseudo_masks")
    shutil.rmtree(run / "train_seg")
    assert words in sentence("generate-pseudo-masks", run, *settings)


def test_no_source_of_data() -> None:
    assert "data is missing" in sentence("run")


def test_the_run_folder_of_another_config(finished: RunConfig, tiny: Path, synthetic: Path) -> None:
    settings = [tiny, f"run={finished.run}", f"data.root={synthetic}", "data.mask_split=train"]
    for command in ("train-cls", "generate-pseudo-masks", "train-seg", "run"):
        found = sentence(command, *settings, "train_cls.lr=0.5")
        assert "train_cls was made with train_cls.lr=0.001, now it is 0.5" in found
        assert "choose another run folder (run=…), or add --overwrite" in found


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert f"{tmp_path} holds no run (no config.yaml)" in sentence("evaluate", tmp_path)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("generate-pseudo-masks",), "run `wsss train-cls` on it first"),
        (("train-seg",), "run `wsss generate-pseudo-masks` on it first"),
        (("evaluate",), "run `wsss train-seg` on it first"),
        (("evaluate", "--of", "seeds"), "12 of 12 files to score are missing"),
        (
            ("evaluate", "--of", "masks"),
            "--of is 'masks': expected one of cam, seeds, pseudo-masks",
        ),
        (("visualize",), "has no seeds of the split train: run generate-pseudo-masks first"),
        (("predict", "--images", "IMAGES"), "No weights at"),
    ],
)
def test_a_stage_before_its_time(
    tmp_path: Path, tiny: Path, synthetic: Path, command: tuple[str, ...], words: str
) -> None:
    words_of = [str(synthetic / "JPEGImages") if c == "IMAGES" else c for c in command]
    settings = [tiny, f"run={tmp_path / 'run'}", f"data.root={synthetic}"]
    assert words in sentence(words_of[0], *settings, *words_of[1:])
