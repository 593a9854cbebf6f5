"""Self-training by its commands: what a round holds, what it builds on, what works on it."""

import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from wsss.config import RunConfig, load
from wsss.data import mask_io
from wsss.data.augment import normalise
from wsss.data.images import read_image
from wsss.engine.checkpoint import load_trained, save_model
from wsss.engine.runtime import start
from wsss.formats.voc import read_voc
from wsss.models import mask_sources
from wsss.models.inference import View, predict_views
from wsss.models.segmenter import build_segmenter
from wsss.models.soft_seeds import RunSeeds, seed_probs
from wsss.run.state import Run, config_of_round
from wsss.seeding.masks import among_tags, at_true_rates, harden

from .command_line import error, printed, wsss

IDS = [f"train_{i:05d}" for i in range(12)]
# the segmenter's own answer, untouched
BARE = (
    "self_training.crf=none",
    "self_training.scales=[1.0]",
    "self_training.flip=false",
    "self_training.seeds=0",
)
# one step that moves nothing, so that weights show what they started from
STILL = ("train_seg.lr=1e-12", "train_seg.ema=0", "train_seg.epochs=0.1")


@pytest.fixture(scope="module")
def two_rounds(finished: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a second round. To be read: a test that changes it takes a copy."""
    run = tmp_path_factory.mktemp("rounds") / "run"
    shutil.copytree(finished.run, run)
    printed("train-seg", run, "--round", 2, *BARE, *STILL)
    return run


@pytest.fixture
def second(two_rounds: Path, tmp_path: Path) -> Path:
    """The second round in a copy of that run, to be changed."""
    return Path(shutil.copytree(two_rounds, tmp_path / "run")) / "round_2"


def files(root: Path) -> dict[str, int]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in found}


def test_round_is_a_run_within_the_run(two_rounds: Path, finished: RunConfig) -> None:
    assert set(files(two_rounds / "round_2")) == {
        "config.yaml",
        *(f"pseudo_masks/{i}.png" for i in IDS),
        "pseudo_masks/class_names.txt",
        "pseudo_masks/scores.csv",
        *(f"{s}/{f}.json" for s in ("pseudo_masks", "train_seg") for f in ("settings", "done")),
        *(f"train_seg/{name}" for name in ("model.safetensors", "log.jsonl")),
    }
    # the first round is as it was
    for name in files(finished.run):
        assert (two_rounds / name).read_bytes() == (finished.run / name).read_bytes(), name


def test_round_that_is_finished_is_kept(second: Path) -> None:
    before = files(second)
    for command in (("train-seg", second.parent, "--round", 2), ("train-seg", second)):
        assert printed(*command) == second / "train_seg" / "model.safetensors"
    after = files(second)
    assert {name for name in after if after[name] != before.get(name)} <= {"config.yaml"}


def test_round_is_scored_and_shown(second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for of, images in (("predictions", 4), ("pseudo-masks", 12)):
        scores = json.loads(printed("evaluate", second, "--of", of, "--fast").read_text())
        assert scores["images"] == images and scores["protocol"]["round"] == 2
    monkeypatch.chdir(second)
    printed("visualize", ".", "--count", 1)
    assert (second / "report" / "train.png").is_file()


def test_run_refuses_a_later_round(two_rounds: Path) -> None:
    assert f"give {two_rounds}" in error("run", two_rounds / "round_2")


def test_round_masks_are_the_former_segmenters_among_the_tags(
    second: Path, finished: RunConfig
) -> None:
    path = Run(second.parent).model("train_seg")
    model, metadata = load_trained(path, "segmenter", build_segmenter, torch.device("cpu"))
    save_model(path, model, {**metadata, "background_odds": 3.0})
    printed("generate-pseudo-masks", second, "--overwrite")
    assert finished.data.root is not None
    for sample in read_voc(finished.data.root, "train").samples:
        labels = sample.labels
        image = normalise(read_image(sample.path))[None]
        ((probs,),) = predict_views(model, image, [View()])
        own = at_true_rates(among_tags(probs, labels), 3.0)
        mask = mask_io.read_mask(Run(second).pseudo_mask(sample.id))
        np.testing.assert_array_equal(mask, harden(own, labels, 0.7))


def test_round_takes_images_without_a_former_mask(second: Path) -> None:
    first, made = Run(second.parent), Run(second)
    before = mask_io.read_mask(made.pseudo_mask(IDS[0]))
    first.pseudo_mask(IDS[0]).unlink()
    printed("generate-pseudo-masks", first.root, "--round", 2, "--overwrite", *BARE)
    # its note says no more how far the two differ
    np.testing.assert_array_equal(mask_io.read_mask(made.pseudo_mask(IDS[0])), before)


def test_round_masks_heed_the_seeds_of_the_first_round(second: Path) -> None:
    # without a CRF a weight that drowns the segmenter leaves the first round's hard seeds
    run = Run(second.parent)
    options = [*BARE[:3], "self_training.seeds=1e4", "self_training.confidence=0"]
    printed("generate-pseudo-masks", run.root, "--round", 2, "--overwrite", *options)
    config = load(run.config_file)
    assert config.data.root is not None
    tagged = read_voc(config.data.root, "train")
    seeds = RunSeeds(config, tagged.class_names, start(config.runtime, 0))
    for sample in tagged.samples:
        probs = seed_probs(seeds(sample), read_image(sample.path).shape[:2], seeds.settings)
        mask = mask_io.read_mask(Run(second).pseudo_mask(sample.id))
        np.testing.assert_array_equal(mask, harden(probs, sample.labels))


def test_round_takes_the_seeds_that_are_kept(second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking the classifier: an image whose seeds are gone asks it, for the same mask."""
    asked, ask = list[int](), mask_sources.soft_seeds
    monkeypatch.setattr(mask_sources, "soft_seeds", lambda *a: asked.append(len(a[1])) or ask(*a))
    command = ("generate-pseudo-masks", second.parent, "--round", 2, "--overwrite")
    printed(*command, "self_training.seeds=1")
    masks = {i: Run(second).pseudo_mask(i).read_bytes() for i in IDS}
    assert not asked
    Run(second.parent).seed(IDS[0]).unlink()
    Run(second.parent).seed(IDS[1]).write_bytes(b"damaged")
    printed(*command, "self_training.seeds=1")
    assert sum(asked) == 2
    assert {i: Run(second).pseudo_mask(i).read_bytes() for i in IDS} == masks


def test_round_needs_the_classifier_for_seeds(second: Path) -> None:
    Run(second.parent).model("train_cls").unlink()
    command = ("generate-pseudo-masks", second.parent, "--round", 2, "--overwrite")
    assert "train the classifier first" in error(*command, "self_training.seeds=0.4")
    printed(*command, "self_training.seeds=0")


def test_round_reads_former_masks_beside_the_network(
    second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, readers = mask_sources.read_mask, set[threading.Thread]()
    masks = [Run(second).pseudo_mask(image_id) for image_id in IDS]
    before = [mask.read_bytes() for mask in masks]

    def noted(path: Path) -> NDArray[np.uint8]:
        readers.add(threading.current_thread())
        return read(path)

    monkeypatch.setattr(mask_sources, "read_mask", noted)
    printed("generate-pseudo-masks", second, "--overwrite", "runtime.workers=2")
    assert readers and threading.main_thread() not in readers
    assert [mask.read_bytes() for mask in masks] == before


def test_round_masks_are_made_in_shards(folder: Path) -> None:
    printed("generate-pseudo-masks", folder, "--round", 2, "--shard", "1/2", *BARE)
    made = Run(folder / "round_2")
    early = files(made.root / "pseudo_masks")
    assert {name for name in early if name.endswith(".png")} == {f"{i}.png" for i in IDS[1::2]}
    assert not made.finished("pseudo_masks")
    printed("generate-pseudo-masks", made.root)
    assert made.finished("pseudo_masks")
    late = files(made.root / "pseudo_masks")
    assert all(late[f"{i}.png"] == early[f"{i}.png"] for i in IDS[1::2])


def assert_started_from(second: Path, start: str) -> None:
    """The second round's encoder has the weights of the former segmenter, or the classifier's."""
    former, found, classifier = (
        load_file(Run(run).model(stage))
        for run, stage in (
            (second.parent, "train_seg"),
            (second, "train_seg"),
            (second.parent, "train_cls"),
        )
    )
    inside = "encoder.model.model."
    names = [k for k in former if inside in k and former[k].ndim == 4]
    assert len(names) > 10
    for name in names:
        old = {"former": former[name], "fresh": classifier["backbone." + name.split(inside)[1]]}
        torch.testing.assert_close(found[name], old.pop(start), rtol=0, atol=1e-6)
        assert not torch.allclose(found[name], *old.values(), rtol=0, atol=1e-6), name


def test_round_starts_from_the_former_segmenter(two_rounds: Path) -> None:
    assert_started_from(two_rounds / "round_2", "former")


def test_round_says_what_it_starts_from(second: Path) -> None:
    """A decoder of another width is another network: not in silence does the round start afresh."""
    command = ("train-seg", second.parent, "--round", 2, "--overwrite", *STILL, *BARE)
    assert f"goes on from {Run(second.parent).model('train_seg')}" in wsss(*command).stderr
    other = wsss(*command, "train_seg.decoder_args={decoder_segmentation_channels: 8}")
    assert other.exit_code == 0
    assert "starts afresh: no earlier segmenter has this backbone and decoder" in other.stderr
    Run(second.parent).model("train_seg").unlink()  # its masks are made, nothing else needs it
    gone = wsss(*command)
    assert gone.exit_code == 0 and "starts afresh" in gone.stderr


def test_round_that_starts_fresh_keeps_its_masks(second: Path) -> None:
    made = files(second / "pseudo_masks")
    command = ("train-seg", second.parent, "--round", 2, "--overwrite", *STILL, *BARE)
    printed(*command, "self_training.start=fresh")
    assert_started_from(second, "fresh")
    assert files(second / "pseudo_masks") == made
    settings = json.loads((second / "train_seg" / "settings.json").read_text())
    assert settings["self_training"]["start"] == "fresh"


def test_round_by_another_backbone_teaches_the_first_one(second: Path, tmp_path: Path) -> None:
    model = timm.create_model("resnet18")
    save_file(model.state_dict(), tmp_path / "resnet18.safetensors")
    other = f"train_seg.backbone_weights={tmp_path / 'resnet18.safetensors'}"
    resnet = ("train_seg.backbone=resnet18", other)
    run = second.parent
    printed("train-seg", run, "--round", 2, "--overwrite", *STILL, *BARE, *resnet)
    printed("train-seg", run, "--round", 3, *STILL, *BARE)
    first, teacher, found = (
        load_file(Run(made).model("train_seg")) for made in (run, second, second / "round_3")
    )
    kernel = model.state_dict()["conv1.weight"]
    torch.testing.assert_close(teacher["net.encoder.model.conv1.weight"], kernel)
    assert found.keys() == first.keys()
    for name, value in found.items():
        if value.ndim == 4:
            torch.testing.assert_close(value, first[name], rtol=0, atol=1e-6)
    # the former segmenter has all the weights that a round of its backbone starts from
    (tmp_path / "resnet18.safetensors").unlink()
    printed("train-seg", run, "--round", 3, "--overwrite", *STILL, *BARE, *resnet)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("train_seg.backbone=resnet",), "backbone 'resnet'"),
        (("train_seg.backbone=resnet18", "train_seg.backbone_weights=gone.pth"), r"gone\.pth"),
        (("train_seg.decoder_args={wings: 2}",), "wings"),
        (("data.trusted=drawn",), "has mode RGB"),
    ],
)
def test_round_refuses_what_it_cannot_train_before_its_masks(
    finished: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(finished.run, tmp_path / "run"))
    (tmp_path / "drawn").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "drawn" / f"{IDS[0]}.png")
    assert re.search(named, error("train-seg", run, "--round", 2, *options))
    assert not list(run.glob("round_2/pseudo_masks/*.png"))


