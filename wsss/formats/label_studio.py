"""Label Studio's JSON export, full or JSON-MIN: choices, and the labels of regions."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from wsss.data.image_header import IMAGE_SUFFIXES
from wsss.errors import WsssError
from wsss.formats.json_stream import stream_json
from wsss.formats.tag_list import Collector, TagList
from wsss.formats.text import excerpt

UPLOADED = re.compile(r"[0-9a-f]{8}-")
"""What Label Studio puts in front of the name of a file that is uploaded."""

_START = re.compile(r"\[\s*[\]{]")


def recognises(path: Path, start: str) -> bool:
    """Whether a file is JSON whose outermost brackets are a list of objects."""
    return _START.match(start) is not None and path.suffix.lower() not in (".csv", ".jsonl")


def read_tags(path: Path, class_names: Sequence[str] | None = None) -> TagList:
    """The choices and the labels of regions of every task; several annotations are added up.

    Tasks that nobody has annotated, and annotations that were cancelled, are left out: no choice
    is not the answer that nothing is there.

    Raises:
        WsssError: it can't be read, or a task names no image.
    """
    rows = Collector(path)
    tasks = 0
    for tasks, (_, task) in enumerate(stream_json(path, "The tags"), 1):
        place = f"Task {tasks} of {path}"
        name = image_of(task, place)
        answers = list(_answers(task))
        if answers:
            rows.add(name, (tag for answer in answers for tag in answer), place)
    if tasks and not rows.rows:
        raise WsssError(
            f"None of the {tasks} tasks of {path} is annotated; expected choices or labels of "
            "regions: submit annotations, then export again."
        )
    return rows.done(prefix=UPLOADED)


def image_of(task: Any, place: str) -> str:
    """Name of a task's image: without the address of a server, decoded.

    Raises:
        WsssError: it names none.
    """
    data = task.get("data", task) if isinstance(task, dict) else {}
    texts = {k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}
    names = [_file_name(text) for text in texts.values()]
    images = [n for n in names if PurePosixPath(n).suffix.lower() in IMAGE_SUFFIXES]
    if images:
        return images[0]
    if texts.get("image"):
        return _file_name(texts["image"])
    raise WsssError(
        f"{place} names no image ({excerpt(data)}); expected the address of an image file in its "
        "data: export tasks of images."
    )


def _file_name(address: str) -> str:
    """`/data/local-files/?d=a/b.jpg`, `https://host/a/b.jpg?key=1` → `a/b.jpg`."""
    try:
        parts = urlsplit(address)
    except ValueError:  # brackets that hold no address
        return address
    if parts.path.endswith("local-files/") and "d" in (query := parse_qs(parts.query)):
        return query["d"][0]
    # `?` and `#` mean nothing in the name of a local file
    return unquote(parts.path) if parts.scheme or address.startswith("/data/") else address


def _answers(task: dict[str, Any]) -> Iterator[list[str]]:
    """The tags of every annotation of a task; empty ones too."""
    annotations = task.get("annotations", task.get("completions"))
    if "data" not in task:
        yield _minimal(task)
    elif isinstance(annotations, list):
        for one in annotations:
            if isinstance(one, dict) and not one.get("was_cancelled"):
                results = one.get("result")
                yield [
                    tag
                    for result in (results if isinstance(results, list) else [])
                    if isinstance(result, dict)
                    for tag in _labels(result.get("value"))
                ]


def _labels(value: Any) -> list[str]:
    """Tags of one result: `choices`, and what ends in `labels`, such as `brushlabels`."""
    found = []
    for key, names in value.items() if isinstance(value, dict) else ():
        if key == "choices" or key.endswith("labels"):
            found += [n for n in ([names] if isinstance(names, str) else names) if _is_text(n)]
    return found


def _minimal(task: dict[str, Any]) -> list[str]:
    """Tags of a task of JSON-MIN, whose keys are the names that the project gave its controls."""
    found: list[str] = []
    for key, value in task.items():
        if key in _OTHER_KEYS or (_is_text(value) and _is_image(value)):
            continue
        if isinstance(value, list):  # regions
            found += [tag for region in value for tag in _labels(region)]
        elif isinstance(value, dict):
            found += _labels(value)
        elif isinstance(value, str):
            found.append(value)
    return found


# what JSON-MIN adds to data and controls
_OTHER_KEYS = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_image(address: str) -> bool:
    return PurePosixPath(_file_name(address)).suffix.lower() in IMAGE_SUFFIXES
