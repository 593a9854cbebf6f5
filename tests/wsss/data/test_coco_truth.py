"""True masks of COCO's instances, against pycocotools and by hand."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from wsss.config import DataConfig
from wsss.config.schema import TruthRule
from wsss.data.coco_truth import about_masks, make_masks, semantic_mask
from wsss.data.mask_io import read_mask
from wsss.data.masks import has_truth, mask_path, true_masks
from wsss.data.open import open_tagged
from wsss.errors import WsssError
from wsss.formats.coco import CocoAnnotation

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

T = TypeVar("T")
SIZE = (48, 64)
VALUES: dict[int | str, int] = {1: 1, 13: 2, 90: 3}
RULES: tuple[TruthRule, ...] = ("coco2voc", "recam")


def quietly(items: Iterable[T], title: str, total: int) -> Iterable[T]:
    return items


def box(x: int, y: int, width: int, height: int) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def instance(category: int, box_: list[list[float]], area: float, crowd: bool = False) -> Any:
    return CocoAnnotation(1, category, crowd, area, box_, "here")


def test_coco2voc_paints_the_smallest_on_top_and_crowds_too() -> None:
    large, small = instance(1, box(0, 0, 4, 2), 8), instance(13, box(1, 0, 2, 1), 2)
    crowd = instance(90, box(0, 1, 2, 1), 2, crowd=True)
    expected = [[1, 2, 2, 1], [3, 3, 1, 1]]
    for order in ([large, small, crowd], [crowd, small, large]):
        assert semantic_mask(order, VALUES, (2, 4), "coco2voc").tolist() == expected


def test_coco2voc_of_equal_areas_keeps_the_first_on_top() -> None:
    one, other = instance(1, box(0, 0, 2, 1), 2), instance(13, box(1, 0, 2, 1), 2)
    assert semantic_mask([one, other], VALUES, (1, 4), "coco2voc").tolist() == [[1, 1, 2, 0]]


def test_coco2voc_counts_pixels_where_the_file_gives_no_area() -> None:
    small, large = instance(13, box(1, 0, 1, 1), 0), instance(1, box(0, 0, 4, 1), 0)
    assert semantic_mask([large, small], VALUES, (1, 4), "coco2voc").tolist() == [[1, 2, 1, 1]]


def test_recam_paints_in_order_and_leaves_crowds_out() -> None:
    small, large = instance(13, box(1, 0, 2, 1), 2), instance(1, box(0, 0, 4, 1), 4)
    crowd = instance(90, box(0, 0, 4, 1), 4, crowd=True)
    assert semantic_mask([small, large, crowd], VALUES, (1, 4), "recam").tolist() == [[1] * 4]
    assert semantic_mask([large, crowd, small], VALUES, (1, 4), "recam").tolist() == [[1, 2, 2, 1]]
    assert semantic_mask([crowd], VALUES, (1, 4), "recam").tolist() == [[0] * 4]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six images of random polygons, several to an instance, and crowds as RLE of either form."""
    rng = np.random.default_rng(3)
    images = [
        {"id": i, "file_name": f"COCO_val2014_{i:012d}.jpg", "height": SIZE[0], "width": SIZE[1]}
        for i in (3, 8, 9, 12, 40, 41)
    ]
    annotations: list[dict[str, Any]] = []
    for image in images[:5] * 8:
        centre, reach = rng.uniform(0, SIZE[::-1], 2), rng.uniform(3, 40)
        polygons = []
        for _ in range(int(rng.integers(1, 3))):
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
            points = centre + reach * np.stack([np.cos(angles), np.sin(angles)], 1)
            points = points.clip(0, SIZE[::-1]).round(2)
            polygons.append(points.ravel().tolist())
        runs = coco_mask.merge(coco_mask.frPyObjects(polygons, *SIZE))
        crowd = bool(rng.random() < 0.3)
        kept: Any = polygons
        if crowd:
            pixels = coco_mask.decode(runs).T.ravel()
            borders = np.flatnonzero(np.diff(pixels)) + 1
            lengths = np.diff([0, *borders, pixels.size]).tolist()
            kept = {"size": list(SIZE), "counts": [0, *lengths] if pixels[0] else lengths}
            if rng.random() < 0.5:
                kept = {"size": list(SIZE), "counts": runs["counts"].decode()}
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image["id"],
                "category_id": int(rng.choice([1, 13, 90])),
                "segmentation": kept,
                "area": float(coco_mask.area(runs)),
                "iscrowd": int(crowd),
            }
        )
    rng.shuffle(annotations)  # type: ignore[arg-type]
    categories = [{"id": i, "name": str(i)} for i in (1, 13, 90)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = tmp_path / "annotations" / "instances_val2014.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    (tmp_path / "val2014").mkdir()
    for image in images:
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "val2014" / str(image["file_name"]))
    return tmp_path


