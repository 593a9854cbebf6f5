"""Training on a data set in which some images can't be read."""

import sys
from typing import TypeVar

from torch.utils.data import Dataset

from wsss.errors import WsssError

T = TypeVar("T")


class SkipDamaged(Dataset[T]):
    """A data set whose unreadable samples are replaced by the next readable one.

    The number of samples and their order stay, so that a checkpoint made before an image was
    damaged, or was found to be, goes on.
    """

    def __init__(self, dataset: Dataset[T]) -> None:
        """Wraps a map-style data set with a length, keyed by (epoch, index)."""
        self.dataset = dataset
        self._reported: set[int] = set()

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: tuple[int, int]) -> T:
        """The sample of an index, or of the next that can be read.

        Raises:
            WsssError: no sample can be read.
        """
        epoch, first = index
        for step in range(len(self)):
            at = (first + step) % len(self)
            try:
                return self.dataset[epoch, at]
            except WsssError as error:
                last = error
                if at not in self._reported:
                    self._reported.add(at)
                    print(f"left out: {error}", file=sys.stderr)
        raise last
