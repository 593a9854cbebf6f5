"""Settings chosen on trusted masks, on the classifier of the tiny run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss import pipeline
from wsss.config import RunConfig
from wsss.data.mask_io import read_mask, write_mask
from wsss.data.open import open_tagged
from wsss.engine.checkpoint import load_trained, save_model
from wsss.errors import WsssError
from wsss.models.classifier import build_classifier
from wsss.report.tables import show_tuning
from wsss.run.state import Run, open_run
from wsss.seeding.candidates import Compactness, by_compactness
from wsss.seeding.walks import Border
from wsss.stages import generate_pseudo_masks, tune


@pytest.fixture
def telling(run: RunConfig) -> RunConfig:
    """The finished run with a classifier that activates every class somewhere."""
    path = Run(run.run).model("train_cls")
    model, metadata = load_trained(path, "classifier", build_classifier, torch.device("cpu"))
    torch.nn.init.normal_(model.cam3.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(model.bias)
    save_model(path, model, metadata)
    return run


def trust(config: RunConfig, folder: Path, count: int = 6) -> Path:
    """Masks that hold much more of a class than any seed does, in a folder."""
    tagged = open_tagged(config.data, "train")
    for sample in [one for one in tagged.samples if one.tags][:count]:
        mask = np.full((64, 64), sample.labels[0], np.uint8)
        mask[:2] = 0
        write_mask(folder / f"{sample.id}.png", mask)
    return folder


def test_tune_takes_what_suits_the_trusted_masks_and_remakes_masks(
    telling: RunConfig, tmp_path: Path
) -> None:
    folder = trust(telling, tmp_path / "trusted")
    found = json.loads(pipeline.tuned_masks(telling, folder).read_text())
    assert found["images"] == 6 and found["chosen"] != "as it is" and found["unchanged"] == 0
    worth = {one["name"]: one["held_out_miou"] for one in found["choices"]}
    assert worth[found["chosen"]] == max(worth.values()) > worth["as it is"]
    tuned = open_run(telling.run)
    assert tuned.pseudo_masks != telling.pseudo_masks
    run = Run(telling.run)
    assert run.finished("pseudo_masks") and not run.finished("train_seg")
    assert not run.changes("pseudo_masks", tuned)
    # again: the masks are those of the settings, which stay
    before = {path: path.stat().st_mtime_ns for path in run.pseudo_masks.glob("*.png")}
    again = json.loads(pipeline.tuned_masks(tuned, folder).read_text())
    if again["chosen"] == "as it is":
        assert before == {path: path.stat().st_mtime_ns for path in before}


def test_tune_that_was_killed_while_it_made_masks_makes_the_rest(
    telling: RunConfig, tmp_path: Path
) -> None:
    run, folder = Run(telling.run), trust(telling, tmp_path / "trusted")
    pipeline.tuned_masks(telling, folder)
    masks = {path.name: path.read_bytes() for path in run.pseudo_masks.glob("*.png")}
    run.done("pseudo_masks").unlink()  # as a start that is killed leaves it
    run.pseudo_mask("train_00003").unlink()
    pipeline.tuned_masks(open_run(telling.run), folder)
    assert run.finished("pseudo_masks")
    assert masks == {path.name: path.read_bytes() for path in run.pseudo_masks.glob("*.png")}


def test_tune_keeps_everything_where_asked_to(telling: RunConfig, tmp_path: Path) -> None:
    masks = Run(telling.run).pseudo_masks
    before = {path: path.stat().st_mtime_ns for path in masks.glob("*.png")}
    pipeline.tuned_masks(telling, trust(telling, tmp_path / "trusted"), keep=True)
    assert before == {path: path.stat().st_mtime_ns for path in masks.glob("*.png")}
    assert open_run(telling.run).pseudo_masks == telling.pseudo_masks


def test_tune_leaves_masks_that_are_right_as_they_are(
    telling: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = telling.pseudo_masks.model_copy(update={"confidence": 0.0})
    config = telling.model_copy(update={"pseudo_masks": settings})
    masks = generate_pseudo_masks.run(config, overwrite=True)
    tagged = open_tagged(config.data, "train")
    for sample in tagged.samples:
        write_mask(tmp_path / "right" / f"{sample.id}.png", read_mask(masks / f"{sample.id}.png"))
    found, path = tune.run(config, tmp_path / "right")
    assert found == settings
    compared = json.loads(path.read_text())
    assert compared["choices"][0]["held_out_miou"] == 1
    assert compared["unchanged"] == compared["images"]
    show_tuning(path)
    assert "masks are as the present recipe makes them" in capsys.readouterr().err


def test_tune_without_trusted_masks_looks_at_class_activation(telling: RunConfig) -> None:
    settings, path = tune.run(telling)
    found = json.loads(path.read_text())
    assert 0 < found["positive_share"] < 1 and found["images"] == 12
    shares = Compactness(found["positive_share"], found["sure_share"])
    assert 0 <= found["sure_share"] <= 1
    expected = by_compactness(shares, telling.pseudo_masks.walks, Border())
    assert settings.seeding == expected
    pipeline.tuned_masks(telling)
    assert open_run(telling.run).pseudo_masks == settings


def test_tune_refuses_too_few_masks_and_those_that_do_not_fit(
    telling: RunConfig, tmp_path: Path
) -> None:
    folder = trust(telling, tmp_path / "trusted", count=3)
    with pytest.raises(WsssError, match=r"holds 3 masks.*--trusted"):
        tune.run(telling, folder)
    folder = trust(telling, tmp_path / "trusted", count=6)
    path = sorted(folder.glob("*.png"))[2]
    write_mask(path, np.zeros((5, 7), np.uint8))
    with pytest.raises(WsssError, match=f"{path.stem} in .* is 7×5"):
        tune.run(telling, folder)
    write_mask(path, np.full((64, 64), 77, np.uint8))
    with pytest.raises(WsssError, match=rf"{path.name}.*77"):
        tune.run(telling, folder)


def test_tune_is_of_the_first_round(run: RunConfig) -> None:
    with pytest.raises(WsssError, match="round 2"):
        tune.run(run.model_copy(update={"round": 2}))