@pytest.mark.parametrize(
    ("options", "stage"), [((), "pseudo_masks"), (("--overwrite",), "generate-pseudo-masks")]
)
def test_round_refuses_masks_of_other_settings(
    two_rounds: Path, options: tuple[str, ...], stage: str
) -> None:
    before = files(two_rounds)
    setting = "self_training.seeds=0.5"
    found = error("train-seg", two_rounds, "--round", 2, *options, setting)
    assert "self_training.seeds=0.0" in found and stage in found
    assert files(two_rounds) == before


def test_round_three_lies_in_round_two(second: Path) -> None:
    run, third = second.parent, second / "round_3"
    found = printed("train-seg", run, "--round", 3, *BARE, *STILL)
    assert found == third / "train_seg" / "model.safetensors"
    config = load(third / "config.yaml")
    assert (config.round, config_of_round(config, 1).run) == (3, run)
    # a stage that is recomputed takes along what is built on it
    shutil.rmtree(third / "pseudo_masks")
    Run(second).forget("train_seg")
    assert not third.exists() and Run(second).finished("pseudo_masks")
    Run(run).forget("train_seg")
    assert not second.exists() and Run(run).finished("pseudo_masks")


def test_round_three_needs_round_two(finished: RunConfig) -> None:
    assert "wsss train-seg --round 2" in error("train-seg", finished.run, "--round", 3)
