"""Notes of masks and the table that is made of them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from wsss.data.mask_io import read_origin, write_mask
from wsss.data.scores import (
    COLUMNS,
    Doubt,
    read_doubt,
    read_scores,
    refuse_other_scores,
    write_scores,
)
from wsss.errors import WsssError

MASK = np.zeros((4, 6), np.uint8)


def write(path: Path, unsure: float, **more: float) -> None:
    note = Doubt({"unsure": unsure, **more}, {1: 0.98765}).note()
    write_mask(path, MASK, origin="made so", note=note)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_write_mask_keeps_the_note_beside_the_origin(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write(path, 0.123456)
    assert read_doubt(path) == Doubt({"unsure": 0.12346}, {1: 0.98765})
    assert read_origin(path) == "made so"


def test_read_doubt_of_a_mask_without_a_note_is_none(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", MASK)
    assert read_doubt(tmp_path / "a.png") is None and read_doubt(tmp_path / "b.png") is None


@pytest.mark.parametrize(
    "note",
    [
        "",
        "no JSON",
        "[" * 100_000,
        "[]",
        "7",
        '{"unsure": 0.1}',
        '{"parts": [0.1], "tags": {}}',
        '{"parts": {"unsure": 0.1}, "tags": ["cat"]}',
        '{"parts": {"unsure": null}, "tags": {}}',
        '{"parts": {"unsure": 0.1}, "tags": {"cat": 0.5}}',
    ],
)
def test_a_note_of_another_form_is_none(tmp_path: Path, note: str) -> None:
    write_mask(tmp_path / "old.png", MASK, note=note)
    write(tmp_path / "new.png", 0.1)
    assert read_doubt(tmp_path / "old.png") is None
    assert [row["id"] for row in rows(write_scores(tmp_path, ["cat"]))] == ["new"]


def test_write_scores_lists_the_most_uncertain_first(tmp_path: Path) -> None:
    for name, value in (("b", 0.1), ("sub/a", 0.3), ("c", 0.2)):
        write(tmp_path / f"{name}.png", value)
    write_mask(tmp_path / "painted.png", MASK)  # by a person
    path = write_scores(tmp_path, ["cat, dog é"])
    assert path == tmp_path / "scores.csv"
    found = rows(path)
    assert list(found[0]) == list(COLUMNS)
    assert [row["id"] for row in found] == ["sub/a", "c", "b"]
    assert [row["unsure"] for row in found] == ["0.30000", "0.20000", "0.10000"]
    assert found[0]["before"] == "" and json.loads(found[0]["tags"]) == {"cat, dog é": 0.98765}
    assert read_scores(tmp_path) == {row["id"]: float(row["score"]) for row in found}


def test_write_scores_is_deterministic(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        write(tmp_path / f"{name}.png", 0.5)
    path = write_scores(tmp_path, ["cat"])
    first, time = path.read_bytes(), path.stat().st_mtime_ns
    assert write_scores(tmp_path, ["cat"]).read_bytes() == first
    assert path.stat().st_mtime_ns == time
    assert list(read_scores(tmp_path)) == ["a", "b", "c"]


def test_write_scores_of_no_masks_has_a_header(tmp_path: Path) -> None:
    assert write_scores(tmp_path, ["cat"]).read_text() == ",".join(COLUMNS) + "\n"
    assert read_scores(tmp_path) == {}


def test_read_scores_without_a_table_is_empty(tmp_path: Path) -> None:
    assert read_scores(tmp_path) == {}


@pytest.mark.parametrize("text", ["name,grade\nanna,1\n", "id,score\na,high\n"])
def test_read_scores_refuses_another_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(WsssError, match=r"scores\.csv is not a table of scores"):
        read_scores(tmp_path)


def test_refuse_other_scores(tmp_path: Path) -> None:
    refuse_other_scores(tmp_path)
    write(tmp_path / "a.png", 0.1)
    write_scores(tmp_path, ["cat"])
    refuse_other_scores(tmp_path)
    (tmp_path / "scores.csv").write_text("name,grade\n")
    with pytest.raises(WsssError, match=r"scores\.csv was not made by this program"):
        refuse_other_scores(tmp_path)
