"""One's own images and a CSV: no config, no true masks, no scores, but masks and a page."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from wsss.cli import app
from wsss.config import RunConfig
from wsss.data import mask_io
from wsss.models import inference
from wsss.run.state import Run
from wsss.stages import generate_pseudo_masks


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


def test_a_run_from_a_folder_and_a_table(tmp_path: Path, images: Path, tiny: Path) -> None:
    run, tags = tmp_path / "run", tmp_path / "tags.csv"
    options = ["--images", str(images), "--tags", str(tags)]
    result = CliRunner().invoke(app, ["run", str(tiny), f"run={run}", *options])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(run / "report" / "index.html")
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
    page = (run / "report" / "index.html").read_text()
    assert "<img" in page and "Scores" not in page
    metrics = json.loads((run / "train_cls" / "metrics.json").read_text())
    assert set(metrics["ap"]) == {"cup", "hat"}
    # nothing is predicted for a score that can't be had
    assert CliRunner().invoke(app, ["evaluate", str(run)]).exit_code == 2
    assert not (run / "predictions").exists()


def test_the_order_of_classes_is_the_config_s(tmp_path: Path, images: Path, tiny: Path) -> None:
    run, tags = tmp_path / "run", tmp_path / "tags.csv"
    own = [str(tiny), f"run={run}", f"data.images={images}", f"data.tags={tags}"]
    for command in ("train-cls", "generate-pseudo-masks"):
        arguments = [command, *own, "data.class_names=[hat, cup]"]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    named = (run / "pseudo_masks" / "class_names.txt").read_text()
    assert named == "0 background\n1 hat\n2 cup\n"
    for n, allowed in ((0, {0, 1, 255}), (2, {0, 2, 255})):  # a hat, a cup
        mask = mask_io.read_mask(run / "pseudo_masks" / "trip.0" / f"pic {n}.png")
        assert set(np.unique(mask).tolist()) <= allowed
    again = CliRunner().invoke(app, ["train-cls", *own, "data.class_names=[cup, hat]"])
    assert again.exit_code == 2 and "was made with data.class_names=['hat', 'cup']" in again.stderr
    wrong = CliRunner().invoke(app, ["check-data", *own, "data.class_names=[hat, cups]"])
    assert wrong.exit_code == 2 and "has the tag 'cup', which is none of" in wrong.stdout
    assert "did you mean 'cups'?" in wrong.stdout


def test_large_images_are_reduced_and_their_masks_are_not(
    tmp_path: Path, images: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    for stage, name in ((generate_pseudo_masks, "predict_probs"), (inference, "predict_views")):
        look = getattr(stage, name)

        def heard(model: object, image: Tensor, *rest: Any, look: Any = look) -> Any:
            seen.append(tuple(image.shape[2:]))
            return look(model, image, *rest)

        monkeypatch.setattr(stage, name, heard)
    run, tags = tmp_path / "run", tmp_path / "tags.csv"
    sides = ["data.max_side=32", "evaluate.max_side=48", "self_training.rounds=2"]
    own = [f"data.images={images}", f"data.tags={tags}"]
    result = CliRunner().invoke(app, ["run", str(tiny), f"run={run}", *own, *sides])
    assert result.exit_code == 0, result.output
    for folder in (run, run / "round_2"):
        shape = mask_io.read_mask(folder / "pseudo_masks" / "trip.1" / "pic 9.png").shape
        assert shape == (67, 42)
    with np.load(run / "seeds" / "trip.1" / "pic 9.npz") as soft:
        assert soft["seed"].shape == (1, 8, 5)  # of 32 × 20 pixels, at stride 4
    # ten images of the second round; the eight with tags on the sheet, as `predict` sees them
    assert [max(size) for size in seen] == [32] * 10 + [40, 43, 46] + [48] * 5


def test_masks_of_other_images(tmp_path: Path, images: Path, finished: RunConfig) -> None:
    out = tmp_path / "masks"
    arguments = ["predict", str(finished.run), "--images", str(images), "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and result.stdout.strip() == str(out), result.output
    masks = sorted(out.rglob("*.png"))
    assert len(masks) == 10
    for n in range(10):
        mask = mask_io.read_mask(out / f"trip.{n % 2}" / f"pic {n}.png")
        assert mask.shape == (40 + 3 * n, 33 + n) and mask.max() <= 5
    before = [path.stat().st_mtime_ns for path in masks]
    masks[3].unlink()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    after = [path.stat().st_mtime_ns for path in masks]
    assert [a == b for a, b in zip(before, after, strict=True)] == [i != 3 for i in range(10)]
    assert CliRunner().invoke(app, [*arguments, "--overwrite"]).exit_code == 0
    assert all(path.stat().st_mtime_ns > b for path, b in zip(masks, after, strict=True))


def test_masks_go_to_the_run_by_default(
    tmp_path: Path, finished: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder = tmp_path / "run", tmp_path / "of.june"
    shutil.copytree(finished.run, run)
    folder.mkdir()
    Image.new("RGB", (30, 20)).save(folder / "a.png")
    for images in (folder, Path()):
        monkeypatch.chdir(folder)
        result = CliRunner().invoke(app, ["predict", str(run), "--images", str(images)])
        assert result.stdout == f"{run / 'predictions' / 'of.june'}\n", result.output
    mask = run / "predictions" / "of.june" / "a.png"
    made = mask.stat().st_mtime_ns
    arguments = ["predict", str(run), "--images", str(folder)]
    # finished work is kept, but not that of other settings
    assert CliRunner().invoke(app, arguments).exit_code == 0 and mask.stat().st_mtime_ns == made
    assert CliRunner().invoke(app, [*arguments, "evaluate.flip=true"]).exit_code == 0
    assert made < mask.stat().st_mtime_ns


def test_the_mask_of_one_image(tmp_path: Path, finished: RunConfig) -> None:
    assert finished.data.root is not None
    image = finished.data.root / "JPEGImages" / "val_00001.jpg"
    arguments = ["predict", str(finished.run), "--images", str(image), "--out", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class_names.txt", "val_00001.png"]
    names = (tmp_path / "class_names.txt").read_text().splitlines()
    assert names[:2] == ["0 background", "1 striped_disc"] and len(names) == 6
    # the same as what the run itself predicted for its split
    own = Run(finished.run).prediction("val", "val_00001")
    assert (tmp_path / "val_00001.png").read_bytes() == own.read_bytes()
