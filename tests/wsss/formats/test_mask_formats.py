"""Masks out and in again: exact where the format can be, else within a pixel of the contour."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy import ndimage

from wsss.errors import WsssError
from wsss.formats.brush import decode_brush, encode_brush
from wsss.formats.instances import Shape, paint, split
from wsss.formats.mask_list import MaskList, MaskToWrite, Writing
from wsss.formats.mask_registry import WRITERS, read_masks
from wsss.formats.polygons import fill, joined, outline
from wsss.formats.rle import fill_polygons
from wsss.formats.target import Target

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CLASSES = ("cat", 'a "dog" & <cow>')
FIXTURES = Path(__file__).parent / "fixtures"


def blobs(seed: int, size: tuple[int, int] = (60, 80)) -> NDArray[np.uint8]:
    """A mask with holes, parts, thin lines and touching corners, and some of it void."""
    rng = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(rng.normal(size=size), s) for s in (4, 3)]
    mask = np.where(smooth[0] > 0.02, 1, np.where(smooth[1] > 0.05, 2, 0)).astype(np.uint8)
    mask[5:20:2, 7] = 1
    mask[30, 10:40] = 2
    mask[-9, 40], mask[-8, 41] = 1, 1
    return mask


MASKS = {"a": blobs(0), "deep/b c": blobs(1, (33, 47)), "none": np.zeros((8, 6), np.uint8)}


def to_write(folder: Path | None = None) -> Iterator[MaskToWrite]:
    for number, (id_, mask) in enumerate(MASKS.items(), 1):
        path = None
        if folder is not None:
            path = folder / f"{id_}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", mask.shape[::-1]).save(path)
        yield MaskToWrite(id_, number, f"{id_}.jpg", path, mask)


def written(folder: Path, name: str, images: Path | None = None, **how: Any) -> Path:
    target = Target(folder / name)
    WRITERS[name](to_write(images), Writing(CLASSES, **how), target)
    target.finish()
    return target.folder


def read_back(folder: Path) -> dict[str, NDArray[np.uint8]]:
    listed = read_masks(folder)
    values = np.zeros(256, np.uint8)
    values[255] = 255
    for value, name in enumerate(listed.classes or CLASSES, 1):
        values[value] = CLASSES.index(name) + 1
    found = {}
    for name in listed.names:
        id_ = name.removesuffix(".jpg").removeprefix("images/")
        found[id_] = values[listed.read(name, MASKS[id_].shape)]
    return found


def annotated(name: str) -> set[str]:
    """Ids that come back: of COCO and CVAT, not those without any shape."""
    return set(MASKS) - ({"none"} if name in ("coco", "cvat") else set())


@pytest.mark.parametrize("semantic", [False, True])
@pytest.mark.parametrize("name", ["coco", "cvat", "png", "voc"])
def test_masks_come_back_exactly(tmp_path: Path, name: str, semantic: bool) -> None:
    found = read_back(written(tmp_path, name, semantic=semantic))
    assert set(found) == annotated(name)
    for id_, mask in found.items():
        np.testing.assert_array_equal(mask, MASKS[id_])


def as_annotations(folder: Path) -> Path:
    """Label Studio's predictions, as a person submits them."""
    tasks = json.loads((folder / "tasks.json").read_text())
    for task in tasks:
        task["annotations"] = task.pop("predictions")
    path = folder / "submitted.json"
    path.write_text(json.dumps(tasks))
    return path


def test_label_studio_comes_back_exactly_as_brush(tmp_path: Path) -> None:
    assert read_masks(written(tmp_path, "label-studio") / "tasks.json").names == ()
    for id_, mask in read_back(as_annotations(written(tmp_path, "label-studio"))).items():
        np.testing.assert_array_equal(mask, MASKS[id_])


