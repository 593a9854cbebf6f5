"""The segmenter's answer among a picture's tags, by hand."""

import numpy as np
import torch

from wsss.config import SelfTrainingConfig
from wsss.crf import DenseCRF
from wsss.stages.relabel import among_tags, marginals, mix_in

# background, class 1, class 2, class 3 at three pixels
PROBS = torch.tensor([[[0.2, 0.5, 0.0]], [[0.2, 0.1, 0.0]], [[0.5, 0.1, 1.0]], [[0.1, 0.3, 0.0]]])


def test_what_speaks_for_absent_classes_speaks_for_the_tags() -> None:
    # one tag takes all of the foreground, though the first pixel was surer of class 2
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


def test_the_former_mask_has_its_weight_where_it_speaks() -> None:
    own = torch.tensor([[[0.6, 0.6, 0.6]], [[0.4, 0.4, 0.4]]])
    mask = torch.tensor([[0, 3, 255]], dtype=torch.uint8)
    expected = torch.tensor([[[0.7, 0.45, 0.6]], [[0.3, 0.55, 0.4]]])
    torch.testing.assert_close(mix_in(own, mask, [3], 0.25), expected)
    # a mask of another class, from before the tags were mended, says nothing
    assert torch.equal(mix_in(own, torch.full_like(mask, 7), [3], 0.25), own)


def test_filtered_then_mixed_then_refined() -> None:
    image = np.zeros((6, 8, 3), np.uint8)
    image[:, 4:] = 255
    probs = torch.full((4, 6, 8), 0.1)
    probs[0, :, :4] = 0.7
    probs[2, :, 4:] = 0.7
    probs[:, 2, 2] = probs[:, 2, 6]  # a spot that the picture knows nothing of
    chosen = SelfTrainingConfig(former_masks=0.5)
    plain = marginals(image, probs, [2], None, chosen, None)
    assert torch.equal(plain, among_tags(probs, [2])) and plain[1, 2, 2] > 0.8
    old = np.zeros((6, 8), np.uint8)
    mixed = marginals(image, probs, [2], old, chosen, None)
    torch.testing.assert_close(mixed[1], plain[1] / 2)
    refined = marginals(image, probs, [2], None, chosen, DenseCRF("irn"))
    assert refined[1, 2, 2] < 0.5 and refined[1, 2, 6] > 0.9
    torch.testing.assert_close(refined.sum(0), torch.ones(6, 8))


def test_a_picture_without_tags_is_background_for_sure() -> None:
    image = np.zeros((1, 3, 3), np.uint8)
    found = marginals(image, PROBS, [], None, SelfTrainingConfig(), DenseCRF("irn"))
    assert torch.equal(found, torch.ones(1, 1, 3))
