"""The whole pipeline on synthetic images: the files of each stage, nothing computed twice."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss import pipeline
from wsss.config import RunConfig, load
from wsss.data import mask_io
from wsss.data.synthetic import CLASS_NAMES
from wsss.run.state import Run
from wsss.stages import generate_pseudo_masks

TRAIN = [f"train_{i:05d}" for i in range(12)]

VAL = [f"val_{i:05d}" for i in range(4)]


def times(root: Path) -> dict[str, int]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}


def test_pipeline_run_writes_these_files(finished: RunConfig) -> None:
    left = set(times(finished.run))
    assert left == {
        "config.yaml",
        *(f"train_cls/{name}" for name in ("model.safetensors", "metrics.json", "log.jsonl")),
        *(f"train_seg/{name}" for name in ("model.safetensors", "log.jsonl")),
        *(
            f"{stage}/{name}.json"
            for stage in ("train_cls", "pseudo_masks", "train_seg")
            for name in ("settings", "done")
        ),
        *(
            f"predictions/val{column}/{name}"
            for column in ("", ".scales", ".crf")
            for name in ("class_names.txt", "scores.csv")
        ),
        *(f"pseudo_masks/{name}" for name in ("class_names.txt", "scores.csv")),
        *(f"seeds/{i}.npz" for i in TRAIN),
        *(f"pseudo_masks/{i}.png" for i in TRAIN),
        *(f"predictions/val{column}/{i}.png" for column in ("", ".scales", ".crf") for i in VAL),
        *(f"evaluation/{of}_train.json" for of in ("cam", "seeds", "pseudo_masks")),
        "evaluation/predictions_val.json",
        "evaluation/confusion_val.csv",
        "report/index.html",
        *(f"report/{name}.png" for name in ("train", "confusion_val", "worst_val")),
    }


def test_pipeline_run_adds_rounds_and_keeps_what_is_finished(
    finished: RunConfig, run: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    before = times(run.run)
    rounds = {"rounds": 2, "crf": "none", "scales": (1.0,), "flip": False}
    later = run.self_training.model_copy(update=rounds)
    pipeline.run(run.model_copy(update={"self_training": later}))
    shown = capsys.readouterr().err
    assert "predictions, round 2" in shown and "pseudo-masks, round 2" in shown
    assert (run.run / "round_2" / "evaluation" / "predictions_val.json").is_file()
    after = {n: time for n, time in times(run.run).items() if not n.startswith("round_2/")}
    changed = {name for name, time in after.items() if before.get(name) != time}
    # figures, the page and the merged config are cheap and rewritten
    kept = {name for name in changed if not name.startswith(("evaluation/", "report/"))}
    assert kept == {"config.yaml"} and after.keys() == before.keys()
    for name in before:
        if name.startswith("evaluation/"):
            assert (run.run / name).read_bytes() == (finished.run / name).read_bytes()


def test_pseudo_masks_are_indexed_pngs_of_the_images_own_tags(finished: RunConfig) -> None:
    assert finished.data.root is not None
    for id_ in TRAIN:
        with Image.open(Run(finished.run).pseudo_mask(id_)) as file:
            assert (file.mode, file.size) == ("P", (64, 64))
            assert file.getpalette() == mask_io.palette().flatten().tolist()
            values = set(np.unique(np.array(file)).tolist())
        truth = mask_io.read_mask(finished.data.root / "SegmentationClassAug" / f"{id_}.png")
        assert values <= {255, *np.unique(truth).tolist()}, id_


def test_seeds_are_soft_scores_of_the_images_own_tags(finished: RunConfig) -> None:
    assert finished.data.root is not None
    for id_ in TRAIN:
        truth = mask_io.read_mask(finished.data.root / "SegmentationClassAug" / f"{id_}.png")
        with np.load(Run(finished.run).seed(id_)) as soft:
            assert soft["labels"].tolist() == [v for v in np.unique(truth).tolist() if v]
            for key in ("cam", "seed"):
                assert soft[key].shape == (len(soft["labels"]), 16, 16)
                assert soft[key].dtype == np.float16
                assert soft[key].min() >= 0 and soft[key].max() <= 1


def test_predictions_are_indexed_pngs_of_any_class(finished: RunConfig) -> None:
    for id_ in VAL:
        mask = mask_io.read_mask(Run(finished.run).predictions("val") / f"{id_}.png")
        assert mask.shape == (64, 64) and mask.max() <= len(CLASS_NAMES)


@pytest.mark.parametrize(
    ("name", "of", "images"),
    [
        ("cam_train", "cam", 12),
        ("seeds_train", "seeds", 12),
        ("pseudo_masks_train", "pseudo-masks", 12),
        ("predictions_val", "predictions", 4),
    ],
)
def test_evaluation_holds_scores_and_protocol(
    finished: RunConfig, name: str, of: str, images: int
) -> None:
    scores = json.loads((finished.run / "evaluation" / f"{name}.json").read_text())
    assert (scores["of"], scores["split"], scores["images"]) == (of, name.split("_")[-1], images)
    assert list(scores["iou"]) == ["background", *CLASS_NAMES]
    known = [value for value in scores["iou"].values() if value is not None]
    assert scores["miou"] == pytest.approx(sum(known) / len(known))
    assert 0 < scores["pixel_accuracy"] < 1
    assert scores["protocol"]["resolution"] == "original"
    given = scores["protocol"]["tags"]
    assert given == ("not given" if of == "predictions" else "given")
    assert ("oracle" in scores) == (of in ("cam", "seeds"))
    if "oracle" in scores:
        # the threshold that was swept on the true masks
        assert 0 < scores["oracle"]["threshold"] < 1 and scores["oracle"]["miou"] > 0


def test_train_cls_metrics_are_plain_json(finished: RunConfig) -> None:
    text = (finished.run / "train_cls" / "metrics.json").read_text()
    metrics = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert metrics["train_images"] + metrics["held_images"] == 12
    assert metrics["held_images"] > 0 and list(metrics["ap"]) == list(CLASS_NAMES)
    known = [value for value in metrics["ap"].values() if value is not None]
    # two held images don't hold every class
    assert 0 < len(known) < len(CLASS_NAMES)
    assert metrics["map"] == pytest.approx(sum(known) / len(known))


def test_report_shows_figures_and_images(finished: RunConfig) -> None:
    page = (finished.run / "report" / "index.html").read_text()
    for text in ("pseudo-masks", "predictions", "oracle threshold", *CLASS_NAMES):
        assert text in page
    # it stands by itself: nothing is loaded from a file or an address
    assert "Examples (train)" in page and not re.search(r'(src|href)="(?!data:)[^"]', page)
    for name in finished.run.joinpath("pseudo_masks", "class_names.txt").read_text().splitlines():
        assert f"</span>{name}</li>" in page
    with Image.open(finished.run / "report" / "train.png") as sheet:
        columns = ["image", "CAM", "slots", "seed", "pseudo-mask", "prediction", "truth"]
        assert sheet.width == 204 * len(columns) + 4


def test_generate_pseudo_masks_in_shards_makes_the_files_of_one_process(
    finished: RunConfig, tmp_path: Path
) -> None:
    config = finished.model_copy(update={"run": tmp_path / "run"})
    shutil.copytree(finished.run / "train_cls", config.run / "train_cls")
    generate_pseudo_masks.run(config, shard=(1, 2))
    assert not Run(config.run).finished("pseudo_masks")
    odd = {path.stem for path in (config.run / "pseudo_masks").glob("*.png")}
    assert odd == set(TRAIN[1::2])
    assert not (config.run / "pseudo_masks" / "scores.csv").exists()
    generate_pseudo_masks.run(config, shard=(0, 2))
    assert Run(config.run).finished("pseudo_masks")
    for folder, suffix in (("pseudo_masks", "png"), ("seeds", "npz")):
        for id_ in TRAIN:
            name = f"{folder}/{id_}.{suffix}"
            assert (config.run / name).read_bytes() == (finished.run / name).read_bytes(), name
    scores = [run / "pseudo_masks" / "scores.csv" for run in (config.run, finished.run)]
    assert scores[0].read_bytes() == scores[1].read_bytes()


@pytest.mark.slow  # each stage's overwrite has a fast test
def test_pipeline_run_overwrites_every_stage(finished: RunConfig, run: RunConfig) -> None:
    pipeline.run(run.model_copy(update={"seed": 1}), overwrite=True)
    assert load(run.run / "config.yaml").seed == 1
    old, new = times(finished.run), times(run.run)
    for name in ("train_cls/model.safetensors", "train_seg/model.safetensors"):
        assert (run.run / name).read_bytes() != (finished.run / name).read_bytes()
    masks = [name for name in new if name.endswith((".png", ".npz"))]
    assert len(masks) == 12 + 12 + 3 * 4 + 3 and all(new[name] > old[name] for name in masks)


def test_generate_pseudo_masks_cut_short_while_overwriting_keeps_no_old_mask(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = run.pseudo_masks.model_copy(update={"crf": "none"})
    config, folder = run.model_copy(update={"pseudo_masks": masks}), run.run / "pseudo_masks"
    write, written = generate_pseudo_masks.write_mask, []

    def three(path: Path, mask: np.ndarray, note: str) -> None:  # type: ignore[type-arg]
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write(path, mask, note=note)

    monkeypatch.setattr(generate_pseudo_masks, "write_mask", three)
    with pytest.raises(KeyboardInterrupt):
        generate_pseudo_masks.run(config, overwrite=True)
    assert sorted(folder.glob("*.png")) == sorted(written)
    monkeypatch.setattr(generate_pseudo_masks, "write_mask", write)
    made = {path: path.stat().st_mtime_ns for path in written}
    generate_pseudo_masks.run(config)
    assert {path: path.stat().st_mtime_ns for path in written} == made
    assert len(list(folder.glob("*.png"))) == 12
