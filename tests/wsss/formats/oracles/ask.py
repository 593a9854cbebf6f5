"""Asks datumaro and Label Studio what they read of our exports; writes `answers.json` beside it."""

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from datumaro import Dataset
from label_studio_sdk.converter import brush
from PIL import Image

FOLDER = Path(sys.argv[1])
MASK = np.asarray(Image.open(FOLDER / "mask.png"))
CLASSES = ("cat", 'a "dog" & <cow>')


def by_datumaro(path: Path, kind: str) -> np.ndarray:
    data = Dataset.import_from(str(path), kind)
    labels = [label.name for label in data.categories()[next(iter(data.categories()))]]
    found = np.zeros_like(MASK)
    for item in data:
        for one in item.annotations:
            if one.type.name == "mask" and labels[one.label] in CLASSES:
                found[np.asarray(one.image).astype(bool)] = CLASSES.index(labels[one.label]) + 1
    return found


def by_label_studio(path: Path) -> np.ndarray:
    found = np.zeros_like(MASK)
    (task,) = json.loads(path.read_text())
    for result in task["predictions"][0]["result"]:
        pixels = np.array(brush.decode_rle(result["value"]["rle"]))
        painted = pixels.reshape(*MASK.shape, 4)[..., 3] > 127
        found[painted] = CLASSES.index(result["value"]["brushlabels"][0]) + 1
    return found


def laid_out() -> Path:
    """Our files where datumaro looks for them, beside the image."""
    folder = FOLDER / "laid_out"
    shutil.rmtree(folder, ignore_errors=True)
    coco = folder / "coco"
    (coco / "annotations").mkdir(parents=True)
    shutil.copy(FOLDER / "coco/annotations.json", coco / "annotations/instances_train.json")
    shutil.copytree(FOLDER / "photos", coco / "images/train")
    shutil.copytree(FOLDER / "cvat", folder / "cvat")
    shutil.copytree(FOLDER / "photos", folder / "cvat/images")
    return folder


datumaro, studio = (
    f"datumaro {version('datumaro')}",
    f"label-studio-sdk {version('label-studio-sdk')}",
)
laid = laid_out()
read = {
    "coco": (datumaro, by_datumaro(laid / "coco", "coco_instances")),
    "cvat": (datumaro, by_datumaro(laid / "cvat", "cvat")),
    "voc": (datumaro, by_datumaro(FOLDER / "voc", "voc_segmentation")),
    "label-studio": (studio, by_label_studio(FOLDER / "label-studio/tasks.json")),
}
digests = json.loads((FOLDER / "digests.json").read_text())
answers = {
    name: {"by": by, "sha256": digests[name], "wrong_pixels": int((found != MASK).sum())}
    for name, (by, found) in read.items()
}
Path(__file__).with_name("answers.json").write_text(json.dumps(answers, indent=2) + "\n")
print(answers)
