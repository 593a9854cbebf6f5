"""A mask stays only while image, model and settings are what it was made of."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from wsss.config import RunConfig
from wsss.data import mask_io
from wsss.engine.checkpoint import read_metadata
from wsss.run.state import Run
from wsss.stages import export, predict


def other_weights(model: Path) -> None:
    """Put another segmenter of the same shape in the place of a segmenter."""
    metadata = {"wsss": json.dumps(read_metadata(model, "segmenter"))}
    weights = load_file(model)
    weights[next(name for name in weights if name.endswith("weight"))] *= 2
    save_file(weights, model, metadata=metadata)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """`a/photo.jpg` and `b/photo.jpg`, of different sizes."""
    for name, width in (("a", 40), ("b", 50)):
        pixels = np.random.default_rng(width).integers(0, 256, (30, width, 3), np.uint8)
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / name / "photo.jpg")
    return tmp_path / "photos"


def width(folder: Path) -> int:
    return mask_io.read_mask(folder / "photo.png").shape[1]


def test_the_mask_of_another_image_of_that_name_is_replaced(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for images, expected in (("a", 40), ("b", 50), ("a/photo.jpg", 40), ("b/photo.jpg", 50)):
        assert width(predict.run(finished, photos / images, out)) == expected
    # nothing lies beside the masks
    assert {path.name for path in out.iterdir()} == {"photo.png", "class_names.txt"}


def test_folders_of_one_name_share_no_mask(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    run = finished.model_copy(update={"run": shutil.copytree(finished.run, tmp_path / "run")})
    for name in ("a", "b"):
        (photos / name / "june").mkdir()
        shutil.move(photos / name / "photo.jpg", photos / name / "june")
    found = [predict.run(run, photos / name / "june") for name in ("a", "b")]
    assert found[0] == found[1] and width(found[1]) == 50


@pytest.mark.parametrize("settings", [{"scales": (2.0,)}, {"flip": True}, {"max_side": 32}])
def test_the_mask_of_other_settings_is_replaced(
    finished: RunConfig, photos: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    mask = predict.run(finished, photos / "a", tmp_path / "out") / "photo.png"
    made = mask.stat().st_mtime_ns
    predict.run(finished, photos / "a", tmp_path / "out")
    assert mask.stat().st_mtime_ns == made
    evaluate = finished.evaluate.model_copy(update=settings)
    predict.run(finished.model_copy(update={"evaluate": evaluate}), photos / "a", tmp_path / "out")
    assert mask.stat().st_mtime_ns > made


def test_an_image_that_was_changed_is_segmented_again(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    out = predict.run(finished, photos / "a", tmp_path / "out")
    before = (photos / "a" / "photo.jpg").stat()
    shutil.copyfile(photos / "b" / "photo.jpg", photos / "a" / "photo.jpg")
    os.utime(photos / "a" / "photo.jpg", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert width(predict.run(finished, photos / "a", out)) == 50


@pytest.mark.parametrize("to", ["run", "safetensors", "hub"])
def test_the_mask_of_another_model_is_replaced(
    finished: RunConfig, photos: Path, tmp_path: Path, to: str
) -> None:
    if to == "run":
        model = Path(shutil.copytree(finished.run, tmp_path / "run"))
        weights = Run(model).model("train_seg")
    else:
        model = export.run(finished, to, tmp_path / f"m{export.SUFFIXES[to]}")
        weights = model / "model.safetensors" if to == "hub" else model
    mask = predict.run(finished, photos / "a", tmp_path / "out", model=model) / "photo.png"
    made = mask.stat().st_mtime_ns
    os.utime(weights)  # the same, copied
    predict.run(finished, photos / "a", tmp_path / "out", model=model)
    assert mask.stat().st_mtime_ns == made
    other_weights(weights)
    predict.run(finished, photos / "a", tmp_path / "out", model=model)
    assert mask.stat().st_mtime_ns > made


def test_a_mask_of_unknown_origin_is_replaced(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for damaged in (b"", b"no image"):
        (out / "photo.png").write_bytes(damaged)
        assert width(predict.run(finished, photos / "a", out)) == 40
    mask_io.write_mask(out / "photo.png", np.zeros((3, 3), np.uint8))
    assert width(predict.run(finished, photos / "a", out)) == 40
