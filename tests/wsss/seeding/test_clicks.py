"""Clicks: what they reach, and what they add to the logits."""

import torch

from glmix.clustering import SlotAssignment
from wsss.seeding.cam import with_flip
from wsss.seeding.clicks import Click, ClickRules, certain, click_logits, click_reach
from wsss.seeding.maps import Evidence
from wsss.seeding.walks import Walk


def segments(labels: list[int], grid: tuple[int, int], block: int = 0) -> SlotAssignment:
    """An assignment in which every token belongs to one slot, all but entirely."""
    logits = 200.0 * torch.eye(max(labels) + 1)[:, labels]
    return SlotAssignment(logits[None], grid, 1, block)


def test_click_reach_is_the_segment_that_was_clicked() -> None:
    evidence = Evidence(torch.zeros(1, 1, 2, 2), {"8.0": segments([0, 0, 1, 1], (2, 2))})
    places = torch.tensor([[0.9, 0.1], [0.2, 0.7]])
    found = click_reach([evidence], places, [Walk("8.0", 3)], (2, 2))
    assert found.tolist() == [[[1, 1], [0, 0]], [[0, 0], [1, 1]]]


def test_click_reach_in_the_mirror_image_starts_at_the_mirrored_token() -> None:
    logits = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0))
    mirrored = with_flip(logits.unflatten(2, (2, 4))).flatten(2)
    plain = Evidence(torch.zeros(1, 1, 2, 4), {"8.0": SlotAssignment(logits, (2, 4), 1, 0)})
    both = Evidence(
        torch.zeros(2, 1, 2, 4), {"8.0": SlotAssignment(mirrored, (2, 4), 1, 0)}, flipped=True
    )
    places, walks = torch.tensor([[0.3, 0.6]]), [Walk("8.0", 2)]
    found = click_reach([both], places, walks, (4, 8))
    torch.testing.assert_close(found, click_reach([plain], places, walks, (4, 8)))


def test_click_logits_rise_for_the_label_and_fall_for_the_others() -> None:
    rules = ClickRules(threshold=0.5, strength=8.0, others=0.5)
    reach = torch.tensor([[[0.4, 0.75, 1.0]]])
    assert click_logits(reach, [1], 3, rules).tolist() == [
        [[0, -2, -4]],
        [[0, 4, 8]],
        [[0, -2, -4]],
    ]


def test_click_logits_do_not_depend_on_the_order_of_clicks() -> None:
    reach = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = click_logits(reach, [0, 2, 1], 3, ClickRules())
    torch.testing.assert_close(found, click_logits(reach[[2, 0, 1]], [1, 0, 2], 3, ClickRules()))


def test_certain_gives_a_pixel_to_the_nearest_click_and_a_tie_to_the_last() -> None:
    clicks = [Click(1, 0, 3), Click(3, 0, 0)]
    assert certain(clicks, (1, 6), 1.0).tolist() == [[3, 3, 0, 0, 0, 255]]
    assert certain(clicks[::-1], (1, 6), 1.0).tolist() == [[3, 3, 3, 0, 0, 255]]
    assert certain(clicks, (1, 6), 0).tolist() == [[255, 3, 255, 0, 255, 255]]
