"""Score maps: which walks, on which grids, of which images; by hand where segments make it easy."""

import torch
from torch import Tensor

from glmix.clustering import SlotAssignment
from wsss.seeding.cam import with_flip
from wsss.seeding.maps import Evidence, score_maps, walked
from wsss.seeding.walks import Border, Seeding, Walk, min_max


def hard(labels: list[int], grid: tuple[int, int], slots: int, block: int = 0) -> SlotAssignment:
    """An assignment in which every token belongs to one slot, all but entirely."""
    logits = 200.0 * torch.eye(slots)[:, labels]
    return SlotAssignment(logits[None], grid, 1, block)


def random_evidence(images: int, classes: int = 3, seed: int = 0) -> Evidence:
    """A 3 × 4 grid at stride 16 with five slots."""
    generator = torch.Generator().manual_seed(seed)

    def some(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    return Evidence(
        some(images, classes, 3, 4).relu(),
        {
            name: SlotAssignment(2 * some(images, 5, 12), (3, 4), 2, i)
            for i, name in enumerate(("16.0", "16.2"))
        },
    )


def test_walked_by_a_hard_assignment_gives_the_means_of_its_segments() -> None:
    cam = torch.tensor([[[[0.0, 2.0, 4.0, 8.0]]]])
    found = walked(Evidence(cam, {"8.0": hard([0, 0, 1, 1], (1, 4), 3)}), [Walk("8.0")])
    assert torch.equal(found, torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]]))


def test_walked_averages_by_weight_on_the_finest_grid() -> None:
    cam = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    rows = hard([0, 0, 1, 1], (2, 2), 2)
    columns = hard([0, 1, 0, 1], (2, 2), 2, block=1)
    both = Evidence(cam, {"8.0": rows, "8.1": columns})
    found = walked(both, [Walk("8.0"), Walk("8.1")])
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.5], [0.5, 1.0]]]]))
    for many in ("all", "8"):
        torch.testing.assert_close(walked(both, [Walk(many)]), found)
    found = walked(both, [Walk("8.0", weight=3), Walk("8.1")])
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.25], [0.75, 1.0]]]]))
    fine = hard([0] * 8 + [1] * 8, (4, 4), 2)
    mixed = Evidence(cam, {"8.0": fine, "8.1": columns})
    assert walked(mixed, [Walk("8.0"), Walk("8.1")]).shape == (1, 1, 4, 4)


def test_walked_without_walks_is_class_activation() -> None:
    given = random_evidence(2)
    assert walked(given, ()) is given.cam


SEEDING = Seeding((Walk("16.0", 2), Walk("16.2", 3, "one-way")), Border("16.0"))


def test_score_maps_lie_between_0_and_1_at_the_asked_size() -> None:
    given = random_evidence(1)
    maps = score_maps([given, given], torch.ones(1, 3, dtype=torch.bool), SEEDING, (6, 8))
    assert maps.shape == (1, 3, 6, 8)
    torch.testing.assert_close(maps.flatten(2).amin(2), torch.zeros(1, 3))
    torch.testing.assert_close(maps.flatten(2).amax(2), torch.ones(1, 3))


def test_score_maps_of_classes_without_a_tag_are_0() -> None:
    given = random_evidence(2)
    tags = torch.tensor([[True, False, False], [True, True, False]])
    maps = score_maps([given], tags, SEEDING, (3, 4))
    assert maps.flatten(2).any(2).tolist() == tags.tolist()
    nothing = score_maps([given], torch.zeros(2, 3, dtype=torch.bool), Seeding(), (3, 4))
    assert nothing.shape == (2, 3, 3, 4) and not nothing.any()


def test_score_maps_of_a_batch_are_those_of_each_image() -> None:
    batch = random_evidence(3)
    tags = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
    maps = score_maps([batch], tags, SEEDING, (6, 8))
    for i in range(3):
        one = batch.of_image(i)
        torch.testing.assert_close(score_maps([one], tags[i : i + 1], SEEDING, (6, 8))[0], maps[i])


def test_evidence_of_an_image_goes_with_that_of_its_mirror_image() -> None:
    rows = torch.arange(6.0)[:, None, None, None]
    assignment = SlotAssignment(rows[..., 0], (1, 1), 2, 0)
    found = Evidence(
        rows, {"16.0": assignment}, [rows], flipped=True, logits=torch.arange(3.0)[:, None]
    ).of_image(1)
    for tensor in (found.cam, found.assignments["16.0"].logits, found.features[0]):
        assert tensor.flatten().tolist() == [1, 4]
    assert found.logits.tolist() == [[1]] and found.flipped


def test_score_maps_fold_mirror_images_of_a_batch() -> None:
    """Mirrored evidence says the same as the images alone."""
    batch = random_evidence(2)

    def mirrored(found: SlotAssignment) -> SlotAssignment:
        planes = found.logits.unflatten(2, found.grid)
        return found._replace(logits=with_flip(planes).flatten(2))

    both = Evidence(
        with_flip(batch.cam), {k: mirrored(v) for k, v in batch.assignments.items()}, flipped=True
    )
    tags = torch.tensor([[True, True, False], [False, True, True]])
    torch.testing.assert_close(
        score_maps([both], tags, SEEDING, (6, 8)), score_maps([batch], tags, SEEDING, (6, 8))
    )


def test_score_maps_without_walks_are_the_scaled_mean_over_scales() -> None:
    one, other = random_evidence(1), random_evidence(1, seed=1)
    found = score_maps([one, other], torch.ones(1, 3, dtype=torch.bool), Seeding(), (3, 4))
    torch.testing.assert_close(found, min_max((one.cam + other.cam) / 2))
