"""`wsss predict` by a run, by a model file, and by the package's own model."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.config import RunConfig
from wsss.data import mask_io
from wsss.data.images import Sample
from wsss.engine.inference import Loaded
from wsss.models import start_from
from wsss.stages import predict

from .command_line import error, printed


@pytest.fixture
def photo(synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image in the working directory, outside of any run."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(synthetic / "JPEGImages" / "val_00000.jpg", tmp_path / "photo.jpg"))


def test_predict_by_a_model_file_needs_no_run(
    finished: RunConfig, photo: Path, tmp_path: Path
) -> None:
    model = tmp_path / "m.safetensors"
    assert printed("export", finished.run, "--to", "safetensors", "--out", model) == model
    assert printed("predict", "--model", model, photo) == Path("masks")
    own = finished.run / "predictions" / "val" / "val_00000.png"
    found = mask_io.read_mask(tmp_path / "masks" / "photo.png")
    assert np.array_equal(found, mask_io.read_mask(own))
    assert {path.name for path in tmp_path.iterdir()} == {"masks", "m.safetensors", "photo.jpg"}


def test_predict_by_weights_in_half_precision(
    finished: RunConfig, photo: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.safetensors"
    printed("export", finished.run, "--to", "safetensors", "--out", half, "--half")
    whole = finished.run / "train_seg" / "model.safetensors"
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    printed("predict", "--model", half, photo)
    own = finished.run / "predictions" / "val" / "val_00000.png"
    one, two = (mask_io.read_mask(path) for path in (own, tmp_path / "masks" / "photo.png"))
    assert (one == two).mean() > 0.9
    assert "safetensors" in error("export", finished.run, "--to", "onnx", "--half")


def test_predict_by_the_packaged_model(
    finished: RunConfig, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_from, "files", lambda _: tmp_path)
    found = error("predict", photo)
    assert "weights/voc61_lite2.safetensors" in found and "--model" in found
    (tmp_path / "weights").mkdir()
    model = finished.run / "train_seg" / "model.safetensors"
    shutil.copyfile(model, tmp_path / "weights" / "voc61_lite2.safetensors")
    assert printed("predict", photo, "--out", "here") == Path("here")
    assert mask_io.read_mask(tmp_path / "here" / "photo.png").shape == (64, 64)
    printed("predict", photo.parent, "--out", "there")
    assert "gone.jpg" in error("predict", "gone.jpg")


def test_predict_several_images_into_the_run(folder: Path, photo: Path, tmp_path: Path) -> None:
    shutil.copy(photo, "second.jpg")
    out = printed("predict", folder, "photo.jpg", "second.jpg")
    assert out == folder / "predictions" / tmp_path.name
    assert {path.name for path in out.glob("*.png")} == {"photo.png", "second.png"}


def test_predict_takes_a_largest_side(
    finished: RunConfig, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[object] = []
    read = predict.load

    def spy(sample: Sample, max_side: int | None) -> Loaded:
        sides.append(max_side)
        return read(sample, max_side)

    monkeypatch.setattr(predict, "load", spy)
    common = ("predict", finished.run, "--images", photo)
    for side in (32, 0):
        printed(*common, "--max-side", side, "--overwrite", "--out", "masks")
        assert mask_io.read_mask(tmp_path / "masks" / "photo.png").shape == (64, 64)
    assert sides == [32, None]
    assert "evaluate.max_side is 7" in error(*common, "--max-side", 7)


def test_predict_takes_settings_beside_a_model(finished: RunConfig, photo: Path) -> None:
    common = ("predict", "--model", finished.run, "--out", "masks")
    # a preset that does not exist is refused: the setting arrives
    for given in ((photo, "evaluate.crf=irm"), ("evaluate.crf=irm", "--images", photo)):
        assert "'irm'" in error(*common, *given)
    # a run beside a model gives its settings, the model its weights
    assert printed(*common, finished.run, "--images", photo) == Path("masks")


def test_predict_without_images(finished: RunConfig) -> None:
    assert "--images" in error("predict", finished.run)


def test_predict_overlay_draws_what_is_missing_or_older_than_its_mask(
    finished: RunConfig, photo: Path, tmp_path: Path
) -> None:
    model = finished.run / "train_seg" / "model.safetensors"
    printed("predict", "--model", model, photo)
    assert not (tmp_path / "masks" / "overlays").exists()
    printed("predict", "--model", model, photo, "--overlay")
    drawn = tmp_path / "masks" / "overlays" / "photo.jpg"
    first = drawn.stat().st_mtime_ns
    printed("predict", "--model", model, photo, "--overlay")
    assert drawn.stat().st_mtime_ns == first
    printed("predict", "--model", model, photo, "--overlay", "--overwrite")
    assert drawn.stat().st_mtime_ns > first


def test_predict_takes_no_overlay_for_an_image(finished: RunConfig, tmp_path: Path) -> None:
    model, photos = finished.run / "train_seg" / "model.safetensors", tmp_path / "photos"
    (photos / "overlays").mkdir(parents=True)
    for name in ("a.jpg", "overlays/b.jpg"):
        Image.new("RGB", (64, 64)).save(photos / name)
    for _ in range(2):
        printed("predict", "--model", model, photos, "--overlay", "--out", photos)
    masks = {path.relative_to(photos).as_posix() for path in photos.rglob("*.png")}
    assert masks == {"a.png", "overlays/b.png"}


def test_predict_overlay_replaces_no_other_image(
    finished: RunConfig, photo: Path, tmp_path: Path
) -> None:
    model, folder = finished.run / "train_seg" / "model.safetensors", tmp_path / "overlays"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / f"{photo.stem}.jpg")
    common = ("predict", "--model", model, photo, "--overlay", "--out", tmp_path)
    assert "was not made by this program" in error(*common)
    other = ("predict", "--model", model, folder, "--overlay", "--out", tmp_path)
    assert "The overlay of" in error(*other, "--overwrite")
    with Image.open(folder / f"{photo.stem}.jpg") as kept:
        assert kept.size == (8, 8)
