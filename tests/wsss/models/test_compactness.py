"""Where a walk leads to, against images without the tag."""

import pytest
import torch
from torch import Tensor

from wsss.models.compactness import _Seen, _sure


def seen(tags: list[int], absent: list[list[float]], own: list[float], seed: list[int]) -> _Seen:
    """An image of one tag and 1 × n locations."""
    grid: Tensor = torch.tensor(own)[None, None]
    return _Seen(
        tags, torch.tensor(absent), torch.ones(1), grid, torch.tensor(seed)[None, None] > 0
    )


def test_sure_is_the_share_of_a_seed_above_what_is_elsewhere() -> None:
    # class 0 reaches 2 in the image without it, class 1 reaches 5
    images = [
        seen([0], [[9.0, 9.0], [5.0, 5.0]], own=[3, 1, 3, 9], seed=[1, 1, 1, 0]),
        seen([1], [[2.0, 2.0], [9.0, 9.0]], own=[6, 4, 4, 4], seed=[1, 1, 1, 1]),
    ]
    assert _sure(images) == pytest.approx((2 / 3 + 1 / 4) / 2)


def test_sure_is_unknown_where_every_image_has_the_tag() -> None:
    assert _sure([seen([0], [[1.0, 1.0]], own=[1, 2], seed=[1, 1])]) is None
    nowhere = seen([0], [[1.0], [1.0]], own=[1, 2], seed=[0, 0])
    assert _sure([nowhere, seen([1], [[0.0], [0.0]], own=[1, 2], seed=[0, 0])]) is None
