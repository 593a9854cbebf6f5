"""Background evidence from the border: by hand where segments make it easy."""

import pytest
import torch
from torch import Tensor

from glmix.clustering import SlotAssignment
from wsss.seeding.maps import Evidence, border_map, score_maps
from wsss.seeding.walks import Border, Seeding


def evidence(cam: Tensor, labels: Tensor) -> Evidence:
    """Every token belongs to the slot that `labels` (h, w) names, all but entirely."""
    logits = 200.0 * torch.eye(int(labels.max()) + 1)[:, labels.flatten()]
    grid = (labels.shape[0], labels.shape[1])
    one = SlotAssignment(logits[None], grid, 2, 0)
    return Evidence(cam, {"16.0": one})


def border(block: str = "16.0", width: float = 0.04, weight: float = 1.0) -> Border:
    return Border(block, 1, width, weight)


ONE = torch.ones(1, 1, dtype=torch.bool)
BACKGROUND_AND_OBJECT = torch.tensor(
    [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
)


def test_border_map_reaches_its_segments_wherever_they_lie() -> None:
    found = border_map(evidence(torch.zeros(1, 2, 5, 5), BACKGROUND_AND_OBJECT), border())
    assert torch.equal(found[0, 0], 1.0 - BACKGROUND_AND_OBJECT)


def test_border_map_reaches_a_segment_by_its_share_of_the_border() -> None:
    labels = torch.zeros(5, 5, dtype=torch.long)
    labels[1:, 1:4] = 1  # 12 tokens, 3 of them on the border; 13 of the background, all on it
    labels[2:4, 2] = 2  # its middle is a segment of its own, off the border
    found = border_map(evidence(torch.zeros(1, 1, 5, 5), labels), border())[0, 0]
    assert found[0, 0] == 1
    assert found[2, 2] == 0
    assert found[4, 1] == found[1, 2] == pytest.approx(3 / 10)


def test_border_map_of_a_wider_border_counts_more_tokens() -> None:
    labels = torch.zeros(10, 10, dtype=torch.long)
    labels[1:9, 1:9] = 1
    labels[4:6, 4:6] = 2
    seen = evidence(torch.zeros(1, 1, 10, 10), labels)
    narrow, wide = (border_map(seen, border(width=w))[0, 0] for w in (0.1, 0.2))
    assert narrow[1, 1] == 0
    assert wide[1, 1] == pytest.approx(28 / 60)


def test_score_maps_lose_what_the_border_reaches() -> None:
    cam = torch.tensor([[[[4.0, 4.0, 4.0], [4.0, 2.0, 4.0], [0.0, 0.0, 0.0]]]])
    labels = torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    seen = [evidence(cam, labels)]
    plain = score_maps(seen, ONE, Seeding(), (3, 3))[0, 0]
    half = score_maps(seen, ONE, Seeding(border=border(weight=0.5)), (3, 3))[0, 0]
    full = score_maps(seen, ONE, Seeding(border=border()), (3, 3))[0, 0]
    assert plain[1].tolist() == [1, 0.5, 1]
    assert half[1].tolist() == [1, 1, 1]  # 2 beside 4 · ½
    assert full[1].tolist() == [0, 1, 0]


def test_border_map_walks_through_several_blocks() -> None:
    cam = torch.zeros(1, 1, 5, 5)
    one = evidence(cam, BACKGROUND_AND_OBJECT).assignments["16.0"]
    two = evidence(cam, BACKGROUND_AND_OBJECT.T.clone().fill_diagonal_(0)).assignments["16.0"]
    both = Evidence(cam, {"16.0": one, "16.2": two})
    single = [border_map(both, border(name)) for name in ("16.0", "16.2")]
    found = border_map(both, border("16"))
    torch.testing.assert_close(found, (single[0] + single[1]) / 2)
    assert not torch.equal(single[0], single[1])
