"""CSV tables of tags in the dialects of spreadsheets, pandas, Kaggle and people."""

import csv
import io
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from random import Random

from robustness.base import TAGS
from robustness.case import Case, case
from robustness.damage import NASTY_TEXTS, damage_bytes, replace_entry

Row = tuple[str, tuple[str, ...]]

_NOTHING = ("", "none", "nan", "-", "NaN", "None", "[]", "null", "n/a", " ")
_IMAGE_HEADERS = ("image", "Image", "filename", "file_name", "path", "image_id", "id", "img")
_TAG_HEADERS = ("tags", "Tags", "labels", "label", "class", "categories", "category", "tag")


def tables(rng: Random, box: Path) -> Case:
    """The table of one's own images is written in another dialect, or damaged."""
    path = box / "own" / "tags.csv"
    if rng.random() < 0.6:
        write = rng.choice((_dialect, _one_hot, _row_per_tag))
        # rows in another order train another network
        only = ("check-data",) if write is _row_per_tag else ()
        return case(write(rng, path), "table", means="same", check=_same_tags, only=only)
    if rng.random() < 0.25:
        what = replace_entry(rng, path)
        return case(f"{what} for the table", "table", means="refuse")
    if rng.random() < 0.5:
        return case(f"{damage_bytes(rng, path)}: table", "table")
    return _wrong_line(rng, path)


def _same_tags(box: Path) -> str | None:
    return tags_fault(box, box / "own" / "tags.csv")


def tags_fault(box: Path, path: Path) -> str | None:
    """What the reader of a file understood, where it isn't what was meant."""
    from wsss.formats.own_images import read_folder

    found = read_folder(box / "own" / "photos", path)
    tags = {s.id: {found.class_names[t] for t in s.tags} for s in found.samples}
    meant = {id_: set(own) for id_, own in TAGS.items()}
    return None if tags == meant else f"tags {tags} for {meant}"


def _dialect(rng: Random, path: Path) -> str:
    delimiter = rng.choice((",", ",", ";", "\t", "|"))
    style = rng.choice(("plain", "list", "json", "numpy", "braces", "lines", "blanks around"))
    header = [rng.choice(_IMAGE_HEADERS), rng.choice(_TAG_HEADERS)]
    nothing = rng.choice(_NOTHING)
    rows = [[_name(rng, id_), _cell(rng, tags, style, nothing)] for id_, tags in TAGS.items()]
    if rng.random() < 0.3:  # the index that pandas writes
        header, rows = ["", *header], [[str(i), *row] for i, row in enumerate(rows)]
    if rng.random() < 0.3:
        header, rows = [*header, "width"], [[*row, "64"] for row in rows]
    if rng.random() < 0.2:
        order = rng.sample(range(len(header)), len(header))
        header, rows = [header[i] for i in order], [[row[i] for i in order] for row in rows]
    text = _text([header, *rows], delimiter, rng)
    how = _save(rng, path, text)
    return f"{style} in cells, {delimiter!r} between, nothing is {nothing!r}, {how}"


def _one_hot(rng: Random, path: Path) -> str:
    names = sorted({tag for tags in TAGS.values() for tag in tags})
    yes, no = rng.choice((("1", "0"), ("1.0", "0.0"), ("True", "False"), ("x", ""), ("yes", "no")))
    rows = [
        [_name(rng, id_), *(yes if name in tags else no for name in names)]
        for id_, tags in TAGS.items()
    ]
    header = [rng.choice(_IMAGE_HEADERS), *names]
    how = _save(rng, path, _text([header, *rows], rng.choice(",;\t"), rng))
    return f"a column for every class of {yes} and {no}, {how}"


def _row_per_tag(rng: Random, path: Path) -> str:
    rows = [[_name(rng, i), tag] for i, tags in TAGS.items() for tag in (tags or ("",))]
    if rng.random() < 0.5:
        rng.shuffle(rows)
    header = [rng.choice(_IMAGE_HEADERS), rng.choice(_TAG_HEADERS)]
    return f"a row for every tag, {_save(rng, path, _text([header, *rows], ',', rng))}"


def _name(rng: Random, id_: str) -> str:
    return rng.choice(
        (
            f"{id_}.jpg",
            f"own/photos/{id_}.jpg",
            f"/home/me/own/photos/{id_}.jpg",
            f"C:\\data\\{id_}.jpg".replace("/", "\\"),
            f" {id_} ",
            f"./{id_}.jpg",
            f"{id_}.JPG",
            id_,
        )
    )


def _cell(rng: Random, tags: Sequence[str], style: str, nothing: str) -> str:
    if not tags:
        return nothing
    if style == "list":
        return str(list(tags))
    if style == "json":
        return json.dumps(list(tags))
    if style == "numpy":
        return "[" + " ".join(f"'{tag}'" for tag in tags) + "]"
    if style == "braces":
        return "{" + ",".join(tags) + "}"
    if style == "lines":
        return "\n".join(tags)
    if style == "blanks around":
        return " ; ".join(f"\u00a0{tag}\u200b" for tag in tags)
    return rng.choice(";|,").join(tags) + rng.choice(("", "", ";"))


def _text(rows: Sequence[Sequence[str]], delimiter: str, rng: Random) -> str:
    out = io.StringIO()
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    end = rng.choice(("\n", "\r\n"))
    csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    text = out.getvalue()
    if rng.random() < 0.2:
        text = text.replace(end, end + end)
    return f"sep={delimiter}{end}{text}" if rng.random() < 0.1 else text


def _save(rng: Random, path: Path, text: str) -> str:
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"))
    form = rng.choice(("NFC", "NFD"))
    path.write_bytes(unicodedata.normalize(form, text).encode(encoding))
    return f"{encoding}, {form}"


def _wrong_line(rng: Random, path: Path) -> Case:
    """One line that is wrong, with what is right about reading it."""
    lines = path.read_text().splitlines()
    at = rng.randrange(1, len(lines))
    nasty = rng.choice(NASTY_TEXTS)
    what, line, means = rng.choice(
        (
            ("an image outside", "../../etc/passwd,disc", "refuse"),
            ("an absolute path", "/etc/passwd,disc", "refuse"),
            ("an image that isn't there", "nowhere,disc", "refuse"),
            ("a name of 5,000 characters", f"{'x' * 5000},disc", "refuse"),
            ("NUL in a name", "p0\0\0,disc", "either"),
            ("an open quote", 'p00,"disc', "refuse"),
            ("three cells", "p00,disc,star", "refuse"),
            ("one cell", "p00", "refuse"),
            ("half a list", '"p00","[\'disc\', \'star"', "refuse"),
            ("an endless cell", f"p00,{'disc ' * 20_000}", "refuse"),
            ("background as a tag", "p00,background", "refuse"),
            ("a class in capitals", "p00,Disc", "refuse"),
            ("something odd", f"p00,{nasty}", "either"),
            ("an odd name", f"{nasty},disc", "either"),
        )
    )
    lines[at] = line
    path.write_text("\n".join([*lines, ""]), "utf-8", errors="surrogatepass")
    return case(f"{what} in line {at + 1}", "table", means=means)
