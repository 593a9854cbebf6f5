"""Labels that can't teach, each said with its numbers."""

from pathlib import Path

import pytest

from wsss.data.check_labels import label_warnings, near_duplicates
from wsss.data.images import Sample, TaggedDataset


def make(tags: list[tuple[int, ...]], names: tuple[str, ...] = ("ball", "box")) -> TaggedDataset:
    return TaggedDataset(names, tuple(Sample(f"p{i}", Path("p"), t) for i, t in enumerate(tags)))


def test_labels_that_teach_have_no_warning() -> None:
    assert label_warnings(make([(0,), (1,), (0, 1), ()] * 5)) == []
    assert label_warnings(make([])) == []


def test_a_class_in_every_image() -> None:
    (warning,) = label_warnings(make([(0,)] * 36, ("ball",)))
    assert warning.startswith("ball is in 36 of 36 images") and "Add images without it" in warning


def test_classes_in_few_images_or_none() -> None:
    none, few = label_warnings(make([(0,), ()] * 6 + [(1,)], ("ball", "box", "tent")))
    assert none.startswith("tent is in no image") and few.startswith("Few images: box in 1.")


def test_tags_that_nearly_always_occur_together() -> None:
    (warning,) = label_warnings(make([(0, 1)] * 19 + [(0,)] + [()] * 10))
    assert warning.startswith("ball and box are together in 19 of the 20 images")


def test_names_that_may_be_one_class() -> None:
    (warning,) = label_warnings(make([(0,), (1,)] * 6, ("flower", "flowr")))
    assert warning.startswith("flower (6 images) and flowr (6 images) may be one class")


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("flower", "flowr", True),
        ("flower", "flwoer", True),
        ("flower", "flawer", True),
        ("cat", "cats", True),
        ("traffic light", "traffic-light", True),
        ("Tv", "TV", True),
        ("cat", "car", False),
        ("cat", "cast", False),
        ("class1", "class2", False),
        ("boat", "bottle", False),
        ("horse", "sheep", False),
    ],
)
def test_near_duplicates(one: str, other: str, alike: bool) -> None:
    assert near_duplicates(one, other) is near_duplicates(other, one) is alike


def test_too_few_held_back_images() -> None:
    data = make([(0,), (1,), (0, 1), ()] * 25)
    (warning,) = label_warnings(data, holdout=0.05)
    assert warning.startswith("5 images are held back for the mAP") and "it is 0.05" in warning
    assert label_warnings(data, holdout=0.3) == []
    assert label_warnings(data, holdout=0) == []


def test_label_warnings_of_numbers_and_of_names_within_names() -> None:
    names = ("3", "3.0", "cat", "cat_dog", "dog", "hot dog")
    images = [Sample(str(i), Path(f"{i}.jpg"), (i % 6,)) for i in range(60)]
    found = label_warnings(TaggedDataset(names, tuple(images)))
    assert any("3" in w and "3.0" in w and "two spellings" in w for w in found)
    assert any(w.startswith("cat_dog may be the tags cat and dog") for w in found)
    assert not any(w.startswith("hot dog may be") for w in found)
