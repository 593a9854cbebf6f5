"""Annotations, lists and class names of a folder in VOC layout."""

import xml.etree.ElementTree as ET
from pathlib import Path
from random import Random

from robustness.case import Case, case
from robustness.damage import NASTY_TEXTS, damage_bytes, replace_entry

_BOMB = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1 if i else str()};" * 10}">' for i in range(9))
    + "]><annotation><object><name>&a8;</name></object></annotation>"
)


def annotations(rng: Random, box: Path) -> Case:
    """One image's XML is written as another tool would, or damaged."""
    path = rng.choice(sorted((box / "VOC" / "Annotations").glob("train_*.xml")))
    names = [str(e.text) for e in ET.parse(path).iter("name")]
    how = rng.randrange(8)
    if how < 4:
        return case(f"{_written_otherwise(rng, path, names)}: {path.name}", "xml", means="same")
    if how == 4:
        return case(f"{replace_entry(rng, path)} for {path.name}", "xml", means="refuse")
    if how == 5:
        return _wrong_xml(rng, path)
    return case(f"{damage_bytes(rng, path)}: {path.name}", "xml")


def _written_otherwise(rng: Random, path: Path, names: list[str]) -> str:
    space = rng.choice(("", "", ' xmlns="http://host/x"', ' xmlns:v="http://host/x"'))
    prefix = "v:" if ":v" in space else ""
    capitals = rng.random() < 0.2
    words = ["annotation", "object", "name"]
    a, o, n = (prefix + (w.capitalize() if capitals else w) for w in words)
    blank = rng.choice(("", " ", "\n\t"))
    extra = rng.choice(
        (
            "",
            "<!-- a note -->",
            "<difficult>1</difficult>",
            "<part><name>head</name></part>",
            "<bndbox><xmin>-3.5</xmin><ymin/></bndbox>",
            "<?x y?>",
        )
    )
    rng.shuffle(names)
    objects = "".join(
        f"<{o} id='1'>{extra}<{n}>{blank}{_escaped(rng, name)}{blank}</{n}>{blank}</{o}>"
        for name in names + names[:1] * rng.randrange(2)
    )
    if rng.random() < 0.2:
        objects = f"<objects>{objects}</objects>"
    encoding = rng.choice(("utf-8", "utf-16", "latin-1", "ascii", "cp1252"))
    declared = rng.choice((encoding, encoding, "")) if encoding in ("utf-8", "utf-16") else encoding
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    if rng.random() < 0.1:
        head = '<?xml version="1.0" encoding="unknown-8"?>'
    text = f"{head}<{a}{space}><folder>x</folder>{objects}</{a}>"
    path.write_bytes(text.encode(encoding))
    return f"{encoding}, {space or 'no name space'}, {extra or 'plain'}"


def _escaped(rng: Random, name: str) -> str:
    references = "".join(f"&#{ord(c)};" for c in name)
    return rng.choice((f"<![CDATA[{name}]]>", references, name, name))


def _wrong_xml(rng: Random, path: Path) -> Case:
    what, text, means = rng.choice(
        (
            ("a bomb of entities", _BOMB, "refuse"),
            (
                "an entity from a file",
                '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object>'
                "<name>&x;</name></object></annotation>",
                "refuse",
            ),
            ("a depth of 100,000", "<a>" * 100_000, "refuse"),
            ("a deep whole", "<annotation>" * 5000 + "</annotation>" * 5000, "either"),
            ("an unknown class", _object("unicorn"), "refuse"),
            ("no name", "<annotation><object/></annotation>", "refuse"),
            ("boxes alone", "<annotation><bndbox>1</bndbox></annotation>", "refuse"),
            ("another root", "<x><y>cat</y></x>", "refuse"),
            ("JSON", '{"objects": ["cat"]}', "refuse"),
            ("a long name", _object("x" * 100_000), "refuse"),
            ("an odd name", _object(rng.choice(NASTY_TEXTS).replace("\udcff", "?")), "either"),
        )
    )
    path.write_text(text, "utf-8")
    return case(f"{what}: {path.name}", "xml", means=means)


