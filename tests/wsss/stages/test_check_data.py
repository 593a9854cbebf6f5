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


def test_check_voc_of_a_sound_set_finds_nothing(tiny_voc: Path) -> None:
    assert check_voc(tiny_voc, SPLITS) == []


def test_check_voc_of_synthetic_images_finds_nothing(tmp_path: Path) -> None:
    write_synthetic_voc(tmp_path, train=5, val=5, size=32)
    assert check_voc(tmp_path, ("train", "train_aug", "val")) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_list(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(text)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "image gone": (lambda r: (r / "JPEGImages/p1.jpg").unlink(), r"image: .*p1\.jpg"),
    "image cut": (lambda r: cut(r / "JPEGImages/p1.jpg"), r"image: .*p1\.jpg .*decode"),
    "xml gone": (lambda r: (r / "Annotations/p2.xml").unlink(), r"annotation: .*p2\.xml"),
    "xml cut": (lambda r: cut(r / "Annotations/p2.xml"), r"annotation: .*p2\.xml .*parse"),
    "tag": (
        lambda r: (r / "Annotations/p2.xml").write_text(
            "<annotation><object><name>dgo</name></object></annotation>"
        ),
        r"tag: .*p2\.xml .*'dgo'.*'dog'",
    ),
    "mask gone": (lambda r: (r / "SegmentationClassAug/p3.png").unlink(), r"mask: .*p3\.png"),
    "mask cut": (lambda r: cut(r / "SegmentationClassAug/p3.png"), r"mask: .*p3\.png .*decode"),
    "mask size": (
        lambda r: mask_io.write_mask(r / "SegmentationClassAug/p3.png", np.zeros((32, 26), int)),
        r"mask: .*p3\.png is 26×32 .*32×26",
    ),
    "mask values": (
        lambda r: mask_io.write_mask(
            r / "SegmentationClassAug/p3.png", np.full((26, 32), 21) + np.eye(26, 32, dtype=int)
        ),
        r"mask: .*p3\.png holds the values 21, 22; expected 0 to 20",
    ),
    "mask colours": (
        lambda r: Image.new("RGB", (32, 26)).save(r / "SegmentationClassAug/p3.png"),
        r"mask: .*p3\.png .*RGB",
    ),
    "list twice": (a_list("train", "p1\np2\np1\n"), r"list: .*train\.txt .*p1 2 times"),
    "list empty": (a_list("train", ""), r"list: .*train\.txt .*empty"),
    "in both": (a_list("val", "p2\n"), r"list: p2 .*train and val"),
    "class names": (
        lambda r: (r / "class_names.txt").write_text("a\na\n"),
        r"class names: .*'a'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_voc_names_kind_and_path_of_each_fault(tiny_voc: Path, fault: str) -> None:
    make, found = FAULTS[fault]
    make(tiny_voc)
    problems = check_voc(tiny_voc, SPLITS)
    assert len(problems) == 1, problems
    assert re.search(found, problems[0]), problems[0]


def test_check_voc_finds_all_faults_at_once(tiny_voc: Path) -> None:
    for fault in ("image cut", "xml gone", "mask values", "list twice"):
        FAULTS[fault][0](tiny_voc)
    (tiny_voc / "JPEGImages" / "p2.jpg").unlink()
    problems = check_voc(tiny_voc, (*SPLITS, "missing"))
    kinds = Counter(problem.partition(":")[0] for problem in problems)
    assert kinds == {"list": 2, "image": 2, "annotation": 1, "mask": 1}
    assert check_voc(tiny_voc, (*SPLITS, "missing")) == problems


def test_check_voc_without_masks(tiny_voc: Path) -> None:
    (tiny_voc / "SegmentationClassAug" / "p1.png").unlink()
    assert check_voc(tiny_voc, SPLITS, masks=False) == []
    assert len(check_voc(tiny_voc, SPLITS)) == 1


def test_check_voc_of_a_missing_root_names_every_list(tmp_path: Path) -> None:
    problems = check_voc(tmp_path / "gone", SPLITS)
    assert len(problems) == 2 and all(str(tmp_path / "gone") in p for p in problems)


def test_check_folder_names_kind_and_value_of_each_fault(tmp_path: Path) -> None:
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
    for problem, value in zip(problems, ("'dog'", "c.jpg or c.png", "'zz'", "b.jpg"), strict=True):
        assert value in problem


def test_check_folder_of_missing_files(tmp_path: Path) -> None:
    problems = check_folder(tmp_path / "gone", tmp_path / "gone.csv")
    assert [p.split(":")[0] for p in problems] == ["tags", "image folder"]


def test_check_folder_refuses_background_as_a_class(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    (tmp_path / "tags.csv").write_text("image,tags\na,background\n")
    (problem,) = check_folder(tmp_path, tmp_path / "tags.csv")
    assert problem.startswith("class names:") and "'background'" in problem
