"""Hugging Face's imagefolder: `metadata.csv` or `metadata.jsonl` beside the images, per split."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsss.data.find_images import find_files
from wsss.errors import WsssError
from wsss.formats import csv
from wsss.formats.csv_table import TAG_COLUMNS
from wsss.formats.json_stream import LARGEST
from wsss.formats.tag_list import Collector, TagList
from wsss.formats.text import decode, excerpt
from wsss.formats.unread import UnreadColumns

_FILES = ("metadata.csv", "metadata.jsonl")
_TAG_KEYS = tuple(key for tier in TAG_COLUMNS for key in tier)


def recognises(path: Path, start: str) -> bool:
    """Whether it is a file of JSON lines, or a folder with metadata in it."""
    if path.is_dir():
        return bool(_metadata(path))
    return path.suffix.lower() in (".jsonl", ".ndjson")


def read_tags(path: Path, class_names: Sequence[str] | None = None) -> TagList:
    """The rows of every `metadata` file; images are named relative to the file's folder.

    Of JSON lines the keys are `file_name`, and `label`, `labels`, `tags` and the like: a name, a
    list of names, or `objects` with `categories`. Other keys are told as unread.

    Raises:
        WsssError: a file can't be read, or a line names no image or no tags.
    """
    rows, unread = Collector(path), UnreadColumns()
    for file in _metadata(path) if path.is_dir() else [path]:
        folder = file.parent.relative_to(path).as_posix() if path.is_dir() else "."
        front = "" if folder == "." else f"{folder}/"
        if file.suffix.lower() == ".csv":
            listed = csv.read_tags(file, class_names)
            rows.places = {**listed.places, **rows.places}
            for name, tags in listed.rows.items():
                rows.add(front + name, tags, str(file))
            for column in listed.unread:
                unread.column(*column)
        else:
            for place, entry in _json_lines(file):
                (name, named), (found, tagged) = _name(entry, place), _tags(entry, place)
                rows.add(front + name, found, place)
                unread.row(entry, (named, tagged))
    return replace(rows.done(), unread=unread.done())


def _metadata(folder: Path) -> list[Path]:
    found = (folder / name for name in find_files(folder, (".csv", ".jsonl")))
    return sorted(file for file in found if file.name in _FILES)


def _json_lines(file: Path) -> Iterator[tuple[str, Any]]:
    """(place, entry) of every line."""
    for number, line in enumerate(_lines(file), 1):
        place = f"Line {number} of {file}"
        try:
            entry = json.loads(decode(line, place)) if line.strip() else None
        except (ValueError, RecursionError) as error:
            reason = "nested too deep" if isinstance(error, RecursionError) else error
            raise WsssError(
                f"{place} is no JSON ({reason}); expected an object with file_name and label: "
                "correct the line."
            ) from None
        if entry is not None:
            yield place, entry


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as lines:
            while line := lines.readline(LARGEST):
                yield line
    except OSError as error:
        raise WsssError(
            f"The tags {file} cannot be read ({error.strerror}); expected a text file: check it."
        ) from None


def _name(entry: Any, place: str) -> tuple[str, str]:
    """Name of the image, and its key."""
    keys = ("file_name", "image", "image_file_name", "path")
    found = [k for k in keys if isinstance(entry, dict) and isinstance(entry.get(k), str)]
    if not found or not entry[found[0]].strip():
        raise WsssError(
            f"{place} is {excerpt(entry)}; expected file_name, the path of an image: add it."
        )
    return str(entry[found[0]]), found[0]


def _tags(entry: dict[str, Any], place: str) -> tuple[list[str], str]:
    """Tags, and the key that they stand under."""
    objects = entry.get("objects")
    source = objects if isinstance(objects, dict) else entry
    key = next((key for key in _TAG_KEYS if key in source), None)
    value = source.get(key) if key else None
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if key is None or any(isinstance(tag, dict | list | float | bool) for tag in listed):
        raise WsssError(
            f"{place} is {excerpt(entry)}; expected label, or labels, with the names of classes: "
            "add them."
        )
    tags = [str(tag) for tag in listed if tag is not None and str(tag).strip()]
    return tags, key if source is entry else "objects"
