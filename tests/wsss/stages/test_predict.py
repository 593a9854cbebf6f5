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
from wsss.errors import WsssError
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


def test_a_file_that_was_not_made_here_is_never_replaced(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    drawn = out / "photo.png"
    for data in (b"", b"no image", None):
        if data is None:
            mask_io.write_mask(drawn, np.full((30, 40), 3, np.uint8))
        else:
            drawn.write_bytes(data)
        before = drawn.read_bytes()
        with pytest.raises(WsssError, match=r"photo\.png was not made by this program .*--overwr"):
            predict.run(finished, photos / "a", out)
        assert drawn.read_bytes() == before and len(list(out.iterdir())) == 1
    assert width(predict.run(finished, photos / "a", out, overwrite=True)) == 40
    assert mask_io.read_origin(drawn)


def test_class_names_that_say_something_else_stay(
    finished: RunConfig, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    names = out / "class_names.txt"
    names.write_text("0 background\n1 mine\n")
    with pytest.raises(WsssError, match=r"^Line 2 of .*class_names\.txt has '1 mine'; expected"):
        predict.run(finished, photos / "a", out)
    assert names.read_text() == "0 background\n1 mine\n" and len(list(out.iterdir())) == 1
    predict.run(finished, photos / "a", out, overwrite=True)
    assert names.read_text().startswith("0 background\n1 striped_disc\n")
    predict.run(finished, photos / "a", out)


def test_find_takes_the_image_and_not_its_mask(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    Image.new("P", (4, 4)).save(tmp_path / "a.png")
    assert [s.path.name for s in predict.find(tmp_path, tmp_path / "out")] == ["a.jpg"]


def test_find_searches_linked_folders_and_any_suffix(photos: Path, tmp_path: Path) -> None:
    images = tmp_path / "images #1"
    images.mkdir()
    (images / "more").symlink_to(photos)
    Image.new("RGB", (4, 4)).save(images / "x=~ 1.WEBP")
    found = predict.find(images, tmp_path / "out")
    assert [s.id for s in found] == ["more/a/photo", "more/b/photo", "x=~ 1"]


def test_predict_says_what_it_leaves_out(
    finished: RunConfig, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a" / "photo.svg").write_text("<svg/>")
    Image.new("P", (40, 30)).save(photos / "a" / "photo.png")
    predict.run(finished, photos / "a", tmp_path / "out")
    told = capsys.readouterr().err
    assert "no images: 1 .svg" in told and "masks beside their images: 1, photo.png" in told


def test_find_names_what_there_is_instead_of_images(tmp_path: Path) -> None:
    (tmp_path / "a.psd").write_bytes(b"")
    with pytest.raises(WsssError, match=r"holds no images \(.*\), but 1 \.psd"):
        predict.find(tmp_path, tmp_path / "out")
