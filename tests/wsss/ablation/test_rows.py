"""The rows as data: what a backbone can do, what a pattern chooses; the baseline on pixels."""

import pytest
import torch

from wsss.ablation.rows import PixelWalk, Row, all_rows, choose, row_maps
from wsss.cam import resize
from wsss.errors import WsssError
from wsss.walk import Border, Evidence, Seeding, Walk, min_max
from wsss.walk.dense import pixel_transition

RECIPE = Seeding((Walk("8.0", 2), Walk("16.0", 2)))
NANO = ("4.0", "8.0", "8.1", "16.0", "16.2", "16.4")


def test_names_are_unique_and_sources_differ() -> None:
    rows = all_rows(RECIPE, NANO)
    assert len({row.name for row in rows}) == len({(r.source, r.refine) for r in rows}) == len(rows)
    names = {row.name for row in rows}
    assert {"cam", "cam + crf", "cam + par", "default", "default + par + crf"} <= names
    assert {f"symmetric {b}, t={t}" for b in NANO for t in (1, 2, 4, 8)} <= names


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        Seeding((Walk("8.0", kind="limit", alpha=0.5),)),
        Seeding((Walk("all", 2, "tokens"),), slot_map=0.2),
        Seeding((Walk("8.0"),), confine=0.2, border=Border(Walk("16.0", 4), 0.04, 1.0)),
    ],
)
def test_any_recipe_has_its_rows(recipe: Seeding) -> None:
    rows = {row.name: row for row in all_rows(recipe, NANO)}
    assert rows["default"].source == rows["default + crf"].source == recipe
    # steps mean nothing to a limit, a region nothing to attention among tokens
    kind = recipe.walks[0].kind
    assert ("default, t=3" in rows) == (kind != "limit")
    assert all(row.source != recipe for name, row in rows.items() if name.startswith("default, "))
    assert ("default, box 0.1" in rows) == (kind == "symmetric")
    assert ("default, no border" in rows) == (recipe.border is not None)


def test_rows_through_blocks_that_a_backbone_lacks_are_left_out() -> None:
    rows = all_rows(RECIPE, ("4.0", "8.0", "16.0"))
    walked = {walk.block for row in rows for walk in row.walks}
    assert walked == {"4.0", "8.0", "16.0", "16", "all"}


def test_fixed_thresholds_go_by_whether_a_map_walked() -> None:
    rows = {row.name: row for row in all_rows(RECIPE, NANO)}
    assert not rows["cam"].walked and not rows["slot head"].walked
    assert rows["default"].walked and rows["pixel affinity, β=10, t=16"].walked


def test_patterns() -> None:
    rows = all_rows(RECIPE, NANO)
    assert [row.name for row in choose(rows, "cam;default")] == ["cam", "default"]
    assert [row.name for row in choose(rows, "one-way 16.*")] == [
        "one-way 16.0",
        "one-way 16.2",
        "one-way 16.4",
    ]
    assert choose(rows, "*") == rows
    with pytest.raises(WsssError, match="--rows 'camm' matches no row: take names or patterns of"):
        choose(rows, "camm")
    with pytest.raises(WsssError, match="--rows 'defualt' matches no row"):
        choose(rows, "cam;defualt")
    assert choose(rows, "cam; one-way 8.0;") == choose(rows, "one-way 8.0;cam")
    with pytest.raises(WsssError, match="--rows ';' matches no row"):
        choose(rows, ";")


def test_pixel_affinity_walks_at_stride_8_of_the_scale_nearest_to_1() -> None:
    generator = torch.Generator().manual_seed(0)

    def at(scale: int) -> Evidence:
        h, w = 8 * scale, 16 * scale
        sizes = [(h // s, w // s) for s in (1, 2, 4, 8)]
        features = [torch.randn(2, 3, *size, generator=generator) for size in sizes]
        cam = torch.rand(2, 2, *sizes[2], generator=generator)
        return Evidence(cam, {}, torch.zeros(0), "", features, {})

    one, two = at(1), at(2)
    found = row_maps(Row("", PixelWalk(2.0, 3.0, 1)), [two, one], (8, 16))
    unit = torch.nn.functional.normalize
    near = [unit(one.features[1][:1], dim=1), unit(resize(one.features[2][:1], (4, 8)), dim=1)]
    matrix = pixel_transition(torch.cat(near, 1), 2.0, 3.0)
    mean = [(e.cam[:1] + e.cam[1:].flip(-1)) / 2 for e in (one, two)]
    cam = sum(resize(m, (4, 8)) for m in mean) / 2
    walked = cam.flatten(2) @ (matrix @ matrix).transpose(1, 2)
    expected = min_max(resize(walked.unflatten(2, (4, 8)), (8, 16)))[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
