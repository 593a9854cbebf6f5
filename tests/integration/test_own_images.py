"""The user's own images and a CSV: no config, no true masks, no scores, but masks and a page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from tests.wsss.cli.command_line import error, printed, wsss
from wsss.config import RunConfig
from wsss.data import mask_io
from wsss.models import inference, mask_sources
from wsss.run.state import Run
from wsss.stages import predict


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten noisy images of different sizes, kinds and folders, one without a tag."""
    folder = tmp_path / "my images"
    rng = np.random.default_rng(0)
    rows = ["image,tags"]
    for n in range(10):
        name = f"trip.{n % 2}/pic {n}.{'png' if n % 3 else 'jpeg'}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (40 + 3 * n, 33 + n, 3)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(path)
        rows.append(f"{name},{('hat', 'cup;hat', 'cup', '')[n % 4 if n < 8 else 0]}")
    (tmp_path / "tags.csv").write_text("\n".join(rows))
    return folder


def test_run_from_a_folder_and_a_table(tmp_path: Path, images: Path, tiny: Path) -> None:
    run, tags = tmp_path / "run", tmp_path / "tags.csv"
    found = printed("run", tiny, f"run={run}", "--images", images, "--tags", tags)
    assert found == run / "report" / "index.html"
    assert not (run / "evaluation").exists() and not (run / "predictions").exists()
    for n in range(10):
        with Image.open(run / "pseudo_masks" / f"trip.{n % 2}" / f"pic {n}.png") as mask:
            assert mask.mode == "P" and mask.size == (33 + n, 40 + 3 * n)
            values = set(np.unique(np.array(mask)).tolist())
        # cup is 1 and hat 2; an image without tags is background for sure
        allowed = ({0, 2, 255}, {0, 1, 2, 255}, {0, 1, 255}, {0})[n % 4 if n < 8 else 0]
        assert values <= allowed, n
    named = (run / "pseudo_masks" / "class_names.txt").read_text()
    assert named == "0 background\n1 cup\n2 hat\n"
    page = found.read_text()
    assert "<img" in page and "Scores" not in page
    metrics = json.loads((run / "train_cls" / "metrics.json").read_text())
    assert set(metrics["ap"]) == {"cup", "hat"}
    # nothing is predicted for a score that can't be had
    assert f"no true masks at {images}" in error("evaluate", run)
    assert not (run / "predictions").exists()


def test_class_names_of_the_config_set_the_order(tmp_path: Path, images: Path, tiny: Path) -> None:
    run, tags = tmp_path / "run", tmp_path / "tags.csv"
    own = (tiny, f"run={run}", f"data.images={images}", f"data.tags={tags}")
    for command in ("train-cls", "generate-pseudo-masks"):
        printed(command, *own, "data.class_names=[hat, cup]")
    named = (run / "pseudo_masks" / "class_names.txt").read_text()
    assert named == "0 background\n1 hat\n2 cup\n"
    for n, allowed in ((0, {0, 1, 255}), (2, {0, 2, 255})):  # a hat, a cup
        mask = mask_io.read_mask(run / "pseudo_masks" / "trip.0" / f"pic {n}.png")
        assert set(np.unique(mask).tolist()) <= allowed
    again = error("train-cls", *own, "data.class_names=[cup, hat]")
    assert "data.class_names=['hat', 'cup']" in again
    wrong = wsss("check-data", *own, "data.class_names=[hat, cups]")
    assert wrong.exit_code == 2 and "'cup'" in wrong.stdout and "'cups'?" in wrong.stdout


def test_max_side_reduces_images_and_not_their_masks(
    tmp_path: Path, images: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    for module in (mask_sources, inference):
        look = module.predict_views

        def spy(model: object, image: Tensor, *rest: Any, look: Any = look) -> Any:
            seen.append(tuple(image.shape[2:]))
            return look(model, image, *rest)

        monkeypatch.setattr(module, "predict_views", spy)
    run, tags = tmp_path / "run", tmp_path / "tags.csv"
    own = [f"data.images={images}", f"data.tags={tags}", "data.max_side=32", "evaluate.max_side=48"]
    own += ["train_cls.epochs=0.1", "train_seg.epochs=0.1", "pseudo_masks.crf=none"]
    later = {"rounds": 2, "crf": "none", "scales": "[1.0]", "flip": "false"}
    own += [f"self_training.{key}={value}" for key, value in later.items()]
    printed("run", tiny, f"run={run}", *own)
    for folder in (run, run / "round_2"):
        shape = mask_io.read_mask(folder / "pseudo_masks" / "trip.1" / "pic 9.png").shape
        assert shape == (67, 42)
    with np.load(run / "seeds" / "trip.1" / "pic 9.npz") as soft:
        assert soft["seed"].shape == (1, 8, 5)  # of 32 × 20 pixels, at stride 4
    # ten images of the second round; ten on either round's sheet, two without tags, as `predict`
    # sees them
    sheet = [40, 43, 46] + [48] * 7
    assert sorted(max(size) for size in seen) == sorted([32] * 10 + 2 * sheet)


def test_predict_on_a_folder_of_other_images(
    tmp_path: Path, images: Path, finished: RunConfig
) -> None:
    out = tmp_path / "masks"
    assert predict.run(finished, images, out) == out
    masks = sorted(out.rglob("*.png"))
    assert len(masks) == 10
    for n in range(10):
        mask = mask_io.read_mask(out / f"trip.{n % 2}" / f"pic {n}.png")
        assert mask.shape == (40 + 3 * n, 33 + n) and mask.max() <= 5
    before = [path.stat().st_mtime_ns for path in masks]
    masks[3].unlink()
    predict.run(finished, images, out)
    after = [path.stat().st_mtime_ns for path in masks]
    assert [a == b for a, b in zip(before, after, strict=True)] == [i != 3 for i in range(10)]
    predict.run(finished, images / "trip.0", out / "trip.0", overwrite=True)
    new = [path.stat().st_mtime_ns > b for path, b in zip(masks, after, strict=True)]
    assert new == [path.parent.name == "trip.0" for path in masks]


def test_predict_writes_into_the_run_by_default(
    tmp_path: Path, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "of.june"
    folder.mkdir()
    Image.new("RGB", (30, 20)).save(folder / "a.png")
    monkeypatch.chdir(folder)
    for images in (folder, Path()):
        assert printed("predict", run.run, "--images", images) == (
            run.run / "predictions" / "of.june"
        )
    assert (run.run / "predictions" / "of.june" / "a.png").is_file()


def test_predict_on_one_image(tmp_path: Path, finished: RunConfig) -> None:
    assert finished.data.root is not None
    image = finished.data.root / "JPEGImages" / "val_00001.jpg"
    predict.run(finished, image, tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"class_names.txt", "scores.csv", "val_00001.png"}
    names = (tmp_path / "class_names.txt").read_text().splitlines()
    assert names[:2] == ["0 background", "1 striped_disc"] and len(names) == 6
    # the same as what the run itself predicted for its split
    own = Run(finished.run).predictions("val") / "val_00001.png"
    assert (tmp_path / "val_00001.png").read_bytes() == own.read_bytes()
