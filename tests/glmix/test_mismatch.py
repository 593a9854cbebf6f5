"""What keeps weights from fitting a model is told in a few words."""

import torch
from torch import nn

from glmix.checkpoints import describe_mismatch


def test_mismatch_counts_each_kind_and_names_the_first() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = {
        "0.weight": torch.zeros(3, 2),
        "0.bias": torch.zeros(4),
        "1.weight": torch.zeros(1, 3),
        "2.weight": torch.zeros(1),
        "2.bias": torch.zeros(1),
    }
    assert describe_mismatch(state, model) == (
        "1 tensors missing, the first 1.bias, 1 tensors of another shape, the first 0.bias, "
        "2 tensors unknown, the first 2.weight"
    )
    assert describe_mismatch(model.state_dict(), model) == ""
