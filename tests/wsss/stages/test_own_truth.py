"""`data.masks`: true masks in any format are scored as those of a VOC folder are."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsss import pipeline
from wsss.ablation import run as ablation
from wsss.config import PseudoMasksConfig, RunConfig, load
from wsss.data.mask_io import read_mask, write_mask
from wsss.data.masks import with_truth
from wsss.data.open import open_tagged
from wsss.errors import WsssError
from wsss.formats.mask_list import MaskToWrite, Writing
from wsss.formats.mask_registry import WRITERS
from wsss.formats.target import Target
from wsss.run.recipe import as_begun
from wsss.run.state import Run, open_run
from wsss.stages import evaluate, train_cls, train_seg, tune, visualize
from wsss.stages.check_data import run as check_data


def with_masks(config: RunConfig, source: Path) -> RunConfig:
    data = config.data.model_copy(update={"masks": source})
    return config.model_copy(update={"data": data})


def written(config: RunConfig, split: str, to: str, folder: Path, some: int | None = None) -> Path:
    """The true masks of a split in another format, of the first few images or of all."""
    assert config.data.root is not None
    tagged, truth = open_tagged(config.data, split), config.data.root / "SegmentationClassAug"
    masks = [
        MaskToWrite(s.id, n, f"{s.id}.jpg", None, read_mask(truth / f"{s.id}.png"))
        for n, s in enumerate(tagged.samples[:some], 1)
    ]
    WRITERS[to](masks, Writing(tagged.class_names), Target(folder))
    return folder


def scores(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("to", ["coco", "png", "cvat"])
def test_own_masks_score_as_those_of_voc(run: RunConfig, tmp_path: Path, to: str) -> None:
    own = with_masks(run, written(run, "train", to, tmp_path / "own" / to))
    for of in ("seeds", "pseudo-masks"):
        expected = scores(evaluate.run(run, evaluate.kind(of)))
        found = scores(evaluate.run(own, evaluate.kind(of)))
        assert found["iou"] == expected["iou"] and found["images"] == expected["images"]


def test_only_images_that_have_a_mask_are_scored(
    run: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = with_masks(run, written(run, "train", "png", tmp_path / "own", some=3))
    assert scores(evaluate.run(own, "pseudo-masks"))["images"] == 3
    assert len(with_truth(own.data, open_tagged(own.data, "train"))) == 3
    found = scores(pipeline.score(own, "predictions", "train"))
    assert found["images"] == 3
    assert "pseudo-masks of 3 of the 3 images" in capsys.readouterr().err
    assert len(list(Run(own.run).predictions("train").glob("*.png"))) == 3
    sample = next(s for s in open_tagged(own.data, "train").samples[:3] if s.tags)
    path = Run(own.run).pseudo_mask(sample.id)
    write_mask(path, np.full_like(read_mask(path), sample.labels[0]))
    assert visualize.run(own, worst="leak", out=tmp_path / "worst.png").is_file()
    assert visualize.run(own, out=tmp_path / "sheet.png").is_file()
    assert ablation.run(own, "cam").is_file()


def test_own_masks_of_no_image_or_another_size_are_refused(run: RunConfig, tmp_path: Path) -> None:
    write_mask(tmp_path / "own/other.png", np.zeros((4, 4), np.uint8))
    own = with_masks(run, tmp_path / "own")
    with pytest.raises(WsssError, match="no mask of any"):
        evaluate.run(own, "pseudo-masks")
    sample = open_tagged(run.data, "train").samples[0]
    write_mask(tmp_path / f"own/{sample.id}.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(WsssError, match="4×4 and its image"):
        evaluate.run(own, "pseudo-masks")
    (problem,) = check_data(own.data)
    assert problem.startswith("mask: ") and "4×4" in problem


def as_own_images(finished: RunConfig, folder: Path) -> list[str]:
    """The synthetic images as photographs with a table of tags; the settings of a run on them."""
    photos, rows = folder / "photos", ["image,tags"]
    tagged = open_tagged(finished.data, "train")
    photos.mkdir()
    for sample in tagged.samples:
        shutil.copy(sample.path, photos)
        rows.append(f"{sample.id},{';'.join(tagged.class_names[t] for t in sample.tags)}")
    (folder / "tags.csv").write_text("\n".join(rows))
    own = [f"data.images={photos}", f"data.tags={folder / 'tags.csv'}"]
    return [f"run={folder / 'run'}", "data.root=null", *own]


@pytest.fixture
def open_walks(tmp_path: Path, tiny: Path) -> Path:
    """The settings of a tiny run that name no walks, on a network that has the default ones."""
    text = tiny.read_text().replace(", walks: [{block: '8.0', steps: 2}]", "")
    path = tmp_path / "open.yaml"
    path.write_text(text.replace("depths: [1, 1, 1, 1]", "depths: [1, 1, 5, 1]"))
    return path


def test_a_run_of_own_images_chooses_walks_once_unless_they_are_named(
    tmp_path: Path,
    tiny: Path,
    open_walks: Path,
    finished: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = as_own_images(finished, tmp_path)
    assert not load(tiny, settings).leaves_walks_open
    assert not load(open_walks, ["data.root=x"]).leaves_walks_open
    config = load(open_walks, settings)
    assert config.leaves_walks_open
    train_cls.run(config)
    # a run that is stopped here goes on by its folder
    assert open_run(config.run).leaves_walks_open
    assert load(open_walks, [*settings, "data.background=false"]).leaves_walks_open
    chosen = PseudoMasksConfig(walks=(), border=None)
    monkeypatch.setattr(tune, "by_compactness", lambda *_: chosen.seeding)
    pipeline.run(open_run(config.run))
    run = Run(config.run)
    made = run.made_with("pseudo_masks", config)["pseudo_masks"]
    assert made["walks"] == [] and made["border"] is None
    monkeypatch.setattr(tune, "without_masks", None)  # chosen already
    pipeline.run(config)
    pipeline.run(open_run(config.run))
    # commands with the settings that the run was given, too
    assert as_begun(config).pseudo_masks.seeding == chosen.seeding
    train_seg.run(as_begun(config))
    run.settings("pseudo_masks").write_text("{")
    assert as_begun(config) == config


def test_walks_are_chosen_without_images_that_are_damaged(
    tmp_path: Path, open_walks: Path, finished: RunConfig
) -> None:
    settings = as_own_images(finished, tmp_path)
    config = load(open_walks, [*settings, "data.skip_damaged=true"])
    train_cls.run(config)
    tagged = [one for one in open_tagged(config.data, "train").samples if one.tags]
    for sample in tagged[1:]:
        sample.path.write_bytes(sample.path.read_bytes()[:60])
    tune.without_masks(config)
    assert json.loads(Run(config.run).tuning.read_text())["images"] == 1
    tagged[0].path.write_bytes(b"")
    assert tune.without_masks(config) == config.pseudo_masks
    assert json.loads(Run(config.run).tuning.read_text())["images"] == 0


def test_a_run_of_own_images_with_some_masks_is_scored(
    tmp_path: Path, tiny: Path, finished: RunConfig
) -> None:
    masks = written(finished, "train", "coco", tmp_path / "masks", some=4)
    settings = [*as_own_images(finished, tmp_path), f"data.masks={masks}", "evaluate.fast=true"]
    page = pipeline.run(load(tiny, settings))
    assert "mIoU" in page.read_text()
    for of in ("seeds", "pseudo_masks", "predictions"):
        (path,) = (tmp_path / "run/evaluation").glob(f"{of}_*.json")
        assert scores(path)["images"] == 4
