"""Background evidence from the border: by hand where segments make it easy."""

import pytest
import torch
from torch import Tensor

from glmix.clustering import SlotAssignment
from wsss.walk import Border, Evidence, Seeding, Walk, score_maps
from wsss.walk.maps import border_map


def evidence(cam: Tensor, labels: Tensor) -> Evidence:
    """Every token belongs to the slot that `labels` (h, w) names, all but entirely."""
    logits = 200.0 * torch.eye(int(labels.max()) + 1)[:, labels.flatten()]
    grid = (labels.shape[0], labels.shape[1])
    one = SlotAssignment(logits[None], grid, 2, 0)
    return Evidence(cam, {"16.0": one}, torch.zeros(0), "16.0", (), {})


def border(block: str = "16.0", width: float = 0.04, weight: float = 1.0) -> Border:
    return Border(Walk(block), width, weight)


GROUND_AND_THING = torch.tensor(
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
)


def test_the_border_reaches_its_segments_wherever_they_lie() -> None:
    found = border_map(evidence(torch.zeros(1, 2, 5, 5), GROUND_AND_THING), border())
    assert torch.equal(found[0, 0], 1.0 - GROUND_AND_THING)


def test_a_segment_that_touches_the_border_in_part_is_reached_in_part() -> None:
    labels = torch.zeros(5, 5, dtype=torch.long)
    labels[1:, 1:4] = 1  # 12 tokens, 3 of them on the border; 13 of the ground, all on it
    labels[2:4, 2] = 2  # its middle is a segment of its own, off the border
    found = border_map(evidence(torch.zeros(1, 1, 5, 5), labels), border())[0, 0]
    assert found[0, 0] == 1
    assert found[2, 2] == 0
    assert found[4, 1] == found[1, 2] == pytest.approx(3 / 10)


def test_a_wider_border_counts_more_tokens() -> None:
    labels = torch.zeros(10, 10, dtype=torch.long)
    labels[1:9, 1:9] = 1
    labels[4:6, 4:6] = 2
    seen = evidence(torch.zeros(1, 1, 10, 10), labels)
    narrow, wide = (border_map(seen, border(width=w))[0, 0] for w in (0.1, 0.2))
    assert narrow[1, 1] == 0
    assert wide[1, 1] == pytest.approx(28 / 60)


def test_scores_lose_what_the_border_reaches() -> None:
    cam = torch.tensor([[[[4.0, 4.0, 4.0], [4.0, 2.0, 4.0], [0.0, 0.0, 0.0]]]])
    labels = torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    seen = [evidence(cam, labels)]
    plain = score_maps(seen, Seeding(), (3, 3))[0]
    half = score_maps(seen, Seeding(border=border(weight=0.5)), (3, 3))[0]
    full = score_maps(seen, Seeding(border=border()), (3, 3))[0]
    assert plain[1].tolist() == [1, 0.5, 1]
    assert half[1].tolist() == [1, 1, 1]  # 2 beside 4 · ½
    assert full[1].tolist() == [0, 1, 0]


def test_mirror_images_are_folded_together() -> None:
    labels = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 2, 0], [0, 0, 0, 0]])
    cam = torch.ones(2, 1, 4, 4)
    logits = torch.stack([200.0 * torch.eye(3)[:, x.flatten()] for x in (labels, labels.flip(1))])
    both = Evidence(
        cam, {"16.0": SlotAssignment(logits, (4, 4), 2, 0)}, torch.zeros(0), "16.0", (), {}
    )
    one = evidence(cam[:1], labels)
    seeding = Seeding(border=Border(Walk("16.0", 2), 0.04, 1.0))
    torch.testing.assert_close(
        score_maps([both], seeding, (4, 4)), score_maps([one], seeding, (4, 4))
    )


def test_the_border_walks_through_several_blocks() -> None:
    cam = torch.zeros(1, 1, 5, 5)
    one = evidence(cam, GROUND_AND_THING).assignments["16.0"]
    two = evidence(cam, GROUND_AND_THING.T.clone().fill_diagonal_(0)).assignments["16.0"]
    both = Evidence(cam, {"16.0": one, "16.2": two}, torch.zeros(0), "16.0", (), {})
    single = [border_map(both, border(name)) for name in ("16.0", "16.2")]
    found = border_map(both, border("16"))
    torch.testing.assert_close(found, (single[0] + single[1]) / 2)
    assert not torch.equal(single[0], single[1])
