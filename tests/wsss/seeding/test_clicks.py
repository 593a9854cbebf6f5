"""Clicks: what is like them, and how they correct the seeds."""

import numpy as np
import torch

from glmix.clustering import SlotAssignment, dispatch_weights
from wsss.seeding.cam import with_flip
from wsss.seeding.clicks import (
    Click,
    ClickRules,
    Likeness,
    certain,
    corrected,
    walk_embedding,
)
from wsss.seeding.maps import Evidence
from wsss.seeding.walks import Walk, symmetric_walk

GREY = np.full((8, 16, 3), 128, np.uint8)
SLOTS = ClickRules(walks=(Walk("8", 2, weight=0.6),), path=0.0)
PATHS = ClickRules(walks=(Walk("8", 1, weight=1e-9),), path=1.0, step=0.25)


def segments(labels: list[int], grid: tuple[int, int]) -> Evidence:
    """An image in which every token belongs to one slot, all but entirely."""
    logits = 200.0 * torch.eye(max(labels) + 1)[:, labels]
    assignment = SlotAssignment(logits[None], grid, 1, 0)
    return Evidence(torch.zeros(1, 1, *grid), {"8.0": assignment})


def random_logits(tokens: int = 8) -> torch.Tensor:
    return torch.randn(1, 3, tokens, generator=torch.Generator().manual_seed(0))


def test_walk_embedding_has_the_walk_as_its_products() -> None:
    logits = random_logits()
    for steps in (1, 2, 5):
        walked = symmetric_walk(torch.eye(8)[None], dispatch_weights(logits), steps)[0]
        scale = walked.diagonal().rsqrt()
        tokens = walk_embedding(logits, Walk("8.0", steps))[0]
        torch.testing.assert_close(tokens @ tokens.t(), walked * scale * scale[:, None])


def test_what_shares_slots_with_a_click_is_like_it() -> None:
    likeness = Likeness([segments([0, 0, 1, 1], (2, 2))], GREY, SLOTS, (2, 2))
    found = likeness(torch.tensor([[0.9, 0.1], [0.2, 0.7]]))
    other = float(torch.tensor(-0.6).exp())
    expected = torch.tensor([[[1.0, 1.0], [other, other]], [[other, other], [1.0, 1.0]]])
    torch.testing.assert_close(found, expected)


def test_a_path_costs_its_steps_and_the_change_of_slots_and_colour() -> None:
    likeness = Likeness([segments([0, 0, 1, 1], (1, 4))], GREY, PATHS, (1, 4))
    lengths = -likeness(torch.tensor([[0.1, 0.5]])).log()
    torch.testing.assert_close(lengths, torch.tensor([[[0.0, 0.25, 1.5, 1.75]]]))
    half = GREY.copy()
    half[:, :4] = 0
    coloured = Likeness([segments([0, 0, 1, 1], (1, 4))], half, PATHS, (1, 4))
    lengths = -coloured(torch.tensor([[0.1, 0.5]])).log()
    assert lengths[0, 0, 1] > 0.7
    torch.testing.assert_close(lengths[0, 0, 3] - lengths[0, 0, 1], torch.tensor(1.5))


def test_likeness_averages_the_mirror_image_from_the_mirrored_token() -> None:
    logits = random_logits()
    mirrored = with_flip(logits.unflatten(2, (2, 4))).flatten(2)
    plain = Evidence(torch.zeros(1, 1, 2, 4), {"8.0": SlotAssignment(logits, (2, 4), 1, 0)})
    both = Evidence(
        torch.zeros(2, 1, 2, 4), {"8.0": SlotAssignment(mirrored, (2, 4), 1, 0)}, flipped=True
    )
    place, rules = torch.tensor([[0.3, 0.6]]), ClickRules(walks=(Walk("8", 2),))
    found = [Likeness([one], GREY, rules, (4, 8))(place) for one in (plain, both)]
    torch.testing.assert_close(*found)


def test_likeness_of_an_image_without_such_slots_follows_colours() -> None:
    evidence = segments([0, 0, 1, 1], (1, 4))
    likeness = Likeness([evidence], GREY, ClickRules(walks=(Walk("16", 1),)), (1, 4))
    found = likeness(torch.tensor([[0.1, 0.5]]))[0, 0]
    assert found[0] == 1
    assert bool((found.diff() < 0).all())


RULES = ClickRules(target=4.0, noise=0.0, spread=1e9)


def test_corrected_gives_a_click_what_it_asks_for_and_its_like_a_share() -> None:
    prior = torch.tensor([[[1.0, 1.0, 1.0]], [[-1.0, -1.0, -1.0]]])
    likeness = torch.tensor([[[1.0, 0.5, 0.0]]])
    found = corrected(prior, likeness, torch.tensor([0]), [1], RULES)
    expected = torch.tensor([[[-4.0, -1.5, 1.0]], [[4.0, 1.5, -1.0]]])
    torch.testing.assert_close(found, expected)


def test_corrected_by_two_clicks_parts_what_lies_between_them() -> None:
    prior = torch.zeros(2, 1, 3)
    likeness = torch.tensor([[[1.0, 0.8, 0.6]], [[0.6, 0.8, 1.0]]])
    found = corrected(prior, likeness, torch.tensor([0, 2]), [0, 1], RULES)
    torch.testing.assert_close(found[0, 0], torch.tensor([4.0, 0.0, -4.0]))


def test_corrected_hardly_changes_where_a_click_says_what_the_seeds_say() -> None:
    prior = torch.tensor([[[4.0, 0.5]], [[-4.0, -0.5]]])
    likeness = torch.tensor([[[1.0, 0.5]]])
    found = corrected(prior, likeness, torch.tensor([0]), [0], RULES)
    torch.testing.assert_close(found, prior)


def test_corrected_carries_less_far_where_the_seeds_differ() -> None:
    prior = torch.tensor([[[0.0, 0.0, 2.0]], [[0.0, 0.0, -2.0]]])
    rules = ClickRules(target=4.0, noise=0.0, spread=2.0)
    likeness = torch.ones(1, 1, 3)
    found = corrected(prior, likeness, torch.tensor([0]), [1], rules) - prior
    torch.testing.assert_close(
        found[1, 0] / 4, torch.tensor([1.0, 1.0, 1.0]).mul(torch.tensor([0.0, 0.0, -1.0]).exp())
    )


def test_corrected_does_not_depend_on_the_order_of_clicks() -> None:
    generator = torch.Generator().manual_seed(0)
    prior, likeness = torch.randn(3, 4, 4, generator=generator), torch.zeros(3, 4, 4)
    cells = torch.tensor([2, 7, 9])
    likeness = torch.rand(3, 4, 4, generator=generator) / 4
    likeness.flatten(1)[torch.arange(3), cells] = 1
    order = torch.tensor([2, 0, 1])
    found = corrected(prior, likeness, cells, [0, 2, 1], ClickRules())
    again = corrected(prior, likeness[order], cells[order], [1, 0, 2], ClickRules())
    torch.testing.assert_close(found, again)


def test_certain_gives_a_pixel_to_the_nearest_click_and_a_tie_to_the_last() -> None:
    clicks = [Click(1, 0, 3), Click(3, 0, 0)]
    assert certain(clicks, (1, 6), 1.0).tolist() == [[3, 3, 0, 0, 0, 255]]
    assert certain(clicks[::-1], (1, 6), 1.0).tolist() == [[3, 3, 3, 0, 0, 255]]
    assert certain(clicks, (1, 6), 0).tolist() == [[255, 3, 255, 0, 255, 255]]