def near_edges(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels within one of the contour of a class, or of the border of the image."""
    near = np.zeros(mask.shape, bool)
    for value in range(3):
        own, eight = mask == value, np.ones((3, 3))
        near |= ndimage.binary_dilation(own, eight) & ~ndimage.binary_erosion(own, eight)
    return near


@pytest.mark.parametrize("name", ["coco", "cvat", "label-studio", "labelme", "yolo-seg"])
def test_polygons_come_back_within_a_pixel_of_the_contour(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path, name, polygons=True)
    found = read_back(as_annotations(folder) if name == "label-studio" else folder)
    assert {"a", "deep/b c"} <= set(found)
    for id_, mask in found.items():
        wrong = mask != MASKS[id_]
        assert not (wrong & ~near_edges(MASKS[id_])).any()
        assert wrong.mean() < 0.08


@pytest.mark.parametrize("seed", range(6))
def test_outlines_without_simplification_fill_to_the_mask(seed: int) -> None:
    mask = blobs(seed) == 1
    parts = outline(mask, 0)
    apart = [ring for part in parts for ring in (part.outer, *part.holes)]
    cut_open = [joined(part) for part in parts]
    np.testing.assert_array_equal(fill(apart, mask.shape), mask)
    np.testing.assert_array_equal(fill(cut_open, mask.shape), mask)
    flat = [ring.ravel().tolist() for ring in cut_open]
    np.testing.assert_array_equal(fill_polygons(flat, mask.shape), mask)


def test_outline_of_a_square_with_a_hole() -> None:
    mask = np.ones((5, 6), bool)
    mask[2, 2:4] = False
    (part,) = outline(mask, 0)
    assert sorted(map(tuple, part.outer.tolist())) == [(0, 0), (0, 5), (6, 0), (6, 5)]
    (hole,) = part.holes
    assert sorted(map(tuple, hole.tolist())) == [(2, 2), (2, 3), (4, 2), (4, 3)]


def test_coco_file_is_what_pycocotools_reads(tmp_path: Path) -> None:
    path = written(tmp_path, "coco") / "annotations.json"
    oracle = COCO(str(path))
    assert [c["name"] for c in oracle.loadCats(oracle.getCatIds())] == list(CLASSES)
    for number, (id_, mask) in enumerate(MASKS.items(), 1):
        assert oracle.imgs[number]["file_name"] == f"{id_}.jpg"
        found = np.zeros_like(mask)
        for one in oracle.loadAnns(oracle.getAnnIds(number)):
            pixels = oracle.annToMask(one).astype(bool)
            assert ndimage.label(pixels, np.ones((3, 3)))[1] == 1  # one connected component
            assert one["area"] == pixels.sum() and one["iscrowd"] == 0
            encoded = coco_mask.encode(np.asfortranarray(pixels, np.uint8))
            assert one["bbox"] == coco_mask.toBbox(encoded).tolist()
            found[pixels] = one["category_id"]
        np.testing.assert_array_equal(found, mask)


def test_coco_ids_stay_when_another_image_changes(tmp_path: Path) -> None:
    def ids(masks: list[NDArray[np.uint8]], name: str) -> set[int]:
        entries = (MaskToWrite(str(n), n, f"{n}.jpg", None, m) for n, m in enumerate(masks, 1))
        WRITERS["coco"](entries, Writing(CLASSES), Target(tmp_path / name))
        found = json.loads((tmp_path / name / "annotations.json").read_text())
        return {a["id"] for a in found["annotations"] if a["image_id"] == 2}

    assert ids([blobs(0), blobs(1)], "x") == ids([blobs(2), blobs(1)], "y")


def test_semantic_and_min_area(tmp_path: Path) -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[0:3, 0:3], mask[5:9, 5:9], mask[0, 9] = 1, 1, 1
    assert [i.area for i in split(mask)] == [9, 1, 16]
    assert [i.area for i in split(mask, min_area=2)] == [9, 16]
    (whole,) = split(mask, semantic=True, min_area=2)
    assert whole.area == 25 and whole.box == [0, 0, 9, 9]
    np.testing.assert_array_equal(
        whole.whole(), (mask == 1) & (np.arange(10)[:, None] + np.arange(10) != 9)
    )


def test_void_is_no_instance_and_stays_in_png(tmp_path: Path) -> None:
    mask = np.full((6, 6), 255, np.uint8)
    mask[1:4, 1:4] = 1
    assert [i.value for i in split(mask)] == [1]
    target = Target(tmp_path / "png")
    one = MaskToWrite("a", 1, "a.jpg", None, mask)
    WRITERS["png"]([one], Writing(("cat",), min_area=3), target)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "png/a.png")), mask)


def test_yolo_data_can_be_trained_on(tmp_path: Path) -> None:
    folder = written(tmp_path, "yolo-seg", images=tmp_path / "photos")
    config = yaml.safe_load((folder / "data.yaml").read_text())
    assert config["names"] == dict(enumerate(CLASSES))
    assert (folder / "images/deep/b c.jpg").is_file() and (folder / "labels/none.txt").is_file()
    fields = (folder / "labels/a.txt").read_text().splitlines()[0].split()
    assert fields[0] == "0" and all(0 <= float(number) <= 1 for number in fields[1:])


def test_voc_folder_is_read_by_voc_and_by_cvat(tmp_path: Path) -> None:
    folder = written(tmp_path, "voc")
    listed = (folder / "ImageSets/Segmentation/train.txt").read_text().splitlines()
    assert listed == list(MASKS)
    assert (folder / "class_names.txt").read_text().splitlines() == list(CLASSES)
    assert "cat:128,0,0::" in (folder / "labelmap.txt").read_text().splitlines()
    # as CVAT exports it: colours
    for path in (folder / "SegmentationClass").rglob("*.png"):
        with Image.open(path) as image:
            image.convert("RGB").save(path)
    for id_, mask in read_back(folder).items():
        np.testing.assert_array_equal(mask, MASKS[id_])


def test_hf_parquet_holds_images_masks_and_tags(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = written(tmp_path, "hf", images=tmp_path / "photos")
    table = parquet.read_table(folder / "data/train-00000.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["tags"]["feature"]["names"] == list(CLASSES)
    rows = table.to_pylist()
    assert [row["image"]["path"] for row in rows] == [f"{id_}.jpg" for id_ in MASKS]
    assert [row["tags"] for row in rows] == [[0, 1], [0, 1], []]
    with pytest.raises(WsssError, match="--images"):
        written(tmp_path / "again", "hf")


def test_hf_without_pyarrow_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(WsssError, match=r"pip install 'wsss\[formats\]'"):
        written(tmp_path / "made", "hf")
    assert not (tmp_path / "made").exists()


def test_hf_parquet_comes_back_exactly(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = written(tmp_path, "hf", images=tmp_path / "photos")
    for place in (folder, folder / "data", folder / "data/train-00000.parquet"):
        found = read_back(place)
        assert read_masks(place).classes == CLASSES and set(found) == set(MASKS)
        for id_, mask in found.items():
            np.testing.assert_array_equal(mask, MASKS[id_])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [{"image": row["image"]} for row in rows], "no annotation.bytes"),
        (lambda rows: [{**row, "image": {"bytes": b"", "path": ""}} for row in rows], "no image"),
        (lambda rows: [rows[0], rows[0]], "of another row"),
        (lambda rows: [{**rows[0], "annotation": {"bytes": b"x", "path": ""}}], "does not decode"),
        (None, "can't be read as Parquet"),
    ],
)
def test_a_malformed_parquet_is_one_sentence(tmp_path: Path, change: Any, said: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    path = written(tmp_path, "hf", images=tmp_path / "photos") / "data/train-00000.parquet"
    if change is None:
        path.write_bytes(path.read_bytes()[:-9])
    else:
        rows = change(parquet.read_table(path).to_pylist())
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(WsssError, match=said):
        listed = read_masks(path)
        listed.read(listed.names[0], (60, 80))


def test_brush_of_hand_sized_mask() -> None:
    mask = np.array([[False, True], [True, True]])
    code = encode_brush(mask)
    # 16 values of 8 bits; sizes 3, 4, 8, 16; 4 × 0, then 12 × 255
    bits = "".join(f"{byte:08b}" for byte in code)
    expected = f"{16:032b}" + "00111" + "0010001101111111" + "1" + "00" + "011" + "0" * 8
    expected += "1" + "01" + "1011" + "1" * 8
    assert bits.startswith(expected) and set(bits[len(expected) :]) <= {"0"}
    np.testing.assert_array_equal(decode_brush(code, (2, 2)), mask)


@pytest.mark.parametrize(
    "code", [[], [1] * 30, [255] * 30, ["a"], [0, 0, 0, 16, 57, 27, 252, 1], 5]
)
def test_decode_brush_refuses_what_is_none(code: Any) -> None:
    with pytest.raises(ValueError, match="brush"):
        decode_brush(code, (2, 2))


def test_brush_is_that_of_label_studio() -> None:
    """`fixtures/brush.json`: what label_studio_sdk said of these masks; see its first lines."""
    oracle = json.loads((FIXTURES / "brush.json").read_text())
    for entry in oracle["masks"]:
        mask = np.array(entry["mask"], bool)
        np.testing.assert_array_equal(decode_brush(entry["rle"], mask.shape), mask)
        np.testing.assert_array_equal(decode_brush(encode_brush(mask), mask.shape), mask)
        assert encode_brush(mask) == entry["rle"][: len(encode_brush(mask))]


def test_paint_background_means_that_the_rest_is_unknown() -> None:
    left, middle = np.zeros((1, 4), bool), np.zeros((1, 4), bool)
    left[0, :2], middle[0, 1] = True, True
    values = {"cat": 1, "dog": 2}
    shapes = [Shape("cat", middle), Shape("dog", left)]
    assert paint(shapes, (1, 4), values).tolist() == [[2, 1, 0, 0]]
    shapes = [Shape("Background", left), Shape("cat", middle)]
    assert paint(shapes, (1, 4), values).tolist() == [[0, 1, 255, 255]]


def test_target_keeps_what_a_person_changed(tmp_path: Path) -> None:
    target = Target(tmp_path)
    target.put("a.json", "1")
    target.put("b.json", [b"2", b"3"])
    target.finish()
    again = Target(tmp_path)
    again.put("a.json", "other")  # its own file
    again.put("b.json", [b"4"])
    again.finish()
    (tmp_path / "a.json").write_text("by a person")
    with pytest.raises(WsssError, match=r"a\.json"):
        Target(tmp_path).put("a.json", "1")
    (tmp_path / "b.json").write_text("by a person")
    with pytest.raises(WsssError, match=r"b\.json"):
        Target(tmp_path).put("b.json", [b"1"])
    assert (tmp_path / "a.json").read_text() == "by a person"
    Target(tmp_path, overwrite=True).put("a.json", "1")
    assert (tmp_path / "a.json").read_text() == "1"


def test_target_goes_on_after_a_kill(tmp_path: Path) -> None:
    Target(tmp_path).put("a.txt", "1")  # never finished
    target = Target(tmp_path)
    target.put("a.txt", "1")
    target.put("b.txt", "2")
    assert (tmp_path / "b.txt").read_text() == "2"


HOSTILE: dict[str, tuple[str, Any, str]] = {
    "coco size": (
        "a.json",
        {
            "images": [{"id": 1, "file_name": "a.jpg"}],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [
                {"image_id": 1, "category_id": 1, "segmentation": {"size": [9, 9], "counts": [81]}}
            ],
        },
        "Annotation 1",
    ),
    "cvat mask": (
        "a.xml",
        "<annotations><image name='a.jpg'><mask label='cat' rle='1,99' left='1' top='0' "
        "width='99' height='1'/></image></annotations>",
        "Shape 1 of the image 'a.jpg'",
    ),
    "cvat runs": (
        "a.xml",
        "<annotations><image name='a.jpg'><mask label='cat' rle='1,99' left='1' top='0' "
        "width='2' height='1'/></image></annotations>",
        "Shape 1 of the image 'a.jpg'",
    ),
    "cvat points": (
        "a.xml",
        "<annotations><image name='a.jpg'><polygon label='cat' points='1,2;x'/></image>"
        "</annotations>",
        "Shape 1 of the image 'a.jpg'",
    ),
    "cvat far": (
        "a.xml",
        "<annotations><image name='a.jpg'><polygon label='cat' points='0,0;1e300,0;1,1'/></image>"
        "</annotations>",
        "Shape 1 of the image 'a.jpg'",
    ),
    "label studio": (
        "a.json",
        [
            {
                "data": {"image": "a.jpg"},
                "annotations": [
                    {"result": [{"value": {"rle": [255] * 40, "brushlabels": ["cat"]}}]}
                ],
            }
        ],
        "Region 1",
    ),
    "labelme": ("d/a.json", {"shapes": [{"label": "cat", "points": [[0, 0], [1, 1]]}]}, "Shape 1"),
    "labelme mask": (
        "d/a.json",
        {
            "shapes": [
                {"label": "cat", "points": [[0, 0], [1, 1]], "shape_type": "mask", "mask": "x"}
            ]
        },
        "Shape 1",
    ),
    "labelme without label": ("d/a.json", {"shapes": [{"points": []}]}, "Shape 1"),
    "labelme deep": ("d/a.json", "[" * 100_000, "no JSON"),
    "labelme other": ("d/a.json", {"a": 1}, "no shapes"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_fault_in_masks_is_named_with_its_place(tmp_path: Path, fault: str) -> None:
    name, content, named = HOSTILE[fault]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(WsssError, match=named):
        listed = read_masks(path if path.parent == tmp_path else path.parent)
        listed.read(listed.names[0], (4, 5))


def of_image(name: str, **shape: Any) -> dict[str, Any]:
    """COCO's entry of a triangle on an image."""
    triangle = {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4]]}
    return {
        "images": [{"id": 1, "file_name": name, **shape}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [triangle],
    }


TRIANGLE = {"label": "cat", "points": [[0, 0], [4, 0], [4, 4]]}
REGION = {"value": {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["cat"]}}
POLYGON = "<polygon label='cat' points='0,0;4,0;4,4'/>"
OTHER_SIZES: dict[str, tuple[str, Any]] = {
    "coco": ("a.json", of_image("a.jpg", height=8, width=6)),
    "cvat": (
        "a.xml",
        f"<annotations><image name='a.jpg' width='6' height='8'>{POLYGON}</image></annotations>",
    ),
    "labelme": ("d/a.json", {"shapes": [TRIANGLE], "imageHeight": 8, "imageWidth": 6}),
    "label studio": (
        "a.json",
        [
            {
                "data": {"image": "a.jpg"},
                "annotations": [{"result": [REGION | {"original_width": 6, "original_height": 8}]}],
            }
        ],
    ),
}


def listed(tmp_path: Path, name: str, content: Any) -> MaskList:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_masks(path if path.parent == tmp_path else path.parent)


@pytest.mark.parametrize("name", OTHER_SIZES)
def test_shapes_on_an_image_of_another_size_are_refused(tmp_path: Path, name: str) -> None:
    """As that of a photograph that wasn't turned upright: its places are others."""
    masks = listed(tmp_path, *OTHER_SIZES[name])
    assert masks.read(masks.names[0], (8, 6)).any()
    with pytest.raises(WsssError, match=r"6×8.*turned upright.*8×6"):
        masks.read(masks.names[0], (6, 8))
    if name == "label studio":  # in shares of the sides
        assert (masks.read("a.jpg", (16, 12)) == 1).sum() == pytest.approx(24, abs=6)
    else:
        with pytest.raises(WsssError, match=r"6×8.*12×16"):
            masks.read(masks.names[0], (16, 12))


def test_two_annotations_of_an_image_are_refused(tmp_path: Path) -> None:
    image = f"<image name='a.jpg'>{POLYGON}</image>"
    coco, other = of_image("a.jpg"), of_image("a.jpg")
    coco["images"].append({"id": 2, "file_name": "a.jpg"})
    coco["annotations"] += [other["annotations"][0] | {"image_id": 2}]
    task = {"data": {"image": "a.jpg"}, "annotations": [{"result": [REGION]}]}
    for name, content in (
        ("a.json", coco),
        ("a.xml", f"<annotations>{image}{image}</annotations>"),
        ("b.json", [task, task]),
    ):
        with pytest.raises(WsssError, match=r"two annotations of an image 'a\.jpg'"):
            listed(tmp_path, name, content)


@pytest.mark.parametrize("path", ["a.jpg", "..\\photos\\A.JPG", "x/a", "", None, "a.json"])
def test_labelme_is_of_the_image_that_it_names(tmp_path: Path, path: str | None) -> None:
    assert listed(tmp_path, "d/a.json", {"shapes": [TRIANGLE], "imagePath": path}).names == ("a",)
    with pytest.raises(WsssError, match=r"a\.json is an annotation of 'b\.jpg'"):
        listed(tmp_path, "d/a.json", {"shapes": [TRIANGLE], "imagePath": "../b.jpg"})


@pytest.mark.parametrize("name", ["#1 50%.jpg", "q&x=<y>?.png", "a+b.jpg", "ä/ö ü.jpg"])
def test_label_studio_addresses_hold_any_name(tmp_path: Path, name: str) -> None:
    target = Target(tmp_path)
    mask = np.ones((4, 4), np.uint8)
    one = MaskToWrite("a", 1, name, None, mask)
    WRITERS["label-studio"]([one], Writing(CLASSES), target)
    assert read_masks(as_annotations(tmp_path)).names == (name,)


def test_read_masks_says_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(WsssError, match="LabelMe"):
        read_masks(tmp_path)
    with pytest.raises(WsssError, match="do not exist"):
        read_masks(tmp_path / "gone")
