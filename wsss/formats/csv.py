"""One's own images: a folder of images and a CSV `image,tags`. Knows no masks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsss.data.find_images import without_suffix
from wsss.data.images import Sample, TaggedDataset
from wsss.errors import WsssError
from wsss.formats.csv_table import Table, read_table
from wsss.formats.image_index import index_images, resolve_all
from wsss.formats.tag_cell import looks_separated_by_blanks, split_blanks, split_cell
from wsss.formats.text import clean, excerpt
from wsss.labels import check_class_names, describe_unknown

Rows = dict[str, dict[str, int]]  # image name as written → tags, each with the line it stands in

_YES = ("1", "1.0", "true", "yes", "x")
_NO = ("0", "0.0", "", "-1", "-1.0", "false", "no", "nan")


def read_folder(
    images: Path, tags_csv: Path, class_names: Sequence[str] | None = None
) -> TaggedDataset:
    """Reads one's own images and tags.

    The CSV is UTF-8 (or UTF-16, with its mark) with a header that has the columns `image` and
    `tags` (or `filename`, `path`, `id`, …; `labels`, `class`, …; others are ignored), split by
    commas, semicolons, tabs or `|`. Tags in a cell are split by `;`, `|`, `,` or line breaks
    (quoted where they also split columns), or are a list as Python and JSON write it. Rows that
    name the same image are added up, so one row per tag is fine too. An empty cell, `none`, `nan`,
    `-` and the like mean that no class is in the image. A table without tags that has a column of 0
    and 1 for every class is read as well, and one without a header whose rows start with image
    files.

    An image is named by its path below `images`, with or without its extension, with leading
    folders too many, or by its bare name where only one image has it. Images on disk that the
    CSV does not name are left out.

    Args:
        images: folder, searched with its subfolders, linked ones too.
        tags_csv: the CSV.
        class_names: foreground classes in the order of mask values; the sorted tags if left out.

    Returns:
        The images in the order of the CSV; id = path below `images` without extension.

    Raises:
        WsssError: an image or a class is missing, ambiguous or unknown; says which and where.
    """
    rows = read_rows(tags_csv, class_names)
    names = names_of(rows, tags_csv, class_names)
    unknown = unknown_tags(rows, tags_csv, names)
    if unknown:
        raise WsssError(f"{unknown[0]}.")
    index = index_images(images)
    paths, problems = resolve_all(rows, index)
    if problems:
        more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise WsssError(f"{tags_csv} names {problems[0]}{more}, looking in {images}.")
    tags: dict[str, set[int]] = defaultdict(set)
    for name, path in paths.items():
        tags[path] |= {names.index(tag) for tag in rows[name]}
    samples = [Sample(without_suffix(p), images / p, tuple(sorted(t))) for p, t in tags.items()]
    return TaggedDataset(names, tuple(samples))


def read_rows(tags_csv: Path, class_names: Sequence[str] | None = None) -> Rows:
    """The rows of the CSV by image name; see `read_folder` for the format.

    Args:
        tags_csv: the CSV.
        class_names: the classes, where they are known: they tell how a cell is meant.

    Raises:
        WsssError: no such file, another encoding, a column missing, a row of the wrong width, a
            cell that may mean several things, no rows.
    """
    table, names = read_table(tags_csv), [clean(name) for name in class_names or ()]
    rows: Rows = {}
    cells = _one_hot(table, tags_csv) if table.tags is None else _cells(table, tags_csv, names)
    several = False
    for line, name, tags in cells:
        several |= len(tags) > 1
        rows[name] = dict.fromkeys(tags, line) | rows.get(name, {})
    if table.tags is not None:
        rows = _split_blanks(rows, tags_csv, names, several)
        _refuse_yes_and_no(rows, tags_csv, table.header[table.tags], names)
    return rows


def names_of(rows: Rows, tags_csv: Path, class_names: Sequence[str] | None) -> tuple[str, ...]:
    """The classes in the order of mask values: those given, or the sorted tags.

    Raises:
        WsssError: they can't be the classes of a mask.
    """
    if class_names:
        return check_class_names([clean(name) for name in class_names], "data.class_names")
    return check_class_names(sorted(set().union(*rows.values())), str(tags_csv))


def unknown_tags(rows: Rows, tags_csv: Path, names: Sequence[str]) -> list[str]:
    """Each tag that is not a class, with the first line that has it and the nearest class."""
    return [
        f"Line {line} of {tags_csv} has the tag {describe_unknown(tag, names)}"
        for tag, line in sorted(_first_lines(rows).items())
        if tag not in names
    ]


def _first_lines(rows: Rows) -> dict[str, int]:
    lines: dict[str, int] = {}
    for tags in rows.values():
        for tag, line in tags.items():
            lines[tag] = min(line, lines.get(tag, line))
    return lines


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


def _split_blanks(rows: Rows, path: Path, names: Sequence[str], several: bool) -> Rows:
    """Tags that blanks separate, where that is what they can only be."""
    lines = _first_lines(rows)
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
    return {
        name: {part: line for tag, line in tags.items() for part in parts[tag]}
        for name, tags in rows.items()
    }


def _refuse_yes_and_no(rows: Rows, path: Path, column: str, names: Sequence[str]) -> None:
    """Refuse a column of 0 and 1 alone, unless those are the classes."""
    lines = _first_lines(rows)
    if lines and not names and set(lines) <= {"0", "1", "0.0", "1.0"}:
        raise WsssError(
            f"The column {column} of {path} holds {' and '.join(sorted(lines))} alone, first in "
            f"line {min(lines.values())}; expected names of classes: call the column by its class "
            "for yes and no, or list data.class_names."
        )
