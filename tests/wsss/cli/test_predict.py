"""Predicting without a run, archives and exports, by their commands."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from wsss.config import RunConfig
from wsss.data import mask_io
from wsss.stages import predict

from .command_line import sentence, wsss


@pytest.fixture
def photo(synthetic: Path, tmp_path: Path) -> Path:
    """An image outside of any run."""
    return Path(shutil.copy(synthetic / "JPEGImages" / "val_00000.jpg", tmp_path / "photo.jpg"))


def test_predict_by_a_model_file(
    finished: RunConfig, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "m.safetensors"
    result = wsss("export", finished.run, "--to", "safetensors", "--out", model)
    assert result.exit_code == 0 and result.stdout == f"{model}\n", result.output
    result = wsss("predict", "--model", model, photo)
    assert result.exit_code == 0 and result.stdout == "masks\n", result.output
    own = finished.run / "predictions" / "val" / "val_00000.png"
    found = mask_io.read_mask(tmp_path / "masks" / "photo.png")
    assert np.array_equal(found, mask_io.read_mask(own))
    assert {path.name for path in tmp_path.iterdir()} == {"masks", "m.safetensors", "photo.jpg"}


def test_weights_by_halves(finished: RunConfig, photo: Path, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    for path, more in ((whole, ()), (half, ("--half",))):
        assert (
            wsss("export", finished.run, "--to", "safetensors", "--out", path, *more).exit_code == 0
        )
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    for path in (whole, half):
        result = wsss("predict", "--model", path, photo, "--out", tmp_path / path.stem)
        assert result.exit_code == 0, result.output
    one, two = (mask_io.read_mask(tmp_path / n / "photo.png") for n in ("whole", "half"))
    assert (one == two).mean() > 0.9
    assert "safetensors alone" in sentence("export", finished.run, "--to", "onnx", "--half")


def test_predict_by_the_package_s_own_model(
    finished: RunConfig, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict, "files", lambda _: tmp_path)
    found = sentence("predict", photo)
    assert "comes without weights/voc61_nano.safetensors: add --model with a model file" in found
    (tmp_path / "weights").mkdir()
    model = finished.run / "train_seg" / "model.safetensors"
    shutil.copyfile(model, tmp_path / "weights" / "voc61_nano.safetensors")
    assert wsss("predict", photo, "--out", "here").stdout == "here\n"
    assert mask_io.read_mask(tmp_path / "here" / "photo.png").shape == (64, 64)
    assert wsss("predict", photo.parent, "--out", "there").exit_code == 0
    assert "gone.jpg" in sentence("predict", "gone.jpg")


def test_predict_reduces_large_images(
    finished: RunConfig, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[object] = []
    make = predict.predict_masks

    def heard(*arguments: object) -> object:
        sides.append(arguments[3].max_side)  # type: ignore[attr-defined]
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(predict, "predict_masks", heard)
    for given in (32, 0):
        options = ("--max-side", given, "--overwrite", "--out", tmp_path / "masks")
        assert wsss("predict", finished.run, "--images", photo, *options).exit_code == 0
        assert mask_io.read_mask(tmp_path / "masks" / "photo.png").shape == (64, 64)
    assert sides == [32, None]
    refused = sentence("predict", finished.run, "--images", photo, "--max-side", 7)
    assert "evaluate.max_side is 7: expected" in refused


def test_settings_beside_a_model(
    finished: RunConfig, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ("predict", "--model", finished.run, "--out", "masks")
    for given in ((photo, "evaluate.crf=none"), ("evaluate.crf=none", "--images", photo)):
        assert wsss(*common, *given, "--overwrite").stdout == "masks\n"
        # the setting arrives: a preset that doesn't exist is refused
        wrong = [str(part).replace("none", "irm") for part in given]
        assert "no CRF preset 'irm'" in sentence(*common, *wrong, "--overwrite")
    # a run beside a model gives its settings, the model its weights
    result = wsss(*common, finished.run, "--images", photo, "--overwrite")
    assert result.stdout == "masks\n", result.output


def test_pack_and_check(finished: RunConfig, synthetic: Path, tmp_path: Path) -> None:
    archive = tmp_path / "test.tar.gz"
    images = synthetic / "JPEGImages"
    run = shutil.copytree(finished.run, tmp_path / "run")
    result = wsss("pack-voc-test", run, "--images", images, "--out", archive)
    assert result.stdout == f"{archive}\n", result.output
    lists = synthetic / "ImageSets" / "Segmentation"
    result = wsss("check-voc-archive", archive, "--images", images)
    assert (result.exit_code, result.stdout) == (0, "The archive is as the server takes it.\n")
    result = wsss("check-voc-archive", archive, "--ids", lists / "val.txt")
    assert result.exit_code == 2 and "train_00000 is in the archive and not in" in result.stdout
    assert "12 problems in" in result.stderr
    for option, what in (("--images", "folder of images"), ("--ids", "list of ids")):
        other = archive if option == "--images" else images
        found = sentence("check-voc-archive", archive, option, other)
        assert found.startswith(f"wsss: There is no {what} at {other}: give")
    assert "given no images" in sentence("pack-voc-test", run)


def test_evaluate_fast_and_beside_the_ceiling(finished: RunConfig, tmp_path: Path) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    result = wsss("evaluate", run, "--fast")
    assert result.exit_code == 0 and "single scale" in result.stderr
    assert "scales + flip" not in result.stderr
    found = sentence("evaluate", run, "--ceiling", "--of", "seeds")
    assert found.endswith("--ceiling scores predictions, not --of seeds: leave one of the two out.")
    result = wsss("evaluate", run, "--ceiling")
    assert result.stdout == f"{run / 'evaluation' / 'ceiling_val.json'}\n", result.output
    assert "ratio" in result.stderr and "scales + flip + CRF" in result.stderr
    # the page is rewritten with every score
    page = (run / "report" / "index.html").read_text()
    assert "Tags over true masks on val" in page and "scales + flip + CRF" in page
