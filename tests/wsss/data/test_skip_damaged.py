"""Unreadable samples are replaced, and nothing else changes."""

import pytest
from torch.utils.data import Dataset

from wsss.data.skip_damaged import SkipDamaged
from wsss.errors import WsssError


class Numbers(Dataset[int]):
    def __init__(self, damaged: set[int]) -> None:
        self.damaged = damaged

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: tuple[int, int]) -> int:
        if index[1] in self.damaged:
            raise WsssError(f"image {index[1]} is cut off")
        return 10 * index[0] + index[1]


def test_skip_damaged_takes_the_next_sample_and_reports_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = SkipDamaged(Numbers({1, 4}))
    assert len(dataset) == 5
    assert [dataset[2, i] for i in range(5)] == [20, 22, 22, 23, 20]
    assert [dataset[3, i] for i in (1, 4)] == [32, 30]
    assert capsys.readouterr().err.splitlines() == [
        "left out: image 1 is cut off",
        "left out: image 4 is cut off",
    ]


def test_skip_damaged_without_a_readable_sample_says_why() -> None:
    with pytest.raises(WsssError, match="cut off"):
        SkipDamaged(Numbers(set(range(5))))[0, 3]
