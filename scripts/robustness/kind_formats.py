"""Tags of one's own images as other tools export them, with all their freedoms; and damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from robustness.base import TAGS
from robustness.case import Case, case
from robustness.damage import damage_bytes, damaged_value, replace_entry
from robustness.kind_tables import tags_fault

NAMES = sorted({tag for tags in TAGS.values() for tag in tags})
FOLDER = Path("own") / "exported"


def exports(rng: Random, box: Path) -> Case:
    """The tags in the format of another tool, whole or damaged."""
    name, write = rng.choice(tuple(FORMATS.items()))
    (box / FOLDER).mkdir()
    path = write(rng, box / FOLDER)
    places = {"tags": path.relative_to(box).as_posix()}
    if rng.random() < 0.5:
        return case(
            f"tags as {name}",
            "table",
            means="same",
            places=places,
            check=lambda box: tags_fault(box, path),
            only=("check-data",),
        )
    files = [f for f in (path.rglob("*") if path.is_dir() else [path]) if f.is_file()]
    file = rng.choice(sorted(files))
    if file.suffix == ".json" and rng.random() < 0.6:
        values, what = damaged_value(rng, json.loads(file.read_text()))
        file.write_text(json.dumps(values))
    elif rng.random() < 0.2:
        what = replace_entry(rng, file)
    else:
        what = damage_bytes(rng, file)
    return case(f"{name}, {what}: {file.name}", "table", places=places)


def _shuffled(rng: Random, values: list[Any]) -> list[Any]:
    return rng.sample(values, len(values)) if rng.random() < 0.3 else values


def _file_name(rng: Random, id_: str) -> str:
    return rng.choice((f"{id_}.jpg", f"{id_}.jpg", f"train/{id_}.jpg", f"/home/me/{id_}.jpg"))


def _coco(rng: Random, folder: Path) -> Path:
    first = rng.choice((0, 1, 1000))
    ids = {name: first + 7 * i for i, name in enumerate(NAMES)}
    number = iter(range(1, 1000))
    images = [
        {"id": i, "file_name": _file_name(rng, id_), "width": 64, "height": 64}
        for i, id_ in enumerate(TAGS)
    ]
    annotations = [
        {
            "id": next(number),
            "image_id": i,
            "category_id": ids[tag],
            "bbox": [1, 1, 5.5, 5],
            "iscrowd": rng.randrange(2),
            **rng.choice(({}, {"segmentation": [[1, 1, 6, 1, 6, 6]], "area": 12.5})),
        }
        for i, tags in enumerate(TAGS.values())
        for tag in (*tags, *tags[: rng.randrange(2)])
    ]
    whole = {
        "info": {"year": 2020},
        "images": _shuffled(rng, images),
        "annotations": _shuffled(rng, annotations),
        "categories": [{"id": n, "name": name, "supercategory": ""} for name, n in ids.items()],
    }
    keys = rng.sample(list(whole), len(whole))
    path = folder / "coco.json"
    path.write_text(json.dumps({key: whole[key] for key in keys}, indent=rng.choice((None, 2))))
    return path


def _label_studio(rng: Random, folder: Path) -> Path:
    tasks = []
    for i, (id_, tags) in enumerate(TAGS.items()):
        name = Path(id_).name
        image = rng.choice((f"/data/upload/1/0123abcd-{name}.jpg", f"http://host/x/{id_}.jpg?a=1"))
        result = [
            {"type": "choices", "from_name": "c", "value": {"choices": list(tags)}},
        ]
        boxes = [
            {"type": "rectanglelabels", "value": {"rectanglelabels": [tag], "x": 1, "width": 2}}
            for tag in tags
        ]
        chosen = rng.choice((result, boxes)) if tags else rng.choice((result, []))
        tasks.append({"id": i, "data": {"image": image}, "annotations": [{"result": chosen}]})
    path = folder / "project.json"
    path.write_text(json.dumps(_shuffled(rng, tasks)))
    return path


def _cvat(rng: Random, folder: Path) -> Path:
    def shapes(tags: tuple[str, ...]) -> str:
        return "".join(
            rng.choice(
                (
                    f'<tag label="{tag}" source="manual"></tag>',
                    f'<box label="{tag}" xtl="1" ytl="1" xbr="5" ybr="5" occluded="0"/>',
                    f'<polygon label="{tag}" points="1,1;5,1;5,5"/>',
                )
            )
            for tag in tags
        )

    labels = "".join(f"<label><name>{name}</name></label>" for name in NAMES)
    images = "".join(
        f'<image id="{i}" name="{_file_name(rng, id_)}" width="64" height="64">{shapes(tags)}'
        "</image>\n"
        for i, (id_, tags) in enumerate(TAGS.items())
    )
    path = folder / "annotations.xml"
    meta = f"<meta><task><labels>{labels}</labels></task></meta>" if rng.random() < 0.7 else ""
    head = rng.choice(('<?xml version="1.0" encoding="utf-8"?>\n', ""))
    path.write_text(f"{head}<annotations><version>1.1</version>{meta}{images}</annotations>")
    return rng.choice((path, folder))


def _yolo(rng: Random, folder: Path) -> Path:
    names = rng.choice((NAMES, dict(enumerate(NAMES))))
    (folder / "data.yaml").write_text(f"nc: {len(NAMES)}\nnames: {json.dumps(names)}\n")
    if isinstance(names, dict):
        lines = "".join(f"  {i}: {name}\n" for i, name in names.items())
        (folder / "data.yaml").write_text(f"path: .\nnames:\n{lines}")
    for id_, tags in TAGS.items():
        file = folder / "labels" / f"{id_}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        shape = rng.choice(("0.5 0.5 0.2 0.2", "0.1 0.1 0.9 0.1 0.5 0.9"))
        end = rng.choice(("\n", "\r\n"))
        file.write_text("".join(f"{NAMES.index(tag)} {shape}{end}" for tag in tags))
    return rng.choice((folder, folder / "data.yaml"))


def _voc(rng: Random, folder: Path) -> Path:
    for id_, tags in TAGS.items():
        objects = "".join(f"<object><name>{tag}</name></object>" for tag in tags)
        file = folder / f"{id_}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<annotation><filename>{id_}.jpg</filename>{objects}</annotation>")
    return folder


def _hugging_face(rng: Random, folder: Path) -> Path:
    key = rng.choice(("labels", "tags"))
    lines = [json.dumps({"file_name": f"{id_}.jpg", key: list(tags)}) for id_, tags in TAGS.items()]
    path = folder / "metadata.jsonl"
    path.write_text("\n".join(lines) + rng.choice(("", "\n", "\n\n")))
    return rng.choice((path, folder))


def _text(rng: Random, folder: Path) -> Path:
    mark = rng.choice((", ", "; "))
    lines = [f"{id_}.jpg: {mark.join(tags)}" for id_, tags in TAGS.items()]
    path = folder / "tags.txt"
    path.write_bytes(("# tags\n" + "\n".join(lines) + "\n").encode(rng.choice(("utf-8", "utf-16"))))
    return path


FORMATS: dict[str, Callable[[Random, Path], Path]] = {
    "COCO": _coco,
    "Label Studio": _label_studio,
    "CVAT": _cvat,
    "YOLO": _yolo,
    "a folder of VOC": _voc,
    "Hugging Face": _hugging_face,
    "text": _text,
}
