"""The whole pipeline on a set in COCO's layout, made of the synthetic images."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.wsss.cli.command_line import error, printed, wsss
from wsss import pipeline
from wsss.config import RunConfig, load
from wsss.data import mask_io
from wsss.data.synthetic import CLASS_NAMES
from wsss.errors import WsssError
from wsss.formats import voc
from wsss.formats.coco_layout import annotations_file
from wsss.formats.rle import encode_rle
from wsss.run.state import Run
from wsss.stages import check_data, evaluate, generate_pseudo_masks, train_cls, train_seg

SPLITS = {"train2014": "train", "val2014": "val"}
CATEGORIES = {
    i + 1 + i // 8: CLASS_NAMES[i] if i < len(CLASS_NAMES) else f"c{i}" for i in range(80)
}


def write_coco(root: Path, source: Path) -> None:
    """Connected components as instances; every fifth is a crowd; an image without any is left."""
    ids = list(CATEGORIES)
    for split, listed in SPLITS.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        (root / split).mkdir(parents=True)
        for number, id_ in enumerate(voc.split_ids(source, listed), 1):
            shutil.copyfile(source / "JPEGImages" / f"{id_}.jpg", root / split / f"{id_}.jpg")
            mask = mask_io.read_mask(source / "SegmentationClassAug" / f"{id_}.png")
            size = dict(zip(("height", "width"), mask.shape, strict=True))
            images.append({"id": 10 * number, "file_name": f"{id_}.jpg", **size})
            for value in np.unique(mask[(mask > 0) & (mask < 255)]).tolist():
                count, parts = cv2.connectedComponents((mask == value).astype(np.uint8))
                for part in range(1, count):
                    pixels = parts == part
                    annotations.append(
                        {
                            "image_id": 10 * number,
                            "category_id": ids[value - 1],
                            "segmentation": encode_rle(pixels),
                            "area": int(pixels.sum()),
                            "iscrowd": int(len(annotations) % 5 == 4),
                        }
                    )
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in CATEGORIES.items()],
        }
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> Path:
    root = tmp_path_factory.mktemp("coco") / "set"
    write_coco(root, synthetic)
    return root


def config_of(tiny: Path, root: Path, run: Path, *more: str) -> RunConfig:
    splits = [f"data.{key}_split=train2014" for key in ("train", "mask", "score")]
    settings = [f"data.root={root}", f"run={run}", *splits, "data.val_split=val2014", *more]
    return load(tiny, settings)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny: Path, coco: Path) -> RunConfig:
    config = config_of(tiny, coco, tmp_path_factory.mktemp("run") / "coco")
    pipeline.run(config)
    return config


def scores(config: RunConfig, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((config.run / "evaluation" / f"{name}.json").read_text())
    return found


def test_coco_run_scores_81_classes_and_says_how_the_truth_was_made(
    done: RunConfig, coco: Path
) -> None:
    for name, split in (
        ("predictions_val2014", "val2014"),
        ("pseudo_masks_train2014", "train2014"),
    ):
        found = scores(done, name)
        assert len(found["iou"]) == 81 and found["protocol"]["truth_rule"] == "coco2voc"
        digest = found["protocol"]["truth_digest"]
        assert (coco / "true_masks" / f"{split}.coco2voc.{digest}").is_dir()
    table = (done.run / "evaluation" / "confusion_val2014.csv").read_text().splitlines()
    assert len(table) == 82
    assert (done.run / "report" / "index.html").is_file()


def test_coco_true_masks_score_as_perfect_by_their_own_rule(
    done: RunConfig, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(done.run, tmp_path / "run"))
    config = done.model_copy(update={"run": run})
    assert config.data.root is not None
    (made,) = (config.data.root / "true_masks").glob("train2014.coco2voc.*")
    for path in (made / "SegmentationClass").glob("*.png"):
        mask_io.write_mask(Run(run).pseudo_mask(path.stem), mask_io.read_mask(path))
    evaluate.run(config, "pseudo-masks")
    assert scores(config, "pseudo_masks_train2014")["miou"] == 1
    recam = config.data.model_copy(update={"truth_rule": "recam"})
    evaluate.run(config.model_copy(update={"data": recam}), "pseudo-masks")
    other = scores(config, "pseudo_masks_train2014")
    assert other["miou"] < 1 and other["protocol"]["truth_rule"] == "recam"


def test_training_on_coco_makes_no_true_mask_and_reads_no_segmentation(
    done: RunConfig, tiny: Path, coco: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(coco, tmp_path / "set"))
    shutil.rmtree(root / "true_masks")
    for split in SPLITS:
        path = annotations_file(root, split)
        content = json.loads(path.read_text())
        for one in content["annotations"]:
            one["segmentation"] = [["unreadable"]]
        path.write_text(json.dumps(content))
    config = config_of(tiny, root, tmp_path / "run")
    for stage in (train_cls, generate_pseudo_masks, train_seg):
        stage.run(config)
    assert not (root / "true_masks").exists()
    for name in ("train_cls/model.safetensors", "train_seg/model.safetensors"):
        assert (config.run / name).read_bytes() == (done.run / name).read_bytes()
    with pytest.raises(WsssError, match=r"Annotation 1 of .*instances_train2014\.json"):
        evaluate.run(config, "pseudo-masks")
    problems = check_data.run(config.data)
    assert len(problems) == 2 and all(problem.startswith("mask: ") for problem in problems)


def test_check_data_of_coco(done: RunConfig, coco: Path, tmp_path: Path) -> None:
    assert check_data.run(done.data) == []
    assert any("80 classes" in line for line in check_data.describe(done))
    root = Path(shutil.copytree(coco, tmp_path / "set"))
    (root / "val2014" / "val_00001.jpg").write_bytes(b"no image")
    (root / "train2014" / "train_00003.jpg").unlink()
    problems = check_data.run(done.data.model_copy(update={"root": root}))
    assert len(problems) == 2
    assert problems[0].startswith("annotations: 1 of 12 images of split train2014")
    assert problems[1].startswith("image: ") and "val_00001.jpg" in problems[1]


def test_evaluate_prints_the_form_of_papers(done: RunConfig, tmp_path: Path) -> None:
    run = shutil.copytree(done.run, tmp_path / "run")
    page = printed("evaluate", run, "--protocol", "coco")
    text = page.read_text()
    assert page.name == "predictions_val2014.coco.md"
    assert text.startswith("# MS COCO 2014: predictions on val2014\n")
    assert "4 of 40,137: not the published list" in text and "by the rule coco2voc" in text
    masks = wsss("evaluate", run, "--of", "pseudo-masks", "--protocol", "toco")
    assert masks.exit_code == 0 and "# counted as by utils/evaluate.py of ToCo" in masks.stderr
    assert "voc is of 21 classes" in error("evaluate", run, "--protocol", "voc")
    assert "'ade'" in error("evaluate", run, "--protocol", "ade")
    assert "--protocol" in error("evaluate", run, "--ceiling", "--protocol", "coco")
