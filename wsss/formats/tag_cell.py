"""A cell of tags, as people, spreadsheets, pandas and JSON write it → tags.

`cat; dog` · `['cat', 'dog']` · `{cat, dog}` · lines within a cell · `nan`
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence

from wsss.formats.text import clean

NO_TAG = frozenset(
    (
        *("", "none", "nan", "-nan", "null", "nil", "n/a", "n.a.", "na", "#n/a", "#na", "<na>"),
        *("-", "--", "–", "—", "[]", "()", "{}", "set()"),
    )
)
"""What a cell says when nothing is in the image; capitals don't matter."""

MAX_LENGTH = 100  # a longer tag is a text, or a file that is no table

_SEPARATORS = re.compile("[;|,\n\r\t，；、｜]+")
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_HASHED = re.compile(r"#[^\W\d]\w*(?:[ ,;]+#[^\W\d]\w*)*")
# cat: 2, cat=0.9, cat (2): how many, or how sure
_COUNTED = re.compile(r".*\S\s*(?:[:=]\s*-?\d+(?:\.\d+)?|\(\d+\))")
_NEGATED = re.compile(r"[-!~¬]\s*[^\W\d].*")
_FAILED = ("#ref!", "#value!", "#name?", "#div/0!", "#null!", "#num!")
_CODE = '[]{}"'


def split_cell(cell: str, names: Collection[str] = ()) -> tuple[str, ...]:
    """The tags in a cell, each once and cleaned.

    Args:
        cell: as it stands in the table.
        names: classes, where they are known: one may be called `none`.

    Raises:
        ValueError: it can't be told what the tags are; says why.
    """
    text = cell.strip()
    if clean(text) in names:
        return (clean(text),)
    if text[:1] in ("'", '"') and text[:1] == text[-1:] and len(text) > 1:
        tags = _of_list(text)
    elif _HASHED.fullmatch(text):  # #cat #dog
        tags = [word.removeprefix("#") for word in text.split()]
    elif _is_bracketed(text):
        tags = _of_list(text[1:-1])
    else:
        tags = _SEPARATORS.split(text)
    return _checked(tags, names)


def _is_bracketed(text: str) -> bool:
    end = _BRACKETS.get(text[:1])
    return end is not None and text.endswith(end) and not set("()") & set(text[1:-1])


def _of_list(inside: str) -> list[str]:
    """Elements between the brackets of a list: all quoted, or none."""
    quoted = _QUOTED.findall(inside)
    if not quoted:
        return _SEPARATORS.split(inside)
    left = [clean(part) for part in _SEPARATORS.split(_QUOTED.sub(" ", inside))]
    if any(part.casefold() not in NO_TAG for part in left):
        raise ValueError("some elements are quoted and others aren't")
    # one by one: Python would join 'cat' 'dog', as NumPy prints a list, to one text
    return [_unquoted(element) for element in quoted]


def _unquoted(element: str) -> str:
    try:
        return str(json.loads(element))  # "\u00e4" too
    except ValueError:
        return re.sub(r"\\(.)", r"\1", element[1:-1])


def _checked(tags: Iterable[str], names: Collection[str]) -> tuple[str, ...]:
    cleaned = [clean(tag) for tag in tags]
    kept = dict.fromkeys(
        tag for tag in cleaned if tag in names or (tag and tag.casefold() not in NO_TAG)
    )
    for tag in kept:
        if tag.casefold() in _FAILED and tag not in names:
            raise ValueError("a spreadsheet's formula failed")
        strange = next((character for character in _CODE if character in tag), None)
        if strange and tag not in names:
            raise ValueError(f"the tag holds {strange}")
        if tag not in names and _COUNTED.fullmatch(tag):
            raise ValueError("a number stands beside a tag")
        if tag not in names and _NEGATED.fullmatch(tag):
            raise ValueError(f"a tag starts with {tag[0]}")
        if len(tag) > MAX_LENGTH:
            raise ValueError(f"a tag of {len(tag)} characters")
    return tuple(kept)


def split_blanks(tag: str, words: Collection[str], names: Sequence[str] = ()) -> tuple[str, ...]:
    """Tags separated by blanks, where every word is a tag by itself and the whole is not.

    Args:
        tag: of one or more words.
        words: tags that occur alone, in other cells.
        names: classes, where they are known; then they alone decide.
    """
    parts = tag.split(" ")
    known = names or words
    if len(parts) == 1 or tag in names or any(part not in known for part in parts):
        return (tag,)
    return tuple(dict.fromkeys(parts))


def looks_separated_by_blanks(tags: Collection[str]) -> bool:
    """Whether tags of several words are more likely several tags each.

    They are where there are more of them than words to make them of (`clear primary`, `clear
    water primary`, …), or where one is another in another order (`cat dog`, `dog cat`).
    """
    several = [tuple(tag.split(" ")) for tag in tags if " " in tag]
    if len(several) < 2:
        return False
    words = {word for parts in several for word in parts}
    return len(several) > len(words) or len({tuple(sorted(p)) for p in several}) < len(several)
