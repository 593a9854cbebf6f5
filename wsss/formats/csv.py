"""One's own images: a folder of images and a CSV `image,tags`. Knows no masks."""

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from wsss.data.images import IMAGE_SUFFIXES, Sample, TaggedDataset
from wsss.errors import WsssError
from wsss.labels import check_class_names, describe_unknown

Rows = dict[str, dict[str, int]]  # image name as written → tags, each with the line it stands in

Index = dict[str, set[str]]  # a way to name an image → the relative paths it may mean


def read_folder(
    images: Path, tags_csv: Path, class_names: Sequence[str] | None = None
) -> TaggedDataset:
    """Reads one's own images and tags.

    The CSV is UTF-8 with a header that has the columns `image` and `tags` (others are ignored),
    split by commas, semicolons or tabs. Tags in a cell are split by `;`, `|` or `,` (quoted where
    the comma also splits columns), spaces around them dropped. Rows that name the same image are
    added up, so one row per tag is fine too. An empty cell means that no class is in the image.

    An image is named by its path below `images`, with or without its extension, with leading
    folders too many, or by its bare name where only one image has it. Images on disk that the
    CSV does not name are left out.

    Args:
        images: folder, searched with its subfolders for .jpg, .jpeg and .png.
        tags_csv: the CSV.
        class_names: foreground classes in the order of mask values; the sorted tags if left out.

    Returns:
        The images in the order of the CSV; id = path below `images` without extension.

    Raises:
        WsssError: an image or a class is missing, ambiguous or unknown; says which and where.
    """
    rows = read_rows(tags_csv)
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
    samples = [Sample(_id(p), images / p, tuple(sorted(t))) for p, t in tags.items()]
    return TaggedDataset(names, tuple(samples))


def read_rows(tags_csv: Path) -> Rows:
    """The rows of the CSV by image name; see `read_folder` for the format.

    Raises:
        WsssError: no such file, not UTF-8, a column missing, a row of the wrong width, no rows.
    """
    try:
        text = tags_csv.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise WsssError(f"{tags_csv} is not UTF-8; save the CSV as UTF-8.") from None
    except OSError as error:
        raise WsssError(
            f"The tags {tags_csv} cannot be read ({error.strerror}); expected a CSV file with the "
            "header image,tags."
        ) from error
    lines = text.splitlines()
    table = csv.reader(lines, delimiter=_delimiter(lines[0] if lines else ""))
    header = [cell.strip().lower() for cell in next(table, [])]
    if header.count("image") != 1 or header.count("tags") != 1:
        raise WsssError(
            f"{tags_csv} starts with {(lines or [''])[0]!r}; expected a header with the columns "
            "image and tags: write image,tags as its first line."
        )
    rows: Rows = {}
    for row in table:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header) or not row[header.index("image")].strip():
            raise WsssError(
                f"Line {table.line_num} of {tags_csv} has {len(row)} fields ({row}); expected "
                f"{len(header)} with an image name: quote a cell of several tags, or split tags "
                "by semicolons."
            )
        tags = re.split(r"[;|,]", row[header.index("tags")])
        name = row[header.index("image")].strip()
        row_tags = {tag.strip(): table.line_num for tag in tags if tag.strip()}
        rows[name] = row_tags | rows.get(name, {})
    if not rows:
        raise WsssError(f"{tags_csv} lists no image; expected a row for each.")
    return rows


def names_of(rows: Rows, tags_csv: Path, class_names: Sequence[str] | None) -> tuple[str, ...]:
    """The classes in the order of mask values: those given, or the sorted tags.

    Raises:
        WsssError: they can't be the classes of a mask.
    """
    if class_names:
        return check_class_names(class_names, "data.class_names")
    return check_class_names(sorted(set().union(*rows.values())), str(tags_csv))


def unknown_tags(rows: Rows, tags_csv: Path, names: Sequence[str]) -> list[str]:
    """Each tag that is not a class, with the first line that has it and the nearest class."""
    lines: dict[str, int] = {}
    for tags in rows.values():
        for tag, line in tags.items():
            lines[tag] = min(line, lines.get(tag, line))
    return [
        f"Line {line} of {tags_csv} has the tag {describe_unknown(tag, names)}"
        for tag, line in sorted(lines.items())
        if tag not in names
    ]


def _delimiter(header: str) -> str:
    return next((d for d in ",;\t" if d in header), ",")


def index_images(images: Path) -> Index:
    """Every way to name the images below a folder.

    Raises:
        WsssError: the folder is missing or holds no image.
    """
    if not images.is_dir():
        raise WsssError(f"The image folder {images} does not exist; name the folder of images.")
    index: Index = defaultdict(set)
    for path in images.rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            relative = path.relative_to(images)
            for name in (relative.as_posix(), _id(relative.as_posix()), path.name, path.stem):
                index[_composed(name)].add(relative.as_posix())
    if not index:
        raise WsssError(f"{images} holds no image; expected {', '.join(IMAGE_SUFFIXES)} files.")
    return index


def resolve_all(rows: Rows, index: Index) -> tuple[dict[str, str], list[str]]:
    """Which image each row means.

    Returns:
        Image name → path relative to the folder, and what is wrong with the names that mean no
        image, several, or one whose id another image has.
    """
    paths: dict[str, str] = {}
    problems: list[str] = []
    by_id: dict[str, str] = {}
    for name in rows:
        hits = _hits(name, index)
        if not hits:
            problems.append(f"the image {name!r}, which does not exist")
        elif len(hits) > 1:
            problems.append(f"the image {name!r}, which may be {' or '.join(sorted(hits))}")
        else:
            (path,) = hits
            if by_id.setdefault(_id(path), path) != path:
                problems.append(
                    f"the images {by_id[_id(path)]} and {path}, whose masks would have one name"
                )
            paths[name] = path
    return paths, problems


def _hits(name: str, index: Index) -> set[str]:
    """Images meant by `name`; an exact path first, then with leading folders taken off."""
    parts = PurePosixPath(_composed(name).replace("\\", "/")).parts
    for start in range(len(parts)):
        key = "/".join(parts[start:])
        hits = index.get(key, set())
        if hits:
            whole = {path for path in hits if key == _composed(path)}
            return whole or {path for path in hits if key == _composed(_id(path))} or hits
    return set()


def _composed(name: str) -> str:
    """One spelling of an accent: macOS stores ä as two characters, a table has one."""
    return unicodedata.normalize("NFC", name)


def _id(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
