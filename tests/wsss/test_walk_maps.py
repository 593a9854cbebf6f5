"""Score maps: which walks, on which grids, how mixed; by hand where segments make it easy."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from glmix.clustering import SlotAssignment, cluster_weights, dispatch_weights
from wsss.walk import (
    Evidence,
    Seeding,
    Walk,
    attention_walk,
    batch_maps,
    limit_walk,
    min_max,
    one_way_walk,
    score_maps,
    sharpen,
    symmetric_walk,
)
from wsss.walk.dense import token_transition
from wsss.walk.maps import confident_region, slot_map, walked


def hard(labels: list[int], grid: tuple[int, int], slots: int, block: int = 0) -> SlotAssignment:
    """An assignment in which every token belongs to one slot, all but entirely."""
    logits = 200.0 * torch.eye(slots)[:, labels]
    return SlotAssignment(logits[None], grid, 1, block)


def evidence(cam: Tensor, assignments: Mapping[str, SlotAssignment], **more: object) -> Evidence:
    fields = {"slot_scores": torch.zeros(0), "slot_block": "8.0", "features": (), "attention": {}}
    return Evidence(cam, assignments, **{**fields, **more})  # type: ignore[arg-type]


def random_evidence(batch: int = 2, classes: int = 3) -> Evidence:
    """A 3 × 4 grid at stride 16 with five slots, attention among them and among tokens."""
    generator = torch.Generator().manual_seed(0)

    def some(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    return evidence(
        some(batch, classes, 3, 4).relu(),
        {
            name: SlotAssignment(2 * some(batch, 5, 12), (3, 4), 2, i)
            for i, name in enumerate(("16.0", "16.2"))
        },
        slot_scores=some(batch, 5, classes),
        slot_block="16.0",
        features=[some(batch, 2, 12 // s, 16 // s) for s in (1, 2, 4, 8)],
        attention={
            "16.0": some(batch, 5, 5).softmax(-1),
            "16.1": some(batch, 12, 12).softmax(-1),
            "32.0": some(batch, 2, 2).softmax(-1),
        },
    )


def test_a_hard_assignment_gives_the_means_of_its_segments() -> None:
    cam = torch.tensor([[[[0.0, 2.0, 4.0, 8.0]]]])
    found = walked(evidence(cam, {"8.0": hard([0, 0, 1, 1], (1, 4), 3)}), Seeding((Walk("8.0"),)))
    assert torch.equal(found, torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]]))


def test_walks_are_averaged_by_weight_on_the_finest_grid() -> None:
    cam = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    rows = hard([0, 0, 1, 1], (2, 2), 2)
    columns = hard([0, 1, 0, 1], (2, 2), 2, block=1)
    both = evidence(cam, {"8.0": rows, "8.1": columns})
    found = walked(both, Seeding((Walk("8.0"), Walk("8.1"))))
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.5], [0.5, 1.0]]]]))
    for many in ("all", "8"):
        torch.testing.assert_close(walked(both, Seeding((Walk(many),))), found)
    found = walked(both, Seeding((Walk("8.0", weight=3), Walk("8.1"))))
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.25], [0.75, 1.0]]]]))
    fine = hard([0] * 8 + [1] * 8, (4, 4), 2)
    mixed = evidence(cam, {"8.0": fine, "8.1": columns})
    assert walked(mixed, Seeding((Walk("8.0"), Walk("8.1")))).shape == (1, 1, 4, 4)


def test_every_kind_is_the_walk_of_its_name() -> None:
    given = random_evidence()
    scores, logits = given.cam.flatten(2), given.assignments["16.0"].logits
    G, P = cluster_weights(logits), dispatch_weights(logits)
    sharp = dispatch_weights(sharpen(logits, 0.5, 2))
    tokens = token_transition([given.attention["16.1"]])
    expected = {
        Walk("16.0", 3): symmetric_walk(scores, P, 3),
        Walk("16.0", 2, "one-way"): one_way_walk(scores, G, P, 2),
        Walk("16.0", kind="limit", alpha=0.7): limit_walk(scores, P, 0.7),
        Walk("16.0", 2, "attention"): attention_walk(scores, G, P, given.attention["16.0"], 2),
        Walk("16.0", 2, temperature=0.5, top_k=2): symmetric_walk(scores, sharp, 2),
        Walk("16.1", 2, "tokens"): scores @ (tokens @ tokens).transpose(1, 2),
    }
    seen: list[Tensor] = []
    for walk, maps in expected.items():
        found = walked(given, Seeding((walk,)))
        torch.testing.assert_close(found.flatten(2), min_max(maps), atol=1e-4, rtol=1e-4)
        assert not any(torch.allclose(found, other, atol=1e-2) for other in seen), walk
        seen.append(found)


def test_all_token_attention_is_averaged_at_stride_16() -> None:
    given = random_evidence()
    alone = walked(given, Seeding((Walk("16.1", 1, "tokens"),)))
    both = walked(given, Seeding((Walk("all", 1, "tokens"),)))
    assert alone.shape == both.shape == (2, 3, 3, 4) and not torch.allclose(alone, both)


def test_the_map_of_the_auxiliary_head() -> None:
    scores = torch.tensor([[[0.0], [2.0], [-3.0]]])  # of three slots
    given = evidence(
        torch.tensor([[[[4.0, 0.0, 0.0, 2.0]]]]),
        {"8.0": hard([0, 0, 1, 2], (1, 4), 3)},
        slot_scores=scores,
    )
    sigma = torch.tensor([0.0, 0.0, 2.0, -3.0]).sigmoid()
    torch.testing.assert_close(slot_map(given)[0, 0, 0], sigma)
    torch.testing.assert_close(walked(given, Seeding(slot_map=1.0))[0, 0, 0], sigma)
    half = (torch.tensor([1.0, 0.0, 0.0, 0.5]) + min_max(sigma[None, None])[0, 0]) / 2
    torch.testing.assert_close(walked(given, Seeding(slot_map=0.5))[0, 0, 0], half)
    assert torch.equal(walked(given, Seeding()), given.cam)


def test_silent_classes_are_heard_through_the_slots() -> None:
    cam = torch.tensor([[[[4.0, 0.0, 0.0, 2.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    scores = torch.tensor([[[9.0, 0.0], [-9.0, 2.0], [0.0, -3.0]]])  # three slots, two classes
    given = evidence(cam, {"8.0": hard([0, 0, 1, 2], (1, 4), 3)}, slot_scores=scores)
    sigma = torch.tensor([0.0, 0.0, 2.0, -3.0]).sigmoid()
    expected = torch.stack(
        [cam[0, 0, 0] / 4, min_max((sigma - sigma.mean()).relu()[None, None])[0, 0]]
    )
    left, heard = Seeding(), Seeding(silent_by_slots=True)
    torch.testing.assert_close(score_maps([given], heard, (1, 4))[:, 0], expected)
    torch.testing.assert_close(batch_maps(given, heard)[0, :, 0], expected)
    assert not score_maps([given], left, (1, 4))[1].any()
    # a class that speaks at one scale is silent at none
    loud = given._replace(cam=cam + 1)
    torch.testing.assert_close(
        score_maps([given, loud], heard, (1, 4)), score_maps([given, loud], left, (1, 4))
    )
    # in a batch every picture has its own silent classes
    two = Evidence(
        torch.cat([cam, cam.flip(1)]),
        {"8.0": SlotAssignment(given.assignments["8.0"].logits.expand(2, -1, -1), (1, 4), 1, 0)},
        torch.cat([scores, scores.flip(2)]),
        "8.0",
        (),
        {},
    )
    torch.testing.assert_close(batch_maps(two, heard)[1, :, 0], expected.flip(0))


def test_the_confident_region_and_its_box() -> None:
    cam = torch.zeros(1, 2, 3, 5)
    cam[0, 0, 0, 1], cam[0, 0, 2, 3] = 2.0, 4.0
    mask = torch.zeros(3, 5)
    mask[0, 1] = mask[2, 3] = 1
    found = confident_region(cam, (3, 5), 0.5, "mask")
    assert torch.equal(found[0, 0].view(3, 5), mask) and not found[0, 1].any()
    box = torch.zeros(3, 5)
    box[:, 1:4] = 1
    found = confident_region(cam, (3, 5), 0.5, "box")
    assert torch.equal(found[0, 0].view(3, 5), box) and not found[0, 1].any()
    assert confident_region(cam, (3, 5), 0.6, "box")[0, 0].nonzero().flatten().tolist() == [13]


@pytest.mark.parametrize("kind", ["symmetric", "one-way"])
def test_a_confined_walk_leaves_nothing_outside(kind: str) -> None:
    given = random_evidence()
    seeding = Seeding((Walk("16.0", 2, kind),), confine=0.6, confine_to="mask")  # type: ignore[arg-type]
    found = walked(given, seeding).flatten(2)
    region = confident_region(given.cam, (3, 4), 0.6, "mask")
    assert 0 < region.mean() < 1
    assert (found[region == 0] == 0).all() and (found[region == 1] > 0).all()


@pytest.mark.parametrize("kind", ["limit", "attention", "tokens"])
def test_other_walks_cannot_be_confined(kind: str) -> None:
    walk = Walk("16.0", kind=kind, alpha=0.5)  # type: ignore[arg-type]
    assert Seeding((walk,)).confine is None
    with pytest.raises(ValueError, match=f"confined walks are symmetric or one-way, not {kind}"):
        Seeding((walk,), confine=0.5)


def test_maps_over_scales_and_flip() -> None:
    given = random_evidence()
    maps = score_maps([given, given], Seeding((Walk("16.0", 2),)), (6, 8))
    assert maps.shape == (3, 6, 8) and maps.amin() == 0
    torch.testing.assert_close(maps.flatten(1).amax(1), torch.ones(3))
    nothing = given._replace(cam=given.cam[:, :0], slot_scores=given.slot_scores[..., :0])
    for seeding in (Seeding(), Seeding((Walk("16.0"),)), Seeding(slot_map=0.5)):
        assert score_maps([nothing], seeding, (6, 8)).shape == (0, 6, 8)
