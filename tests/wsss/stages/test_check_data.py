"""check-data: a sound set has no problem; each fault is named, and all faults at once."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import mask_io
from wsss.data.synthetic import write_synthetic_voc
from wsss.stages.check_data import check_folder, check_voc

SPLITS = ("train", "val")


def test_a_sound_set_has_no_problem(tiny_voc: Path) -> None:
    assert check_voc(tiny_voc, SPLITS) == []


def test_a_drawn_set_is_sound(tmp_path: Path) -> None:
    write_synthetic_voc(tmp_path, train=5, val=5, size=32)
    assert check_voc(tmp_path, ("train", "train_aug", "val")) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_list(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(text)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "image gone": (lambda r: (r / "JPEGImages/p1.jpg").unlink(), "image: .*p1.jpg does not ex"),
    "image cut": (lambda r: cut(r / "JPEGImages/p1.jpg"), "image: .*p1.jpg does not decode"),
    "xml gone": (lambda r: (r / "Annotations/p2.xml").unlink(), "annotation: .*p2.xml does not ex"),
    "xml cut": (lambda r: cut(r / "Annotations/p2.xml"), "annotation: .*p2.xml does not parse"),
    "tag": (
        lambda r: (r / "Annotations/p2.xml").write_text(
            "<annotation><object><name>dgo</name></object></annotation>"
        ),
        "tag: .*p2.xml has 'dgo', which is none .*did you mean 'dog'",
    ),
    "mask gone": (lambda r: (r / "SegmentationClassAug/p3.png").unlink(), "mask: .*no mask p3.png"),
    "mask cut": (lambda r: cut(r / "SegmentationClassAug/p3.png"), "mask: .*p3.png does not dec"),
    "mask size": (
        lambda r: mask_io.write_mask(r / "SegmentationClassAug/p3.png", np.zeros((32, 26), int)),
        "mask: .*p3.png is 26×32 and its image .*32×26",
    ),
    "mask values": (
        lambda r: mask_io.write_mask(
            r / "SegmentationClassAug/p3.png", np.full((26, 32), 21) + np.eye(26, 32, dtype=int)
        ),
        r"mask: .*p3.png holds the values 21, 22; expected 0 to 20 .* or 255",
    ),
    "mask colours": (
        lambda r: Image.new("RGB", (32, 26)).save(r / "SegmentationClassAug/p3.png"),
        "mask: .*p3.png has mode RGB",
    ),
    "list twice": (a_list("train", "p1\np2\np1\n"), "list: .*train.txt names p1 2 times"),
    "list empty": (a_list("train", ""), "list: .*train.txt is empty"),
    "in both": (a_list("val", "p2\n"), "list: p2 is in both train and val"),
    "class names": (
        lambda r: (r / "class_names.txt").write_text("a\na\n"),
        "class names: .*'a' and again 'a'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(tiny_voc: Path, fault: str) -> None:
    make, sentence = FAULTS[fault]
    make(tiny_voc)
    problems = check_voc(tiny_voc, SPLITS)
    assert len(problems) == 1, problems
    assert re.search(sentence, problems[0]), problems[0]


def test_all_faults_come_at_once_with_counts(tiny_voc: Path) -> None:
    for fault in ("image cut", "xml gone", "mask values", "list twice"):
        FAULTS[fault][0](tiny_voc)
    (tiny_voc / "JPEGImages" / "p2.jpg").unlink()
    problems = check_voc(tiny_voc, (*SPLITS, "missing"))
    kinds = Counter(problem.partition(":")[0] for problem in problems)
    assert kinds == {"list": 2, "image": 2, "annotation": 1, "mask": 1}
    assert check_voc(tiny_voc, (*SPLITS, "missing")) == problems


def test_masks_are_left_alone_on_request(tiny_voc: Path) -> None:
    (tiny_voc / "SegmentationClassAug" / "p1.png").unlink()
    assert check_voc(tiny_voc, SPLITS, masks=False) == []
    assert len(check_voc(tiny_voc, SPLITS)) == 1


def test_a_missing_root_is_named_for_every_list(tmp_path: Path) -> None:
    problems = check_voc(tmp_path / "gone", SPLITS)
    assert len(problems) == 2 and all("gone does not exist" in p for p in problems)


def test_own_images(tmp_path: Path) -> None:
    images, table = tmp_path / "images", tmp_path / "tags.csv"
    images.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "c.png"):
        Image.new("RGB", (8, 8)).save(images / name)
    table.write_text("image,tags\na,cat\nb,cat;dog\n")
    assert check_folder(images, table) == []
    cut(images / "b.jpg")
    table.write_text("image,tags\na,cat\nb,dgo\nc,cat\nzz,cat\n")
    problems = check_folder(images, table, class_names=["cat", "dog"])
    kinds = [problem.partition(":")[0] for problem in problems]
    assert kinds == ["tag", "image name", "image name", "image"]
    assert "did you mean 'dog'" in problems[0] and "c.jpg or c.png" in problems[1]
    assert "'zz', which does not exist" in problems[2] and "b.jpg does not decode" in problems[3]


def test_own_images_that_cannot_be_listed(tmp_path: Path) -> None:
    problems = check_folder(tmp_path / "gone", tmp_path / "gone.csv")
    assert [p.split(":")[0] for p in problems] == ["tags", "image folder"]


def test_own_classes_that_cannot_be(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    (tmp_path / "tags.csv").write_text("image,tags\na,background\n")
    (problem,) = check_folder(tmp_path, tmp_path / "tags.csv")
    assert problem.startswith("class names:") and "'background'" in problem
