"""COCO's layout: which images a split has, their tags, the order of classes."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.wsss.shared_files import shared
from wsss.errors import WsssError
from wsss.formats.coco_layout import coco_ids, is_coco, read_coco, read_split, splits_of


def write(root: Path, split: str, content: dict[str, Any]) -> Path:
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def annotation(image: int, category: int, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "segmentation": [], "iscrowd": 0, **more}


@pytest.fixture
def content() -> dict[str, Any]:
    """Four images out of order; image 7 has a crowd alone, image 9 nothing."""
    return {
        "images": [
            {"id": i, "file_name": f"COCO_val2014_{i:012d}.jpg", "height": 4, "width": 6}
            for i in (42, 7, 9, 20)
        ],
        "annotations": [
            annotation(42, 90),
            annotation(42, 1),
            annotation(42, 90),
            annotation(7, 13, iscrowd=1),
            annotation(20, 1),
        ],
        # ids with gaps, out of order
        "categories": [
            {"id": 90, "name": "toothbrush"},
            {"id": 1, "name": "person"},
            {"id": 13, "name": "stop sign"},
        ],
    }


@pytest.fixture
def root(tmp_path: Path, content: dict[str, Any]) -> Path:
    write(tmp_path, "val2014", content)
    (tmp_path / "val2014").mkdir()
    for image in content["images"]:
        Image.new("RGB", (6, 4)).save(tmp_path / "val2014" / image["file_name"])
    return tmp_path


def test_coco_split_is_the_images_with_annotations_in_order(root: Path) -> None:
    found = read_coco(root, "val2014")
    assert found.class_names == ("person", "stop sign", "toothbrush")
    assert [(s.id, s.tags) for s in found.samples] == [
        ("COCO_val2014_000000000007", (1,)),
        ("COCO_val2014_000000000020", (0,)),
        ("COCO_val2014_000000000042", (0, 2)),
    ]
    assert all(sample.path.is_file() for sample in found.samples)
    assert coco_ids(root, "val2014") == tuple(s.id for s in found.samples)
    assert read_split(root, "val2014").values == {1: 1, 13: 2, 90: 3}


def test_coco_images_may_lie_in_a_folder_images(root: Path) -> None:
    (root / "images").mkdir()
    (root / "val2014").rename(root / "images" / "val2014")
    assert len(read_coco(root, "val2014")) == 3


def test_coco_layout_is_told_by_its_annotations(root: Path, tmp_path: Path) -> None:
    assert is_coco(root) and splits_of(root) == ["val2014"]
    assert not is_coco(tmp_path / "VOC2012")


def test_coco_split_that_changes_is_read_again(root: Path, content: dict[str, Any]) -> None:
    assert len(read_coco(root, "val2014")) == 3
    content["annotations"] = content["annotations"][:3]
    write(root, "val2014", content)
    assert len(read_coco(root, "val2014")) == 1


def test_coco_split_that_is_not_there_names_those_that_are(root: Path) -> None:
    with pytest.raises(WsssError, match=r"instances_train2014\.json.*found there are val2014"):
        read_coco(root, "train2014")


def test_coco_images_that_are_missing_are_counted(root: Path) -> None:
    (root / "val2014" / "COCO_val2014_000000000020.jpg").unlink()
    with pytest.raises(WsssError, match=r"1 of 3 images .*COCO_val2014_000000000020\.jpg"):
        read_coco(root, "val2014")
    for path in (root / "val2014").iterdir():
        path.unlink()
    (root / "val2014").rmdir()
    with pytest.raises(WsssError, match=r"fetch-coco"):
        read_coco(root, "val2014")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"annotations": []}, "no annotation"),
        ({"annotations": [annotation(5, 1)]}, "of image 5"),
        ({"annotations": [annotation(42, 91)]}, "of category 91"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 90, "name": "a"}]}, "13"),
    ],
)
def test_coco_annotations_that_contradict_themselves_are_refused(
    root: Path, content: dict[str, Any], change: dict[str, Any], fault: str
) -> None:
    path = write(root, "val2014", {**content, **change})
    with pytest.raises(WsssError, match=fault) as error:
        read_coco(root, "val2014")
    assert str(path) in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(("split", "images"), [("train2014", 82_081), ("val2014", 40_137)])
def test_coco_2014_as_published(split: str, images: int) -> None:
    root = shared("coco")
    if not is_coco(root):
        pytest.skip("COCO 2014 is not here")
    found = read_split(root, split)
    assert len(found.images) == images and len(found.class_names) == 80
    assert found.class_names[0] == "person" and found.class_names[-1] == "toothbrush"
