"""Scores against masks whose score is known beforehand."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from wsss.config import EvaluateConfig, RunConfig
from wsss.data import mask_io
from wsss.data.synthetic import CLASS_NAMES
from wsss.engine.checkpoint import read_metadata
from wsss.errors import WsssError
from wsss.formats import voc
from wsss.report.tables import show_classes, show_summary
from wsss.run.state import Run
from wsss.stages import evaluate, predict, report, visualize


def truth(config: RunConfig, id_: str) -> np.ndarray:  # type: ignore[type-arg]
    assert config.data.root is not None
    return mask_io.read_mask(config.data.root / "SegmentationClassAug" / f"{id_}.png")


def ids(config: RunConfig, split: str) -> tuple[str, ...]:
    assert config.data.root is not None
    return voc.split_ids(config.data.root, split)


def scores(path: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads(path.read_text())
    return found


def test_evaluate_scores_the_true_masks_as_perfect(run: RunConfig) -> None:
    for id_ in ids(run, "train"):
        mask_io.write_mask(Run(run.run).pseudo_mask(id_), truth(run, id_))
    found = scores(evaluate.run(run, "pseudo-masks"))
    assert found["miou"] == 1 and found["pixel_accuracy"] == 1
    assert found["iou"] == dict.fromkeys(("background", *CLASS_NAMES), 1.0)  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("unsure", ["background", "wrong"])
def test_evaluate_counts_unsure_pixels_as_the_config_says(run: RunConfig, unsure: str) -> None:
    for id_ in ids(run, "train"):
        mask = np.where(truth(run, id_) == 0, 255, truth(run, id_)).astype(np.uint8)
        mask_io.write_mask(Run(run.run).pseudo_mask(id_), mask)
    settings = EvaluateConfig.model_validate({"unsure": unsure})
    found = scores(evaluate.run(run.model_copy(update={"evaluate": settings}), "pseudo-masks"))
    if unsure == "background":
        assert found["miou"] == 1
    else:
        assert found["iou"]["background"] == 0  # type: ignore[index]
        assert found["miou"] == pytest.approx(len(CLASS_NAMES) / (len(CLASS_NAMES) + 1))
    assert found["protocol"]["unsure"] == unsure  # type: ignore[index]


def test_evaluate_scores_seeds_that_are_the_truth_as_perfect(run: RunConfig) -> None:
    for id_ in ids(run, "train"):
        target = truth(run, id_)
        labels = np.unique(target[target > 0])
        # at the image's own size, so that no resizing blurs an edge
        soft = np.stack([target == label for label in labels]).astype(np.float16)
        blank = np.zeros_like(soft)
        np.savez(Run(run.run).seed(id_), labels=labels, cam=blank, seed=soft)
    found = scores(evaluate.run(run, "seeds"))
    assert found["miou"] == 1 and found["oracle"]["miou"] == 1  # type: ignore[index]
    flat = scores(evaluate.run(run, "cam"))
    assert flat["iou"][CLASS_NAMES[0]] == 0  # type: ignore[index]
    background = np.mean([(truth(run, id_) == 0).mean() for id_ in ids(run, "train")])
    assert flat["pixel_accuracy"] == pytest.approx(background)


def test_evaluate_and_visualize_make_seeds_that_are_not_kept(run: RunConfig) -> None:
    kept = [evaluate.run(run, kind).read_text() for kind in ("cam", "seeds")]
    shown = visualize.run(run).read_bytes()
    shutil.rmtree(Run(run.run).seeds)
    assert [path.read_text() for path in evaluate.run_all(run, ("cam", "seeds"))] == kept
    assert visualize.run(run).read_bytes() == shown
    assert scores(evaluate.run(run, "seeds", "val"))["images"] == 4
    Run(run.run).done("train_cls").unlink()
    with pytest.raises(WsssError, match="train-cls"):
        evaluate.run(run, "cam")


def test_evaluate_on_a_split_of_void_alone_has_no_figures(run: RunConfig, tmp_path: Path) -> None:
    assert run.data.root is not None
    root = Path(shutil.copytree(run.data.root, tmp_path / "VOC"))
    for path in (root / "SegmentationClassAug").glob("*.png"):
        mask_io.write_mask(path, np.full_like(mask_io.read_mask(path), 255))
    void = run.model_copy(update={"data": run.data.model_copy(update={"root": root})})
    paths = [evaluate.run(void, kind) for kind in evaluate.KINDS]
    for path in paths:
        assert "NaN" not in path.read_text() and scores(path)["miou"] is None
    show_summary(paths)
    show_classes(paths[-1])
    assert report.run(void).is_file()


def test_evaluate_counts_missing_masks(run: RunConfig) -> None:
    for id_ in ids(run, "train")[:3]:
        Run(run.run).pseudo_mask(id_).unlink()
    with pytest.raises(WsssError, match=r"3 of 12 .*train_00000\.png"):
        evaluate.run(run, "pseudo-masks")


@pytest.mark.parametrize(
    ("of", "damage", "fault"),
    [
        ("seeds", "size", r"train_00003\.png is 7×9 .*train_00003\.jpg 64×64"),
        ("pseudo-masks", "size", r"train_00003\.png is 7×9 .*train_00003\.jpg 64×64"),
        ("pseudo-masks", "gone", r"train_00003\.png"),
    ],
)
def test_evaluate_names_a_true_mask_that_does_not_fit(
    run: RunConfig, copied: Path, of: evaluate.Kind, damage: str, fault: str
) -> None:
    path = copied / "SegmentationClassAug" / "train_00003.png"
    path.unlink()
    if damage == "size":
        mask_io.write_mask(path, np.zeros((9, 7), np.uint8))
    data = run.data.model_copy(update={"root": copied})
    with pytest.raises(WsssError, match=fault):
        evaluate.run(run.model_copy(update={"data": data}), of)


def protocol(config: RunConfig, of: evaluate.Kind) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(evaluate.run(config, of).read_text())["protocol"]
    return found


def test_evaluate_protocol_holds_every_setting_of_a_mask(run: RunConfig) -> None:
    settings = run.pseudo_masks.model_dump(mode="json", exclude={"keep_seeds"})
    made = {**settings, "walks": [{"block": "8.0", "steps": 2}]}
    common = {"ignored": 255, "resolution": "original", "seed": 0, "tags": "given"}
    masks = protocol(run, "pseudo-masks")
    assert masks == {**common, **made, "unsure": "background"}
    seeds = protocol(run, "seeds")
    later = ("sharpness", "crf_backend", "crf_iterations", "confidence")
    assert seeds == {**common, **{k: v for k, v in made.items() if k not in later}, "crf": "none"}
    assert set(seeds) - set(protocol(run, "cam")) == {"walks", "border", "levels"}


def test_evaluate_protocol_follows_the_masks_and_not_the_command(run: RunConfig) -> None:
    was = {kind: protocol(run, kind) for kind in evaluate.KINDS}
    settings = {"confidence": 0.9, "band": 0.1, "border": None, "flip": False, "crf": "none"}
    masks = run.pseudo_masks.model_copy(update={**settings, "background": 0.3})
    other = run.model_copy(update={"pseudo_masks": masks, "seed": 7})
    assert protocol(other, "pseudo-masks") == was["pseudo-masks"]
    assert protocol(other, "predictions") == was["predictions"]
    # but seeds are thresholded by the command
    for kind in evaluate.KINDS[:2]:
        assert protocol(other, kind) == {**was[kind], "background": 0.3}


def test_evaluate_kind_by_its_name() -> None:
    assert [evaluate.kind(name) for name in evaluate.KINDS] == list(evaluate.KINDS)
    with pytest.raises(WsssError, match="--of is 'pseudo_masks'"):
        evaluate.kind("pseudo_masks")


def test_evaluate_columns_are_what_predict_makes_with_their_settings(run: RunConfig) -> None:
    own = EvaluateConfig(test_scales=(0.5, 1.0), test_crf="afa")
    config = run.model_copy(update={"evaluate": own})
    predict.run_split(config)
    found: dict[str, Any] = scores(evaluate.run(config, "predictions"))  # type: ignore[assignment]
    modes = {name: (c["scales"], c["flip"], c["crf"]) for name, c in found["columns"].items()}
    assert modes == {
        "single": ([1.0], False, "none"),
        "scales": ([0.5, 1.0], True, "none"),
        "crf": ([0.5, 1.0], True, "afa"),
    }
    for name in ("single", "crf"):
        column = found["columns"][name]
        # each column is what predict alone makes with these settings
        settings = EvaluateConfig(scales=column["scales"], flip=column["flip"], crf=column["crf"])
        alone = run.model_copy(update={"evaluate": settings.model_copy(update={"fast": True})})
        predict.run_split(alone)
        single: dict[str, Any] = scores(evaluate.run(alone, "predictions"))  # type: ignore[assignment]
        assert len(single["columns"]) == 1
        assert column["miou"] == pytest.approx(single["miou"], abs=1e-3), name
    for key in ("miou", "iou", "boundary_miou", "boundary_iou", "pixel_accuracy"):
        assert found[key] == found["columns"]["single"][key]


def test_evaluate_columns_hold_the_configured_settings_beside_the_standard_ones(
    run: RunConfig,
) -> None:
    config = run.model_copy(update={"evaluate": EvaluateConfig(scales=(0.75,))})
    predict.run_split(config)
    found: dict[str, Any] = scores(evaluate.run(config, "predictions"))  # type: ignore[assignment]
    assert list(found["columns"]) == ["configured", "single", "scales", "crf"]
    assert found["miou"] == found["columns"]["configured"]["miou"]
    assert (run.run / "predictions" / "val.single").is_dir()
    assert list(EvaluateConfig(test_crf="none").columns()) == ["single", "scales"]


def test_evaluate_names_the_worst_predictions(run: RunConfig) -> None:
    *right, wrong = ids(run, "val")
    config = run.model_copy(update={"evaluate": EvaluateConfig(fast=True)})
    for id_ in right:
        mask_io.write_mask(Run(run.run).predictions("val") / f"{id_}.png", truth(run, id_))
    blank = np.zeros_like(truth(run, wrong))
    mask_io.write_mask(Run(run.run).predictions("val") / f"{wrong}.png", blank)
    found: dict[str, Any] = scores(evaluate.run(config, "predictions"))  # type: ignore[assignment]
    assert next(iter(found["worst"])) == wrong and len(found["worst"]) == 4
    assert [found["worst"][id_] for id_ in right] == [1.0] * 3
    assert found["boundary_miou"] < 1
    table = (run.run / "evaluation" / "confusion_val.csv").read_text().splitlines()
    counts = np.array([line.split(",")[1:] for line in table[1:]], int)
    assert (
        counts.sum() == 4 * blank.size and (counts - np.diag(counts.diagonal()))[:, 1:].sum() == 0
    )
    with Image.open(run.run / "report" / "worst_val.png") as sheet:
        assert sheet.width == 3 * 244 + 4
    mask_io.write_mask(Run(run.run).predictions("val") / f"{wrong}.png", truth(run, wrong))
    assert scores(evaluate.run(config, "predictions"))["boundary_miou"] == 1


def stamps(folder: Path) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted(folder.glob("*.png"))]


def test_predict_split_recomputes_predictions_that_would_differ(run: RunConfig) -> None:
    fast = run.model_copy(update={"evaluate": EvaluateConfig(fast=True)})
    folder = predict.run_split(fast)
    before = stamps(folder)
    assert stamps(predict.run_split(fast)) == before and len(before) == 4
    flipped = run.model_copy(update={"evaluate": EvaluateConfig(fast=True, flip=True)})
    after = stamps(predict.run_split(flipped))
    assert all(new > old for new, old in zip(after, before, strict=True))
    # a mask that is gone is recomputed, alone
    sorted(folder.glob("*.png"))[2].unlink()
    again = stamps(predict.run_split(flipped))
    assert [new == old for new, old in zip(again, after, strict=True)] == [True, True, False, True]
    # the same segmenter from elsewhere, and another one
    model = Run(run.run).model("train_seg")
    model.write_bytes(model.read_bytes())
    assert stamps(predict.run_split(flipped)) == again
    weights = load_file(model)
    weights[next(name for name in weights if name.endswith("weight"))] *= 2
    metadata = read_metadata(model, "segmenter")
    save_file(weights, model, metadata={"wsss": json.dumps(metadata)})
    assert all(
        new > old for new, old in zip(stamps(predict.run_split(flipped)), again, strict=True)
    )


def test_predict_split_refines_predictions_by_a_crf(run: RunConfig) -> None:
    # the finished run has its plain predictions
    plain = {p.name: p.read_bytes() for p in (run.run / "predictions" / "val").glob("*.png")}
    refined = run.model_copy(update={"evaluate": EvaluateConfig(fast=True, crf="deeplab")})
    masks = sorted(predict.run_split(refined).glob("*.png"))
    assert [path.name for path in masks] == sorted(plain)
    assert any(path.read_bytes() != plain[path.name] for path in masks)
