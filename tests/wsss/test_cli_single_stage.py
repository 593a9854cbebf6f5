"""Training in a single stage by its commands."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from command_line import sentence, wsss
from PIL import Image

from wsss.config import RunConfig
from wsss.data.tags import read_image
from wsss.data.transforms import normalise
from wsss.engine.checkpoint import load_trained
from wsss.models.segmenter import build_segmenter

SINGLE = ("data.mask_split=train", "train_seg.single_stage.enabled=true")


@pytest.mark.parametrize("warmup", [0.0, 0.9])
def test_tags_to_segmenter_at_once(tmp_path: Path, tiny: Path, drawn: Path, warmup: float) -> None:
    run = tmp_path / "run"
    settings = [tiny, f"run={run}", f"data.root={drawn}", *SINGLE]
    settings += [f"train_seg.single_stage.warmup={warmup}"]
    result = wsss("train-seg", *settings)
    assert result.exit_code == 0, result.output
    weights = run / "train_seg" / "model.safetensors"
    assert result.stdout == f"{weights}\n"
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert left == {
        "config.yaml",
        *(f"train_seg/{n}" for n in ("model.safetensors", "log.jsonl", "settings.json")),
        "train_seg/done.json",
    }
    record = json.loads((run / "train_seg" / "log.jsonl").read_text().splitlines()[-1])
    assert ("seg" in record) == (warmup == 0)
    assert wsss("train-seg", run).stdout == result.stdout
    # a segmenter like any other
    model, _ = load_trained(weights, "segmenter", build_segmenter, torch.device("cpu"))
    picture = next((drawn / "JPEGImages").glob("val_*"))
    with torch.inference_mode():
        assert model(normalise(read_image(picture))[None]).isfinite().all()


def test_its_contact_sheet_shows_what_there_is(tmp_path: Path, tiny: Path, drawn: Path) -> None:
    settings = [tiny, f"run={tmp_path}", f"data.root={drawn}", *SINGLE]
    assert wsss("train-seg", *settings).exit_code == 0
    result = wsss("visualize", tmp_path, "--count", 2)
    assert result.exit_code == 0, result.output
    with Image.open(result.stdout.strip()) as sheet:
        width = sheet.width
    # picture, prediction and truth; a run of three stages has four columns more
    assert width == 3 * (150 + 4) + 4


def test_the_whole_line_and_a_round_after_it(tmp_path: Path, tiny: Path, drawn: Path) -> None:
    run = tmp_path / "run"
    result = wsss("run", tiny, f"run={run}", f"data.root={drawn}", *SINGLE)
    assert result.exit_code == 0, result.output
    assert not (run / "train_cls").exists() and not (run / "seeds").exists()
    scores = [path.stem for path in (run / "evaluation").glob("*.json")]
    assert (
        scores == ["predictions_val"] and "predictions" in (run / "report/index.html").read_text()
    )
    # `fresh` starts as the first round did, which had no classifier
    for start in ("former", "fresh"):
        settings = ("self_training.scales=[1.0]", f"self_training.start={start}")
        second = wsss("generate-pseudo-masks", run, "--round", 2, *settings, "--overwrite")
        assert second.exit_code == 0, second.output
        second = wsss("train-seg", run, "--round", 2)
        assert second.exit_code == 0, second.output
        assert len(list((run / "round_2" / "pseudo_masks").glob("*.png"))) == 12


def test_masks_of_another_training_are_not_mixed_in(tmp_path: Path, finished: RunConfig) -> None:
    run = Path(shutil.copytree(finished.run, tmp_path / "run"))
    again = wsss("train-seg", run, "train_seg.single_stage.enabled=true", "--overwrite")
    assert again.exit_code == 0 and (run / "pseudo_masks" / "done.json").is_file(), again.output
    masks = []
    for weight in (0, 0.9):
        settings = (f"self_training.former_masks={weight}", "self_training.crf=none")
        made = wsss("generate-pseudo-masks", run, "--round", 2, *settings, "--overwrite")
        paths = sorted(Path(made.stdout.strip()).glob("*.png"))
        masks.append([path.read_bytes() for path in paths])
    assert masks[0] == masks[1] and len(masks[0]) == 12


def test_crops_that_the_strides_do_not_divide(tmp_path: Path, tiny: Path, drawn: Path) -> None:
    found = sentence(
        "train-seg", tiny, f"run={tmp_path}", f"data.root={drawn}", *SINGLE, "train_seg.crop=70"
    )
    assert found.endswith("crops of whole strides, so give a multiple of 32.")
