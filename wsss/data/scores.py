"""How uncertain the masks of a folder are: a note in each mask, and `scores.csv` of all of them.

The note is written with its mask, as one file, so that neither a killed process nor one of several
leaves a mask without its scores; the table is made of the notes.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from wsss.data.mask_io import read_note
from wsss.errors import WsssError
from wsss.files import csv_text, write_text
from wsss.labels import SCORES_FILE
from wsss.metrics.uncertainty import PARTS, combine

COLUMNS = ("id", "score", *PARTS, "tags")
"""Of `scores.csv`; `tags` holds JSON, class name → the classifier's probability."""


class Doubt(NamedTuple):
    """What a mask's note says.

    Attributes:
        parts: those of `PARTS` that are known of the mask.
        tags: label → the classifier's probability, where one was asked.
    """

    parts: Mapping[str, float]
    tags: Mapping[int, float] = {}

    def note(self) -> str:
        """As text; five decimals."""
        return json.dumps({"parts": _rounded(self.parts), "tags": _rounded(self.tags)})


def read_doubt(path: Path) -> Doubt | None:
    """What a mask's note says; None where there is no mask, or no such note.

    A note of another form, as other versions may have written it, is none.
    """
    text = read_note(path)
    if text is None:
        return None
    try:
        said = json.loads(text)
        parts = {str(name): float(value) for name, value in said["parts"].items()}
        tags = {int(label): float(value) for label, value in said["tags"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Doubt(parts, tags)


def write_scores(folder: Path, names: Sequence[str]) -> Path:
    """Write the table of a folder's masks, the most uncertain first; kept where it says so.

    Args:
        folder: of masks, with its subfolders; masks without a note are left out.
        names: foreground classes in the order of their values.

    Returns:
        Its path.
    """
    paths = sorted(path for path in folder.rglob("*.png") if not path.name.startswith("."))
    notes = [(path, read_doubt(path)) for path in paths]
    doubts = {
        path.relative_to(folder).with_suffix("").as_posix(): doubt
        for path, doubt in notes
        if doubt is not None
    }
    path, text = folder / SCORES_FILE, _table(doubts, names)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
    return path


def read_scores(folder: Path, column: str = "score") -> dict[str, float]:
    """Image id → score in 0…1 of a folder's masks, the most uncertain first; none without a table.

    Args:
        folder: of masks.
        column: another one of the table; images of which it says nothing are left out.

    Raises:
        WsssError: there is a `scores.csv` that isn't such a table.
    """
    path = folder / SCORES_FILE
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            return {row["id"]: float(row[column]) for row in rows if row[column] != ""}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        raise WsssError(
            f"{path} is not a table of scores; expected the columns id and {column}, a number "
            "each: move the file away."
        ) from None


def refuse_other_scores(folder: Path) -> None:
    """Refuse to replace a `scores.csv` that was not made here.

    Raises:
        WsssError: there is one.
    """
    path = folder / SCORES_FILE
    if path.exists() and path.read_bytes()[:9] != b"id,score,":
        raise WsssError(
            f"{path} was not made by this program and would be replaced; expected a folder without "
            "it: give another one (--out), or --overwrite to replace it."
        )


def _table(doubts: Mapping[str, Doubt], names: Sequence[str]) -> str:
    parts = {name: [doubt.parts.get(name) for doubt in doubts.values()] for name in PARTS}
    scores = combine(parts)
    rows: list[Sequence[str]] = [COLUMNS]
    order = sorted(range(len(doubts)), key=lambda i: -round(float(scores[i]), 4))
    ids, own = list(doubts), list(doubts.values())
    for i in order:
        tags = {names[label - 1]: p for label, p in own[i].tags.items() if label <= len(names)}
        row = [f"{value[i]:.5f}" if value[i] is not None else "" for value in parts.values()]
        shown = json.dumps(tags, ensure_ascii=False) if tags else ""
        rows.append([ids[i], f"{scores[i]:.4f}", *row, shown])
    return csv_text(rows)


def _rounded(values: Mapping[str, float] | Mapping[int, float]) -> dict[str, float]:
    return {str(key): round(float(value), 5) for key, value in values.items()}
