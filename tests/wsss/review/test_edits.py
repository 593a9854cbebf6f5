"""What lists of actions come to."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from wsss.review.edits import Actions, painted, sum_up
from wsss.seeding.clicks import Click

ADAPTER: TypeAdapter[Any] = TypeAdapter(Actions)


def actions(*values: dict[str, Any]) -> Any:
    return ADAPTER.validate_python(list(values))


def click(x: float, y: float, label: int) -> dict[str, Any]:
    return {"kind": "click", "x": x, "y": y, "label": label}


def stroke(label: int, *points: tuple[float, float], radius: float = 1.0) -> dict[str, Any]:
    return {"kind": "stroke", "label": label, "radius": radius, "points": points}


def test_sum_up_of_nothing_is_auto() -> None:
    edits = sum_up((), (2, 0))
    assert (edits.clicks, edits.levels, edits.tags, edits.how) == ((), {}, (0, 2), "auto")
    assert not edits.regrown


def test_sum_up_keeps_clicks_in_order_at_their_pixels() -> None:
    edits = sum_up(actions(click(3.9, 0, 1), click(0.2, 7.5, 0)), (0,))
    assert edits.clicks == (Click(3, 0, 1), Click(0, 7, 0))
    assert edits.how == "clicked"


def test_sum_up_adds_steps_of_a_level_until_they_cancel() -> None:
    more = {"kind": "level", "label": 1, "steps": 3}
    assert sum_up(actions(more, more), (0,)).levels == {1: 1.5}
    assert sum_up(actions(more, {**more, "steps": -3}), (0,)).how == "auto"


def test_sum_up_drops_what_speaks_of_a_removed_tag() -> None:
    gone = {"kind": "tag", "label": 1, "on": False}
    edits = sum_up(actions(click(1, 1, 1), stroke(1, (1, 1)), click(1, 1, 2), gone), (0, 1))
    assert (edits.tags, edits.clicks, edits.paint) == ((1,), (Click(1, 1, 2),), ())


def test_sum_up_keeps_background_and_unsure_of_any_image() -> None:
    edits = sum_up(actions(click(1, 1, 0), stroke(255, (1, 1))), ())
    assert (len(edits.clicks), len(edits.paint), edits.how) == (1, 1, "painted")


def test_sum_up_starts_over_at_a_reset() -> None:
    tag = {"kind": "tag", "label": 3, "on": True}
    edits = sum_up(actions(click(1, 1, 1), tag, {"kind": "reset"}, click(2, 2, 0)), (0,))
    assert (edits.tags, edits.clicks) == ((0,), (Click(2, 2, 0),))


def test_painted_stroke_covers_the_pixels_under_its_brush() -> None:
    (action,) = actions(stroke(2, (1.5, 1.5), (4.5, 1.5), radius=0.5))
    labels, unsure = painted([action], (3, 6))
    expected = np.full((3, 6), 255, np.uint8)
    expected[1, 1:5] = 2
    np.testing.assert_array_equal(labels, expected)
    assert not unsure.any()


def test_painted_circle_is_as_wide_as_its_radius_says() -> None:
    (action,) = actions(stroke(1, (10.5, 10.5), radius=4.5))
    labels, _ = painted([action], (21, 21))
    assert (labels == 1).any(axis=0).sum() == (labels == 1).any(axis=1).sum() == 9


def test_painted_polygon_is_filled_up_to_its_corners() -> None:
    square = {"kind": "polygon", "label": 3, "points": [(1, 1), (4, 1), (4, 3), (1, 3)]}
    labels, _ = painted(actions(square), (5, 6))
    inside = labels == 3
    assert inside[1:3, 1:4].all()
    assert not inside[0].any() and not inside[:, 0].any() and not inside[4].any()


def test_painted_later_covers_earlier_and_unsure_is_a_label() -> None:
    one, other = stroke(1, (1.5, 1.5)), stroke(255, (1.5, 1.5))
    labels, unsure = painted(actions(one, other), (3, 3))
    assert unsure[1, 1] and labels[1, 1] == 255
    labels, unsure = painted(actions(other, one), (3, 3))
    assert not unsure[1, 1] and labels[1, 1] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        click(float("nan"), 1, 1),
        click(1e9, 1, 1),
        click(1, 1, 255),
        stroke(1),
        stroke(1, (1, 1), radius=0),
        {"kind": "polygon", "label": 1, "points": [(1, 1), (2, 2)]},
        {"kind": "level", "label": 0, "steps": 1},
        {"kind": "level", "label": 1, "steps": 1000},
        {"kind": "shell", "label": 1},
        {"kind": "reset", "path": "/etc/passwd"},
    ],
)
def test_actions_refuse_what_the_page_never_sends(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        actions(wrong)