def oracle(coco: COCO, image: int, rule: TruthRule) -> NDArray[np.uint8]:
    """Each pixel by itself: which annotation is on top of it."""
    listed = coco.loadAnns(coco.getAnnIds(image, iscrowd=None if rule == "coco2voc" else False))
    masks = np.stack([coco.annToMask(one) for one in listed] or [np.zeros(SIZE)])
    labels = [VALUES[one["category_id"]] for one in listed]
    if rule == "coco2voc":
        rank = sorted(range(len(listed)), key=lambda i: listed[i]["area"])
    else:
        rank = list(range(len(listed)))[::-1]
    mask = np.zeros(SIZE, np.uint8)
    for y, x in np.ndindex(SIZE):
        mask[y, x] = next((labels[i] for i in rank if masks[i, y, x]), 0)
    return mask


@pytest.mark.parametrize("rule", RULES)
def test_true_masks_are_those_of_pycocotools(root: Path, rule: TruthRule) -> None:
    with contextlib.redirect_stdout(None):
        coco = COCO(str(root / "annotations" / "instances_val2014.json"))
    data = DataConfig(root=root, val_split="val2014", truth_rule=rule)
    tagged = open_tagged(data, "val2014")
    samples, masks = tagged.samples, true_masks(data, "val2014", tagged, quietly)
    assert len(samples) == 5
    for sample in samples:
        image = int(sample.id.rpartition("_")[2])
        found = read_mask(mask_path(masks, sample.id))
        np.testing.assert_array_equal(found, oracle(coco, image, rule))
        assert len(np.unique(found)) > 1


def ids(root: Path) -> list[str]:
    return [sample.id for sample in open_tagged(DataConfig(root=root), "val2014").samples]


def test_true_masks_are_made_once_and_only_those_asked_for(root: Path) -> None:
    first, *others = ids(root)
    folder = make_masks(root, "val2014", "coco2voc", [first], quietly)
    made = list(folder.rglob("*.png"))
    assert [path.stem for path in made] == [first]
    before = made[0].stat().st_mtime_ns
    assert make_masks(root, "val2014", "coco2voc", [first, *others], quietly) == folder
    assert len(list(folder.rglob("*.png"))) == 5 and made[0].stat().st_mtime_ns == before


def test_true_masks_of_another_rule_or_file_lie_elsewhere(root: Path) -> None:
    folder = make_masks(root, "val2014", "coco2voc", ids(root), quietly)
    other = make_masks(root, "val2014", "recam", ids(root), quietly)
    path = root / "annotations" / "instances_val2014.json"
    path.write_text(path.read_text() + " ")
    changed = make_masks(root, "val2014", "coco2voc", ids(root), quietly)
    assert len({folder, other, changed}) == 3
    assert about_masks(other)["truth_rule"] == "recam"
    digests = {about_masks(one)["truth_digest"] for one in (folder, other, changed)}
    assert len(digests) == 2 and all(len(digest) == 16 for digest in digests)


def test_truth_of_coco_is_its_annotations(root: Path, tiny_voc: Path) -> None:
    assert has_truth(DataConfig(root=root))
    assert about_masks(tiny_voc) == {}


def test_true_masks_that_cannot_be_kept_say_what_to_do(root: Path) -> None:
    (root / "true_masks").write_text("")
    with pytest.raises(WsssError, match=r"true_masks.* can't be written.*link .*annotations"):
        make_masks(root, "val2014", "coco2voc", ids(root), quietly)


def test_true_masks_of_boxes_alone_are_refused(root: Path) -> None:
    path = root / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    for one in content["annotations"]:
        del one["segmentation"]
    path.write_text(json.dumps(content))
    with pytest.raises(WsssError, match="boxes alone"):
        make_masks(root, "val2014", "coco2voc", ids(root), quietly)


def test_true_masks_without_a_size_are_refused(root: Path) -> None:
    path = root / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    del content["images"][0]["height"]
    path.write_text(json.dumps(content))
    with pytest.raises(WsssError, match="no height and width"):
        make_masks(root, "val2014", "coco2voc", ids(root), quietly)
