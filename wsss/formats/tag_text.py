"""A text file with a line `image: tag, tag` for every image."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.data.image_header import IMAGE_SUFFIXES
from wsss.errors import WsssError
from wsss.formats.tag_cell import split_cell
from wsss.formats.tag_list import Collector, TagList
from wsss.formats.text import clean, excerpt, read_text

_SUFFIX = "|".join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)
# names may hold colons, as in C:\a.jpg: a suffix decides before a blank does
_LINE = re.compile(rf"(?P<image>.+?(?:{_SUFFIX}))\s*:(?P<tags>.*)", re.IGNORECASE)
_OTHER = re.compile(r"(?P<image>.+?):(?P<tags>\s.*|)")


def recognises(path: Path, start: str) -> bool:
    """Whether the first line of a text file is an image, a colon and tags."""
    first = next(_lines(start), (0, ""))[1]
    return path.suffix.lower() not in (".csv", ".tsv") and _LINE.fullmatch(first) is not None


def read_tags(path: Path, class_names: Sequence[str] | None = None) -> TagList:
    """The lines of a file; blank ones, and those that start with #, are passed over.

    Raises:
        WsssError: a line has no colon behind its image, or tags that can't be told apart.
    """
    rows = Collector(path)
    names = [clean(name) for name in class_names or ()]
    for number, line in _lines(read_text(path, "The tags")):
        place = f"Line {number} of {path}"
        found = _LINE.fullmatch(line) or _OTHER.fullmatch(line)
        if found is None:
            raise WsssError(
                f"{place} is {excerpt(line)}; expected `image: tag, tag`, with a colon behind the "
                "image: correct the line."
            )
        try:
            tags = split_cell(found["tags"], names)
        except ValueError as error:
            raise WsssError(
                f"{place} has {excerpt(found['tags'].strip())} ({error}); expected tags separated "
                "by commas: correct the line."
            ) from None
        rows.add(found["image"].strip(), tags, place)
    return rows.done()


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip("\ufeff \t")
        if stripped and not stripped.startswith("#"):
            yield number, stripped
