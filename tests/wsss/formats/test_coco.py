"""COCO's JSON, streamed: entries, masks, files that are broken or hostile."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from wsss.errors import WsssError
from wsss.formats import json_stream
from wsss.formats.coco import (
    CocoAnnotation,
    CocoCategory,
    CocoImage,
    instance_mask,
    stream_coco,
)
from wsss.formats.json_stream import stream_json
from wsss.formats.rle import decode_rle, encode_rle, fill_runs, runs_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def an_annotation(segmentation: Any) -> CocoAnnotation:
    return CocoAnnotation(1, 1, False, 0.0, segmentation, "Annotation 1 of a.json")


def test_stream_coco_gives_entries_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json",
        {
            "info": {"year": 2014, "urls": ["x"]},
            "annotations": [{"id": 5, "image_id": 7, "category_id": 3, "iscrowd": 1, "area": 2.5}],
            "images": [{"id": 7, "file_name": "a/b.jpg", "height": 4, "width": 6}],
            "categories": [{"id": 3, "name": " cat ", "supercategory": "animal"}],
        },
    )
    assert list(stream_coco(path)) == [
        CocoAnnotation(7, 3, True, 2.5, None, f"Annotation 1 of {path}"),
        CocoImage(7, "a/b.jpg", (4, 6)),
        CocoCategory(3, "cat", "animal"),
    ]


def test_instance_masks_are_those_of_pycocotools(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blob = rng.random((30, 40)) < 0.3
    runs = encode_rle(blob)
    segmentations = [
        [[1.5, 2, 20.2, 3.7, 12, 25]],
        [[0, 0, 8, 0, 8, 8, 0, 8], [-5, 20, 60, 20, 60, 28, -5, 28]],
        runs,
        {"size": [30, 40], "counts": runs_of(blob.T.ravel())},
    ]
    path = write(
        tmp_path / "a.json",
        {
            "images": [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": 1, "segmentation": s, "iscrowd": 0}
                for i, s in enumerate(segmentations, 1)
            ],
        },
    )
    oracle = COCO(str(path))
    found = [e for e in stream_coco(path) if isinstance(e, CocoAnnotation)]
    for number, annotation in enumerate(found, 1):
        expected = oracle.annToMask(oracle.anns[number]).astype(bool)
        np.testing.assert_array_equal(instance_mask(annotation, (30, 40)), expected)


def test_encode_rle_is_that_of_pycocotools_and_decodes_to_itself() -> None:
    rng = np.random.default_rng(1)
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = rng.random((17, 23)) < share
        rle = encode_rle(mask)
        np.testing.assert_array_equal(coco_mask.decode(rle), mask)
        np.testing.assert_array_equal(decode_rle(rle, (17, 23)), mask)


def test_runs_of_and_fill_runs_undo_each_other() -> None:
    flat = np.array([True, True, False, True])
    assert runs_of(flat) == [0, 2, 1, 1]
    np.testing.assert_array_equal(fill_runs([0, 2, 1, 1], 4), flat)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [3, 5], "counts": "o"},
        {"size": [4, 5], "counts": [5]},
        {"size": [4, 5], "counts": [-5, 25]},
        {"size": [4, 5], "counts": [5, 1000]},
        {"size": [4, 5], "counts": "o" * 100},
        {"size": [4, 5], "counts": "\x00ä"},
        {"size": [4, 5], "counts": ""},
        {"size": [4, 5], "counts": [1.5, 18.5]},
        {"size": [4, 5]},
        {},
        [[0, 0, 1e9, 1e9, 0, 1e9]],
        [[0, 0, float("nan"), 5, 0, 8]],
        [[0, 0, 5, 5, 0]],
        [[0, 0]],
        [["a", 0, 1, 1, 2, 2]],
        [[[0, [1]], 3]],
        ["text"],
    ],
)
def test_instance_mask_refuses_what_is_no_mask_of_its_image(segmentation: Any) -> None:
    with pytest.raises(WsssError, match=r"Annotation 1 of a\.json"):
        instance_mask(an_annotation(segmentation), (4, 5))


def test_instance_mask_of_a_box_alone_is_empty() -> None:
    assert not instance_mask(an_annotation(None), (4, 5)).any()
    assert not instance_mask(an_annotation([]), (4, 5)).any()


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"images": [{"id": 1}]}, "Image 1 .* file_name"),
        ({"images": [{"file_name": "a.jpg"}]}, "Image 1 .* the id"),
        ({"images": [5]}, "Image 1"),
        ({"categories": [{"id": 1, "name": ""}]}, "Category 1 .* name"),
        ({"annotations": [{"image_id": 1}]}, "Annotation 1 .* category_id"),
        ({"annotations": [{"image_id": [1], "category_id": 1}]}, "Annotation 1 .* image_id"),
    ],
)
def test_stream_coco_names_the_entry_that_lacks_something(
    tmp_path: Path, entry: Any, named: str
) -> None:
    with pytest.raises(WsssError, match=named):
        list(stream_coco(write(tmp_path / "a.json", entry)))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "starts"),
        ("x", "starts with 'x'"),
        ("5", "starts"),
        ('{"a": [1, 2', "ends early"),
        ('{"a": [1, {"b": "c', "element 2 of 'a'.* ends early"),
        ('{"a": [1 2]}', "element 1 of 'a'.* comma"),
        ('{"a": [1,]}', "nothing follows a comma"),
        ('{"a" [1]}', "colon"),
        ('{"a": [1]} 5', "follows its end"),
        ('{"a": [1, {"b": tru}, 3' + " " * 100 + "]}", "element 2"),
        ('{"a": ' + "[" * 200_000, "nested too deep"),
        ('{"a": ' + '{"b":' * 200_000, "nested too deep"),
        ('{"a": [' + "9" * 5000 + "]}", "element 1 of 'a'"),
    ],
)
def test_stream_json_says_where_a_file_is_broken(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(WsssError, match=named):
        list(stream_json(write(tmp_path / "a.json", text), "The tags"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_stream_json_is_that_of_json_whatever_the_chunks(
    tmp_path: Path, encoding: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)
    whole = {"a": ["ä\n\U0001f600", 12.5e-3, -17, None, {"b": [1, [2, {}]]}], "c": 5, "d": [True]}
    for indent in (None, 2):
        text = json.dumps(whole, indent=indent, ensure_ascii=indent is None)
        (tmp_path / "a.json").write_bytes(text.encode(encoding))
        found: dict[str, list[Any]] = {}
        for key, element in stream_json(tmp_path / "a.json", "The tags"):
            found.setdefault(key, []).append(element)
        assert found == {"a": whole["a"], "d": whole["d"]}


def test_stream_json_of_a_list_and_of_a_missing_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [1, [2]])
    assert list(stream_json(path, "The tags")) == [("", 1), ("", [2])]
    with pytest.raises(WsssError, match=r"The tags .*none\.json"):
        list(stream_json(tmp_path / "none.json", "The tags"))


def test_stream_json_refuses_an_element_that_takes_all_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 10)
    monkeypatch.setattr(json_stream, "LARGEST", 100)
    with pytest.raises(WsssError, match="million characters"):
        list(stream_json(write(tmp_path / "a.json", {"a": ["x" * 10_000]}), "The tags"))
