"""Weighted sums of table rows: the one operation that splats, blurs and slices.

`torch.embedding_bag` adds up the rows of each bag in order, without atomics: the same bits in every
run, on CPU and GPU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK_VALUES = 400_000  # values a CPU makes at a time: they stay in its cache, and no fresh memory
# has to be mapped for results of tens of megabytes, which takes longer than to compute them


def chunk_rows(num_rows: int, width: int, device: torch.device) -> int:
    """Rows of so many values to make at a time: all of them where launches are what costs."""
    return max(1, CHUNK_VALUES // width) if device.type == "cpu" else max(1, num_rows)


def bag_sums(table: Tensor, index: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """Row r = Σ weights[i] · table[index[i]] over offsets[r] ≤ i < offsets[r + 1].

    Args:
        table: (T, L).
        index: (M,) int32 or int64.
        weights: (M,), the table's dtype.
        offsets: (R + 1,), index's dtype, rising from 0 to M.

    Returns:
        (R, L).
    """
    return torch.embedding_bag(
        table, index, offsets, False, 0, False, weights, include_last_offset=True
    )[0]


@dataclass(frozen=True)
class Bags:
    """Bags of any sizes, over all the rows of a result.

    Attributes:
        index: (M,) rows of the table, bag after bag.
        offsets: (R + 1,) where the bags start, from 0 to M.
    """

    index: Tensor
    offsets: Tensor

    def sums(self, table: Tensor, weights: Tensor, out: Tensor) -> None:
        """Writes the (R, L) weighted sums over the (T, L) table's rows to `out`."""
        num_rows = len(out)
        rows = chunk_rows(num_rows, table.shape[1], table.device)
        if rows >= num_rows:
            out.copy_(bag_sums(table, self.index, weights, self.offsets))
            return
        marks = [*range(0, num_rows, rows), num_rows]
        starts = self.offsets[marks].tolist()  # CPU alone comes here: nothing is waited for
        for a, z, first, last in zip(marks, marks[1:], starts, starts[1:], strict=False):
            offsets = self.offsets[a : z + 1] - first
            part = slice(first, last)
            out[a:z] = bag_sums(table, self.index[part], weights[part], offsets)
