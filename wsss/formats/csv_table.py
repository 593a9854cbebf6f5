"""A CSV file as rows of cells: its encoding, its separator, which columns matter."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from wsss.data.image_header import IMAGE_SUFFIXES
from wsss.errors import WsssError
from wsss.formats.text import clean, excerpt, read_text
from wsss.formats.unread import Unread, UnreadColumns

DELIMITERS = ",;\t|"

# names of a column, the first that is there once is taken
IMAGE_COLUMNS: tuple[tuple[str, ...], ...] = (
    ("image",),
    (
        *("filename", "file_name", "file", "path", "filepath", "file_path", "img", "images"),
        *("image_path", "image_file", "image_name", "image_filename", "img_path", "img_name"),
    ),
    ("id", "image_id", "img_id", "imageid", "name"),
)
TAG_COLUMNS: tuple[tuple[str, ...], ...] = (
    ("tags",),
    (
        *("tag", "label", "labels", "class", "classes", "category", "categories"),
        *("class_name", "class_names", "label_name", "label_names"),
    ),
)


# a column that says how sure a row is, or whether it is so at all
_SURENESS = ("confidence", "score", "probability", "prob", "present", "is_present", "value")


class Row(NamedTuple):
    """A row, and the line of the file that it starts in."""

    line: int
    cells: list[str]


class Table(NamedTuple):
    """Rows below a header.

    Attributes:
        rows: as many cells each as the header has.
        header: names of the columns, cleaned.
        image: index of the column that names images.
        tags: index of the column of tags; None where every class has a column of its own.
    """

    rows: list[Row]
    header: list[str]
    image: int
    tags: int | None

    def unread(self) -> tuple[Unread, ...]:
        """The columns beside those of images and tags."""
        found = UnreadColumns()
        for index, name in enumerate(self.header) if self.tags is not None else ():
            if index not in (self.image, self.tags):
                found.column(name, (row.cells[index] for row in self.rows))
        return found.done()


def read_table(path: Path) -> Table:
    """Reads a CSV of images and tags.

    Separators are tried in the order of `DELIMITERS`; the first that gives a header with a column
    of images and one of tags is taken. Without a header, the column whose every cell is the name of
    an image file is the images', and the only other one (row numbers aside) the tags'.

    Raises:
        WsssError: it can't be read, or it can't be told which columns are meant.
    """
    text = read_text(path, "The tags")
    first, _, rest = text.partition("\n")
    named = re.fullmatch(r"\ufeff?sep=(.)\s*", first)  # as Excel writes it
    text, skipped = (rest, 1) if named else (text, 0)
    delimiters = named[1] if named else DELIMITERS
    for needs_tags in (True, False):
        for delimiter in delimiters:
            found = _columns(_first_row(text, delimiter), path, needs_tags)
            if found is not None:
                rows = _parse(text, delimiter, path, skipped)
                return _table(rows[0].cells, rows[1:], *found, path)
    for delimiter in delimiters:
        table = _without_header(text, delimiter, path, skipped)
        if table is not None:
            return table
    raise WsssError(
        f"{path} starts with {excerpt(text.lstrip().partition(chr(10))[0].rstrip())}; expected a "
        "header with the columns image and tags: write image,tags as its first line."
    )


def refuse_absent(table: Table, path: Path) -> None:
    """Refuse rows that say that their tag is not in the image, as Open Images has them.

    Raises:
        WsssError: a column of confidence, or of presence, has less than a half beside a tag.
    """
    for index, key in enumerate(_keys(table.header)):
        if key not in _SURENESS or table.tags is None:
            continue
        for row in table.rows:
            if _is_no(row.cells[index]):
                raise WsssError(
                    f"Line {row.line} of {path} has {excerpt(row.cells[index])} in the column "
                    f"{table.header[index]}, beside the tag {excerpt(row.cells[table.tags])}; "
                    "expected rows of what is in an image: remove those that say it isn't, or the "
                    "column."
                )


def _is_no(cell: str) -> bool:
    text = clean(cell).casefold()
    try:
        return float(text.replace(",", ".")) < 0.5
    except ValueError:
        return text in ("no", "false", "n")


def _parse(text: str, delimiter: str, path: Path, skipped: int) -> list[Row]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows: list[Row] = []
    line = skipped + 1
    try:
        for cells in reader:
            if any(clean(cell) for cell in cells):
                rows.append(Row(line, cells))
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        raise WsssError(
            f"Line {line} of {path} is no CSV ({error}); expected every quote to be closed before "
            "the next separator: correct that line."
        ) from None
    return rows


def _keys(cells: Sequence[str]) -> list[str]:
    return [re.sub(r"[ _.-]+", "_", clean(cell).casefold()) for cell in cells]


def _column(keys: Sequence[str], tiers: Sequence[Sequence[str]], path: Path) -> int | None:
    for tier in tiers:
        found = [index for index, key in enumerate(keys) if key in tier]
        if len(found) > 1:
            raise WsssError(
                f"The header of {path} has the columns {keys[found[0]]} and {keys[found[1]]}, "
                f"either of which may be the column {tiers[0][0]}; expected one: call the right "
                f"one {tiers[0][0]}."
            )
        if found:
            return found[0]
    return None


def _columns(header: Sequence[str], path: Path, needs_tags: bool) -> tuple[int, int | None] | None:
    """Which columns name images and tags; without tags, every other column is a class."""
    keys = _keys(header)
    image, tags = _column(keys, IMAGE_COLUMNS, path), _column(keys, TAG_COLUMNS, path)
    more = None if tags is None else re.compile(rf"{keys[tags].removesuffix('s')}s?_?\d+")
    numbered = next((key for key in keys if more and more.fullmatch(key)), None)
    if tags is not None and numbered is not None:
        raise WsssError(
            f"The header of {path} has the columns {keys[tags]} and {numbered}; expected all tags "
            "of a row in one column, separated by semicolons: join them."
        )
    if image is None or (tags is None and (needs_tags or len(keys) < 2)):
        return None
    return image, tags


def _first_row(text: str, delimiter: str) -> list[str]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        return next((cells for cells in reader if any(map(clean, cells))), [])
    except csv.Error:
        return []


def _without_header(text: str, delimiter: str, path: Path, skipped: int) -> Table | None:
    try:
        rows = _parse(text, delimiter, path, skipped)
    except WsssError:  # not this delimiter
        return None
    width = len(rows[0].cells) if rows else 0
    if any(len(row.cells) != width for row in rows):
        return None
    columns = [[clean(row.cells[index]) for row in rows] for index in range(width)]
    images = [i for i, column in enumerate(columns) if all(map(_is_image_name, column))]
    others = [
        i for i, column in enumerate(columns) if i not in images and not _counts_rows(i, column)
    ]
    if len(images) != 1 or len(others) != 1:
        return None
    header = ["image" if i in images else "tags" if i in others else "" for i in range(width)]
    return _table(header, rows, images[0], others[0], path)


def _is_image_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _counts_rows(index: int, column: Sequence[str]) -> bool:
    """Whether a first column holds row numbers, from 0 or 1."""
    numbers = [int(cell) if cell.isdecimal() else -1 for cell in column]
    return index == 0 and numbers in ([*range(len(column))], [*range(1, len(column) + 1)])


def _table(
    header: Sequence[str], rows: Sequence[Row], image: int, tags: int | None, path: Path
) -> Table:
    width = len(header)
    fitted = [row._replace(cells=_fit(row.cells, width, tags)) for row in rows]
    for row in fitted:
        if len(row.cells) != width or not clean(row.cells[image]):
            raise WsssError(
                f"Line {row.line} of {path} has {len(row.cells)} fields "
                f"({excerpt(row.cells, 80)}); expected {width} with an image name: quote a cell "
                "of several tags, or split tags by semicolons."
            )
    if not fitted:
        raise WsssError(f"{path} lists no image; expected a row for each.")
    return Table(fitted, [clean(cell) for cell in header], image, tags)


def _fit(cells: list[str], width: int, tags: int | None) -> list[str]:
    """Empty cells at the end go, and a list whose commas split it is put together."""
    while len(cells) > width and not clean(cells[-1]):
        cells = cells[:-1]
    last = cells[tags:] if tags is not None and tags == width - 1 else []
    if (
        len(last) > 1
        and last[0][:1] in ("[", "{", "(")
        and last[-1].rstrip()[-1:] in ("]", "}", ")")
    ):
        return [*cells[:tags], ",".join(last)]
    return cells
