"""Tags in every format: recognised, read to the same, broken in many ways, hostile."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image
from typer.testing import CliRunner

from wsss.cli import app
from wsss.config.schema import TagsFormat
from wsss.errors import WsssError
from wsss.formats.own_images import read_folder
from wsss.formats.registry import FORMATS, read_tags, recognise
from wsss.stages.check_data import check_folder

IMAGES = ("a.jpg", "deep/b c.jpg", "none.jpg", "unlisted.jpg")
TAGS = {"a": ("cat", "dog"), "deep/b c": ("dog",), "none": ()}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in IMAGES:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)
    return tmp_path / "images"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def coco(folder: Path) -> Path:
    return write(
        folder / "instances.json",
        {
            "images": [
                {"id": 3, "file_name": "a.jpg"},
                {"id": 1, "file_name": "deep/b c.jpg"},
                {"id": 2, "file_name": "none.jpg"},
            ],
            "categories": [
                {"id": 0, "name": "pets", "supercategory": "none"},
                {"id": 18, "name": "dog", "supercategory": "pets"},
                {"id": 17, "name": "cat", "supercategory": "pets"},
            ],
            "annotations": [
                {"image_id": 3, "category_id": 18},
                {"image_id": 3, "category_id": 17},
                {"image_id": 3, "category_id": 18},
                {"image_id": 1, "category_id": 18},
            ],
        },
    )


def label_studio(folder: Path) -> Path:
    def task(image: str, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
        annotation = {"result": [{"value": value} for value in results], **more}
        return {"id": 1, "data": {"image": image, "text": "x"}, "annotations": [annotation]}

    return write(
        folder / "export.json",
        [
            task("/data/upload/1/0a1b2c3d-a.jpg", {"choices": ["cat", "dog"]}),
            task("/data/local-files/?d=deep%2Fb%20c.jpg", {"brushlabels": ["dog"], "rle": [1]}),
            task("https://host/x/none.jpg?key=1"),
            task("/data/upload/unlisted.jpg", {"choices": ["cat"]}, was_cancelled=True),
            {"id": 5, "data": {"image": "unlisted.jpg"}, "annotations": []},
        ],
    )


def label_studio_minimal(folder: Path) -> Path:
    return write(
        folder / "minimal.json",
        [
            {
                "image": "/data/upload/0a1b2c3d-a.jpg",
                "id": 1,
                "choice": {"choices": ["cat", "dog"]},
            },
            {"image": "deep/b c.jpg", "label": [{"x": 1, "rectanglelabels": ["dog"]}], "id": 2},
            {"image": "none.jpg", "annotator": 1, "annotation_id": 4, "lead_time": 2.5},
        ],
    )


def cvat(folder: Path) -> Path:
    return write(
        folder / "annotations.xml",
        """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><name>t</name><labels>
  <label><name>background</name></label><label><name>cat</name></label>
  <label><name>dog</name></label><label><name>ear</name><parent>cat</parent></label>
</labels></task></meta>
<image id="0" name="a.jpg" width="8" height="6">
  <tag label="cat" source="manual"/><box label="dog" xtl="0" ytl="0" xbr="2" ybr="2"/>
  <mask label="background" rle="48" left="0" top="0" width="8" height="6"/></image>
