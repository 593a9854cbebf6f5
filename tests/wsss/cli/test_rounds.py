"""Self-training by its commands: what a round leaves, what it builds on, what works on it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from wsss import pipeline
from wsss.config import RunConfig, load
from wsss.data import mask_io
from wsss.data.augment import normalise
from wsss.data.images import read_image
from wsss.engine.checkpoint import load_trained
from wsss.formats.voc import read_voc
from wsss.labels import IGNORE_INDEX
from wsss.models.segmenter import build_segmenter, predict_probs
from wsss.run.state import Run, config_of_round
from wsss.seeding.masks import among_tags, harden

from .command_line import sentence, wsss

IDS = [f"train_{i:05d}" for i in range(12)]
# the segmenter's own answer, untouched
BARE = (
    "self_training.crf=none",
    "self_training.scales=[1.0]",
    "self_training.flip=false",
    "self_training.former_masks=0",
)


@pytest.fixture
def run(tmp_path: Path, finished: RunConfig) -> Path:
    return Path(shutil.copytree(finished.run, tmp_path / "run"))


def files(root: Path) -> dict[str, int]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in found}


def test_a_round_is_a_run_in_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(run)
    result = wsss("train-seg", run, "--round", 2)
    assert result.exit_code == 0, result.output
    folder = run / "round_2"
    assert result.stdout == f"{folder / 'train_seg' / 'model.safetensors'}\n"
    made = files(folder)
    assert set(made) == {
        "config.yaml",
        *(f"pseudo_masks/{i}.png" for i in IDS),
        "pseudo_masks/class_names.txt",
        *(f"{s}/{f}.json" for s in ("pseudo_masks", "train_seg") for f in ("settings", "done")),
        *(f"train_seg/{name}" for name in ("model.safetensors", "log.jsonl")),
    }
    # the first round is as it was, and nothing is made twice
    assert {name: time for name, time in files(run).items() if "round_2" not in name} == before
    assert wsss("train-seg", run, "--round", 2).stdout == result.stdout
    del made["config.yaml"]
    assert {name: files(folder)[name] for name in made} == made
    assert wsss("train-seg", folder).stdout == result.stdout

    for of, images in (("predictions", 4), ("pseudo-masks", 12)):
        scored = wsss("evaluate", folder, "--of", of)
        assert scored.exit_code == 0, scored.output
        scores = json.loads(Path(scored.stdout.strip()).read_text())
        assert scores["images"] == images and scores["protocol"]["round"] == 2
    assert wsss("visualize", folder, "--count", 2).exit_code == 0
    assert (folder / "report" / "train.png").is_file()
    assert f"holds round 2 of a run, which `wsss run` starts from the first: give {run}, or" in (
        sentence("run", folder)
    )
    monkeypatch.chdir(folder)
    assert wsss("visualize", ".", "--count", 2).exit_code == 0


def test_masks_are_the_former_segmenter_s_among_the_tags(run: Path, finished: RunConfig) -> None:
    result = wsss("generate-pseudo-masks", run, "--round", 2, *BARE)
    assert result.stdout == f"{run / 'round_2' / 'pseudo_masks'}\n"
    model, _ = load_trained(
        run / "train_seg" / "model.safetensors", "segmenter", build_segmenter, torch.device("cpu")
    )
    assert finished.data.root is not None
    made = Run(run / "round_2")
    for sample in read_voc(finished.data.root, "train").samples:
        labels = [tag + 1 for tag in sample.tags]
        own = among_tags(predict_probs(model, normalise(read_image(sample.path))[None]), labels)
        mask = mask_io.read_mask(made.pseudo_mask(sample.id))
        np.testing.assert_array_equal(mask, harden(own, labels, 0.7))


def test_a_round_may_take_more_images_than_the_former(run: Path) -> None:
    left_out = Run(run).pseudo_mask(IDS[0])
    left_out.unlink()
    wsss("generate-pseudo-masks", run, "--round", 2, *BARE)
    alone = Run(run / "round_2").pseudo_mask(IDS[0]).read_bytes()
    options = [*BARE[:3], "self_training.former_masks=0.9"]
    result = wsss("generate-pseudo-masks", run, "--round", 2, "--overwrite", *options)
    assert result.exit_code == 0, result.output
    made = Run(run / "round_2")
    assert made.pseudo_mask(IDS[0]).read_bytes() == alone
    old = mask_io.read_mask(Run(run).pseudo_mask(IDS[1]))
    mixed = mask_io.read_mask(made.pseudo_mask(IDS[1]))
    assert (mixed == old)[old != IGNORE_INDEX].all()


def test_shards_share_the_masks_of_a_round(run: Path) -> None:
    wsss("generate-pseudo-masks", run, "--round", 2, "--shard", "1/2")
    made = Run(run / "round_2")
    assert {p.stem for p in (made.root / "pseudo_masks").glob("*.png")} == set(IDS[1::2])
    assert not made.finished("pseudo_masks")
    early = files(made.root / "pseudo_masks")
    wsss("generate-pseudo-masks", made.root)
    assert made.finished("pseudo_masks")
    kept = {
        name
        for name, time in files(made.root / "pseudo_masks").items()
        if name in early and time == early[name]
    }
    assert kept >= {f"{i}.png" for i in IDS[1::2]}


@pytest.mark.parametrize("begin", ["former", "fresh"])
def test_what_a_round_starts_from(run: Path, begin: str) -> None:
    still = ["train_seg.lr=1e-12", "train_seg.ema=0", "train_seg.epochs=0.1", *BARE]
    wsss("train-seg", run, "--round", 2, f"self_training.start={begin}", *still)
    former = load_file(run / "train_seg" / "model.safetensors")
    found = load_file(run / "round_2" / "train_seg" / "model.safetensors")
    classifier = load_file(run / "train_cls" / "model.safetensors")
    inside = "encoder.model.model."
    names = [k for k in former if inside in k and former[k].ndim == 4]
    assert len(names) > 10
    for name in names:
        old = {"former": former[name], "fresh": classifier["backbone." + name.split(inside)[1]]}
        torch.testing.assert_close(found[name], old.pop(begin), rtol=0, atol=1e-6)
        assert not torch.allclose(found[name], *old.values(), rtol=0, atol=1e-6), name


def test_masks_stay_where_only_the_training_on_them_changes(run: Path) -> None:
    short = ["train_seg.epochs=0.1", *BARE]
    wsss("train-seg", run, "--round", 2, *short)
    made = files(run / "round_2" / "pseudo_masks")
    other = ["self_training.start=fresh"]
    again = wsss("train-seg", run, "--round", 2, "--overwrite", *short, *other)
    assert again.exit_code == 0, again.output
    assert files(run / "round_2" / "pseudo_masks") == made
    settings = json.loads((run / "round_2" / "train_seg" / "settings.json").read_text())
    assert settings["self_training"]["start"] == "fresh"
    everything = files(run)
    masks = "self_training.former_masks=0.5"
    found = sentence("train-seg", run, "--round", 2, "--overwrite", masks)
    assert "add --overwrite to `wsss generate-pseudo-masks`" in found
    assert files(run) == everything


def test_a_third_round_lies_in_the_second(run: Path) -> None:
    assert "run `wsss train-seg --round 2` on it first" in sentence("train-seg", run, "--round", 3)
    wsss("train-seg", run, "--round", 2, *BARE)
    result = wsss("train-seg", run, "--round", 3, *BARE)
    third = run / "round_2" / "round_3"
    assert result.stdout == f"{third / 'train_seg' / 'model.safetensors'}\n"
    config = load(third / "config.yaml")
    assert (config.round, config_of_round(config, 1).run) == (3, run)
    assert f"give {run}, or do this round" in sentence("run", third)
    # what a round is built on takes it along
    shutil.rmtree(third / "pseudo_masks")
    wsss("train-seg", run, "--round", 2, "--overwrite")
    assert not third.exists() and (run / "round_2" / "train_seg" / "done.json").is_file()
    wsss("train-seg", run, "--overwrite")
    assert not (run / "round_2").exists()


def test_other_settings_of_a_round_are_refused(run: Path) -> None:
    wsss("train-seg", run, "--round", 2, *BARE)
    # its own settings are in its folder
    assert wsss("train-seg", run, "--round", 2).exit_code == 0
    found = sentence("train-seg", run, "--round", 2, "self_training.former_masks=0.5")
    assert "round_2/pseudo_masks was made with self_training.former_masks=0.0, now it is" in found


def test_the_whole_pipeline_goes_through_all_rounds(
    tmp_path: Path, run: Path, finished: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    again = finished.self_training.model_copy(update={"rounds": 2, "crf": "none"})
    pipeline.run(finished.model_copy(update={"run": run, "self_training": again}))
    shown = capsys.readouterr().err
    assert "predictions, round 2" in shown and "pseudo-masks, round 2" in shown
    assert (run / "round_2" / "evaluation" / "predictions_val.json").is_file()
