"""Columns and keys that say nothing of tags: told, so that none is dropped silently."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from wsss.formats.text import clean

_SPLITS = frozenset(
    (
        *("split", "splits", "subset", "set", "partition", "fold", "phase", "usage"),
        *("is_train", "is_val", "is_valid", "is_validation", "is_test"),
    )
)
_MOST = 20  # values of a column that may still be names of splits
_ROW_NUMBERS = re.compile(r"|index|unnamed: \d+")


class Unread(NamedTuple):
    """A column, or key, that is not read.

    Attributes:
        name: of it.
        splits: its values, sorted, where it says which split an image is of.
    """

    name: str
    splits: tuple[str, ...] = ()


class UnreadColumns:
    """Gathers, row by row or table by table, what is not read."""

    def __init__(self) -> None:
        self._values: dict[str, set[str]] = {}

    def column(self, name: str, cells: Iterable[object]) -> None:
        """Add a column; its cells are gone through only where the name is that of a split."""
        shown = clean(name)
        if _ROW_NUMBERS.fullmatch(shown.casefold()):
            return
        values = self._values.setdefault(shown, set())
        if shown.casefold().replace(" ", "_") in _SPLITS:
            values |= {clean(str(cell)) for cell in cells} - {""}

    def row(self, entry: Mapping[str, Any], used: Iterable[str]) -> None:
        """Add the keys of an object but those that are used."""
        for key in entry.keys() - set(used):
            self.column(key, (entry[key],))

    def done(self) -> tuple[Unread, ...]:
        """All of them by name."""
        return tuple(
            Unread(name, tuple(sorted(values)) if 1 < len(values) <= _MOST else ())
            for name, values in sorted(self._values.items())
        )
