"""Hard-label unaries equal pydensecrf's, and unsure pixels are uniform."""

import numpy as np
import pytest
import torch

from wsss.crf import hard_label_probs
from wsss.errors import WsssError


def test_hard_label_probs_of_a_hand_sized_mask() -> None:
    mask = torch.tensor([[0, 2, 255]], dtype=torch.uint8)
    probs = hard_label_probs(mask, 3, gt_prob=0.8, zero_unsure=False)
    expected = torch.tensor([[0.8, 0.1, 1 / 3], [0.1, 0.1, 1 / 3], [0.1, 0.8, 1 / 3]])
    torch.testing.assert_close(probs[:, 0], expected)
    own = mask.numpy()
    for same in (own, own[:, ::-1][:, ::-1], own.astype(">i4")):
        assert hard_label_probs(same, 3, gt_prob=0.8, zero_unsure=False).equal(probs)


@pytest.mark.parametrize("zero_unsure", [True, False])
def test_hard_label_probs_equal_pydensecrf(zero_unsure: bool) -> None:
    utils = pytest.importorskip("pydensecrf.utils")
    mask = torch.randint(0, 4, (5, 7), generator=torch.Generator().manual_seed(0))
    labels = 3 if zero_unsure else 4
    energy = utils.unary_from_labels(mask.numpy(), labels, 0.7, zero_unsure=zero_unsure)
    ours = -hard_label_probs(mask, labels, 0.7, zero_unsure).log()
    torch.testing.assert_close(ours.flatten(1), torch.from_numpy(energy))


def test_hard_label_probs_of_one_label_are_certain() -> None:
    probs = hard_label_probs(torch.tensor([[0, 255]]), 1, zero_unsure=False)
    assert probs.tolist() == [[[1.0, 1.0]]]


@pytest.mark.parametrize(
    ("mask", "num_labels", "gt_prob", "says"),
    [
        (torch.tensor([[3]]), 3, 0.7, "the label 3, and 3 labels go from 0 to 2"),
        (torch.tensor([[0.5]]), 3, 0.7, "give integers"),
        (np.array([[0.5]]), 3, 0.7, "give integers"),
        (torch.tensor([0]), 3, 0.7, r"shape \(1,\)"),
        (torch.tensor([[0]]), 0, 0.7, "num_labels is 0"),
        (torch.tensor([[0]]), 3, 1.0, "gt_prob is 1.0"),
    ],
)
def test_hard_label_probs_refuse_bad_masks(
    mask: torch.Tensor, num_labels: int, gt_prob: float, says: str
) -> None:
    with pytest.raises(WsssError, match=says):
        hard_label_probs(mask, num_labels, gt_prob, zero_unsure=False)
