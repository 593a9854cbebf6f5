"""Writes the exports that other programs are asked about."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from wsss.formats.mask_list import MaskToWrite, Writing
from wsss.formats.mask_registry import WRITERS
from wsss.formats.target import Target

CLASSES = ("cat", 'a "dog" & <cow>')
FILES = {
    "coco": "annotations.json",
    "cvat": "annotations.xml",
    "label-studio": "tasks.json",
    "voc": "SegmentationClass/a.png",
}


def mask() -> np.ndarray:  # type: ignore[type-arg]
    """Blobs with holes, parts and thin lines, by whole numbers alone."""
    y, x = np.mgrid[:61, :83]
    found = ((x // 7 + y // 5 + x * y // 97) % 3).astype(np.uint8)
    found[20:40, 30:60], found[25:30, 35:50], found[50, 5:70] = 1, 0, 2
    return found


def write(folder: Path) -> dict[str, str]:
    """Writes every format; format → digest of its file."""
    image = folder / "photos" / "a.jpg"
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", mask().shape[::-1]).save(image)
    digests = {}
    for name, file in FILES.items():
        one = MaskToWrite("a", 1, "a.jpg", None, mask())
        WRITERS[name]([one], Writing(CLASSES), Target(folder / name))
        digests[name] = hashlib.sha256((folder / name / file).read_bytes()).hexdigest()
    Image.fromarray(mask()).save(folder / "mask.png")
    return digests


if __name__ == "__main__":
    written = Path(sys.argv[1])
    (written / "digests.json").write_text(json.dumps(write(written)))