def _object(name: str) -> str:
    return f"<annotation><object><name>{name}</name></object></annotation>"


def lists(rng: Random, box: Path) -> Case:
    """The list of the training images is written in another way, or damaged."""
    path = box / "VOC" / "ImageSets" / "Segmentation" / "train.txt"
    ids = path.read_text().split()
    how = rng.randrange(8)
    if how < 3:
        return case(_list_otherwise(rng, path, ids), "list", means="same")
    if how == 3:
        return case(f"{replace_entry(rng, path)} for the list", "list", means="refuse")
    if how == 4:
        return case(f"{damage_bytes(rng, path)}: list", "list")
    return _wrong_id(rng, path, ids)


def _list_otherwise(rng: Random, path: Path, ids: list[str]) -> str:
    what, lines = rng.choice(
        (
            ("plain", ids),
            ("file names", [f"{i}.jpg" for i in ids]),
            ("pairs", [f"/JPEGImages/{i}.jpg /SegmentationClassAug/{i}.png" for i in ids]),
            ("labelled", [f"{i} {rng.choice((' 1', '-1', ' 0'))}" for i in ids]),
            ("blanks around", [f"  {i}\t" for i in ids]),
            ("blank lines", [line for i in ids for line in (i, "")]),
        )
    )
    end = rng.choice(("\n", "\r\n"))
    encoding = rng.choice(("utf-8", "utf-8-sig", "utf-16", "utf-16-le"))
    path.write_bytes((end.join(lines) + rng.choice(("", end, end * 3))).encode(encoding))
    return f"list: {what}, {encoding}, {end!r}"


def _wrong_id(rng: Random, path: Path, ids: list[str]) -> Case:
    nasty = rng.choice(NASTY_TEXTS)
    what, line, means = rng.choice(
        (
            ("an id above the folder", f"../JPEGImages/{ids[0]}", "refuse"),
            ("an id far above", "../../../../etc/passwd", "refuse"),
            ("an absolute id", "/etc/passwd", "refuse"),
            ("a long id", "x" * 300, "refuse"),
            ("a very long id", "x" * 100_000, "refuse"),
            ("NUL in an id", f"{ids[0]}\0", "refuse"),
            ("an id twice", ids[0], "refuse"),
            ("an id that isn't there", "nowhere", "refuse"),
            ("a folder as an id", ".", "refuse"),
            ("an odd id", nasty, "either"),
        )
    )
    path.write_text("\n".join([*ids, line, ""]), "utf-8", errors="surrogatepass")
    return case(what, "list", means=means)


def class_names(rng: Random, box: Path) -> Case:
    """The file of class names is written in another way, or damaged."""
    path = box / "VOC" / "class_names.txt"
    names = [line.split(maxsplit=1)[-1] for line in path.read_text().splitlines()]
    names = [name for name in names if name != "background"]
    how = rng.randrange(5)
    if how < 2:
        counted = [f"{i} {name}" for i, name in enumerate(["background", *names])]
        lines = rng.choice((names, counted, [f" {n} " for n in names], [*names, ""]))
        encoding = rng.choice(("utf-8", "utf-8-sig", "utf-16"))
        path.write_bytes(rng.choice(("\n", "\r\n")).join(lines).encode(encoding))
        return case(f"class names in {encoding}", "names", means="same")
    if how == 2:
        return case(f"{damage_bytes(rng, path)}: class names", "names")
    what, lines, means = rng.choice(
        (
            ("a class twice", [*names, names[0]], "refuse"),
            ("background as a class", [*names, "background"], "refuse"),
            ("none", [""], "refuse"),
            ("300 classes", [*names, *map(str, range(300))], "refuse"),
            ("a class less", names[1:], "refuse"),
            ("two swapped", [names[1], names[0], *names[2:]], "either"),
            ("an odd class", [*names, rng.choice(NASTY_TEXTS)], "either"),
        )
    )
    path.write_text("\n".join(lines), "utf-8", errors="surrogatepass")
    return case(f"class names: {what}", "names", means=means)