<image id="1" name="deep/b c.jpg"><polygon label="dog" points="0,0;1,0;1,1"/></image>
<image id="2" name="none.jpg"/>
</annotations>""",
    )


def huggingface(folder: Path) -> Path:
    write(folder / "metadata.jsonl", '{"file_name": "a.jpg", "label": ["dog", "cat"]}\n\n')
    lines = [
        {"file_name": "b c.jpg", "objects": {"bbox": [[0, 0, 1, 1]], "categories": ["dog"]}},
        {"file_name": "../none.jpg", "label": None},
    ]
    write(folder / "deep/metadata.jsonl", "\n".join(map(json.dumps, lines)))
    return folder


def huggingface_csv(folder: Path) -> Path:
    text = "file_name,label,split\na.jpg,cat;dog,train\ndeep/b c.jpg,dog,x\nnone.jpg,,x\n"
    write(folder / "metadata.csv", text)
    return folder


def yolo(folder: Path) -> Path:
    write(folder / "data.yaml", "train: images\nnames:\n  0: cat\n  1: dog\n")
    write(folder / "labels/train/a.txt", "1 0.5 0.5 1 1\n0 0 0 1 0 1 1\n1 0.1 0.1 0.1 0.1\n")
    write(folder / "labels/train/deep/b c.txt", "1 0.5 0.5 1 1\n")
    write(folder / "labels/train/none.txt", "")
    write(folder / "train.txt", "images/train/a.jpg")
    return folder


def yolo_classes(folder: Path) -> Path:
    yolo(folder)
    (folder / "data.yaml").unlink()
    write(folder / "classes.txt", "cat\ndog\n")
    return folder


def voc(folder: Path) -> Path:
    for name, objects in TAGS.items():
        inside = "".join(f"<object><name>{o}</name></object>" for o in (*objects, *objects))
        write(folder / f"{name}.xml", f"<annotation>{inside}</annotation>")
    return folder


def text(folder: Path) -> Path:
    return write(
        folder / "tags.txt",
        "# image: tags\na.jpg: dog, cat\n\nC:\\data\\deep\\b c.jpg : dog\nnone.jpg:\n",
    )


def table(folder: Path) -> Path:
    return write(folder / "tags.csv", "image,tags\na,dog;cat\ndeep/b c,dog\nnone,\n")


def one_hot(folder: Path) -> Path:
    return write(folder / "tags.csv", "id,cat,dog\na,1,1\ndeep/b c,0,1\nnone,0,0\n")


WRITERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    writer.__name__: (name, writer)
    for name, writer in (
        ("coco", coco),
        ("label-studio", label_studio),
        ("label-studio", label_studio_minimal),
        ("cvat", cvat),
        ("huggingface", huggingface),
        ("huggingface", huggingface_csv),
        ("yolo", yolo),
        ("yolo", yolo_classes),
        ("voc", voc),
        ("text", text),
        ("csv", table),
        ("csv", one_hot),
    )
}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("writer", WRITERS)
def test_every_format_gives_the_same_images_and_tags(
    images: Path, tmp_path: Path, writer: str, named: bool
) -> None:
    name, write_tags = WRITERS[writer]
    path = write_tags(tmp_path / "tags")
    assert recognise(path) is FORMATS[name]
    tagged = read_folder(images, path, tags_format=name if named else None)
    assert tagged.class_names == ("cat", "dog")
    assert {s.id: tuple(tagged.class_names[t] for t in s.tags) for s in tagged.samples} == TAGS


def test_formats_are_those_of_the_config() -> None:
    assert set(get_args(TagsFormat)) == set(FORMATS)


def test_class_folders_are_tags_wherever_images_lie_below(tmp_path: Path) -> None:
    for name in ("dog/a.jpg", "cat/a.jpg", "cat/deep/dog/b.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    tagged = read_folder(tmp_path, tmp_path)
    assert tagged.class_names == ("cat", "dog")
    found = {sample.id: sample.tags for sample in tagged.samples}
    assert found == {"cat/a": (0,), "cat/deep/dog/b": (0,), "dog/a": (1,)}
    Image.new("RGB", (4, 4)).save(tmp_path / "stray.jpg")
    with pytest.raises(WsssError, match=r"stray\.jpg beside folders"):
        read_folder(tmp_path, tmp_path)


def test_class_folders_within_splits_are_no_classes(tmp_path: Path) -> None:
    for name in ("train/dog/a.jpg", "val/cat/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    with pytest.raises(WsssError, match="folders train, val, which are splits"):
        read_folder(tmp_path, tmp_path)
    assert read_folder(tmp_path, tmp_path / "train").class_names == ("dog",)


def test_classes_txt_beside_class_folders_is_not_yolo(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "dog/a.jpg")
    write(tmp_path / "classes.txt", "dog")
    assert recognise(tmp_path) is FORMATS["folders"]


def test_coco_class_list_keeps_unused_categories_in_the_order_of_ids(
    images: Path, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "a.json",
        {
            "annotations": [{"image_id": "x", "category_id": 10}],
            "images": [{"id": "x", "file_name": "train2014/a.jpg"}],
            "categories": [{"id": 10, "name": "dog"}, {"id": 9, "name": "cat"}],
        },
    )
    tagged = read_folder(images, path)
    assert tagged.class_names == ("cat", "dog") and tagged.samples[0].tags == (1,)


def test_coco_class_of_its_own_name_as_parent_is_kept(images: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json",
        {
            "images": [{"id": 1, "file_name": "a.jpg"}],
            "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
            "annotations": [],
        },
    )
    assert read_folder(images, path).class_names == ("person",)


def test_class_names_of_the_config_set_the_order_in_every_format(
    images: Path, tmp_path: Path
) -> None:
    for _, write_tags in WRITERS.values():
        path = write_tags(tmp_path / write_tags.__name__)
        tagged = read_folder(images, path, ["dog", "cow", "cat"])
        assert tagged.class_names == ("dog", "cow", "cat")
        assert next(s.tags for s in tagged.samples if s.id == "a") == (0, 2)


UNKNOWN = {
    "coco": r"Annotation 2 of .*instances\.json has the tag 'cat'",
    "label_studio": r"Task 1 of .*export\.json has the tag 'cat'",
    "cvat": r"Image a\.jpg of .*annotations\.xml has the tag 'cat'",
    "huggingface": r"Line 1 of .*metadata\.jsonl has the tag 'cat'",
    "huggingface_csv": r"Line 2 of .*metadata\.csv has the tag 'cat'",
    "yolo": r"of .*labels/train/a\.txt has the tag 'cat'",
    "voc": r"annotation .*a\.xml has the tag 'cat'",
    "text": r"Line 2 of .*tags\.txt has the tag 'cat'",
    "table": r"Line 2 of .*tags\.csv has the tag 'cat'",
}


@pytest.mark.parametrize("writer", UNKNOWN)
def test_a_tag_that_is_no_class_is_named_with_its_place(
    images: Path, tmp_path: Path, writer: str
) -> None:
    path = WRITERS[writer][1](tmp_path / "tags")
    with pytest.raises(WsssError, match=UNKNOWN[writer]):
        read_folder(images, path, ["dog", "bat"])


FAULTS: dict[str, tuple[str, Any, str]] = {
    "coco category": (
        "a.json",
        {
            "images": [{"id": 1, "file_name": "a"}],
            "annotations": [{"image_id": 1, "category_id": 5}],
        },
        r"Annotation 1 .*category '5'",
    ),
    "coco image": (
        "a.json",
        {
            "categories": [{"id": 1, "name": "a"}],
            "annotations": [{"image_id": 7, "category_id": 1}],
        },
        "image '7'",
    ),
    "coco without images": ("a.json", {"images": [], "categories": []}, "no image"),
    "coco results": ("a.json", {"a": 1}, "no image"),
    "json cut": ("a.json", '{"images": [{"id": 1, "file_name": "a', r"element 1 of 'images'"),
    "json deep": ("a.json", '{"images": ' + "[" * 100_000, "nested too deep"),
    "label studio text": ("a.json", [{"data": {"text": "x"}, "annotations": []}], "Task 1 .*image"),
    "label studio number": ("a.json", "[ {}, 5 ]", "Task 1 .*image"),
    "label studio not annotated": (
        "a.json",
        [{"data": {"image": "a.jpg"}, "annotations": []}],
        "None of the 1 tasks",
    ),
    "label studio empty": ("a.json", "[]", "no image"),
    "label studio strange": (
        "a.json",
        [{"data": {"image": "a.jpg"}, "annotations": [{"result": [{"value": {"choices": [""]}}]}]}],
        "no class|classes",
    ),
    "cvat bomb": (
        "a.xml",
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cc"><!ENTITY c "&b;&b;">]>'
        "<annotations>&c;</annotations>",
        "document type",
    ),
    "cvat bomb behind": (
        "a.xml",
        "<annotations><image name='a.jpg'>&b;</image></annotations>",
        "entity",
    ),
    "cvat cut": ("a.xml", "<annotations><image name='a.jpg'>", "Line 1"),
    "cvat deep": ("a.xml", "<annotations>" + "<a>" * 5000, "nested deeper"),
    "cvat video": ("a.xml", "<annotations><track label='cat'/></annotations>", "video"),
    "cvat without name": ("a.xml", "<annotations><image id='1'/></annotations>", "Element 1"),
    "jsonl broken": ("a.jsonl", '{"file_name": "a.jpg", "label": "x"}\n{"file', "Line 2"),
    "jsonl deep": ("a.jsonl", "[" * 100_000, "Line 1 .*deep"),
    "jsonl without name": ("a.jsonl", '{"label": "x"}', "Line 1 .*file_name"),
    "jsonl without tags": ("a.jsonl", '{"file_name": "a.jpg"}', "Line 1 .*label"),
    "jsonl number": ("a.jsonl", '{"file_name": "a.jpg", "label": 0.5}', "Line 1 .*label"),
    "text without colon": ("a.txt", "a.jpg: cat\nb.jpg cat\n", "Line 2 .*colon"),
    "text of code": ("a.txt", "a.jpg: {cat\n", r"Line 1 .*\{"),
    "surrogate": ("a.jsonl", '{"file_name": "a.jpg", "label": "\\ud800"}', "Line 1 .*tag"),
    "long": ("a.jsonl", json.dumps({"file_name": "a", "label": "x" * 101}), "100 characters"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_place(images: Path, tmp_path: Path, fault: str) -> None:
    name, content, named = FAULTS[fault]
    with pytest.raises(WsssError, match=named):
        read_folder(images, write(tmp_path / "tags" / name, content))


@pytest.mark.parametrize(
    ("config", "labels", "named"),
    [
        ("names: [cat]\n", "1 0.5 0.5 1 1", r"Line 1 of .*a\.txt .*from 0 to 0"),
        ("names: [cat]\n", "0 0.5 0.5", r"Line 1 of .*a\.txt"),
        ("names: [cat]\n", "x 0.5 0.5 1 1", r"Line 1 of .*a\.txt"),
        ("names: [cat]\n", "-1 0.5 0.5 1 1", r"Line 1 of .*a\.txt"),
        ("names: 5\n", "", r"data\.yaml has no list of names"),
        ("names: {0: cat, 2: dog}\n", "", r"data\.yaml has no list of names"),
        ("names: [cat\n", "", r"data\.yaml is not valid YAML"),
        ("names: [2026-13-45]\n", "", r"data\.yaml is not valid YAML \(month"),
        ("names: {0: cat, 1: dog, 1: owl}\n", "", r"the key 1 stands there twice"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: *b\n", "", "references"),
        ("names: " + "[" * 50_000, "", "YAML"),
    ],
)
def test_yolo_names_the_line_that_is_wrong(
    images: Path, tmp_path: Path, config: str, labels: str, named: str
) -> None:
    write(tmp_path / "yolo/data.yaml", config)
    write(tmp_path / "yolo/labels/a.txt", labels)
    with pytest.raises(WsssError, match=named):
        read_folder(images, tmp_path / "yolo")


def test_yolo_of_roboflow_and_by_its_yaml(images: Path, tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", "names: ['cat']\nnc: 1\n")
    write(tmp_path / "train/labels/a.txt", "0 0.5 0.5 1 1")
    write(tmp_path / "README.roboflow.txt", "hello")
    tagged = read_folder(images, tmp_path / "data.yaml")
    assert [(s.id, s.tags) for s in tagged.samples] == [("a", (0,))]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\x00.jpg/../x", "..", "."])
def test_names_that_lead_elsewhere_find_nothing(images: Path, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"file_name": name, "label": "cat"}))
    with pytest.raises(WsssError, match="does not exist"):
        read_folder(images, path)


def test_a_name_with_folders_above_finds_the_image_within(images: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"file_name": "../../a.jpg", "label": "cat"}))
    assert read_folder(images, path).samples[0].path == images / "a.jpg"


def test_recognise_says_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match=r"COCO JSON.*data\.tags_format"):
        read_tags(tmp_path)
    with pytest.raises(WsssError, match=r"gone\.json .*No such file"):
        read_tags(tmp_path / "gone.json")


@pytest.mark.parametrize("writer", ["coco", "yolo", "cvat", "label_studio"])
def test_check_data_shows_the_classes_of_every_format(
    images: Path, tmp_path: Path, writer: str
) -> None:
    path = WRITERS[writer][1](tmp_path / "tags")
    result = CliRunner().invoke(app, ["check-data", "--images", str(images), "--tags", str(path)])
    assert result.exit_code == 0, result.output
    shown = [line.split() for line in result.output.splitlines()]
    assert ["1", "cat", "1", "images"] in shown and ["2", "dog", "2", "images"] in shown
    assert ["(no", "class)", "1", "images"] in shown
    assert "unlisted.jpg" in result.output


def test_check_data_names_every_unknown_tag_and_image(images: Path, tmp_path: Path) -> None:
    path = coco(tmp_path / "tags")
    (images / "none.jpg").unlink()
    problems = check_folder(images, path, ["dgo", "bat"])
    assert [problem.partition(":")[0] for problem in problems] == ["tag", "tag", "image name"]
