"""Data sets in VOC layout: split lists, class names, tags of the annotations."""

from pathlib import Path

import pytest

from tests.wsss.shared_files import shared
from wsss.data.images import Sample
from wsss.data.mask_io import write_class_names
from wsss.errors import WsssError
from wsss.formats import voc
from wsss.formats.voc import CLASS_NAMES, NUM_CLASSES, read_voc

SHARED_VOC = shared("voc") / "VOCdevkit" / "VOC2012"


def lists(root: Path, **splits: str) -> Path:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for name, text in splits.items():
        (folder / f"{name}.txt").write_text(text)
    return root


def test_class_names_are_vocs_in_their_order() -> None:
    assert NUM_CLASSES == 21 == len(set(CLASS_NAMES))
    assert [CLASS_NAMES[i] for i in (0, 1, 8, 15, 20)] == [
        "background",
        "aeroplane",
        "cat",
        "person",
        "tvmonitor",
    ]


def test_split_list_keeps_its_order(tmp_path: Path) -> None:
    root = lists(tmp_path, train="2007_2\n2007_1\n\n2008_9  \n")
    assert voc.split_ids(root, "train") == ("2007_2", "2007_1", "2008_9")


def test_split_list_of_pairs_gives_stems(tmp_path: Path) -> None:
    root = lists(tmp_path, aug="/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png\n")
    assert voc.split_ids(root, "aug") == ("2007_1",)


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ("nope", "lists found there are: empty, twice"),
        ("empty", "is empty"),
        ("twice", "names b more than once"),
    ],
)
def test_bad_split_is_a_sentence(tmp_path: Path, split: str, sentence: str) -> None:
    root = lists(tmp_path, empty="\n", twice="a\nb\nc\nb\n")
    with pytest.raises(WsssError, match=sentence):
        voc.split_ids(root, split)


def test_missing_root_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"gone does not exist; .* set data\.root"):
        voc.split_ids(tmp_path / "gone", "train")


def test_class_names_come_from_the_file_or_are_vocs(tmp_path: Path) -> None:
    assert voc.read_class_names(tmp_path) == CLASS_NAMES[1:]
    (tmp_path / "class_names.txt").write_text("zebra\n\n ant \n")
    assert voc.read_class_names(tmp_path) == ("zebra", "ant")
    # as it is written beside masks
    write_class_names(tmp_path, ("zebra", "a b"))
    text = (tmp_path / "class_names.txt").read_text()
    assert text == "0 background\n1 zebra\n2 a b\n"
    assert voc.read_class_names(tmp_path) == ("zebra", "a b")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "gives 0 classes; expected 1 to 254"),
        ("a\nb\na\n", "'a' and again 'a'"),
        ("Cat\ncat\n", "'Cat' and again 'cat'; expected every class once and in one spelling"),
        ("a\nbackground\n", "names a class 'background'"),
        ("0 background\n1 a\n3 b\n", "has the line '3 b' out of order; expected `value name`"),
        ("\n".join(map(str, range(255))), "gives 255 classes"),
    ],
)
def test_bad_class_names_are_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "class_names.txt").write_text(text)
    with pytest.raises(WsssError, match=sentence):
        voc.read_class_names(tmp_path)


def test_tags_are_the_objects_names(tiny_voc: Path) -> None:
    read = read_voc(tiny_voc, "train")
    folder = tiny_voc / "JPEGImages"
    assert read.samples == (
        Sample("p1", folder / "p1.jpg", (7, 11)),  # cat, dog; 0-based without background
        Sample("p2", folder / "p2.jpg", ()),
    )
    assert read.class_names[7] == "cat" and len(read.class_names) == 20


def test_class_names_file_sets_names_and_order(tiny_voc: Path) -> None:
    (tiny_voc / "class_names.txt").write_text("dog\ncat\n")
    read = read_voc(tiny_voc, "train")
    assert (read.class_names, read.samples[0].tags) == (("dog", "cat"), (0, 1))


def test_other_image_suffixes_are_found_and_jpg_wins(tiny_voc: Path) -> None:
    folder = tiny_voc / "JPEGImages"
    (folder / "p2.jpg").rename(folder / "p2.PNG")
    (folder / "p1.png").write_bytes(b"")
    found = {p.id: p.path.name for p in read_voc(tiny_voc, "train").samples}
    assert found == {"p1": "p1.jpg", "p2": "p2.PNG"}


def test_missing_images_are_counted(tiny_voc: Path) -> None:
    (tiny_voc / "JPEGImages" / "p2.jpg").unlink()
    with pytest.raises(WsssError, match=r"1 of 2 images .* the first 'p2': wsss check"):
        read_voc(tiny_voc, "train")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, r"p1\.xml does not exist"),
        ("<annotation><object>", r"p1\.xml does not parse"),
        ("", "does not parse"),
        ("<annotation><object></object></annotation>", "object without a name"),
        (
            "<annotation><object><name>cta</name></object></annotation>",
            r"p1\.xml has 'cta', which is none of the classes \(.*\); did you mean 'cat'\?",
        ),
    ],
)
def test_bad_annotation_is_a_sentence(tiny_voc: Path, text: str | None, sentence: str) -> None:
    path = tiny_voc / "Annotations" / "p1.xml"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(WsssError, match=sentence):
        read_voc(tiny_voc, "train")


@pytest.mark.skipif(not SHARED_VOC.is_dir(), reason="no ../shared/voc beside the checkout")
def test_real_voc_reads_whole() -> None:
    read = read_voc(SHARED_VOC, "train_aug")
    assert len(read) == 6380
    by_id = {p.id: p for p in read_voc(SHARED_VOC, "train").samples}
    assert [read.class_names[t] for t in by_id["2007_000032"].tags] == ["aeroplane", "person"]
    assert (read.tag_matrix().sum(0) > 0).all()


@pytest.mark.parametrize("id_", ["x" * 300, "a\0" + "b" * 40, "."])
def test_a_list_with_an_id_that_no_file_has_is_refused(tiny_voc: Path, id_: str) -> None:
    (tiny_voc / "ImageSets" / "Segmentation" / "train.txt").write_text(f"p1\n{id_}\n")
    with pytest.raises(WsssError, match="which no file can be called") as error:
        read_voc(tiny_voc, "train")
    assert len(str(error.value)) < 400
