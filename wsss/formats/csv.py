"""A CSV `image,tags`, or one with a column of 0 and 1 for every class."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.errors import WsssError
from wsss.formats.csv_table import Table, read_table, refuse_absent
from wsss.formats.tag_cell import looks_separated_by_blanks, split_blanks, split_cell
from wsss.formats.tag_list import TagList
from wsss.formats.text import clean, excerpt

Rows = dict[str, tuple[str, ...]]  # image name as written → tags
Lines = dict[str, int]  # tag → the first line that it stands in

_YES = ("1", "1.0", "true", "yes", "x")
_NO = ("0", "0.0", "", "-1", "-1.0", "false", "no", "nan")


def recognises(path: Path, start: str) -> bool:
    """Whether a file may be a table, which every text may; the reader says what is missing."""
    return not path.is_dir()


def read_tags(path: Path, class_names: Sequence[str] | None = None) -> TagList:
    """Reads images and tags.

    The CSV is UTF-8 (or UTF-16, with its mark) with a header that has the columns `image` and
    `tags` (or `filename`, `path`, `id`, …; `labels`, `class`, …; others are named as unread), split
    by commas, semicolons, tabs or `|`. Tags in a cell are split by `;`, `|`, `,` or line breaks
    (quoted where they also split columns), or are a list as Python and JSON write it. Rows that
    name the same image are added up, so one row per tag is fine too. An empty cell, `none`, `nan`,
    `-` and the like mean that no class is in the image. A table without tags that has a column of 0
    and 1 for every class is read as well, and one without a header whose rows start with image
    files.

    Args:
        path: the CSV.
        class_names: the classes, where they are known: they tell how a cell is meant.

    Raises:
        WsssError: no such file, another encoding, a column missing, a row of the wrong width, a
            cell that may mean several things, no rows.
    """
    table, names = read_table(path), [clean(name) for name in class_names or ()]
    refuse_absent(table, path)
    rows: Rows = {}
    lines: Lines = {}
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}
    cells = _one_hot(table, path) if table.tags is None else _cells(table, path, names)
    several = False
    for line, name, tags in cells:
        several |= len(tags) > 1
        for tag in tags:
            lines.setdefault(tag, line)
        former = rows.get(name)
        both = tags if not former else tuple(dict.fromkeys((*former, *tags)))
        rows[name] = kept.setdefault(both, both)
    if table.tags is not None:
        rows, lines = _split_blanks(rows, lines, path, names, several)
        _refuse_joined(lines, path, names)
        _refuse_yes_and_no(lines, path, table.header[table.tags], names)
    places = {tag: f"Line {line} of {path}" for tag, line in lines.items()}
    return TagList(path, rows, places, unread=table.unread())


def _cells(
    table: Table, path: Path, names: Sequence[str]
) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, image name, tags) of a table with a column of tags."""
    assert table.tags is not None
    for row in table.rows:
        cell = row.cells[table.tags]
        try:
            tags = split_cell(cell, names)
        except ValueError as error:
            raise WsssError(
                f"Line {row.line} of {path} has {excerpt(cell)} in the column "
                f"{table.header[table.tags]} ({error}); expected tags separated by semicolons, or "
                "a list such as ['cat', 'dog']: write the cell so."
            ) from None
        yield row.line, row.cells[table.image].strip(), tags


def _one_hot(table: Table, path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """(line, image name, tags) of a table with a column for every class."""
    columns = {
        index: name
        for index, name in enumerate(table.header)
        if index != table.image and name and name.casefold() not in ("index", "unnamed: 0")
    }
    found = {row.cells[index].strip().casefold() for row in table.rows for index in columns}
    unsure = {"-1", "-1.0"} & found and {"0", "0.0"} & found
    for row in table.rows:
        tags = []
        for index, name in columns.items():
            cell = clean(row.cells[index]).casefold()
            if cell not in (*_YES, *_NO) or (unsure and cell in ("-1", "-1.0")):
                raise WsssError(
                    f"Line {row.line} of {path} has {excerpt(row.cells[index])} in the column "
                    f"{excerpt(name)}; expected a column `tags`, or 0 and 1 in a column for every "
                    "class: name the column of tags `tags`, or remove what is no class."
                )
            if cell in _YES:
                tags.append(name)
        yield row.line, row.cells[table.image].strip(), tuple(tags)


def _split_blanks(
    rows: Rows, lines: Lines, path: Path, names: Sequence[str], several: bool
) -> tuple[Rows, Lines]:
    """Tags that blanks separate, where that is what they can only be."""
    words = {tag for tag in lines if " " not in tag}
    parts = {tag: split_blanks(tag, words, names) for tag in lines}
    joined = sorted((line, tag) for tag, line in lines.items() if len(parts[tag]) > 1)
    whole = {tag for tag in lines if " " in tag and len(parts[tag]) == 1}
    doubtful = joined if several else []
    if not several and looks_separated_by_blanks(whole):
        doubtful = sorted((lines[tag], tag) for tag in whole)
    if doubtful and not names:
        line, tag = doubtful[0]
        raise WsssError(
            f"Line {line} of {path} has {excerpt(tag)}, which may be one tag or several; expected "
            "tags separated by semicolons: write them so, or list the classes in data.class_names."
        )
    if not joined:
        return rows, lines
    split = {
        tags: tuple(dict.fromkeys(part for tag in tags for part in parts[tag]))
        for tags in set(rows.values())
    }
    found: Lines = {}
    for tag, line in lines.items():
        for part in parts[tag]:
            found[part] = min(line, found.get(part, line))
    return {name: split[tags] for name, tags in rows.items()}, found


_DENIED = re.compile(r"(?:no|not|without)[ _-]+(.+)", re.IGNORECASE)
_JOINED = re.compile(
    r"\s*(?:\\n|[-=]?>|[/\\&+•·–—~])\s*|\s+(?:and|or|und|oder|et|ou|y|o)\s+", re.IGNORECASE
)


def _refuse_joined(lines: Lines, path: Path, names: Sequence[str]) -> None:
    """Refuse `cat/dog`, `cat and dog` and `no cat` where the parts are tags by themselves."""
    for tag, line in lines.items() if not names else ():
        denied = _DENIED.fullmatch(tag)
        if denied and denied[1] in lines:
            raise WsssError(
                f"Line {line} of {path} has {excerpt(tag)}, and {excerpt(denied[1])} is a tag; "
                "expected tags of what is in the image: leave out what isn't."
            )
        parts = _JOINED.split(tag)
        if len(parts) > 1 and all(part in lines for part in parts):
            raise WsssError(
                f"Line {line} of {path} has {excerpt(tag)}, whose parts are tags by themselves; "
                "expected tags separated by semicolons: write them so, or list the classes in "
                "data.class_names."
            )


def _refuse_yes_and_no(lines: Lines, path: Path, column: str, names: Sequence[str]) -> None:
    """Refuse a column of 0 and 1 alone, unless those are the classes."""
    if lines and not names and set(lines) <= {"0", "1", "0.0", "1.0"}:
        raise WsssError(
            f"The column {column} of {path} holds {' and '.join(sorted(lines))} alone, first in "
            f"line {min(lines.values())}; expected names of classes: call the column by its class "
            "for yes and no, or list data.class_names."
        )
