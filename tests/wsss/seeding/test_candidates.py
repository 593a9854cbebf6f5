"""Recipes to choose among."""

from wsss.seeding.candidates import LEVELS, Compactness, by_compactness, seedings
from wsss.seeding.walks import Border, Seeding, Walk

BLOCKS = ["4.0", "8.0", "8.1", "16.0", "16.2"]


def test_seedings_hold_the_current_one_once_however_it_is_written() -> None:
    current = Seeding((Walk("16.0", 8), Walk("16.2", 8)), Border())
    found = seedings(current, BLOCKS)
    assert list(found)[:2] == ["as it is", "plain CAM"] and found["as it is"] == current
    assert "stride 16, 8 steps, border" not in found and "stride 16, 8 steps" in found
    assert seedings(Seeding(), BLOCKS).keys() - found.keys() == {"stride 16, 8 steps, border"}


def test_seedings_walk_through_strides_that_have_slots() -> None:
    assert not any("stride 8" in name for name in seedings(Seeding(), ["16.0"]))


def test_seedings_without_background_know_no_border() -> None:
    found = seedings(Seeding(), BLOCKS, background=False)
    assert "plain CAM" not in found and all(one.border is None for one in found.values())


def test_by_compactness_walks_less_the_more_is_evidence_already() -> None:
    walks, border = (Walk("16", 8),), Border()
    assert by_compactness(Compactness(0.37, 0.9), walks, border) == Seeding(walks, border)
    assert by_compactness(Compactness(0.63, None), walks, border) == Seeding(walks)
    assert by_compactness(Compactness(0.91, 0.99), walks, border) == Seeding()


def test_by_compactness_does_not_walk_to_what_images_without_the_tag_hold() -> None:
    walks, border = (Walk("16", 8),), Border()
    assert by_compactness(Compactness(0.3, 0.73), walks, border) == Seeding()


def test_levels_have_a_middle_that_changes_nothing() -> None:
    assert LEVELS[len(LEVELS) // 2] == 0 and list(LEVELS) == sorted(LEVELS)
