"""The rows as data: what a backbone can do, what a pattern chooses; the baseline on pixels."""

import pytest

from wsss.ablation.rows import all_rows, choose
from wsss.errors import WsssError
from wsss.seeding.walks import Border, Seeding, Walk

RECIPE = Seeding((Walk("8.0", 2), Walk("16.0", 2)))
NANO = ("4.0", "8.0", "8.1", "16.0", "16.2", "16.4")


def test_all_rows_have_unique_names_and_sources() -> None:
    rows = all_rows(RECIPE, NANO)
    assert len({row.name for row in rows}) == len({(r.source, r.refine) for r in rows}) == len(rows)
    names = {row.name for row in rows}
    assert {"cam", "cam + crf", "cam + par", "default", "default + par + crf"} <= names
    assert {f"symmetric {b}, t={t}" for b in NANO for t in (1, 2, 4, 8)} <= names


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        Seeding((Walk("8.0", 3, "one-way"),)),
        Seeding((Walk("8.0"),), Border()),
        Seeding(),
    ],
)
def test_all_rows_of_any_recipe(recipe: Seeding) -> None:
    rows = {row.name: row for row in all_rows(recipe, NANO)}
    assert rows["default"].source == rows["default + crf"].source == recipe
    assert all(row.source != recipe for name, row in rows.items() if name.startswith("default, "))
    assert ("default, no border" in rows) == (recipe.border is not None)


def test_all_rows_leave_out_blocks_that_a_backbone_lacks() -> None:
    rows = all_rows(RECIPE, ("4.0", "8.0", "16.0"))
    walked = {walk.block for row in rows for walk in row.walks}
    assert walked == {"4.0", "8.0", "16.0", "all"}


def test_rows_know_whether_a_map_walked() -> None:
    rows = {row.name: row for row in all_rows(RECIPE, NANO)}
    assert not rows["cam"].walked
    assert rows["default"].walked and rows["pixel affinity, β=10, t=16"].walked


def test_choose_by_patterns() -> None:
    rows = all_rows(RECIPE, NANO)
    assert [row.name for row in choose(rows, "cam;default")] == ["cam", "default"]
    assert [row.name for row in choose(rows, "one-way 16.*")] == [
        "one-way 16.0",
        "one-way 16.2",
        "one-way 16.4",
    ]
    assert choose(rows, "*") == rows
    with pytest.raises(WsssError, match="--rows 'camm'"):
        choose(rows, "camm")
    with pytest.raises(WsssError, match="--rows 'defualt'"):
        choose(rows, "cam;defualt")
    assert choose(rows, "cam; one-way 8.0;") == choose(rows, "one-way 8.0;cam")
    with pytest.raises(WsssError, match="--rows ';'"):
        choose(rows, ";")
