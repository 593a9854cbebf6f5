"""From scores and probabilities to masks, by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wsss.crf import DenseCRF
from wsss.models.mask_loss import balanced_mean, cross_entropy
from wsss.seeding.masks import (
    among_tags,
    at_true_rates,
    harden,
    margins,
    refine,
    seed_mask,
    seed_probabilities,
    times_seeds,
)
from wsss.seeding.thresholds import otsu_threshold

# background, class 1, class 2, class 3 at three pixels
PROBS = torch.tensor([[[0.2, 0.5, 0.0]], [[0.2, 0.1, 0.0]], [[0.5, 0.1, 1.0]], [[0.1, 0.3, 0.0]]])


def test_among_tags_deals_the_foreground_to_the_tags() -> None:
    # one tag takes all of the foreground, though the first pixel was more certain of class 2
    torch.testing.assert_close(
        among_tags(PROBS, [3]), torch.tensor([[[0.2, 0.5, 0.0]], [[0.8, 0.5, 1.0]]])
    )
    # two share it as they stand; the third pixel knows neither
    torch.testing.assert_close(
        among_tags(PROBS, [1, 3]),
        torch.tensor(
            [[[0.2, 0.5, 0.0]], [[0.8 * 2 / 3, 0.5 / 4, 0.5]], [[0.8 / 3, 0.5 * 3 / 4, 0.5]]]
        ),
    )
    assert torch.equal(among_tags(PROBS, []), torch.ones(1, 1, 3))


def test_times_seeds_is_the_product_of_powers() -> None:
    own = torch.tensor([[[0.6, 0.6, 1.0]], [[0.4, 0.4, 0.0]]])
    seeds = torch.tensor([[[0.5, 0.0, 0.2]], [[0.5, 1.0, 0.8]]])
    # 0.6 · 10⁻⁴ʷ against 0.4: a seed's zero is no veto, that of the segmenter is
    expected = torch.tensor([[[0.6, 0.006 / 0.406, 1.0]], [[0.4, 0.4 / 0.406, 0.0]]])
    torch.testing.assert_close(times_seeds(own, seeds, 0.5), expected)
    torch.testing.assert_close(times_seeds(own, seeds, 0), own)
    alone = torch.ones(1, 1, 3)
    assert torch.equal(times_seeds(alone, alone, 0.5), alone)


def test_margins_subtract_the_threshold_at_the_image_size() -> None:
    scores = torch.tensor([[[0.2, 0.6]], [[1.0, 0.0]]])
    expected = torch.tensor([[[-0.3, 0.1]], [[0.5, -0.5]]])
    torch.testing.assert_close(margins(scores, 0.5, (1, 2)), expected)
    assert margins(scores, 0.5, (3, 5)).shape == (2, 3, 5)
    otsu = margins(scores, "otsu", (1, 2))
    torch.testing.assert_close(otsu, scores - otsu_threshold(scores)[:, None, None])


def test_seed_mask_is_the_class_that_stands_out_most() -> None:
    found = seed_mask(
        torch.tensor([[[0.3, 0.1, -0.1, 0.0]], [[0.2, 0.4, -0.2, -0.5]]]), torch.tensor([7, 12])
    )
    assert found.dtype == torch.uint8
    assert found.tolist() == [[7, 12, 0, 0]]


def test_image_without_tags_is_background() -> None:
    nothing = margins(torch.zeros(0, 2, 3), "otsu", (4, 6))
    assert seed_mask(nothing, torch.zeros(0, dtype=torch.uint8)).tolist() == [[0] * 6] * 4
    assert torch.equal(seed_probabilities(nothing, 10.0), torch.ones(1, 4, 6))


def test_seed_mask_without_background_is_the_best_class_or_void() -> None:
    above = torch.tensor([[[0.3, -0.1, -0.3]], [[0.2, -0.2, -0.1]]])
    assert seed_mask(above, torch.tensor([7, 12]), background=False).tolist() == [[7, 7, 12]]
    nothing = torch.zeros(0, 1, 3)
    labels = torch.zeros(0, dtype=torch.uint8)
    assert seed_mask(nothing, labels, background=False).tolist() == [[255] * 3]


def test_probabilities_without_background_are_shared_by_the_classes() -> None:
    above = torch.tensor([[[0.0, 0.1]], [[-9.0, 0.0]]])
    found = seed_probabilities(above, 10.0, background=False)
    e = np.e
    torch.testing.assert_close(
        found, torch.tensor([[[0.0, 0.0]], [[1.0, e / (1 + e)]], [[0.0, 1 / (1 + e)]]])
    )
    assert harden(found, [7, 9], 0.8, background=False).tolist() == [[7, 255]]
    nothing = seed_probabilities(above[:0], 10.0, background=False)
    assert harden(nothing, [], background=False).tolist() == [[255, 255]]


def test_refine_without_background_asks_where_classes_compete() -> None:
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    asked: list[list[int]] = []

    def refiner(images: list[Tensor], given: list[Tensor]) -> list[Tensor]:
        asked.append([len(prob) for prob in given])
        return [prob.flip(0) for prob in given]

    one = torch.tensor([0.0, 1.0])[:, None, None].expand(2, 4, 4)
    two = torch.tensor([0.0, 0.7, 0.3])[:, None, None].expand(3, 4, 4)
    found = refine([image, image], [one, two], refiner, background=False)
    assert asked == [[2]] and torch.equal(found[0], one)
    assert found[1][:, 0, 0].tolist() == pytest.approx([0.0, 0.3, 0.7])


def test_seed_probabilities_are_a_softmax_with_background() -> None:
    found = seed_probabilities(torch.tensor([[[0.0, 0.1]], [[-9.0, 0.0]]]), 10.0)
    assert found.shape == (3, 1, 2)
    torch.testing.assert_close(found.sum(0), torch.ones(1, 2))
    e = np.e
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(
        found[:, 0, 1].double(), torch.tensor([1.0, e, 1.0]).double() / (2 + e), atol=1e-6, rtol=0
    )


def test_harden_of_seed_probabilities_is_the_seed_mask() -> None:
    scores = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(3))
    found = harden(seed_probabilities(scores, 4.0), [2, 5, 9])
    assert torch.equal(found, seed_mask(scores, torch.tensor([2, 5, 9])))


def test_harden_marks_what_is_not_likely_enough() -> None:
    probs = torch.tensor([[[0.7, 0.2, 0.4]], [[0.2, 0.7, 0.3]], [[0.1, 0.1, 0.3]]])
    assert harden(probs, [7, 9], 0.5).tolist() == [[0, 7, 255]]
    assert harden(probs, [7, 9]).tolist() == [[0, 7, 0]]
    assert harden(torch.ones(1, 2, 2), [], 0.9).tolist() == [[0, 0], [0, 0]]


def test_refine_asks_only_where_labels_compete() -> None:
    image = torch.zeros(3, 6, 8, dtype=torch.uint8)
    image[:, :, 4:] = 255
    probs = torch.stack([torch.full((6, 8), 0.9), torch.full((6, 8), 0.1)])
    probs[:, :, 4:] = probs[:, :, 4:].flip(0)
    probs[:, 2, 2] = probs[:, 2, 6]  # a spot that contradicts its surroundings
    asked: list[int] = []

    def refiner(images: list[Tensor], given: list[Tensor]) -> list[Tensor]:
        asked.append(len(images))
        return DenseCRF("irn")(images, given)

    alone = torch.ones(1, 6, 8)
    found = refine([image, image, image], [probs, alone, probs], refiner)
    assert asked == [2] and found[1] is alone
    assert found[0][1, 2, 2] < 0.5 and found[0][1, 2, 6] > 0.9
    torch.testing.assert_close(found[0].sum(0), torch.ones(6, 8))
    assert refine([image], [probs], None)[0] is probs


def test_at_true_rates_multiplies_the_odds_of_the_background() -> None:
    probs = torch.tensor([[[0.5, 0.2, 1.0]], [[0.5, 0.2, 0.0]], [[0.0, 0.6, 0.0]]])
    expected = torch.tensor([[[0.75, 3 / 7, 1.0]], [[0.25, 1 / 7, 0.0]], [[0.0, 3 / 7, 0.0]]])
    torch.testing.assert_close(at_true_rates(probs, 3.0), expected)
    assert torch.equal(at_true_rates(probs, 1.0), probs)


def test_at_true_rates_undoes_a_balanced_loss() -> None:
    # 9 of 12 pixels that look the same are background: the balanced loss is least at a half
    target = torch.tensor([0] * 9 + [1] * 3).reshape(1, 3, 4)
    logit = torch.zeros((), requires_grad=True)
    balanced_mean(cross_entropy(_same(logit), target), target).backward()
    assert logit.grad is not None and abs(float(logit.grad)) < 1e-6
    probs = at_true_rates(_same(logit.detach())[0].softmax(dim=0), 9 / 3)
    torch.testing.assert_close(probs[0], torch.full((3, 4), 9 / 12))


def _same(logit: torch.Tensor) -> torch.Tensor:
    """Logits (1, 2, 3, 4) of one value for the background and 0 for the class."""
    return torch.stack([logit.expand(3, 4), torch.zeros(3, 4)])[None]
