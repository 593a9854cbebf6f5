"""A hand-made data set in VOC layout, and a local server."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.wsss.local_server import Site, serve
from wsss.data import mask_io
from wsss.formats.voc import CLASS_NAMES

OBJECTS: dict[str, tuple[str, ...]] = {
    "p1": ("cat", "dog", "cat"),
    "p2": (),
    "p3": ("aeroplane",),
}


def write_annotation(root: Path, id_: str, objects: tuple[str, ...]) -> None:
    # a difficult object counts; the part "head" of an object is not a tag
    inner = "".join(
        f"<object><name>{o}</name><difficult>1</difficult><part><name>head</name></part></object>"
        for o in objects
    )
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Annotations" / f"{id_}.xml").write_text(f"<annotation>{inner}</annotation>")


@pytest.fixture
def tiny_voc(tmp_path: Path) -> Path:
    """`train` = p1 (cat, dog), p2 (nothing); `val` = p3 (aeroplane); 32 × 24, 25, 26 pixels."""
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "ImageSets/Segmentation", "SegmentationClassAug"):
        (root / folder).mkdir(parents=True)
    for n, (id_, objects) in enumerate(OBJECTS.items()):
        pixels = np.random.default_rng(n).integers(0, 256, (24 + n, 32, 3), np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{id_}.jpg")
        write_annotation(root, id_, objects)
        mask = np.zeros((24 + n, 32), np.uint8)
        for k, name in enumerate(sorted(set(objects))):
            mask[4 * k : 4 * k + 4] = CLASS_NAMES.index(name)
        mask_io.write_mask(root / "SegmentationClassAug" / f"{id_}.png", mask)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("p1\np2\n")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("p3\n")
    return root


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site
