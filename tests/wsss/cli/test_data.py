"""Bad data: exit code 2 and one sentence, whichever stage meets them."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.config import RunConfig
from wsss.data import mask_io

from .command_line import sentence, wsss


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DATA_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "root": (shutil.rmtree, "No folder at data.root="),
    "image": (
        lambda r: (r / "JPEGImages/train_00004.jpg").unlink(),
        "1 of 12 images of split train_aug are missing in",
    ),
    "image cut": (
        lambda r: [cut(p) for p in (r / "JPEGImages").iterdir()],
        ".jpg does not decode (",
    ),
    "tag": (
        lambda r: (r / "Annotations/train_00002.xml").write_text(
            "<annotation><object><name>bal</name></object></annotation>"
        ),
        "train_00002.xml has 'bal', which is none of the classes",
    ),
    "xml": (lambda r: cut(r / "Annotations/train_00002.xml"), "train_00002.xml does not parse ("),
    "xml gone": (
        lambda r: (r / "Annotations/train_00002.xml").unlink(),
        "train_00002.xml does not exist",
    ),
    "list": (
        lambda r: (r / "ImageSets/Segmentation/train_aug.txt").unlink(),
        "train_aug.txt",
    ),
}


@pytest.mark.parametrize("fault", DATA_FAULTS)
@pytest.mark.parametrize("command", ["train-cls", "run"])
def test_each_fault_of_the_data(
    tmp_path: Path, copied: Path, tiny: Path, command: str, fault: str
) -> None:
    spoil, words = DATA_FAULTS[fault]
    spoil(copied)
    assert words in sentence(command, tiny, f"run={tmp_path / 'run'}", f"data.root={copied}")


def test_a_true_mask_of_another_size(tmp_path: Path, copied: Path, finished: RunConfig) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    mask_io.write_mask(copied / "SegmentationClassAug/train_00003.png", np.zeros((9, 7), np.uint8))
    for of in ("cam", "seeds", "pseudo-masks"):
        found = sentence("evaluate", run, f"data.root={copied}", "--of", of)
        assert "train_00003.png is 7×9 and its image" in found, (of, found)
        assert "train_00003.jpg 64×64 (width × height)" in found


def test_a_true_mask_that_is_gone(tmp_path: Path, copied: Path, finished: RunConfig) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    (copied / "SegmentationClassAug/train_00003.png").unlink()
    found = sentence("evaluate", run, f"data.root={copied}", "--of", "pseudo-masks")
    assert "There is no mask train_00003.png" in found


def test_a_pseudo_mask_of_another_size(tmp_path: Path, finished: RunConfig) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    for mask in (run / "pseudo_masks").glob("*.png"):
        mask_io.write_mask(mask, np.zeros((9, 7), np.uint8))
    found = sentence("train-seg", run, "--overwrite")
    assert ".png is 7×9 and its image" in found and "expected the same size" in found


@pytest.mark.parametrize(
    ("images", "words"),
    [("gone", "No image or folder at"), ("empty", "holds no images (.jpg, .jpeg, .png)")],
)
def test_no_images_to_predict(tmp_path: Path, finished: RunConfig, images: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    assert words in sentence("predict", finished.run, "--images", tmp_path / images)


def test_a_folder_named_like_an_image_is_none(tmp_path: Path, finished: RunConfig) -> None:
    (tmp_path / "in" / "x.jpg").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "x.jpg" / "a.png")
    out = tmp_path / "out"
    result = wsss("predict", finished.run, "--images", tmp_path / "in", "--out", out)
    assert result.exit_code == 0, result.output
    assert [p.relative_to(out).as_posix() for p in out.rglob("*.png")] == ["x.jpg/a.png"]


def test_several_images(
    tmp_path: Path, finished: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.JPG", "b.png", "c.webp"):
        Image.new("RGB", (8, 8)).save(name)
    predict = ("predict", "--model", finished.run)
    result = wsss(*predict, "a.jpg", "b.JPG", "evaluate.flip=true")
    assert result.stdout == "masks\n", result.output
    assert sorted(path.name for path in Path("masks").glob("*.png")) == ["a.png", "b.png"]
    run = Path(shutil.copytree(finished.run, "run"))
    result = wsss("predict", "run", "a.jpg", "b.png")
    assert result.stdout == f"run/predictions/{tmp_path.name}\n", result.output
    assert (run / "predictions" / tmp_path.name / "b.png").is_file()
    found = sentence(*predict, "a.jpg", "b.JPG", "b.png")
    assert found.startswith("wsss: b.JPG and b.png would have masks of one name: predict them into")
    assert "No image at gone.jpg: give" in sentence(*predict, "a.jpg", "gone.jpg")
    for given in (["c.webp"], ["a.jpg", "c.webp"]):
        found = sentence(*predict, *given)
        assert found.startswith(
            "wsss: c.webp is not an image that predict looks for; expected .jpg"
        )


def test_two_images_of_one_name(tmp_path: Path, finished: RunConfig) -> None:
    for name in ("a.jpg", "a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    found = sentence("predict", finished.run, "--images", tmp_path)
    assert "holds a.jpg and another image of that name" in found


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["data.mask_split=val"], "12 images of data.score_split=train get no pseudo-mask"),
        (["data.mask_images=11"], "1 images of data.score_split=train get no pseudo-mask"),
        (["data.val_split=none"], "none.txt"),
        (["data.score_split=none"], "none.txt"),
        (["data.mask_split=none"], "none.txt"),
        (["pseudo_masks.crf=psaa"], "no CRF preset 'psaa'"),
        (["evaluate.crf=psaa"], "no CRF preset 'psaa'"),
    ],
)
def test_lists_that_end_in_no_score_are_refused_first(
    tmp_path: Path, tiny: Path, synthetic: Path, settings: list[str], words: str
) -> None:
    run = tmp_path / "run"
    assert words in sentence("run", tiny, f"run={run}", f"data.root={synthetic}", *settings)
    assert not run.exists()


def test_predict_asks_for_images(finished: RunConfig) -> None:
    result = wsss("predict", finished.run)
    assert result.exit_code == 2 and "--images" in result.stderr


def test_an_image_that_does_not_decode(tmp_path: Path, finished: RunConfig) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jpg").write_bytes(b"no image")
    found = sentence(
        "predict", finished.run, "--images", tmp_path / "in", "--out", tmp_path / "out"
    )
    assert "x.jpg does not decode" in found


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ("nobody", "The split train has no image 'nobody': give ids of it"),
        ("val_00001", "The split train has no image 'val_00001'"),
    ],
)
def test_images_that_cannot_be_shown(finished: RunConfig, ids: str, words: str) -> None:
    assert words in sentence("visualize", finished.run, "--ids", ids)


def test_images_of_a_split_without_seeds(finished: RunConfig) -> None:
    arguments = ("visualize", finished.run, "--split", "val")
    assert "has no seeds of the split val" in sentence(*arguments)
    assert "val_00001 has no seeds" in sentence(*arguments, "--ids", "val_00001")


def test_an_image_without_tags_is_shown(tmp_path: Path, copied: Path, finished: RunConfig) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    (copied / "Annotations" / "train_00003.xml").write_text("<annotation/>")
    assert wsss("generate-pseudo-masks", run, f"data.root={copied}", "--overwrite").exit_code == 0
    result = wsss("visualize", run, f"data.root={copied}", "--ids", "train_00003")
    assert result.exit_code == 0, result.output
    # nor does scoring stumble over it
    for of in ("cam", "seeds", "pseudo-masks"):
        result = wsss("evaluate", run, f"data.root={copied}", "--of", of)
        assert result.exit_code == 0, result.output


def test_own_images_have_no_scores(tmp_path: Path, finished: RunConfig) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "tags.csv").write_text("image,tags\na,cat\n")
    own = (f"data.images={tmp_path}", f"data.tags={tmp_path / 'tags.csv'}")
    found = sentence("evaluate", f"run={finished.run}", *own, "--of", "seeds")
    assert f"There are no true masks at {tmp_path}: scoring needs a VOC folder" in found


@pytest.mark.parametrize("name", ["2024", "a: b", "x #1", "é 🐈"])
def test_a_folder_of_any_name(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tags.csv").write_text("image,tags\na,cat\n")
    found = sentence("run", tiny, "run=run", "--images", name, "--tags", "tags.csv")
    assert f"The image folder {name} does not exist" in found


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_mask_never_replaces_its_image(
    tmp_path: Path, finished: RunConfig, flags: list[str]
) -> None:
    image = tmp_path / "a.png"
    Image.new("RGB", (30, 20), "red").save(image)
    before = image.read_bytes()
    for images in (tmp_path, image):
        found = sentence("predict", finished.run, "--images", images, "--out", tmp_path, *flags)
        assert "a.png would replace it: give an output directory (--out)" in found
    assert image.read_bytes() == before


def test_masks_among_the_images_are_no_images(tmp_path: Path, finished: RunConfig) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"what macOS writes beside a file")
    out = tmp_path / "masks"
    for _ in range(2):
        result = wsss("predict", finished.run, "--images", tmp_path, "--out", out)
        assert result.exit_code == 0, result.output
        assert [path.relative_to(out).as_posix() for path in out.rglob("*.png")] == ["a.png"]


def test_a_run_without_decoders_is_refused_before_it_trains(
    tmp_path: Path, tiny: Path, synthetic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    run = tmp_path / "run"
    found = sentence("run", tiny, f"run={run}", f"data.root={synthetic}", "data.mask_split=train")
    assert "pip install 'wsss[seg]'" in found and not run.exists()
